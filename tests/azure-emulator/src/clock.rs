//! The emulator's own clock: tokens, throttles, lags and propagation run on it, so that no test must sleep.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Where the emulator gets the time from. Latency and delays of faults always take real time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    Real,
    /// The machine's clock, moved by a constant.
    Offset(SignedDuration),
    /// Stands still.
    Fixed(Timestamp),
}

impl Clock {
    /// The current time.
    pub fn now(self) -> Timestamp {
        match self {
            Self::Real => Timestamp::now(),
            Self::Offset(by) => plus(Timestamp::now(), by),
            Self::Fixed(at) => at,
        }
    }

    /// The same clock, `by` later.
    #[must_use]
    pub fn advanced(self, by: Duration) -> Self {
        let by = signed(by);
        match self {
            Self::Real => Self::Offset(by),
            Self::Offset(old) => Self::Offset(old.saturating_add(by)),
            Self::Fixed(at) => Self::Fixed(plus(at, by)),
        }
    }
}

/// Whether `span` has passed since `since`.
pub(crate) fn passed(since: Timestamp, span: Duration, now: Timestamp) -> bool {
    now.duration_since(since) >= signed(span)
}

fn signed(by: Duration) -> SignedDuration {
    SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)
}

fn plus(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_told() {
        let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::Fixed(start);
        assert_eq!(clock.now(), start);
        let later = clock.advanced(Duration::from_mins(1)).now();
        assert_eq!(later.to_string(), "2030-01-01T00:01:00Z");
        assert!(passed(start, Duration::from_mins(1), later));
        assert!(!passed(start, Duration::from_secs(61), later));
    }
}
