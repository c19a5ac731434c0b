//! Metrics, as `/metrics` answers them; `docs/monitoring.md` explains each.
//!
//! Names that dashboards for controllers know (controller-runtime, client-go) are kept, as far as they are true here.
//! Every label has a closed or bounded set of values: no names of objects, namespaces or identities. What alerts
//! watch the increase of exists from the start, with 0: a series that begins with its first event has no increase.

mod bindings;
mod calls;
mod process;
mod requests;
mod text;
mod visits;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use bindings::{Bindings, Census, Ready, Standing};
pub use calls::Calls;
pub use requests::{RequestLayer, Requests};
pub use text::Format;
pub use visits::{Ended, Visits};

/// Labels whose values are known at compile time.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The operator's metrics. Clones share one registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Visits of bindings, and the queue before them.
    pub visits: Visits,
    /// The state of bindings and identities.
    pub bindings: Bindings,
    /// Calls to Azure.
    pub calls: Calls,
    /// Calls to Kubernetes.
    pub requests: Requests,
    /// By the name of the lease: one value for the life of the process.
    leads: Family<[(&'static str, String); 1], Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let leads = Family::default();
        registry.register(
            "wib_build",
            "The build that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "leader_election_master_status",
            "Whether this replica leads (1) or stands by (0), by the name of the lease",
            leads.clone(),
        );
        let metrics = Self {
            visits: Visits::register(&mut registry),
            bindings: Bindings::register(&mut registry),
            calls: Calls::register(&mut registry),
            requests: Requests::register(&mut registry),
            leads,
            registry: Arc::default(),
        };
        process::register(&mut registry);
        Self {
            registry: Arc::new(registry),
            ..metrics
        }
    }
}

impl Metrics {
    /// What `/metrics` answers.
    ///
    /// # Errors
    /// Only if a metric cannot be written as text, which would be a defect.
    pub fn exposition(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Text => text::from_open_metrics(&text),
        })
    }

    /// This replica leads by the lease of this name, or stands by.
    pub fn leads(&self, lease: &str, leads: bool) {
        let labels = [("name", lease.to_owned())];
        self.leads.get_or_create(&labels).set(leads.into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn series<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let of_name = |line: &&str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        text.lines().filter(of_name).collect()
    }

    #[test]
    fn every_series_has_the_name_that_dashboards_ask_for() {
        let metrics = Metrics::default();
        metrics.visits.added();
        metrics.visits.began(Duration::from_millis(7));
        metrics
            .visits
            .ended(Duration::from_millis(7), Ended::Terminal, Some("NotAuthorized"));
        metrics
            .calls
            .called("put_credential", "409", "contended", Duration::from_millis(7));
        metrics.bindings.repaired();
        metrics.leads("workload-identity-binding", true);
        let text = metrics.exposition(Format::OpenMetrics).unwrap();
        for series in [
            "controller_runtime_reconcile_total{controller=\"workloadidentitybinding\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"workloadidentitybinding\",result=\"success\"} 0",
            "controller_runtime_reconcile_errors_total{controller=\"workloadidentitybinding\"} 1",
            "controller_runtime_terminal_reconcile_errors_total{controller=\"workloadidentitybinding\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"workloadidentitybinding\"} 1",
            "workqueue_adds_total{controller=\"workloadidentitybinding\",name=\"workloadidentitybinding\"} 1",
            "workqueue_retries_total{controller=\"workloadidentitybinding\",name=\"workloadidentitybinding\"} 0",
            "wib_reconcile_reason_total{reason=\"NotAuthorized\"} 1",
            "wib_arm_requests_total{operation=\"put_credential\",code=\"409\",result=\"contended\"} 1",
            "wib_drift_repairs_total 1",
            "leader_election_master_status{name=\"workload-identity-binding\"} 1",
            "wib_build_info{version=",
        ] {
            assert!(text.contains(series), "{series} is missing in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let older = metrics.exposition(Format::Text).unwrap();
        assert!(
            older.contains("# TYPE wib_build_info gauge\nwib_build_info{"),
            "{older}"
        );
    }

    #[test]
    fn bindings_are_counted_by_those_who_work_and_only_while_they_do() {
        let metrics = Metrics::default();
        let text = || metrics.exposition(Format::OpenMetrics).unwrap();
        let (ready, full) = ("wib_bindings", "wib_identity_credentials_max");
        assert_eq!(series(&text(), ready), Vec::<&str>::new());
        assert_eq!(series(&text(), full), Vec::<&str>::new());

        metrics.bindings.count_by(|| Some(Census::default()));
        assert_eq!(
            series(&text(), ready),
            ["wib_bindings{ready=\"True\",stalled=\"false\",reason=\"Synced\"} 0"]
        );
        assert_eq!(series(&text(), full), ["wib_identity_credentials_max 0"]);

        let standing = |since: f64| Standing {
            ready: Ready::False,
            stalled: true,
            reason: "NotAuthorized",
            not_ready_since: Some(since),
        };
        let census = Census {
            bindings: vec![standing(30.0), standing(20.0)],
            identities: vec![3, 19, 3],
        };
        metrics.bindings.count_by(move || Some(census.clone()));
        let counted = text();
        assert!(
            counted.contains("wib_bindings{ready=\"False\",stalled=\"true\",reason=\"NotAuthorized\"} 2"),
            "{counted}"
        );
        assert_eq!(
            series(&counted, "wib_bindings_not_ready_since_timestamp_seconds"),
            [
                "wib_bindings_not_ready_since_timestamp_seconds{stalled=\"true\",reason=\"NotAuthorized\"} 20.0"
            ]
        );
        assert_eq!(
            series(&counted, "wib_identities"),
            [
                "wib_identities{credentials=\"3\"} 2",
                "wib_identities{credentials=\"19\"} 1"
            ]
        );
        assert_eq!(series(&counted, full), ["wib_identity_credentials_max 19"]);

        metrics.bindings.count_by(|| None);
        assert_eq!(series(&text(), ready), Vec::<&str>::new());
    }
}
