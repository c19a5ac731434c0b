//! Bindings that wait for room on a full identity: whoever makes room has them looked at at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use kube::runtime::reflector::ObjectRef;

use super::index::{Guarded, Key};
use crate::core::IdentityId;

/// Who waits, by identity.
#[derive(Default)]
pub(super) struct Capacity(Mutex<HashMap<String, BTreeSet<Key>>>);

impl Capacity {
    /// The identity has no room for the binding.
    pub fn wait(&self, identity: &IdentityId, binding: Key) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .entry(identity.key().to_owned())
            .or_default()
            .insert(binding);
    }

    /// A credential was deleted on the identity: these may find room now.
    pub fn freed(&self, identity: &IdentityId) -> Vec<ObjectRef<Guarded>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = waiting.remove(identity.key()).unwrap_or_default();
        woken
            .iter()
            .map(|(namespace, name)| ObjectRef::new(name).within(namespace))
            .collect()
    }
}
