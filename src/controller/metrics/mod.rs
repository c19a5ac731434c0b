//! Metrics of the controller: reconciles, the queue before them, and the state that they keep.

mod stage;
mod state;

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub(super) use stage::PassProgress;
pub use stage::PassStage;

use super::state_snapshot::StateSnapshot;
use crate::api::{Disposition, Reason};
use crate::metrics::{Labels, seconds};
use state::StateCollector;

/// The controller's name in the metrics that dashboards for controllers know.
const CONTROLLER: &str = "workloadidentitybinding";

/// How a reconcile has ended, whatever it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing to come back for until something changes.
    AwaitsChange,
    /// The next reconcile has its time.
    ComesBack,
    /// Another change came in between: it is repeated.
    Outdated,
    /// It took too long.
    TimedOut,
}

/// Metrics of the controller. Clones count together.
#[derive(Clone)]
pub struct ControllerMetrics {
    queued: Gauge,
    working: Gauge,
    waiting_for_azure: Gauge,
    limit: Gauge,
    results: Family<Labels<1>, Counter>,
    errors: Counter,
    terminal: Counter,
    timeouts: Counter,
    reasons: Family<Labels<1>, Counter>,
    time: Histogram,
    adds: Counter,
    retries: Counter,
    queue_time: Histogram,
    work_time: Histogram,
    time_to_ready: Histogram,
    repairs: Counter,
    storage_restores: Counter,
    state: StateCollector,
}

impl ControllerMetrics {
    /// Registers them. The series that alerts watch exist from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            queued: Gauge::default(),
            working: Gauge::default(),
            waiting_for_azure: Gauge::default(),
            limit: Gauge::default(),
            results: Family::default(),
            errors: Counter::default(),
            terminal: Counter::default(),
            timeouts: Counter::default(),
            reasons: Family::default(),
            time: seconds(),
            adds: Counter::default(),
            retries: Counter::default(),
            queue_time: seconds(),
            work_time: seconds(),
            time_to_ready: Histogram::new([
                1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
            ]),
            repairs: Counter::default(),
            storage_restores: Counter::default(),
            state: StateCollector::default(),
        };
        for result in ["success", "requeue_after", "requeue", "error"] {
            drop(metrics.results.get_or_create(&[("result", result)]));
        }
        let controller = ("controller".into(), CONTROLLER.into());
        metrics.register_reconciles(registry.sub_registry_with_label(controller));
        let queue = [("controller", CONTROLLER), ("name", CONTROLLER)];
        let queue = queue.map(|(key, value)| (key.into(), value.into()));
        metrics.register_queue(registry.sub_registry_with_labels(queue.into_iter()));
        metrics.register_own(registry);
        metrics
    }

    /// Under the names of controller-runtime.
    fn register_reconciles(&self, registry: &mut Registry) {
        registry.register(
            "controller_runtime_reconcile",
            "Reconciles of bindings, by how they ended",
            self.results.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed",
            self.errors.clone(),
        );
        registry.register(
            "controller_runtime_terminal_reconcile_errors",
            "Reconciles that failed over what does not pass by itself; they count as errors too",
            self.terminal.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_timeouts",
            "Reconciles that were given up because they took too long; they count as errors too",
            self.timeouts.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of a reconcile, waiting for Azure included",
            self.time.clone(),
        );
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "How many reconciles may work at the same time, not counting those that wait for Azure",
            self.limit.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Reconciles that work",
            self.working.clone(),
        );
    }

    /// Under the names of client-go's work queues.
    fn register_queue(&self, registry: &mut Registry) {
        registry.register(
            "workqueue_depth",
            "Reconciles that wait for a permit to work",
            self.queued.clone(),
        );
        registry.register(
            "workqueue_adds",
            "Reconciles that came into the queue",
            self.adds.clone(),
        );
        registry.register(
            "workqueue_retries",
            "Reconciles that ended so that they are tried again soon",
            self.retries.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long a reconcile waited for its first permit",
            self.queue_time.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "Duration of a reconcile from its first permit to its end",
            self.work_time.clone(),
        );
    }

    /// Under names of our own.
    fn register_own(&self, registry: &mut Registry) {
        registry.register(
            "wib_visits_waiting_for_azure",
            "Reconciles that wait for Azure, or for the rate limiter before it, without holding a permit",
            self.waiting_for_azure.clone(),
        );
        registry.register(
            "wib_reconcile_reason",
            "Reconciles by the reason under Ready that they ended with",
            self.reasons.clone(),
        );
        registry.register(
            "wib_time_to_ready_seconds",
            "Time from the creation of a binding until it was ready for the first time",
            self.time_to_ready.clone(),
        );
        registry.register(
            "wib_drift_repairs",
            "Credentials put right that were missing or changed",
            self.repairs.clone(),
        );
        registry.register(
            "wib_storage_restores",
            "How often the storage of Kubernetes went back to an older version, as when etcd is restored from a backup",
            self.storage_restores.clone(),
        );
        registry.register_collector(Box::new(self.state.clone()));
    }

    /// All bindings are known, and from now on snapshots of the state can be taken. There is none once the
    /// controller has ended.
    pub fn listed(&self, snapshot: impl Fn() -> Option<StateSnapshot> + Send + 'static) {
        self.state.count(snapshot);
    }

    /// How many reconciles may work at the same time.
    pub fn limited(&self, reconciles: u16) {
        self.limit.set(reconciles.into());
    }

    /// A reconcile has come into the queue.
    pub fn added(&self) {
        self.adds.inc();
    }

    /// One reconcile more is at this stage.
    pub fn entered(&self, stage: PassStage) {
        self.at(stage).inc();
    }

    /// One reconcile less is at this stage.
    pub fn left(&self, stage: PassStage) {
        self.at(stage).dec();
    }

    fn at(&self, stage: PassStage) -> &Gauge {
        match stage {
            PassStage::Queued => &self.queued,
            PassStage::Working => &self.working,
            PassStage::Azure => &self.waiting_for_azure,
        }
    }

    /// A reconcile begins, after it has waited for so long.
    pub fn began(&self, waited: Duration) {
        self.queue_time.observe(waited.as_secs_f64());
    }

    /// A reconcile has ended, with this reason under `Ready`; `None` when it failed before it had one.
    pub fn ended(&self, took: Duration, reason: Option<Reason>, ended: Ended) {
        self.time.observe(took.as_secs_f64());
        self.work_time.observe(took.as_secs_f64());
        if let Some(reason) = reason {
            self.reasons.get_or_create(&[("reason", reason.as_str())]).inc();
        }
        let result = match (ended, reason.map(Reason::disposition)) {
            (Ended::TimedOut, _) => {
                self.timeouts.inc();
                self.retries.inc();
                "error"
            }
            (_, Some(Disposition::Stalled | Disposition::RetrySlowly)) => {
                self.terminal.inc();
                "error"
            }
            (_, Some(Disposition::RetrySoon)) => {
                self.retries.inc();
                "error"
            }
            (Ended::AwaitsChange, _) => "success",
            (Ended::ComesBack, _) => "requeue_after",
            (Ended::Outdated, _) => {
                self.retries.inc();
                "requeue"
            }
        };
        self.results.get_or_create(&[("result", result)]).inc();
        if result == "error" {
            self.errors.inc();
        }
    }

    /// A new binding is ready for the first time, so long after its creation.
    pub fn ready_after(&self, time: Duration) {
        self.time_to_ready.observe(time.as_secs_f64());
    }

    /// Storage has gone back to an older version.
    pub fn storage_restored(&self) {
        self.storage_restores.inc();
    }

    /// A credential that we had made was missing or changed, and was put right.
    pub fn repaired(&self) {
        self.repairs.inc();
    }
}

#[cfg(test)]
mod tests;
