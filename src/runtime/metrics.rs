//! Metrics. Every label has a closed set of values; no names of objects or namespaces.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The controller's name in the metrics that dashboards for controllers know.
const CONTROLLER: &str = "workloadidentitybinding";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LeaseLabels {
    /// One value for the life of the process.
    name: String,
}

/// The operator's metrics. Clones share one registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    reconciles: Family<ResultLabels, Counter>,
    reconcile_time: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    reasons: Family<ReasonLabels, Counter>,
    arm_requests: Family<CallLabels, Counter>,
    arm_duration: Family<OperationLabels, Histogram, fn() -> Histogram>,
    repairs: Counter,
    leads: Family<LeaseLabels, Gauge>,
}

/// 5 ms to 80 s: a cached read to a throttled write.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let reconciles = Family::default();
        let reconcile_time = Family::new_with_constructor(buckets as fn() -> Histogram);
        let reasons = Family::default();
        let arm_requests = Family::default();
        let arm_duration = Family::new_with_constructor(buckets as fn() -> Histogram);
        let repairs = Counter::default();
        let leads = Family::default();

        registry.register(
            "controller_runtime_reconcile",
            "Visits of bindings",
            reconciles.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of a visit",
            reconcile_time.clone(),
        );
        registry.register(
            "wib_reconcile_reason",
            "Visits by the reason under Ready",
            reasons.clone(),
        );
        registry.register(
            "wib_arm_requests",
            "Calls to Azure by operation and result",
            arm_requests.clone(),
        );
        registry.register(
            "wib_arm_request_duration_seconds",
            "Duration of a call to Azure",
            arm_duration.clone(),
        );
        registry.register(
            "wib_drift_repairs",
            "Credentials put right that were missing or changed",
            repairs.clone(),
        );
        registry.register(
            "leader_election_master_status",
            "Whether this replica leads (1) or stands by (0), by the name of the lease",
            leads.clone(),
        );
        registry.register(
            "wib_build",
            "The build that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry: Arc::new(registry),
            reconciles,
            reconcile_time,
            reasons,
            arm_requests,
            arm_duration,
            repairs,
            leads,
        }
    }
}

impl Metrics {
    /// The text that `/metrics` answers, in the OpenMetrics format.
    ///
    /// # Errors
    /// Only if a metric cannot be written as text, which would be a defect.
    pub fn exposition(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A visit has ended; `reason` is the one under `Ready`, if it got that far.
    pub fn visited(&self, took: Duration, reason: Option<&'static str>, failed: bool) {
        let result = if failed { "error" } else { "success" };
        self.reconciles
            .get_or_create(&ResultLabels {
                controller: CONTROLLER,
                result,
            })
            .inc();
        self.reconcile_time
            .get_or_create(&ControllerLabels {
                controller: CONTROLLER,
            })
            .observe(took.as_secs_f64());
        if let Some(reason) = reason {
            self.reasons.get_or_create(&ReasonLabels { reason }).inc();
        }
    }

    /// A call to Azure has ended; `result` is `success` or the kind of failure.
    pub fn called(&self, operation: &'static str, took: Duration, result: &'static str) {
        self.arm_requests
            .get_or_create(&CallLabels { operation, result })
            .inc();
        self.arm_duration
            .get_or_create(&OperationLabels { operation })
            .observe(took.as_secs_f64());
    }

    /// This replica leads by the lease of this name, or stands by.
    pub fn leads(&self, name: &str, leads: bool) {
        let labels = LeaseLabels {
            name: name.to_owned(),
        };
        self.leads.get_or_create(&labels).set(leads.into());
    }

    /// A credential was put right.
    pub fn repaired(&self) {
        self.repairs.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_has_the_name_that_dashboards_ask_for() {
        let metrics = Metrics::default();
        metrics.visited(Duration::from_millis(7), Some("Synced"), false);
        metrics.called("put_credential", Duration::from_millis(7), "contended");
        metrics.repaired();
        metrics.leads("workload-identity-binding", true);
        let text = metrics.exposition().unwrap();
        for series in [
            "controller_runtime_reconcile_total{controller=\"workloadidentitybinding\",result=\"success\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"workloadidentitybinding\"} 1",
            "wib_reconcile_reason_total{reason=\"Synced\"} 1",
            "wib_arm_requests_total{operation=\"put_credential\",result=\"contended\"} 1",
            "wib_drift_repairs_total 1",
            "leader_election_master_status{name=\"workload-identity-binding\"} 1",
            "wib_build_info{version=",
        ] {
            assert!(text.contains(series), "{series} is missing in:\n{text}");
        }
    }
}
