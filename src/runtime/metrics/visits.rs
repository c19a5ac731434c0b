//! Visits of bindings ("reconciles"), and the queue before them.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::Labels;

/// The controller's name in the metrics that dashboards for controllers know.
const CONTROLLER: &str = "workloadidentitybinding";

/// How a visit has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Ended {
    /// Nothing to come back for until something changes.
    Success,
    /// The next visit has its time.
    RequeueAfter,
    /// Another change came in between: the visit is repeated.
    Requeue,
    /// It failed, and is tried again soon.
    Error,
    /// It failed over what does not pass by itself: it is looked at again slowly, or when something changes.
    #[strum(serialize = "error")]
    Terminal,
    /// It took too long, and is tried again soon.
    #[strum(serialize = "error")]
    TimedOut,
}

/// What there is to say of visits.
#[derive(Clone)]
pub struct Visits {
    /// Visits that wait for their turn.
    pub queued: Gauge,
    /// Visits that work.
    pub working: Gauge,
    /// Visits that wait for Azure, without holding a turn.
    pub waiting_for_azure: Gauge,
    /// How many may work at the same time.
    pub limit: Gauge,
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
}

/// 5 ms to 82 s: from a visit that finds all in order to one that waits for a throttled write.
pub(super) fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 15))
}

impl Visits {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let visits = Self {
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
        };
        for result in ["success", "requeue_after", "requeue", "error"] {
            drop(visits.results.get_or_create(&[("result", result)]));
        }
        visits
            .register_controller(registry.sub_registry_with_label(("controller".into(), CONTROLLER.into())));
        visits.register_queue(
            registry.sub_registry_with_labels(
                [("controller", CONTROLLER), ("name", CONTROLLER)]
                    .map(|(key, value)| (key.into(), value.into()))
                    .into_iter(),
            ),
        );
        registry.register(
            "wib_visits_waiting_for_azure",
            "Visits that wait for Azure, or for the pace at which it may be asked, without holding a turn",
            visits.waiting_for_azure.clone(),
        );
        registry.register(
            "wib_reconcile_reason",
            "Visits by the reason under Ready that they ended with",
            visits.reasons.clone(),
        );
        visits
    }

    fn register_controller(&self, registry: &mut Registry) {
        registry.register(
            "controller_runtime_reconcile",
            "Visits of bindings, by how they ended",
            self.results.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Visits that failed",
            self.errors.clone(),
        );
        registry.register(
            "controller_runtime_terminal_reconcile_errors",
            "Visits that failed over what does not pass by itself; they count as errors too",
            self.terminal.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_timeouts",
            "Visits that were given up because they took too long; they count as errors too",
            self.timeouts.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of a visit, waiting for Azure included",
            self.time.clone(),
        );
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "How many visits may work at the same time, not counting those that wait for Azure",
            self.limit.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Visits that work",
            self.working.clone(),
        );
    }

    fn register_queue(&self, registry: &mut Registry) {
        registry.register(
            "workqueue_depth",
            "Visits that wait for their turn",
            self.queued.clone(),
        );
        registry.register(
            "workqueue_adds",
            "Visits that came into the queue",
            self.adds.clone(),
        );
        registry.register(
            "workqueue_retries",
            "Visits that ended so that they are tried again soon",
            self.retries.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long a visit waited for its first turn",
            self.queue_time.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "Duration of a visit from its first turn to its end",
            self.work_time.clone(),
        );
    }

    /// A visit has come into the queue.
    pub fn added(&self) {
        self.adds.inc();
    }

    /// A visit begins, after it has waited for so long.
    pub fn began(&self, waited: Duration) {
        self.queue_time.observe(waited.as_secs_f64());
    }

    /// A visit has ended; `reason` is the one under `Ready`, if it got that far.
    pub fn ended(&self, took: Duration, ended: Ended, reason: Option<&'static str>) {
        self.results.get_or_create(&[("result", ended.into())]).inc();
        self.time.observe(took.as_secs_f64());
        self.work_time.observe(took.as_secs_f64());
        match ended {
            Ended::Success | Ended::RequeueAfter => {}
            Ended::Requeue => {
                self.retries.inc();
            }
            Ended::Error | Ended::TimedOut => {
                self.errors.inc();
                self.retries.inc();
            }
            Ended::Terminal => {
                self.errors.inc();
                self.terminal.inc();
            }
        }
        if ended == Ended::TimedOut {
            self.timeouts.inc();
        }
        if let Some(reason) = reason {
            self.reasons.get_or_create(&[("reason", reason)]).inc();
        }
    }
}
