//! Where the controller's and Azure's observers meet the metrics.

use std::time::Duration;

use strum::IntoEnumIterator;

use crate::api::{Disposition, Reason};
use crate::azure::{self, AzureError, Counter, Operation};
use crate::controller::{self, Census, Stage, Standing};
use crate::domain::Fault;
use crate::runtime::metrics::{self, Metrics, Ready};

/// HTTP status of what was no refusal: the crates below do not say which.
const SUCCESS: &str = "2xx";
/// Instead of an HTTP status where there was no answer.
const NO_ANSWER: &str = "none";

/// Counts what it is told.
pub struct MetricsObserver(Metrics);

impl MetricsObserver {
    /// What alerts watch exists from now on.
    pub fn new(metrics: Metrics) -> Self {
        for operation in Operation::iter().map(Operation::as_str) {
            let calls = &metrics.calls;
            calls.expect(operation, SUCCESS, "success");
            for code in [NO_ANSWER, "401"] {
                calls.expect(operation, code, Fault::LoginFailed.as_str());
            }
            if operation == Operation::GetToken.as_str() {
                continue;
            }
            calls.expect(operation, "429", Fault::Throttled.as_str());
            for code in [NO_ANSWER, "500", "502", "503", "504"] {
                calls.expect(operation, code, Fault::Unavailable.as_str());
            }
        }
        Self(metrics)
    }
}

impl azure::Observer for MetricsObserver {
    fn called(&self, operation: Operation, took: Duration, error: Option<&AzureError>) {
        let calls = &self.0.calls;
        let Some(error) = error else {
            calls.called(operation.as_str(), SUCCESS, "success", took);
            return;
        };
        calls.called(
            operation.as_str(),
            error.status.map_or(NO_ANSWER, code),
            error.fault.as_str(),
            took,
        );
        if error.fault == Fault::Throttled {
            calls.throttled(error.retry_after.unwrap_or_default());
        }
        tracing::debug!(
            operation = operation.as_str(),
            fault = error.fault.as_str(),
            status = error.status,
            code = error.code,
            request_id = error.request_id,
            "call to Azure failed"
        );
    }

    fn left(&self, counter: Counter, remaining: u32) {
        self.0.calls.remaining(counter.as_str(), remaining);
    }
}

/// The HTTP statuses that Azure is known to answer with; of others the class.
fn code(status: u16) -> &'static str {
    const KNOWN: [(u16, &str); 13] = [
        (400, "400"),
        (401, "401"),
        (403, "403"),
        (404, "404"),
        (405, "405"),
        (408, "408"),
        (409, "409"),
        (412, "412"),
        (429, "429"),
        (500, "500"),
        (502, "502"),
        (503, "503"),
        (504, "504"),
    ];
    let known = KNOWN.iter().find(|(known, _)| *known == status);
    known.map_or_else(
        || match status / 100 {
            2 => SUCCESS,
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
        |(_, code)| code,
    )
}

impl controller::Observer for MetricsObserver {
    fn listed(&self, census: Census) {
        self.0.bindings.count_by(move || {
            Some(metrics::Census {
                bindings: census.bindings()?.into_iter().map(standing).collect(),
                identities: census.credentials(),
            })
        });
    }

    fn limited(&self, visits: u16) {
        self.0.visits.limit.set(visits.into());
    }

    fn added(&self) {
        self.0.visits.added();
    }

    fn entered(&self, stage: Stage) {
        self.gauge(stage).inc();
    }

    fn left(&self, stage: Stage) {
        self.gauge(stage).dec();
    }

    fn began(&self, waited: Duration) {
        self.0.visits.began(waited);
    }

    fn visited(&self, took: Duration, reason: Option<Reason>, ended: controller::Ended) {
        use metrics::Ended;
        let ended = match (ended, reason.map(Reason::disposition)) {
            (controller::Ended::TimedOut, _) => Ended::TimedOut,
            (_, Some(Disposition::Stalled | Disposition::RetrySlowly)) => Ended::Terminal,
            (_, Some(Disposition::RetrySoon)) => Ended::Error,
            (controller::Ended::AwaitsChange, _) => Ended::Success,
            (controller::Ended::ComesBack, _) => Ended::RequeueAfter,
            (controller::Ended::Outdated, _) => Ended::Requeue,
        };
        self.0.visits.ended(took, ended, reason.map(Reason::as_str));
    }

    fn ready_after(&self, time: Duration) {
        self.0.bindings.ready_after(time);
    }

    fn repaired(&self) {
        self.0.bindings.repaired();
    }
}

impl MetricsObserver {
    fn gauge(&self, stage: Stage) -> &prometheus_client::metrics::gauge::Gauge {
        let visits = &self.0.visits;
        match stage {
            Stage::Queued => &visits.queued,
            Stage::Working => &visits.working,
            Stage::Azure => &visits.waiting_for_azure,
        }
    }
}

fn standing(standing: Standing) -> metrics::Standing {
    metrics::Standing {
        ready: match standing.ready {
            Some(true) => Ready::True,
            Some(false) => Ready::False,
            None => Ready::Unknown,
        },
        stalled: standing.stalled,
        // A status can be written by others, too.
        reason: standing.reason.map_or("Other", Reason::as_str),
        not_ready_since: standing
            .not_ready_since
            .map(|since| since.as_duration().as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::Observer as _;
    use crate::controller::Observer as _;
    use crate::runtime::metrics::Format;

    fn error(status: Option<u16>, fault: Fault) -> AzureError {
        AzureError {
            operation: Operation::PutCredential,
            fault,
            status,
            code: Some("Whatever".to_owned()),
            message: String::new(),
            request_id: None,
            retry_after: Some(Duration::from_secs(17)),
        }
    }

    #[test]
    fn what_alerts_watch_is_there_before_it_happens() {
        let metrics = Metrics::default();
        let _observer = MetricsObserver::new(metrics.clone());
        let text = metrics.exposition(Format::OpenMetrics).unwrap();
        for series in [
            "wib_arm_requests_total{operation=\"get_identity\",code=\"2xx\",result=\"success\"} 0",
            "wib_arm_requests_total{operation=\"put_credential\",code=\"429\",result=\"throttled\"} 0",
            "wib_arm_requests_total{operation=\"list_credentials\",code=\"none\",result=\"unavailable\"} 0",
            "wib_arm_requests_total{operation=\"get_token\",code=\"none\",result=\"login_failed\"} 0",
            "wib_arm_throttled_seconds_total 0",
            "wib_drift_repairs_total 0",
        ] {
            assert!(text.contains(series), "{series} is missing in:\n{text}");
        }
    }

    #[test]
    fn no_answer_of_azure_makes_up_a_label() {
        let metrics = Metrics::default();
        let observer = MetricsObserver::new(metrics.clone());
        let before = metrics.exposition(Format::Text).unwrap().lines().count();
        for status in 100..=999 {
            let error = error(Some(status), Fault::Rejected);
            observer.called(Operation::PutCredential, Duration::ZERO, Some(&error));
        }
        let text = metrics.exposition(Format::Text).unwrap();
        // 13 that are known, two classes, success, and the rest.
        assert_eq!(text.lines().count() - before, 17, "{text}");
        assert!(!text.contains("Whatever"), "{text}");
    }

    #[test]
    fn a_refusal_for_haste_counts_the_time_that_azure_asks_for() {
        let metrics = Metrics::default();
        let observer = MetricsObserver::new(metrics.clone());
        for fault in [Fault::Throttled, Fault::Unavailable] {
            observer.called(
                Operation::PutCredential,
                Duration::ZERO,
                Some(&error(Some(429), fault)),
            );
        }
        let text = metrics.exposition(Format::Text).unwrap();
        assert!(text.contains("wib_arm_throttled_seconds_total 17"), "{text}");
    }

    #[test]
    fn how_a_visit_ends_is_told_in_the_words_of_controllers() {
        use controller::Ended::{AwaitsChange, ComesBack, Outdated, TimedOut};
        for (reason, ended, series) in [
            (Some(Reason::Synced), ComesBack, "result=\"requeue_after\"} 1"),
            (None, AwaitsChange, "result=\"success\"} 1"),
            (None, Outdated, "result=\"requeue\"} 1"),
            (Some(Reason::Queued), ComesBack, "result=\"requeue_after\"} 1"),
            (Some(Reason::AzureUnavailable), ComesBack, "result=\"error\"} 1"),
            (
                Some(Reason::NotAuthorized),
                ComesBack,
                "terminal_reconcile_errors_total{controller=\"workloadidentitybinding\"} 1",
            ),
            (
                Some(Reason::KubernetesUnavailable),
                TimedOut,
                "reconcile_timeouts_total{controller=\"workloadidentitybinding\"} 1",
            ),
        ] {
            let metrics = Metrics::default();
            MetricsObserver::new(metrics.clone()).visited(Duration::ZERO, reason, ended);
            let text = metrics.exposition(Format::Text).unwrap();
            assert!(
                text.contains(series),
                "{reason:?} {ended:?} lacks {series}:\n{text}"
            );
        }
    }
}
