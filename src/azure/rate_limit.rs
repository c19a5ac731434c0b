//! How fast Azure is asked: token buckets per identity, per subscription and for the tenant.
//!
//! Buckets begin at the documented limits, take what Azure says in `Retry-After` and in its
//! counters of remaining calls, and learn to go faster where it does not refuse. Waits are short
//! and fair between namespaces; what would have to wait long is sent away with the time to come
//! back, so that no queue grows without bound.

mod bucket;
mod gate;
mod limits;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::bucket::Bucket;
use self::gate::BucketGate;
pub use self::limits::Pacing;
use self::limits::limits;
use super::{AzureError, Operation};
use crate::fairness::Flow;

/// Longest wait in a queue.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Code of a refusal that counts for the whole subscription.
const SUBSCRIPTION_THROTTLED: &str = "SubscriptionRequestsThrottled";

/// The calls that are counted.
const COUNTED: [Operation; 4] = [
    Operation::GetIdentity,
    Operation::ListCredentials,
    Operation::PutCredential,
    Operation::DeleteCredential,
];

/// It would take too long now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// Until there is a token.
    pub wait: Duration,
    /// Whether Azure asked for so much, or we keep to the limits by ourselves.
    pub asked: bool,
}

/// The sorts of calls that Resource Manager counts, as its headers name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Counter {
    /// `GET`.
    Reads,
    /// `PUT`.
    Writes,
    /// `DELETE`.
    Deletes,
}

impl Counter {
    /// Name in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn counts(self, operation: Operation) -> bool {
        let counter = match operation {
            Operation::PutCredential => Self::Writes,
            Operation::DeleteCredential => Self::Deletes,
            Operation::GetIdentity | Operation::ListCredentials | Operation::GetToken => Self::Reads,
        };
        self == counter
    }
}

/// What all lanes share.
pub struct RateLimiter {
    pacing: Pacing,
    tenant: HashMap<Operation, BucketGate>,
    subscriptions: Mutex<HashMap<(String, Operation), Arc<BucketGate>>>,
    stopping: CancellationToken,
}

impl RateLimiter {
    /// Full buckets. Once `stopping` is cancelled nobody waits any more.
    pub fn new(pacing: Pacing, stopping: CancellationToken) -> Self {
        let gate = |operation| (operation, BucketGate::new(limits(pacing, operation).tenant));
        Self {
            pacing,
            tenant: COUNTED.map(gate).into_iter().collect(),
            subscriptions: Mutex::default(),
            stopping,
        }
    }

    /// Azure has said how many calls of a sort are left in a subscription.
    pub fn left(&self, subscription: &str, counter: Counter, remaining: u32) {
        for operation in COUNTED.into_iter().filter(|o| counter.counts(*o)) {
            self.subscription(subscription, operation)
                .adapt(|bucket, now| bucket.left(remaining, now));
        }
    }

    /// A call is made that nobody has waited for, such as the next page of a list. The subscription's
    /// and the tenant's next calls wait until it is made up for.
    ///
    /// An identity's own bucket counts lists, not pages: more than one page has never been seen of 20
    /// credentials, and there are few in any case.
    pub fn charge(&self, subscription: &str, operation: Operation) {
        self.subscription(subscription, operation).adapt(Bucket::owe);
        if let Some(tenant) = self.tenant.get(&operation) {
            tenant.adapt(Bucket::owe);
        }
    }

    fn subscription(&self, subscription: &str, operation: Operation) -> Arc<BucketGate> {
        let mut gates = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        gates
            .entry((subscription.to_ascii_lowercase(), operation))
            .or_insert_with(|| Arc::new(BucketGate::new(limits(self.pacing, operation).subscription)))
            .clone()
    }
}

/// The rate limiter of one identity. Its lane makes one call of a sort at a time, so its own buckets need
/// no queue.
pub struct IdentityLimiter {
    subscription: String,
    limiter: Arc<RateLimiter>,
    state: Mutex<LimiterState>,
}

struct LimiterState {
    buckets: HashMap<Operation, Bucket>,
    /// No write before this: another client writes on the identity.
    resting_until: Option<Instant>,
}

impl IdentityLimiter {
    /// Full buckets.
    pub fn new(subscription: &str, limiter: Arc<RateLimiter>) -> Self {
        let now = Instant::now();
        let bucket = |operation| {
            (
                operation,
                Bucket::new(limits(limiter.pacing, operation).identity, now),
            )
        };
        let state = LimiterState {
            buckets: COUNTED.map(bucket).into_iter().collect(),
            resting_until: None,
        };
        Self {
            subscription: subscription.to_owned(),
            limiter,
            state: Mutex::new(state),
        }
    }

    /// Waits until one call may be made.
    ///
    /// # Errors
    /// When it would take too long, or the process is stopping.
    pub async fn pass(&self, operation: Operation, flow: Flow<'_>) -> Result<(), RateLimited> {
        let wait = async {
            loop {
                let busy = self.busy(operation, 0);
                if busy.wait.is_zero() {
                    break;
                }
                if busy.wait > LONGEST_WAIT {
                    return Err(busy);
                }
                sleep(busy.wait).await;
            }
            let shared = self.limiter.subscription(&self.subscription, operation);
            shared.pass(flow).await?;
            if let Some(tenant) = self.limiter.tenant.get(&operation) {
                tenant.pass(flow).await?;
            }
            self.with(operation, |bucket, now| {
                bucket.take(now);
            });
            Ok(())
        };
        // What may go at once goes, even while stopping.
        tokio::select! {
            biased;
            result = wait => result,
            () = self.limiter.stopping.cancelled() => Err(RateLimited { wait: LONGEST_WAIT, asked: false }),
        }
    }

    /// Whether one more call would have to wait too long behind `ahead` others.
    ///
    /// # Errors
    /// How long.
    pub fn check(&self, operation: Operation, ahead: usize) -> Result<(), RateLimited> {
        let busy = self.busy(operation, ahead);
        if busy.wait > LONGEST_WAIT {
            Err(busy)
        } else {
            Ok(())
        }
    }

    /// Takes an answer into account that says to slow down.
    pub fn throttled(&self, operation: Operation, error: &AzureError) {
        let wait = error.retry_after.unwrap_or_default();
        let whole = error
            .code
            .as_deref()
            .is_some_and(|code| code.eq_ignore_ascii_case(SUBSCRIPTION_THROTTLED));
        let shared = self.limiter.subscription(&self.subscription, operation);
        if whole {
            shared.adapt(|bucket, now| bucket.refused(wait, now));
        } else {
            // Azure does not say whose limit it was. The identity's is the tightest, and it is left
            // alone altogether.
            let now = Instant::now();
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for (counted, bucket) in &mut state.buckets {
                if *counted == operation {
                    bucket.refused(wait, now);
                } else {
                    bucket.pause(wait, now);
                }
            }
            shared.adapt(Bucket::slow_down);
        }
    }

    /// Writes nothing for so long: another client does.
    pub fn rest(&self, wait: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.resting_until = Some(Instant::now() + wait);
    }

    fn busy(&self, operation: Operation, ahead: usize) -> RateLimited {
        let now = Instant::now();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = state.buckets.get(&operation) else {
            return RateLimited {
                wait: Duration::ZERO,
                asked: false,
            };
        };
        let rest = state.resting_until.filter(|_| operation.is_write());
        let rest = rest.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        RateLimited {
            wait: bucket.wait_for(ahead + 1, now).max(rest),
            asked: bucket.rest(now) > LONGEST_WAIT,
        }
    }

    fn with(&self, operation: Operation, change: impl FnOnce(&mut Bucket, Instant)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = state.buckets.get_mut(&operation) {
            change(bucket, Instant::now());
        }
    }
}
