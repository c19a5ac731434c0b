//! Calls to Azure. What they are called comes from whoever makes them.

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

use super::{Labels, visits};

/// For how long a number of remaining calls says something. Azure fills up within seconds; a scrape must see a dip.
const REMAINING_KEPT: Duration = Duration::from_mins(2);

/// What there is to say of calls to Azure.
#[derive(Clone)]
pub struct Calls {
    requests: Family<Labels<3>, Counter>,
    duration: Family<Labels<1>, Histogram, fn() -> Histogram>,
    throttled: Counter<f64>,
    remaining: Remaining,
}

impl Calls {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let calls = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(visits::seconds),
            throttled: Counter::default(),
            remaining: Remaining::default(),
        };
        registry.register(
            "wib_arm_requests",
            "Calls to Azure, by their HTTP status and by what it means",
            calls.requests.clone(),
        );
        registry.register(
            "wib_arm_request_duration_seconds",
            "Duration of a call to Azure, without the wait for its turn",
            calls.duration.clone(),
        );
        registry.register(
            "wib_arm_throttled_seconds",
            "Time for which Azure has asked to be left alone, summed over the calls that it refused",
            calls.throttled.clone(),
        );
        registry.register_collector(Box::new(calls.remaining.clone()));
        calls
    }

    /// Makes the series exist before the first such call.
    pub fn expect(&self, operation: &'static str, code: &'static str, result: &'static str) {
        drop(self.requests.get_or_create(&labels(operation, code, result)));
        drop(self.duration.get_or_create(&[("operation", operation)]));
    }

    /// A call has ended with this HTTP status and meaning.
    pub fn called(&self, operation: &'static str, code: &'static str, result: &'static str, took: Duration) {
        self.requests
            .get_or_create(&labels(operation, code, result))
            .inc();
        self.duration
            .get_or_create(&[("operation", operation)])
            .observe(took.as_secs_f64());
    }

    /// Azure has asked to be left alone for so long.
    pub fn throttled(&self, wait: Duration) {
        self.throttled.inc_by(wait.as_secs_f64());
    }

    /// Azure has said how many calls of a kind are left.
    pub fn remaining(&self, kind: &'static str, left: u32) {
        self.remaining.note(kind, left, Instant::now());
    }
}

fn labels(operation: &'static str, code: &'static str, result: &'static str) -> Labels<3> {
    [("operation", operation), ("code", code), ("result", result)]
}

/// The lowest number of remaining calls of each kind that Azure has named lately, in whichever subscription.
#[derive(Clone, Debug, Default)]
struct Remaining(Arc<Mutex<BTreeMap<&'static str, (Instant, u32)>>>);

impl Remaining {
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

impl Collector for Remaining {
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
mod tests {
    use super::*;

    #[test]
    fn a_dip_of_the_remaining_calls_is_seen_and_forgotten() {
        let (remaining, start) = (Remaining::default(), Instant::now());
        for left in [199, 3, 150] {
            remaining.note("writes", left, start);
        }
        assert_eq!(remaining.at(start), [("writes", 3)]);
        assert_eq!(remaining.at(start + REMAINING_KEPT), []);
        remaining.note("writes", 190, start + REMAINING_KEPT);
        assert_eq!(remaining.at(start + REMAINING_KEPT), [("writes", 190)]);
    }
}
