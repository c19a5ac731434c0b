//! Token buckets, and the counters that ARM answers show.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::knobs::RateHeaders;
use crate::limits::{ArmBuckets, Rate};

/// The three sorts of requests that ARM counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Reads,
    Writes,
    Deletes,
}

impl Kind {
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "GET" | "HEAD" => Self::Reads,
            "DELETE" => Self::Deletes,
            _ => Self::Writes,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Deletes => "deletes",
        }
    }
}

/// All buckets, by name.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    buckets: HashMap<String, (f64, Timestamp)>,
}

impl Throttle {
    /// Takes one token of each bucket, or none and answers the seconds until all have one.
    pub(crate) fn take(&mut self, wanted: &[(String, Rate)], now: Timestamp) -> Result<Vec<f64>, u64> {
        let filled: Vec<f64> = wanted
            .iter()
            .map(|(name, rate)| self.filled(name, *rate, now))
            .collect();
        let wait = wanted
            .iter()
            .zip(&filled)
            .filter(|(_, tokens)| **tokens < 1.0)
            .map(|((_, rate), tokens)| (1.0 - tokens) / rate.per_second)
            .fold(0.0, f64::max);
        if wait > 0.0 {
            return Err(whole(wait.ceil()).max(1));
        }
        for ((name, _), tokens) in wanted.iter().zip(&filled) {
            self.buckets.insert(name.clone(), (tokens - 1.0, now));
        }
        Ok(filled.iter().map(|tokens| tokens - 1.0).collect())
    }

    /// Counts a request for the headers; the counters fall, but never refuse.
    pub(crate) fn count(
        &mut self,
        style: RateHeaders,
        subscription: &str,
        caller: &str,
        kind: Kind,
        now: Timestamp,
    ) -> Vec<(String, u64)> {
        let (table, global) = match style {
            RateHeaders::Off => return Vec::new(),
            RateHeaders::Old => (ArmBuckets::hourly(), false),
            RateHeaders::New => (ArmBuckets::published(), true),
        };
        let rate = table.of(kind);
        let mut counters = vec![(
            kind.name().to_owned(),
            format!("count/{subscription}/{caller}"),
            rate,
        )];
        if global {
            let all = Rate::new(rate.per_second * 15.0, rate.burst * 15.0);
            counters.push((
                format!("global-{}", kind.name()),
                format!("count/{subscription}"),
                all,
            ));
        }
        counters
            .into_iter()
            .map(|(header, bucket, rate)| {
                let bucket = format!("{style:?}/{bucket}/{kind:?}");
                let left = (self.filled(&bucket, rate, now) - 1.0).max(0.0);
                self.buckets.insert(bucket, (left, now));
                (
                    format!("x-ms-ratelimit-remaining-subscription-{header}"),
                    whole(left.floor()),
                )
            })
            .collect()
    }

    fn filled(&self, name: &str, rate: Rate, now: Timestamp) -> f64 {
        let Some((tokens, at)) = self.buckets.get(name) else {
            return rate.burst;
        };
        let seconds = now.duration_since(*at).as_secs_f64().max(0.0);
        (tokens + seconds * rate.per_second).min(rate.burst)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small, rounded, not negative"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_emptiest_bucket_says_how_long_to_wait() {
        let mut throttle = Throttle::default();
        let wanted = [
            ("wide".to_owned(), Rate::new(10.0, 10.0)),
            ("narrow".to_owned(), Rate::new(0.25, 1.0)),
        ];
        assert_eq!(throttle.take(&wanted, at(0)), Ok(vec![9.0, 0.0]));
        assert_eq!(throttle.take(&wanted, at(1)), Err(3));
        assert_eq!(throttle.take(&wanted, at(4)), Ok(vec![9.0, 0.0]));
    }

    #[test]
    fn counters_fall_and_refill() {
        let mut throttle = Throttle::default();
        let mut count = |style, second| throttle.count(style, "s", "c", Kind::Writes, at(second));
        let first = count(RateHeaders::New, 0);
        assert_eq!(
            first[0],
            ("x-ms-ratelimit-remaining-subscription-writes".to_owned(), 199)
        );
        assert_eq!(
            first[1],
            (
                "x-ms-ratelimit-remaining-subscription-global-writes".to_owned(),
                2999
            )
        );
        assert_eq!(count(RateHeaders::New, 0)[0].1, 198);
        assert_eq!(count(RateHeaders::New, 60)[0].1, 199);
        assert_eq!(
            count(RateHeaders::Old, 0),
            [("x-ms-ratelimit-remaining-subscription-writes".to_owned(), 1199)]
        );
        assert!(count(RateHeaders::Off, 0).is_empty());
    }
}
