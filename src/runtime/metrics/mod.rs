//! Metrics, as `/metrics` answers them, and those of the process, of leadership and of calls to Kubernetes.
//! `docs/monitoring.md` explains each.

mod process;
mod requests;
mod text;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use requests::{RequestLayer, Requests};
pub use text::TextFormat;

/// The operator's metrics. Clones share one registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Calls to Kubernetes.
    pub requests: Requests,
    /// By the name of the lease: one value for the life of the process.
    leads: Family<[(&'static str, String); 1], Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Registry::default())
    }
}

impl Metrics {
    /// What these parts of the operator have registered, and the runtime's own.
    pub fn new(mut registry: Registry) -> Self {
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
        let requests = Requests::register(&mut registry);
        process::register(&mut registry);
        Self {
            requests,
            leads,
            registry: Arc::new(registry),
        }
    }

    /// What `/metrics` answers.
    ///
    /// # Errors
    /// Only if a metric cannot be written as text, which would be a defect.
    pub fn exposition(&self, format: TextFormat) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(match format {
            TextFormat::OpenMetrics => text,
            TextFormat::Text => text::from_open_metrics(&text),
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
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn what_others_have_registered_is_exposed_beside_our_own_in_both_formats() {
        let (mut registry, puts) = (Registry::default(), Counter::<u64>::default());
        registry.register("puts", "Puts", puts.clone());
        let metrics = Metrics::new(registry);
        puts.inc();
        metrics.leads("workload-identity-binding", true);
        let text = metrics.exposition(TextFormat::OpenMetrics).unwrap();
        for series in [
            "puts_total 1",
            "leader_election_master_status{name=\"workload-identity-binding\"} 1",
            "wib_build_info{version=",
            "process_start_time_seconds ",
        ] {
            assert!(text.contains(series), "{series} is missing in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let older = metrics.exposition(TextFormat::Text).unwrap();
        for lines in [
            "# TYPE wib_build_info gauge\nwib_build_info{",
            "# TYPE puts_total counter\nputs_total 1\n",
        ] {
            assert!(older.contains(lines), "{lines} is missing in:\n{older}");
        }
    }
}
