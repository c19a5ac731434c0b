//! Bindings by what they name, and whom a change among them concerns.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::{Guarded, Key, Touched};
use crate::core::IdentityId;

/// What is known of a binding beside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
// Each is a fact by itself; together they are no state of anything.
#[allow(clippy::struct_excessive_bools)]
pub struct Facts {
    pub uid: String,
    pub created: Option<Timestamp>,
    pub generation: Option<i64>,
    /// The object, or its spec, cannot be understood: nobody knows what it wants.
    pub is_readable: bool,
    pub service_account: String,
    pub identity: Option<IdentityId>,
    pub annotate: bool,
    pub token_expiration_seconds: Option<i64>,
    pub is_suspended: bool,
    pub is_deleting: bool,
    pub is_released: bool,
    pub has_finalizer: bool,
    /// What the last review of its pair said. Never taken from the object.
    pub granted: Option<bool>,
}

impl Facts {
    /// Whether it wants this ServiceAccount to use this identity.
    pub fn wants(&self, service_account: &str, identity: &IdentityId) -> bool {
        !self.is_deleting
            && self.service_account == service_account
            && self.identity.as_ref() == Some(identity)
    }

    /// Whether it may write on its ServiceAccount, as far as is known.
    pub fn may_annotate(&self) -> bool {
        self.annotate && !self.is_deleting && !self.is_suspended && self.granted != Some(false)
    }

    /// What it writes there.
    pub fn annotations(&self) -> Option<(&IdentityId, Option<i64>)> {
        let identity = self.identity.as_ref()?;
        Some((identity, self.token_expiration_seconds))
    }

    /// What makes a pass worth its while: not every patch of a label is one.
    pub fn asks(&self) -> impl PartialEq + '_ {
        (
            &self.uid,
            self.generation,
            self.is_deleting,
            self.is_released,
            self.is_readable,
        )
    }
}

/// All bindings.
#[derive(Default)]
pub struct Bindings {
    pub facts: HashMap<Key, Facts>,
    pub by_service_account: HashMap<Key, BTreeSet<String>>,
    pub by_identity: HashMap<String, BTreeSet<Key>>,
    /// Filled while a list runs, and swapped in when it is complete.
    pub listing: Option<HashMap<Key, Facts>>,
    /// Changed in a way that makes a pass worth its while, and not yet handed on.
    pub asking: HashSet<Key>,
}

impl Bindings {
    pub fn of_account<'a>(
        &'a self,
        namespace: &str,
        account: &str,
    ) -> impl Iterator<Item = (&'a String, &'a Facts)> {
        let namespace = namespace.to_owned();
        let names = self
            .by_service_account
            .get(&(namespace.clone(), account.to_owned()));
        names.into_iter().flatten().filter_map(move |name| {
            let facts = self.facts.get(&(namespace.clone(), name.clone()))?;
            Some((name, facts))
        })
    }

    /// Notes whether a change makes a pass worth its while.
    pub fn ask(&mut self, key: &Key, facts: &Facts, object: &Guarded) {
        let known = self.facts.get(key);
        let lost_finalizer = known.is_some_and(|known| known.has_finalizer && !facts.has_finalizer);
        let is_known = known.is_some_and(|known| known.asks() == facts.asks());
        if !is_known || lost_finalizer || object.0.is_err() {
            self.asking.insert(key.clone());
        }
    }

    pub fn insert(&mut self, key: Key, facts: Facts) {
        let account = (key.0.clone(), facts.service_account.clone());
        self.by_service_account
            .entry(account)
            .or_default()
            .insert(key.1.clone());
        if let Some(identity) = &facts.identity {
            let on = self.by_identity.entry(identity.key().to_owned()).or_default();
            on.insert(key.clone());
        }
        self.facts.insert(key, facts);
    }

    pub fn remove(&mut self, key: &Key) -> Option<Facts> {
        let facts = self.facts.remove(key)?;
        let account = (key.0.clone(), facts.service_account.clone());
        if let Some(names) = self.by_service_account.get_mut(&account) {
            names.remove(&key.1);
            if names.is_empty() {
                self.by_service_account.remove(&account);
            }
        }
        if let Some(identity) = &facts.identity
            && let Some(on) = self.by_identity.get_mut(identity.key())
        {
            on.remove(key);
            if on.is_empty() {
                self.by_identity.remove(identity.key());
            }
        }
        Some(facts)
    }

    /// Takes over what a list has brought.
    pub fn swap(&mut self) -> Touched {
        let listed = self.listing.take().unwrap_or_default();
        let gone: Vec<Key> = self
            .facts
            .keys()
            .filter(|key| !listed.contains_key(*key))
            .cloned()
            .collect();
        let mut touched = Touched::default();
        let changes = gone.into_iter().map(|key| (key, None));
        let changes: Vec<_> = changes
            .chain(listed.into_iter().map(|(k, f)| (k, Some(f))))
            .collect();
        for (key, facts) in changes {
            let more = self.replace(&key, facts);
            touched.bindings.extend(more.bindings);
            touched.identities.extend(more.identities);
        }
        touched
    }

    /// Puts other facts in place, and names whom that concerns.
    pub fn replace(&mut self, key: &Key, facts: Option<Facts>) -> Touched {
        let known = self.facts.get(key).cloned();
        let facts = facts.map(|mut facts| {
            // A review speaks of the pair, not of the object.
            let same = known
                .as_ref()
                .filter(|k| k.identity == facts.identity && k.service_account == facts.service_account);
            facts.granted = same.and_then(|known| known.granted);
            facts
        });
        if known == facts {
            return Touched::default();
        }
        let both = || known.iter().chain(&facts);
        let accounts: BTreeSet<String> = both().map(|f| f.service_account.clone()).collect();
        let writers = |all: &Self| -> BTreeSet<String> {
            let of = |account: &String| all.writers(&key.0, account);
            accounts.iter().flat_map(of).collect()
        };
        let before = writers(self);
        self.remove(key);
        if let Some(facts) = &facts {
            self.insert(key.clone(), facts.clone());
        }
        let after = writers(self);
        let mut names: BTreeSet<String> = before.symmetric_difference(&after).cloned().collect();
        let wants = |f: &Facts| (!f.is_deleting).then(|| (f.service_account.clone(), f.identity.clone()));
        let (wanted, wants) = (known.as_ref().and_then(wants), facts.as_ref().and_then(wants));
        let mut identities = Vec::new();
        if wanted != wants {
            // One of those that want the same takes over.
            if let Some((account, Some(identity))) = &wanted {
                let heir = self
                    .of_account(&key.0, account)
                    .filter(|(_, f)| f.wants(account, identity));
                names.extend(
                    heir.min_by_key(|(_, f)| (f.created, &f.uid))
                        .map(|(name, _)| name.clone()),
                );
            }
            identities.extend(both().filter_map(|f| f.identity.clone()));
        }
        names.remove(&key.1);
        Touched {
            bindings: names
                .iter()
                .map(|name| ObjectRef::new(name).within(&key.0))
                .collect(),
            identities,
        }
    }

    /// Who may write on a ServiceAccount: the oldest that annotates it, and those behind it that want
    /// the same, up to the first that does not.
    pub fn writers(&self, namespace: &str, account: &str) -> BTreeSet<String> {
        let all = self.of_account(namespace, account);
        let mut writing: Vec<_> = all
            .filter(|(_, f)| f.may_annotate() && f.identity.is_some())
            .collect();
        writing.sort_by_key(|(_, f)| (f.created, &f.uid));
        let first = writing.first().and_then(|(_, f)| f.annotations());
        let same = writing.iter().take_while(|(_, f)| f.annotations() == first);
        same.map(|(name, _)| (*name).clone()).collect()
    }
}
