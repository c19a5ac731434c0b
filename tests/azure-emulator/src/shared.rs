//! What all requests share.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::entra::{Issuers, SigningKey};
use crate::journal::Journal;
use crate::knobs::Knobs;
use crate::rbac::Rbac;
use crate::script::Script;
use crate::state::World;
use crate::throttle::Throttle;

/// One emulator behind its lock-protected rooms. No lock is held across an await.
pub(crate) struct Shared {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    pub(crate) tenant_id: String,
    pub(crate) subscription_id: String,
    pub(crate) world: Mutex<World>,
    pub(crate) knobs: Mutex<Knobs>,
    /// Held while somebody changes the knobs, so that the change itself may ask the emulator things.
    pub(crate) turn: Mutex<()>,
    pub(crate) faults: Mutex<Script>,
    pub(crate) rbac: Mutex<Rbac>,
    pub(crate) throttle: Mutex<Throttle>,
    pub(crate) journal: Journal,
    pub(crate) keys: &'static SigningKey,
    pub(crate) issuers: Issuers,
    pub(crate) shares: Mutex<HashMap<&'static str, f64>>,
}

impl Shared {
    pub(crate) fn knobs(&self) -> Knobs {
        lock(&self.knobs).clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        lock(&self.knobs).clock.now()
    }

    /// True for this share of calls, evenly spread and the same in every run: 0.25 is every fourth call.
    pub(crate) fn chance(&self, what: &'static str, share: f64) -> bool {
        if share <= 0.0 {
            return false;
        }
        let mut shares = lock(&self.shares);
        let sum = shares.entry(what).or_insert(0.0);
        *sum += share;
        let hit = *sum >= 1.0 - 1e-9;
        if hit {
            *sum -= 1.0;
        }
        hit
    }
}

/// Locks; a panic elsewhere does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
