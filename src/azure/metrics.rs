//! Metrics of calls to Azure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use strum::IntoEnumIterator;

use super::{AzureError, Counter as Remaining, Operation};
use crate::core::Fault;
use crate::metrics::{Labels, seconds};

/// HTTP status of what was not refused: the crates below do not say which.
const SUCCESS: &str = "2xx";
/// Instead of an HTTP status where there was no answer.
const NO_ANSWER: &str = "none";

/// For how long a number of remaining calls says something. Azure fills up within seconds; a scrape must see a dip.
const REMAINING_KEPT: Duration = Duration::from_mins(2);

/// Metrics of calls to Azure. Clones count together.
#[derive(Clone)]
pub struct AzureMetrics {
    requests: Family<Labels<3>, Counter>,
    duration: Family<Labels<1>, Histogram, fn() -> Histogram>,
    throttled: Counter<f64>,
    lowest: LowestRemaining,
}

impl AzureMetrics {
    /// Registers them. The series that alerts watch exist from now on.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(seconds),
            throttled: Counter::default(),
            lowest: LowestRemaining::default(),
        };
        registry.register(
            "wib_arm_requests",
            "Calls to Azure, by their HTTP status and by what it means",
            metrics.requests.clone(),
        );
        registry.register(
            "wib_arm_request_duration_seconds",
            "Duration of a call to Azure, without the wait for the rate limiter",
            metrics.duration.clone(),
        );
        registry.register(
            "wib_arm_throttled_seconds",
            "Time for which Azure has asked to be left alone, summed over the calls that it refused",
            metrics.throttled.clone(),
        );
        registry.register_collector(Box::new(metrics.lowest.clone()));
        metrics.expect_calls();
        metrics
    }

    fn expect_calls(&self) {
        for operation in Operation::iter() {
            let expect = |code, result| drop(self.requests.get_or_create(&labels(operation, code, result)));
            drop(self.duration.get_or_create(&[("operation", operation.as_str())]));
            expect(SUCCESS, "success");
            for code in [NO_ANSWER, "401"] {
                expect(code, Fault::LoginFailed.as_str());
            }
            if operation == Operation::GetToken {
                continue;
            }
            expect("429", Fault::Throttled.as_str());
            for code in [NO_ANSWER, "500", "502", "503", "504"] {
                expect(code, Fault::Unavailable.as_str());
            }
        }
    }

    /// A call has ended.
    pub fn called(&self, operation: Operation, took: Duration, error: Option<&AzureError>) {
        let (code, result) = error.map_or((SUCCESS, "success"), |error| {
            (error.status.map_or(NO_ANSWER, code), error.fault.as_str())
        });
        self.requests
            .get_or_create(&labels(operation, code, result))
            .inc();
        self.duration
            .get_or_create(&[("operation", operation.as_str())])
            .observe(took.as_secs_f64());
        if let Some(error) = error.filter(|error| error.fault == Fault::Throttled) {
            let wait = error.retry_after.unwrap_or_default();
            self.throttled.inc_by(wait.as_secs_f64());
        }
    }

    /// Azure has said how many calls of a kind are left in a subscription.
    pub fn left(&self, kind: Remaining, calls: u32) {
        self.lowest.note(kind.as_str(), calls, Instant::now());
    }
}

fn labels(operation: Operation, code: &'static str, result: &'static str) -> Labels<3> {
    [
        ("operation", operation.as_str()),
        ("code", code),
        ("result", result),
    ]
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

/// The lowest number of remaining calls of each kind that Azure has named lately, in whichever subscription.
#[derive(Clone, Debug, Default)]
struct LowestRemaining(Arc<Mutex<BTreeMap<&'static str, (Instant, u32)>>>);

impl LowestRemaining {
    fn note(&self, kind: &'static str, left: u32, now: Instant) {
        let mut lowest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lowest
            .get(kind)
            .filter(|(at, known)| now.duration_since(*at) < REMAINING_KEPT && *known < left);
        if known.is_none() {
            lowest.insert(kind, (now, left));
        }
    }

    fn at(&self, now: Instant) -> Vec<(&'static str, u32)> {
        let lowest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = lowest
            .iter()
            .filter(|(_, (at, _))| now.duration_since(*at) < REMAINING_KEPT);
        recent.map(|(kind, (_, left))| (*kind, *left)).collect()
    }
}

impl Collector for LowestRemaining {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metric = encoder.encode_descriptor(
            "wib_arm_ratelimit_remaining",
            "Lowest number of calls that Azure has said are left, of all subscriptions, within two minutes.",
            None,
            MetricType::Gauge,
        )?;
        for (kind, left) in self.at(Instant::now()) {
            ConstGauge::new(left).encode(metric.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
