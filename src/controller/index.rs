//! What the watch knows of bindings: who names which ServiceAccount and which identity, who comes first,
//! and whom a change concerns.

mod bindings;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::{Resource, core::DeserializeGuard};

use bindings::{Bindings, Facts};

use crate::api::{FINALIZER, RELEASE_ANNOTATION, RecordedCredential, WorkloadIdentityBinding};
use crate::core::desired::identity;
use crate::core::reconcile::Contender;
use crate::core::reconcile::revoke::Owner;
use crate::core::{Defaults, Desired, IdentityId, grant, record};

pub(super) type Guarded = DeserializeGuard<WorkloadIdentityBinding>;

/// Namespace and name.
pub(super) type Key = (String, String);

/// Whom a change concerns beside the binding itself.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Bindings that may do now what they could not before, or the other way round.
    pub bindings: Vec<ObjectRef<Guarded>>,
    /// Identities of which somebody wants something else now.
    pub identities: Vec<IdentityId>,
}

/// All bindings, by what they name.
pub(super) struct Index {
    defaults: Defaults,
    bindings: Mutex<Bindings>,
}

impl Index {
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            bindings: Mutex::default(),
        }
    }

    /// Takes a watch event in, and names whom it concerns beside the binding itself.
    ///
    /// Only those: were all bindings of a ServiceAccount named, a tenant with many of them would make the
    /// square of their number of passes.
    pub fn update(&self, event: &Event<Guarded>) -> Touched {
        let mut bindings = self.lock();
        match event {
            Event::Init => {
                bindings.listing = Some(HashMap::new());
                Touched::default()
            }
            Event::InitApply(object) => {
                if let Some((key, facts)) = self.entry(object) {
                    bindings.ask(&key, &facts, object);
                    if let Some(listing) = bindings.listing.as_mut() {
                        listing.insert(key, facts);
                    }
                }
                Touched::default()
            }
            Event::InitDone => bindings.swap(),
            Event::Apply(object) => {
                let Some((key, facts)) = self.entry(object) else {
                    return Touched::default();
                };
                bindings.ask(&key, &facts, object);
                bindings.replace(&key, Some(facts))
            }
            Event::Delete(object) => {
                let Some((key, _)) = self.entry(object) else {
                    return Touched::default();
                };
                bindings.replace(&key, None)
            }
        }
    }

    /// Whether an object that has just been seen makes a pass worth its while. Answers so once.
    pub fn asks(&self, object: &Guarded) -> bool {
        let meta = object.meta();
        let key = (
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        );
        self.lock().asking.remove(&key)
    }

    /// Takes in what a review said, and names the bindings that may write on the ServiceAccount by it.
    pub fn reviewed(&self, request: &grant::Request, granted: bool) -> Vec<ObjectRef<Guarded>> {
        let mut bindings = self.lock();
        let (namespace, account) = (&request.namespace, &request.service_account);
        let before = bindings.writers(namespace, account);
        let account_key = (namespace.clone(), account.clone());
        let names: Vec<String> = bindings
            .by_service_account
            .get(&account_key)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        for name in names {
            if let Some(facts) = bindings.facts.get_mut(&(namespace.clone(), name))
                && facts.identity.as_ref() == Some(&request.identity)
            {
                facts.granted = Some(granted);
            }
        }
        let after = bindings.writers(namespace, account);
        let changed = before.symmetric_difference(&after);
        changed
            .map(|name| ObjectRef::new(name).within(namespace))
            .collect()
    }

    /// The uids of all bindings.
    pub fn uids(&self) -> HashSet<String> {
        self.lock()
            .facts
            .values()
            .map(|facts| facts.uid.clone())
            .collect()
    }

    /// The bindings that name a ServiceAccount.
    pub fn naming(&self, namespace: &str, service_account: &str) -> Vec<ObjectRef<Guarded>> {
        let bindings = self.lock();
        let names = bindings
            .by_service_account
            .get(&(namespace.to_owned(), service_account.to_owned()));
        let names = names.into_iter().flatten();
        names.map(|name| ObjectRef::new(name).within(namespace)).collect()
    }

    /// Live bindings, other than this one, that want this ServiceAccount to use this identity; the oldest
    /// first.
    pub fn wanting(&self, but: &str, namespace: &str, account: &str, identity: &IdentityId) -> Vec<String> {
        let bindings = self.lock();
        let mut wanting: Vec<(&String, &Facts)> = bindings
            .of_account(namespace, account)
            .filter(|(name, facts)| name.as_str() != but && facts.wants(account, identity))
            .collect();
        wanting.sort_by_key(|(_, facts)| (facts.created, &facts.uid));
        wanting.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// What has become of the binding that a recorded credential was last wanted by.
    pub fn owner(&self, entry: &RecordedCredential, identity: &IdentityId) -> Owner {
        let Some((namespace, account)) = record::service_account(entry) else {
            return Owner::Absent;
        };
        let bindings = self.lock();
        let mut wanting = bindings.of_account(namespace, account);
        if wanting.any(|(_, facts)| facts.wants(account, identity)) {
            return Owner::Wants;
        }
        let own = bindings.facts.get(&(namespace.to_owned(), entry.binding.clone()));
        if own.is_some() {
            Owner::Present
        } else {
            Owner::Absent
        }
    }

    /// Older bindings that would write something else on the ServiceAccount, the oldest first.
    pub fn contenders(&self, uid: &str, created: Option<Timestamp>, desired: &Desired) -> Vec<Contender> {
        let wanted = &desired.service_account;
        let annotations = Some((&desired.identity, wanted.token_expiration_seconds));
        let bindings = self.lock();
        let mut older: Vec<(&String, &Facts)> = bindings
            .of_account(&desired.namespace, &wanted.name)
            .filter(|(_, other)| {
                // The uid decides between two of the same second. One whose spec cannot be understood
                // writes nothing.
                other.may_annotate()
                    && other.annotations().is_some()
                    && other.annotations() != annotations
                    && (other.created, other.uid.as_str()) < (created, uid)
            })
            .collect();
        older.sort_by_key(|(_, facts)| (facts.created, &facts.uid));
        let contender = |(name, facts): (&String, &Facts)| {
            Some(Contender {
                name: name.clone(),
                request: grant::Request {
                    namespace: desired.namespace.clone(),
                    service_account: wanted.name.clone(),
                    identity: facts.identity.clone()?,
                },
                granted: facts.granted,
            })
        };
        older.into_iter().filter_map(contender).collect()
    }

    /// Whether another live binding annotates this ServiceAccount, as far as is known. Before it writes
    /// anywhere a binding gets its finalizer: one without has written nothing, and nobody would take off what
    /// was left to it.
    pub fn annotated_by_another(&self, but: &str, namespace: &str, account: &str) -> bool {
        let bindings = self.lock();
        let mut all = bindings.of_account(namespace, account);
        all.any(|(name, facts)| {
            let may_annotate = facts.annotate && !facts.is_deleting && facts.granted != Some(false);
            name.as_str() != but && may_annotate && facts.has_finalizer
        })
    }

    /// Key and facts of an object.
    fn entry(&self, object: &Guarded) -> Option<(Key, Facts)> {
        let meta = object.meta();
        let key = (meta.namespace.clone()?, meta.name.clone()?);
        let spec = object.0.as_ref().ok().map(|binding| &binding.spec);
        let identity = spec.and_then(|spec| identity(&spec.identity, &self.defaults).ok());
        let released = meta.annotations.as_ref().and_then(|a| a.get(RELEASE_ANNOTATION));
        let facts = Facts {
            uid: meta.uid.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map(|t| t.0),
            generation: meta.generation,
            is_readable: identity.is_some(),
            service_account: spec
                .map(|spec| spec.service_account.name.clone())
                .unwrap_or_default(),
            identity,
            annotate: spec.is_some_and(|spec| spec.service_account.annotate),
            token_expiration_seconds: spec.and_then(|spec| spec.service_account.token_expiration_seconds),
            is_suspended: spec.is_some_and(|spec| spec.suspend),
            is_deleting: meta.deletion_timestamp.is_some(),
            is_released: released.is_some_and(|value| value == "true"),
            has_finalizer: meta.finalizers.iter().flatten().any(|f| f == FINALIZER),
            granted: None,
        };
        Some((key, facts))
    }

    fn lock(&self) -> MutexGuard<'_, Bindings> {
        self.bindings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
