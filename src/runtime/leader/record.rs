//! What the lease says and what to write there. Pure: time is a parameter.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::time::Instant;

use super::Settings;

/// Longest time that another's lease is waited for, whatever it says. No replica of ours asks for
/// more (see `--lease-duration`), and a slip of the keyboard must not stop the operator for years.
pub const LONGEST: Duration = Duration::from_mins(5);

/// The lease as it was last read or written.
#[derive(Debug)]
pub(super) struct SeenLease {
    lease: Option<Lease>,
    /// When this version of it was first seen.
    since: Instant,
}

/// Whose the lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// It does not exist.
    Missing,
    /// It has no holder.
    Nobody,
    /// This process.
    Us,
    /// Another process, whose claim runs out then if the lease stays as it is.
    Other { name: String, until: Instant },
}

impl SeenLease {
    /// Nothing has been seen.
    pub fn nothing(now: Instant) -> Self {
        Self {
            lease: None,
            since: now,
        }
    }

    /// Takes in what was just received. The time runs on for a version that is known.
    pub fn note(&mut self, lease: Option<Lease>, now: Instant) {
        if version(lease.as_ref()) != self.version() || self.lease.is_none() {
            self.since = now;
        }
        self.lease = lease;
    }

    /// The version last seen.
    pub fn version(&self) -> Option<&str> {
        version(self.lease.as_ref())
    }

    /// Whose it is.
    pub fn holder(&self, settings: &Settings) -> Holder {
        let Some(lease) = &self.lease else {
            return Holder::Missing;
        };
        let spec = lease.spec.as_ref();
        let name = spec
            .and_then(|s| s.holder_identity.as_deref())
            .unwrap_or_default();
        if name.is_empty() {
            return Holder::Nobody;
        }
        if name == settings.identity {
            return Holder::Us;
        }
        let seconds = spec.and_then(|s| s.lease_duration_seconds).unwrap_or_default();
        let duration = match u64::try_from(seconds) {
            Ok(1..) => Duration::from_secs(seconds.unsigned_abs().into()).min(LONGEST),
            _ => settings.duration,
        };
        Holder::Other {
            name: name.chars().take(100).collect(),
            until: self.since + duration,
        }
    }

    /// The lease as ours: renewed, if it is ours already.
    pub fn claimed(&self, settings: &Settings, now: Timestamp) -> Lease {
        let holder = self.holder(settings);
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(settings.name.clone()),
                namespace: Some(settings.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if holder != Holder::Us {
            spec.holder_identity = Some(settings.identity.clone());
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions = Some(match (&holder, spec.lease_transitions) {
                (Holder::Missing, _) => 0,
                (_, before) => before.unwrap_or_default().max(0).saturating_add(1),
            });
        }
        // Never zero: an interval of settings has whole seconds, and the API server refuses zero.
        spec.lease_duration_seconds = Some(
            i32::try_from(settings.duration.as_secs())
                .unwrap_or(i32::MAX)
                .max(1),
        );
        spec.renew_time = Some(MicroTime(now));
        lease
    }

    /// The lease without us, if it is ours.
    pub fn vacated(&self, settings: &Settings, now: Timestamp) -> Option<Lease> {
        if self.holder(settings) != Holder::Us {
            return None;
        }
        let mut lease = self.lease.clone()?;
        let spec = lease.spec.as_mut()?;
        spec.holder_identity = None;
        spec.acquire_time = None;
        spec.renew_time = Some(MicroTime(now));
        Some(lease)
    }
}

fn version(lease: Option<&Lease>) -> Option<&str> {
    lease.and_then(|lease| lease.metadata.resource_version.as_deref())
}
