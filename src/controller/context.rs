//! What every pass shares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::accounts::{Annotating, JustDeleted};
use super::authorize::Authorization;
use super::capacity::Capacity;
use super::expectations::Expectations;
use super::index::{Guarded, Index};
use super::metrics::ControllerMetrics;
use super::records::Records;
use super::revision::StorageRevision;
use crate::api::{FIELD_MANAGER, ManagedIdentity, WorkloadIdentityBinding};
use crate::azure::Lanes;
use crate::core::Defaults;
use crate::core::backoff::{Intervals, Jitter};
use crate::core::issuers::ClusterIssuers;
use crate::fairness::FairSemaphore;

/// The time, as a parameter. Transition times of conditions come from it, and how long a former issuer has
/// been one; never anything that depends on somebody else's clock.
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

/// How long credentials stay that no binding wants any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// An orphan: nobody has said what is to become of it.
    pub orphans: Duration,
    /// One of a former issuer: as long as a token of it can be valid.
    pub former_issuers: Duration,
}

/// What the controller is made of.
pub struct Parts {
    /// Kubernetes, with deadlines.
    pub client: Client,
    /// Azure.
    pub lanes: Lanes,
    /// The cluster's issuer; a new value makes every binding be looked at again.
    pub issuer: watch::Receiver<ClusterIssuers>,
    /// Settings that complete specs.
    pub defaults: Defaults,
    /// Who decides which ServiceAccount may use which identity.
    pub authorization: Authorization,
    /// When to look again.
    pub intervals: Intervals,
    /// How long to keep what nobody wants.
    pub retention: Retention,
    /// The one namespace to watch, or all.
    pub namespace: Option<String>,
    /// How long a watch lasts before it is asked for anew.
    pub watch_timeout: Duration,
    /// How many passes work at the same time, not counting those that wait for Azure.
    pub concurrency: u16,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub jitter: Arc<dyn Jitter>,
    /// Metrics.
    pub metrics: ControllerMetrics,
    /// Name of this instance, in events.
    pub instance: Option<String>,
}

/// What every pass shares.
pub(super) struct Context {
    pub parts: Parts,
    pub index: Index,
    pub records: Records,
    pub revision: Arc<StorageRevision>,
    pub expectations: Expectations,
    pub bindings: Store<Guarded>,
    pub service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    pub capacity: Capacity,
    pub annotating: Annotating,
    pub just_deleted: JustDeleted,
    /// Since when nobody has been known to want a recorded credential, by identity and name.
    pub unwanted: Mutex<HashMap<(String, String), tokio::time::Instant>>,
    /// Failures in a row, by identity.
    pub identity_failures: Mutex<HashMap<String, u32>>,
    /// Passes that work at the same time.
    pub permits: Arc<FairSemaphore>,
    /// Cancelled when the operator is to stop: nobody begins any more.
    pub stopping: CancellationToken,
    /// True once bindings, records and ServiceAccounts have been listed. The stores could be waited for
    /// themselves, but of many that wait for one store some are never woken.
    pub synced: watch::Receiver<bool>,
    pub wake_bindings: mpsc::Sender<ObjectRef<Guarded>>,
    pub wake_identities: mpsc::Sender<ObjectRef<ManagedIdentity>>,
    pub recorder: Recorder,
}

impl Context {
    pub fn api(&self, namespace: &str) -> Api<WorkloadIdentityBinding> {
        Api::namespaced(self.parts.client.clone(), namespace)
    }

    pub fn issuer(&self) -> String {
        self.parts.issuer.borrow().current.clone()
    }

    /// Others that sign tokens of this cluster as well.
    pub fn alternating_issuers(&self) -> Vec<String> {
        self.parts.issuer.borrow().alternating.clone()
    }

    /// Reports events under the operator's name.
    pub fn recorder(parts: &Parts) -> Recorder {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: parts.instance.clone(),
        };
        Recorder::new(parts.client.clone(), reporter)
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

    /// Has these bindings looked at. When thousands wait already, the rest come by themselves, a little later.
    pub fn wake(&self, bindings: impl IntoIterator<Item = ObjectRef<Guarded>>) {
        for binding in bindings {
            let _ = self.wake_bindings.try_send(binding);
        }
    }
}
