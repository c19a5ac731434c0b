//! What every visit of a binding shares.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authorize::Authorization;
use super::index::{Guarded, Index};
use super::memory::Memory;
use super::observe::Observer;
use super::slots::Slots;
use crate::api::{FIELD_MANAGER, WorkloadIdentityBinding};
use crate::azure::Lanes;
use crate::domain::Defaults;
use crate::domain::backoff::{Intervals, Jitter};
use crate::fairness::Turns;

/// The time, as a parameter. Only transition times of conditions come from it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Randomness of the process: good enough to keep clusters apart, and never used for secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadJitter;

impl Jitter for ThreadJitter {
    fn draw(&self) -> f64 {
        use std::hash::{BuildHasher, RandomState};
        let bits = RandomState::new().hash_one(std::time::Instant::now());
        // 53 bits fill the mantissa of an f64 exactly.
        #[allow(clippy::cast_precision_loss)]
        let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}

/// What the controller is made of.
pub struct Parts {
    /// Kubernetes, with deadlines.
    pub client: Client,
    /// Azure.
    pub lanes: Lanes,
    /// The cluster's issuer; a new value makes every binding be looked at again.
    pub issuer: watch::Receiver<String>,
    /// Settings that complete specs.
    pub defaults: Defaults,
    /// Who decides which ServiceAccount may use which identity.
    pub authorization: Authorization,
    /// When to look again.
    pub intervals: Intervals,
    /// The one namespace to watch, or all.
    pub namespace: Option<String>,
    /// How long a watch lasts before it is asked for anew.
    pub watch_timeout: Duration,
    /// How many bindings are worked on at the same time, not counting those that wait for Azure.
    pub concurrency: u16,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub jitter: Arc<dyn Jitter>,
    /// Metrics.
    pub observer: Arc<dyn Observer>,
    /// Name of this instance, in events.
    pub instance: Option<String>,
}

/// What every visit shares.
pub(super) struct Context {
    pub parts: Parts,
    pub index: Index,
    pub memory: Memory,
    pub bindings: Store<Guarded>,
    pub service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    pub slots: Slots,
    /// Visits that work at the same time.
    pub turns: Arc<Turns>,
    /// Cancelled when the operator is to stop: nobody begins any more.
    pub stopping: CancellationToken,
    /// True once bindings and ServiceAccounts have been listed. The stores could be waited for
    /// themselves, but of many that wait for one store some are never woken.
    pub synced: watch::Receiver<bool>,
    pub recorder: Recorder,
}

impl Context {
    pub fn new(
        parts: Parts,
        slots: Slots,
        bindings: Store<Guarded>,
        service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
        synced: watch::Receiver<bool>,
        stopping: CancellationToken,
    ) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: parts.instance.clone(),
        };
        Self {
            recorder: Recorder::new(parts.client.clone(), reporter),
            index: Index::new(parts.defaults.clone()),
            memory: Memory::default(),
            turns: Turns::new(usize::from(parts.concurrency)),
            stopping,
            slots,
            bindings,
            service_accounts,
            synced,
            parts,
        }
    }

    pub fn api(&self, namespace: &str) -> Api<WorkloadIdentityBinding> {
        Api::namespaced(self.parts.client.clone(), namespace)
    }

    pub fn issuer(&self) -> String {
        self.parts.issuer.borrow().clone()
    }

    /// How old a shared read may be. Bindings that are in order come due when the read does, so a
    /// little less than the drift interval makes one read serve them all, once per interval.
    pub fn fresh(&self, was_ready: bool) -> Duration {
        let Intervals { drift, slow, .. } = self.parts.intervals;
        if was_ready {
            drift.mul_f64(0.9)
        } else {
            slow.min(drift) / 2
        }
    }
}

/// `namespace/name`, as it stands in logs.
pub(super) fn id(binding: &WorkloadIdentityBinding) -> String {
    format!(
        "{}/{}",
        binding.namespace().unwrap_or_default(),
        binding.name_any()
    )
}
