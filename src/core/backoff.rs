//! When to look again.

use std::time::Duration;

use crate::api::{Disposition, Reason};

/// Randomness, as a parameter.
pub trait Jitter: Send + Sync {
    /// A number in 0..1.
    fn draw(&self) -> f64;
}

/// The intervals that requeues are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Between two looks at an identity that is in order.
    pub drift: Duration,
    /// Upper bound of the first retry of a failure that passes by itself.
    pub retry_base: Duration,
    /// Upper bound of every later one.
    pub retry_max: Duration,
    /// Between two tries of something that changes in minutes, or that a person must mend.
    pub slow: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            drift: Duration::from_mins(10),
            retry_base: Duration::from_secs(1),
            retry_max: Duration::from_mins(1),
            slow: Duration::from_mins(2),
        }
    }
}

impl Intervals {
    /// The time until the next look, or `None` to wait for a change that is watched.
    ///
    /// `attempt` counts the failures in a row, from 0. `jitter` is a random number in 0..1.
    /// `wait` is what the other side asked for, and is never undercut. `age` is how old the shared
    /// read was that the visit went by: all bindings of an identity come due when that read does,
    /// and share the next one. Failures use *full* jitter (a random point below a doubling bound),
    /// because two clusters that met in a 409 must not meet again.
    pub fn next(
        &self,
        reason: Reason,
        attempt: u32,
        jitter: f64,
        wait: Option<Duration>,
        age: Duration,
    ) -> Option<Duration> {
        let spread = |d: Duration| d.mul_f64(0.9 + 0.2 * jitter);
        let next = match reason.disposition() {
            Disposition::Done => self.drift.saturating_sub(age) + self.drift.mul_f64(0.1 * jitter),
            Disposition::Working => return wait.map(|w| w.mul_f64(1.0 + 0.1 * jitter)),
            Disposition::RetrySoon => {
                let bound = self
                    .retry_base
                    .saturating_mul(2_u32.saturating_pow(attempt.min(16)));
                // A tenth of the base keeps a lucky draw from spinning.
                self.retry_base.mul_f64(0.1) + bound.min(self.retry_max).mul_f64(jitter)
            }
            Disposition::RetrySlowly | Disposition::Stalled => spread(self.slow),
        };
        Some(wait.map_or(next, |w| next.max(w.mul_f64(1.0 + 0.1 * jitter))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: Intervals = Intervals {
        drift: Duration::from_mins(10),
        retry_base: Duration::from_secs(1),
        retry_max: Duration::from_mins(1),
        slow: Duration::from_mins(2),
    };

    #[test]
    fn quick_retries_grow_and_stay_bounded() {
        let at = |attempt, jitter| {
            I.next(Reason::WriteContended, attempt, jitter, None, Duration::ZERO)
                .unwrap()
        };
        assert_eq!(at(0, 0.0), Duration::from_millis(100));
        assert_eq!(at(3, 0.5), Duration::from_millis(4100));
        assert!(at(u32::MAX, 0.999) <= Duration::from_secs(61));
    }

    #[test]
    fn what_the_other_side_asked_for_is_never_undercut() {
        let wait = Duration::from_mins(5);
        assert!(
            I.next(Reason::AzureThrottled, 0, 0.0, Some(wait), Duration::ZERO)
                .unwrap()
                >= wait
        );
    }

    #[test]
    fn what_is_in_order_is_looked_at_once_per_drift_interval() {
        let due = |jitter, age| I.next(Reason::Synced, 9, jitter, None, age).unwrap();
        assert_eq!(due(0.0, Duration::ZERO), Duration::from_mins(10));
        // One that came four minutes after the others is due together with them.
        assert_eq!(due(0.0, Duration::from_mins(4)), Duration::from_mins(6));
        assert_eq!(due(0.5, Duration::from_mins(10)), Duration::from_secs(30));
        assert_eq!(I.next(Reason::Pending, 0, 0.5, None, Duration::ZERO), None);
    }

    #[test]
    fn a_quick_retry_asks_for_more_than_the_other_side_did() {
        let next = |jitter, wait| {
            let next = I.next(Reason::AzureThrottled, 0, jitter, Some(wait), Duration::ZERO);
            next.unwrap()
        };
        assert_eq!(next(0.5, Duration::from_secs(100)), Duration::from_secs(105));
        assert_eq!(next(1.0, Duration::ZERO), Duration::from_millis(1100));
        // Far below what is due anyway.
        assert_eq!(next(0.5, Duration::from_millis(1)), Duration::from_millis(600));
    }

    #[test]
    fn the_bound_of_a_quick_retry_doubles_up_to_the_longest() {
        let bound = |attempt| {
            let next = I.next(Reason::WriteContended, attempt, 1.0, None, Duration::ZERO);
            next.unwrap().checked_sub(Duration::from_millis(100)).unwrap()
        };
        let seconds = [1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 40].map(bound), seconds);
    }

    #[test]
    fn what_changes_in_minutes_or_needs_a_person_is_tried_within_a_tenth_of_two_minutes() {
        for reason in [Reason::ServiceAccountNotFound, Reason::NotAuthorized] {
            let next = |jitter| I.next(reason, 7, jitter, None, Duration::ZERO);
            assert_eq!(next(0.0), Some(Duration::from_secs(108)));
            assert_eq!(next(0.5), Some(Duration::from_mins(2)));
            assert_eq!(next(1.0), Some(Duration::from_secs(132)));
        }
    }

    #[test]
    fn what_waits_for_others_is_looked_at_again_only_when_they_said_so() {
        let next = |wait| I.next(Reason::Queued, 3, 0.5, wait, Duration::ZERO);
        assert_eq!(next(None), None);
        assert_eq!(next(Some(Duration::from_secs(20))), Some(Duration::from_secs(21)));
    }

    #[test]
    fn by_default_ten_minutes_lie_between_two_looks() {
        assert_eq!(Intervals::default(), I);
    }
}
