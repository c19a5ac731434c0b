//! Bindings that wait for room on a full identity: whoever makes room has them looked at at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::index::Guarded;
use crate::api::WorkloadIdentityBinding;
use crate::domain::IdentityId;

/// Who waits, by identity.
pub(super) struct Slots {
    waiting: Mutex<HashMap<String, BTreeSet<(String, String)>>>,
    to_visit: mpsc::Sender<ObjectRef<Guarded>>,
}

impl Slots {
    pub fn new(to_visit: mpsc::Sender<ObjectRef<Guarded>>) -> Self {
        Self {
            waiting: Mutex::default(),
            to_visit,
        }
    }

    /// The identity has no room for the binding.
    pub fn wait(&self, identity: &IdentityId, binding: &WorkloadIdentityBinding) {
        let who = (binding.namespace().unwrap_or_default(), binding.name_any());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(identity.key().to_owned()).or_default().insert(who);
    }

    /// A credential was deleted on the identity.
    pub fn freed(&self, identity: &IdentityId) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (namespace, name) in waiting.remove(identity.key()).unwrap_or_default() {
            // Full when thousands wait: the others come by themselves, a little later.
            let _ = self.to_visit.try_send(ObjectRef::new(&name).within(&namespace));
        }
    }
}
