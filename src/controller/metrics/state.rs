//! The state of bindings, identities and credentials, counted at the moment of a scrape: whatever was missed,
//! restarted or deleted, the count is right. Only the replica that leads counts; the others have nothing to say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use strum::IntoEnumIterator;

use crate::api::{CredentialState, Reason};
use crate::controller::state_snapshot::{BindingState, StateSnapshot};

type TakeSnapshot = Box<dyn Fn() -> Option<StateSnapshot> + Send>;

/// Takes a snapshot at each scrape, and counts what is in it.
#[derive(Clone, Default)]
pub(super) struct StateCollector(Arc<Mutex<Option<TakeSnapshot>>>);

impl StateCollector {
    /// From now on snapshots are taken so.
    pub fn count(&self, take: impl Fn() -> Option<StateSnapshot> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(take));
    }

    fn snapshot(&self) -> Option<StateSnapshot> {
        let take = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        take.as_ref().and_then(|take| take())
    }
}

impl fmt::Debug for StateCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateCollector").finish_non_exhaustive()
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.snapshot();
        let snapshot = snapshot.as_ref();
        bindings(&mut encoder, snapshot)?;
        not_ready_since(&mut encoder, snapshot)?;
        identities(&mut encoder, snapshot)?;
        credentials(&mut encoder, snapshot)
    }
}

fn bindings(encoder: &mut DescriptorEncoder<'_>, snapshot: Option<&StateSnapshot>) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(
        "wib_bindings",
        "Bindings, by whether they are ready, whether a person must act, and the reason under Ready.",
        None,
        MetricType::Gauge,
    )?;
    let mut counts = BTreeMap::new();
    if snapshot.is_some() {
        // There from the start, so that "none" and "nobody counts" can be told apart.
        counts.insert(("True", "false", Reason::Synced.as_str()), 0_u64);
    }
    for one in snapshot.iter().flat_map(|snapshot| &snapshot.bindings) {
        *counts
            .entry((ready(one), word(one.stalled), reason(one)))
            .or_default() += 1;
    }
    for ((ready, stalled, reason), count) in counts {
        let labels = [("ready", ready), ("stalled", stalled), ("reason", reason)];
        ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn not_ready_since(
    encoder: &mut DescriptorEncoder<'_>,
    snapshot: Option<&StateSnapshot>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(
        "wib_bindings_not_ready_since_timestamp_seconds",
        "Since when the binding that has been longest without being ready is so, by its reason.",
        None,
        MetricType::Gauge,
    )?;
    let mut oldest = BTreeMap::new();
    for one in snapshot.iter().flat_map(|snapshot| &snapshot.bindings) {
        if let Some(since) = one.not_ready_since {
            let known = oldest.entry((word(one.stalled), reason(one))).or_insert(since);
            *known = since.min(*known);
        }
    }
    for ((stalled, reason), since) in oldest {
        let labels = [("stalled", stalled), ("reason", reason)];
        ConstGauge::new(since.as_duration().as_secs_f64()).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn identities(
    encoder: &mut DescriptorEncoder<'_>,
    snapshot: Option<&StateSnapshot>,
) -> Result<(), fmt::Error> {
    let mut by_credentials = BTreeMap::new();
    for held in snapshot.iter().flat_map(|snapshot| &snapshot.identities) {
        *by_credentials.entry(*held).or_insert(0_u64) += 1;
    }
    let mut metric = encoder.encode_descriptor(
        "wib_identities",
        "Identities that bindings name, by the number of credentials that they hold, whoever made them.",
        None,
        MetricType::Gauge,
    )?;
    for (held, count) in &by_credentials {
        ConstGauge::new(*count).encode(metric.encode_family(&[("credentials", held.to_string())])?)?;
    }

    let metric = encoder.encode_descriptor(
        "wib_identity_credentials_max",
        "Number of credentials on the identity that holds the most. Azure allows 20.",
        None,
        MetricType::Gauge,
    )?;
    if snapshot.is_some() {
        let most = by_credentials.keys().next_back().copied().unwrap_or_default();
        ConstGauge::new(most).encode(metric)?;
    }
    Ok(())
}

fn credentials(
    encoder: &mut DescriptorEncoder<'_>,
    snapshot: Option<&StateSnapshot>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(
        "wib_credentials",
        "Credentials that this cluster's operators have made, by the state in their ManagedIdentity.",
        None,
        MetricType::Gauge,
    )?;
    let Some(snapshot) = snapshot else { return Ok(()) };
    for state in CredentialState::iter() {
        let of_state = snapshot.credentials.iter().filter(|(known, _)| *known == state);
        let count: usize = of_state.map(|(_, count)| count).sum();
        ConstGauge::new(count).encode(metric.encode_family(&[("state", state.as_str())])?)?;
    }
    Ok(())
}

fn ready(binding: &BindingState) -> &'static str {
    match binding.ready {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    }
}

/// A status can be written by others, too: what they make up is no label.
fn reason(binding: &BindingState) -> &'static str {
    binding.reason.map_or("Other", Reason::as_str)
}

fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

#[cfg(test)]
mod tests;
