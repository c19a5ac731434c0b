//! The state of bindings and identities, counted at the moment of a scrape: whatever was missed, restarted or
//! deleted, the count is right. Only the replica that works counts; the others have nothing to say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Whether a binding is ready, as the condition says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
pub enum Ready {
    /// It is.
    True,
    /// It is not.
    False,
    /// Nobody could tell, or has looked yet.
    Unknown,
}

/// How one binding stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Is it ready?
    pub ready: Ready,
    /// Must a person act?
    pub stalled: bool,
    /// The reason under `Ready`.
    pub reason: &'static str,
    /// Since when it has not been ready, in seconds since 1970.
    pub not_ready_since: Option<f64>,
}

/// What there is at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    /// All bindings.
    pub bindings: Vec<Standing>,
    /// The number of credentials that each identity holds.
    pub identities: Vec<usize>,
}

type Count = Box<dyn Fn() -> Option<Census> + Send>;

/// The state of bindings and identities.
#[derive(Clone)]
pub struct Bindings {
    count: Arc<Mutex<Option<Count>>>,
    time_to_ready: Histogram,
    repairs: Counter,
}

impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bindings").finish_non_exhaustive()
    }
}

impl Bindings {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let bindings = Self {
            count: Arc::default(),
            time_to_ready: Histogram::new([
                1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
            ]),
            repairs: Counter::default(),
        };
        registry.register_collector(Box::new(bindings.clone()));
        registry.register(
            "wib_time_to_ready_seconds",
            "Time from the creation of a binding until it was ready for the first time",
            bindings.time_to_ready.clone(),
        );
        registry.register(
            "wib_drift_repairs",
            "Credentials put right that were missing or changed",
            bindings.repairs.clone(),
        );
        bindings
    }

    /// From now on this is asked at every scrape. It answers nothing once the work has ended.
    pub fn count_by(&self, count: impl Fn() -> Option<Census> + Send + 'static) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(count));
    }

    /// A new binding has become ready, so long after its creation.
    pub fn ready_after(&self, time: Duration) {
        self.time_to_ready.observe(time.as_secs_f64());
    }

    /// A credential that had been made was missing or changed, and was put right.
    pub fn repaired(&self) {
        self.repairs.inc();
    }

    fn census(&self) -> Option<Census> {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.as_ref().and_then(|count| count())
    }
}

impl Collector for Bindings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let census = self.census();
        // There from the start, so that "none" and "nobody counts" can be told apart.
        let mut standings = BTreeMap::new();
        let mut fill = BTreeMap::new();
        if census.is_some() {
            standings.insert((Ready::True, false, "Synced"), 0_u64);
        }
        let mut oldest: BTreeMap<_, f64> = BTreeMap::new();
        for one in census.iter().flat_map(|census| &census.bindings) {
            *standings.entry((one.ready, one.stalled, one.reason)).or_default() += 1;
            if let Some(since) = one.not_ready_since {
                let known = oldest.entry((one.stalled, one.reason)).or_insert(since);
                *known = known.min(since);
            }
        }
        for held in census.iter().flat_map(|census| &census.identities) {
            *fill.entry(*held).or_insert(0_u64) += 1;
        }

        let mut metric = encoder.encode_descriptor(
            "wib_bindings",
            "Bindings, by whether they are ready, whether a person must act, and the reason under Ready.",
            None,
            MetricType::Gauge,
        )?;
        for ((ready, stalled, reason), count) in standings {
            let labels = [
                ("ready", ready.into()),
                ("stalled", word(stalled)),
                ("reason", reason),
            ];
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }

        let mut metric = encoder.encode_descriptor(
            "wib_bindings_not_ready_since_timestamp_seconds",
            "Since when the binding that has been longest without being ready is so, by its reason.",
            None,
            MetricType::Gauge,
        )?;
        for ((stalled, reason), since) in oldest {
            let labels = [("stalled", word(stalled)), ("reason", reason)];
            ConstGauge::new(since).encode(metric.encode_family(&labels)?)?;
        }

        let mut metric = encoder.encode_descriptor(
            "wib_identities",
            "Identities that bindings name, by the number of credentials that they hold, whoever made them.",
            None,
            MetricType::Gauge,
        )?;
        for (held, count) in &fill {
            ConstGauge::new(*count).encode(metric.encode_family(&[("credentials", held.to_string())])?)?;
        }

        let metric = encoder.encode_descriptor(
            "wib_identity_credentials_max",
            "Number of credentials on the identity that holds the most. Azure allows 20.",
            None,
            MetricType::Gauge,
        )?;
        if census.is_some() {
            let most = fill.keys().next_back().copied().unwrap_or_default();
            ConstGauge::new(most).encode(metric)?;
        }
        Ok(())
    }
}

fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
