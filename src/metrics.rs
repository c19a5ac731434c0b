//! What the modules that count have in common.
//!
//! Each registers its own metrics beside the code that counts; `runtime::metrics` exposes them.
//!
//! Names that dashboards for controllers know (controller-runtime, client-go) are kept, as far as they are true here.
//! Every label has a closed or bounded set of values: no names of objects, namespaces or identities. What alerts
//! watch the increase of exists from the start, with 0: a series that begins with its first event has no increase.
//! `docs/monitoring.md` explains each metric.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Labels whose values are known at compile time.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// 5 ms to 82 s: from a reconcile that finds all in order to one that waits for a throttled write.
pub fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 15))
}

/// What a scrape of these metrics alone would show.
#[cfg(test)]
pub fn scrape(registry: &prometheus_client::registry::Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

/// The series of this name within a scrape.
#[cfg(test)]
pub fn series<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let of_name = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    text.lines().filter(of_name).collect()
}
