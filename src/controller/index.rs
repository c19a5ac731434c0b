//! Which bindings name which ServiceAccount: what a watch event touches, and who comes first.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::{Resource, core::DeserializeGuard};

use crate::api::{FINALIZER, WorkloadIdentityBinding};
use crate::domain::desired::identity;
use crate::domain::{Defaults, Desired, IdentityId};

pub(super) type Guarded = DeserializeGuard<WorkloadIdentityBinding>;

/// Namespace and name.
type Key = (String, String);

/// What is known of a binding beside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    uid: String,
    created: Option<Timestamp>,
    service_account: String,
    identity: Option<IdentityId>,
    annotate: bool,
    token_expiration_seconds: Option<i64>,
    deleting: bool,
    /// Carries our finalizer: it has been visited, and its end will not be missed.
    visited: bool,
}

/// All bindings by ServiceAccount.
pub(super) struct Index {
    defaults: Defaults,
    bindings: Mutex<Bindings>,
}

#[derive(Default)]
struct Bindings {
    facts: HashMap<Key, Facts>,
    by_service_account: HashMap<Key, BTreeSet<String>>,
    /// Filled while a list runs, and swapped in when it is complete.
    listing: Option<HashMap<Key, Facts>>,
}

impl Index {
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            bindings: Mutex::default(),
        }
    }

    /// Takes a watch event in, and names the other bindings of the same ServiceAccount that may write
    /// on it now and could not before, or the other way round.
    ///
    /// Only those: were all of them named, a tenant with many bindings of one ServiceAccount would make
    /// the square of their number of visits.
    pub fn update(&self, event: &Event<Guarded>) -> Vec<ObjectRef<Guarded>> {
        let mut bindings = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                bindings.listing = Some(HashMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let entry = self.entry(object);
                if let (Some((key, Some(facts))), Some(listing)) = (entry, bindings.listing.as_mut()) {
                    listing.insert(key, facts);
                }
                Vec::new()
            }
            Event::InitDone => {
                let listed = bindings.listing.take().unwrap_or_default();
                *bindings = Bindings::default();
                for (key, facts) in listed {
                    bindings.insert(key, facts);
                }
                Vec::new()
            }
            Event::Apply(object) => {
                let Some((key, facts)) = self.entry(object) else {
                    return Vec::new();
                };
                bindings.replace(&key, facts)
            }
            Event::Delete(object) => {
                let Some((key, _)) = self.entry(object) else {
                    return Vec::new();
                };
                bindings.replace(&key, None)
            }
        }
    }

    /// The bindings that name a ServiceAccount.
    pub fn naming(&self, namespace: &str, service_account: &str) -> Vec<ObjectRef<Guarded>> {
        self.bindings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of(namespace, service_account)
    }

    /// Whether another live binding wants this identity for this ServiceAccount: then the
    /// credential stays.
    pub fn shared(&self, uid: &str, namespace: &str, service_account: &str, identity: &IdentityId) -> bool {
        self.others(uid, namespace, service_account)
            .iter()
            .any(|(_, other)| other.identity.as_ref() == Some(identity))
    }

    /// Whether one of those has not been visited yet. Until then its end would go unnoticed, and the
    /// credential with it.
    pub fn awaits_heir(
        &self,
        uid: &str,
        namespace: &str,
        service_account: &str,
        identity: &IdentityId,
    ) -> bool {
        self.others(uid, namespace, service_account)
            .iter()
            .any(|(_, other)| other.identity.as_ref() == Some(identity) && !other.visited)
    }

    /// The name of an older binding that writes something else on the same ServiceAccount.
    pub fn taken_by(&self, uid: &str, created: Option<Timestamp>, desired: &Desired) -> Option<String> {
        let wanted = &desired.service_account;
        let others = self.others(uid, &desired.namespace, &wanted.name);
        let older = others.into_iter().filter(|(_, other)| {
            // One whose spec cannot be understood writes nothing.
            let differs = other.identity.as_ref().is_some_and(|identity| {
                *identity != desired.identity
                    || other.token_expiration_seconds != wanted.token_expiration_seconds
            });
            // The uid decides between two of the same second.
            other.annotate && differs && (other.created, other.uid.as_str()) < (created, uid)
        });
        older
            .min_by_key(|(_, other)| (other.created, other.uid.clone()))
            .map(|(name, _)| name)
    }

    /// Whether another live binding annotates this ServiceAccount, with an identity other than
    /// `revoked`.
    pub fn annotated_by_another(
        &self,
        uid: &str,
        namespace: &str,
        service_account: &str,
        revoked: Option<&IdentityId>,
    ) -> bool {
        self.others(uid, namespace, service_account)
            .iter()
            .any(|(_, other)| other.annotate && (revoked.is_none() || other.identity.as_ref() != revoked))
    }

    fn others(&self, uid: &str, namespace: &str, service_account: &str) -> Vec<(String, Facts)> {
        let bindings = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        let names = bindings
            .by_service_account
            .get(&(namespace.to_owned(), service_account.to_owned()));
        let names = names.into_iter().flat_map(BTreeSet::iter);
        let all = names.filter_map(|name| {
            let facts = bindings.facts.get(&(namespace.to_owned(), name.clone()))?;
            Some((name.clone(), facts.clone()))
        });
        all.filter(|(_, facts)| facts.uid != uid && !facts.deleting)
            .collect()
    }

    /// Key and facts of an object; no facts for one that cannot be decoded.
    fn entry(&self, object: &Guarded) -> Option<(Key, Option<Facts>)> {
        let meta = object.meta();
        let key = (meta.namespace.clone()?, meta.name.clone()?);
        let facts = object.0.as_ref().ok().map(|binding| Facts {
            uid: meta.uid.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map(|t| t.0),
            service_account: binding.spec.service_account.name.clone(),
            identity: identity(&binding.spec.identity, &self.defaults).ok(),
            annotate: binding.spec.service_account.annotate,
            token_expiration_seconds: binding.spec.service_account.token_expiration_seconds,
            deleting: meta.deletion_timestamp.is_some(),
            visited: meta.finalizers.iter().flatten().any(|f| f == FINALIZER),
        });
        Some((key, facts))
    }
}

impl Bindings {
    fn insert(&mut self, key: Key, facts: Facts) {
        let account = (key.0.clone(), facts.service_account.clone());
        self.by_service_account
            .entry(account)
            .or_default()
            .insert(key.1.clone());
        self.facts.insert(key, facts);
    }

    fn remove(&mut self, key: &Key) -> Option<Facts> {
        let facts = self.facts.remove(key)?;
        let account = (key.0.clone(), facts.service_account.clone());
        if let Some(names) = self.by_service_account.get_mut(&account) {
            names.remove(&key.1);
            if names.is_empty() {
                self.by_service_account.remove(&account);
            }
        }
        Some(facts)
    }

    /// Puts other facts in place, and names whose turn on the ServiceAccounts has changed by it.
    fn replace(&mut self, key: &Key, facts: Option<Facts>) -> Vec<ObjectRef<Guarded>> {
        let known = self.facts.get(key);
        if known == facts.as_ref() {
            return Vec::new();
        }
        let accounts: BTreeSet<String> = known
            .iter()
            .copied()
            .chain(&facts)
            .map(|f| f.service_account.clone())
            .collect();
        let writers = |all: &Self| -> BTreeSet<String> {
            let of = |account: &String| all.writers(&key.0, account);
            accounts.iter().flat_map(of).collect()
        };
        let before = writers(self);
        self.remove(key);
        if let Some(facts) = facts {
            self.insert(key.clone(), facts);
        }
        let after = writers(self);
        let changed = before.symmetric_difference(&after).filter(|name| **name != key.1);
        changed.map(|name| ObjectRef::new(name).within(&key.0)).collect()
    }

    /// Who may write on a ServiceAccount: the oldest that annotates it, and those behind it that want
    /// the same, up to the first that does not.
    fn writers(&self, namespace: &str, service_account: &str) -> Vec<String> {
        let names = self
            .by_service_account
            .get(&(namespace.to_owned(), service_account.to_owned()));
        let all = names.into_iter().flat_map(BTreeSet::iter).filter_map(|name| {
            let facts = self.facts.get(&(namespace.to_owned(), name.clone()))?;
            Some((name, facts))
        });
        let mut writing: Vec<_> = all
            .filter(|(_, f)| f.annotate && !f.deleting && f.identity.is_some())
            .collect();
        writing.sort_by_key(|(_, f)| (f.created, &f.uid));
        let wish = |f: &Facts| (f.identity.clone(), f.token_expiration_seconds);
        let first = writing.first().map(|(_, f)| wish(f));
        let same = writing.into_iter().take_while(|(_, f)| Some(wish(f)) == first);
        same.map(|(name, _)| name.clone()).collect()
    }

    fn of(&self, namespace: &str, service_account: &str) -> Vec<ObjectRef<Guarded>> {
        let names = self
            .by_service_account
            .get(&(namespace.to_owned(), service_account.to_owned()));
        let names = names.into_iter().flat_map(BTreeSet::iter);
        names.map(|name| ObjectRef::new(name).within(namespace)).collect()
    }
}
