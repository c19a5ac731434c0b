//! One token bucket: starts at the documented rate, learns that Azure allows more, and falls back
//! when it does not. No I/O; the time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::Rate;

/// How far above the documented rate a bucket may go. What really bounds it are Azure's answers.
const MOST: f64 = 16.0;

/// At exactly Azure's rate every other call would come a moment too early.
const JUST_BELOW: f64 = 0.97;

/// After a refusal a bucket keeps to the documented rate for so long.
const CALM: Duration = Duration::from_mins(10);

/// Tokens for one sort of call, refilled with time.
#[derive(Debug)]
pub struct Bucket {
    documented: Rate,
    per_second: f64,
    tokens: f64,
    /// When `tokens` was true. Later than now: no token until then.
    at: Instant,
    /// Calls in a row that used the bucket up and were not refused.
    passed: f64,
    /// Azure has refused: no faster than documented before this.
    calm_until: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(documented: Rate, now: Instant) -> Self {
        Self {
            documented,
            per_second: documented.per_second,
            tokens: documented.burst,
            at: now,
            passed: 0.0,
            calm_until: None,
        }
    }

    /// The time until there are `n` tokens.
    pub fn wait_for(&self, n: usize, now: Instant) -> Duration {
        let rest = self.rest(now);
        let wanted = f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let missing = (wanted - self.filled(now)).max(0.0) / self.per_second;
        rest + Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX)
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        // What is waited for to the nanosecond may lack a last bit.
        if self.at > now || self.filled(now) < 1.0 - 1e-6 {
            return false;
        }
        self.tokens = (self.filled(now) - 1.0).max(0.0);
        self.at = now;
        self.learn(now);
        true
    }

    /// Takes a token whether or not there is one: what is missing has to be refilled first.
    pub fn owe(&mut self, now: Instant) {
        self.tokens = self.filled(now) - 1.0;
        self.at = self.at.max(now);
    }

    /// Azure has refused a call and wants to be left alone for so long: one token then, and no
    /// faster than documented for a while.
    pub fn refused(&mut self, wait: Duration, now: Instant) {
        self.slow_down(now);
        self.tokens = 1.0;
        self.pause(wait, now);
    }

    /// No token for so long.
    pub fn pause(&mut self, wait: Duration, now: Instant) {
        self.tokens = self.filled(now);
        self.at = self.at.max(now + wait);
    }

    /// Azure has refused a call that may have been counted here: no faster than documented.
    pub fn slow_down(&mut self, now: Instant) {
        self.tokens = 0.0;
        self.at = self.at.max(now);
        self.per_second = self.documented.per_second * JUST_BELOW;
        self.passed = 0.0;
        self.calm_until = Some(now + CALM);
    }

    /// Azure says how many calls are left, whoever made the others.
    pub fn left(&mut self, remaining: u32, now: Instant) {
        let left = f64::from(remaining);
        if left < self.filled(now) {
            self.tokens = left;
            self.at = self.at.max(now);
        }
    }

    /// How much longer Azure wants to be left alone.
    pub fn rest(&self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }

    fn filled(&self, now: Instant) -> f64 {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + seconds * self.per_second).min(self.documented.burst)
    }

    /// Nobody knows Azure's true limits. Two seconds at the limit without a refusal double it.
    fn learn(&mut self, now: Instant) {
        if self.tokens >= 1.0 {
            self.passed = 0.0;
            return;
        }
        self.passed += 1.0;
        let calm = self.calm_until.is_some_and(|until| now < until);
        if !calm && self.passed >= (self.per_second * 2.0).max(4.0) {
            self.per_second = (self.per_second * 2.0).min(self.documented.per_second * MOST);
            self.passed = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(2.0, 8.0);

    fn drain(bucket: &mut Bucket, now: Instant) -> usize {
        (0..1000).take_while(|_| bucket.take(now)).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_counts() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RATE, start);
        assert_eq!(drain(&mut bucket, start), 8);
        assert_eq!(bucket.wait_for(1, start), Duration::from_millis(500));
        assert_eq!(bucket.wait_for(4, start), Duration::from_secs(2));
        assert!(bucket.take(start + bucket.wait_for(1, start)));
    }

    #[test]
    fn without_a_refusal_it_learns_to_go_faster_up_to_a_bound() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RATE, start);
        let mut now = start;
        for _ in 0..1000 {
            now += bucket.wait_for(1, now);
            assert!(bucket.take(now));
        }
        let average = 1000.0 / now.duration_since(start).as_secs_f64();
        assert!(average > 20.0, "{average} a second");
        assert!(bucket.wait_for(101, now).as_secs_f64() >= 99.0 / (2.0 * MOST));
    }

    #[test]
    fn what_is_owed_is_made_up_for_before_the_next_call() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Rate::new(2.0, 3.0), now);
        for _ in 0..7 {
            bucket.owe(now);
        }
        assert_eq!(bucket.wait_for(1, now), Duration::from_millis(2500));
        assert!(!bucket.take(now + Duration::from_millis(2400)));
        assert!(bucket.take(now + Duration::from_millis(2500)));
    }

    #[test]
    fn a_refusal_makes_it_rest_and_keep_to_the_documented_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RATE, start);
        drain(&mut bucket, start);
        bucket.refused(Duration::from_secs(30), start);
        assert_eq!(bucket.rest(start), Duration::from_secs(30));
        assert!(!bucket.take(start));
        let mut now = start + bucket.wait_for(1, start);
        assert_eq!(now - start, Duration::from_secs(30));
        for _ in 0..200 {
            now += bucket.wait_for(1, now);
            assert!(bucket.take(now));
        }
        let took = (now - start).as_secs_f64();
        let expected = 30.0 + 199.0 / (2.0 * JUST_BELOW);
        assert!((took - expected).abs() < 0.1, "{took} s");
    }

    #[test]
    fn what_azure_says_is_left_goes_before_what_we_have_counted() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RATE, start);
        bucket.left(199, start);
        assert_eq!(bucket.wait_for(8, start), Duration::ZERO);
        bucket.left(0, start);
        assert_eq!(bucket.wait_for(1, start), Duration::from_millis(500));
    }
}
