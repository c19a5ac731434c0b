//! A bucket that many lanes share, with a queue in front of it that is fair between namespaces.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::bucket::Bucket;
use super::limits::Rate;
use super::{LONGEST_WAIT, RateLimited};
use crate::fairness::{Flow, Queue};

/// Lets calls through at the rate of its bucket.
#[derive(Debug)]
pub struct BucketGate(Mutex<BucketState>);

#[derive(Debug)]
struct BucketState {
    bucket: Bucket,
    waiting: Queue<oneshot::Sender<()>>,
}

impl BucketGate {
    pub fn new(rate: Rate) -> Self {
        Self(Mutex::new(BucketState {
            bucket: Bucket::new(rate, Instant::now()),
            waiting: Queue::default(),
        }))
    }

    /// Waits for a token.
    ///
    /// # Errors
    /// When it would take longer than [`LONGEST_WAIT`]: come back then. That bounds the queue.
    pub async fn pass(&self, flow: Flow<'_>) -> Result<(), RateLimited> {
        let (grant, mut granted) = oneshot::channel();
        {
            let mut state = self.state();
            let now = Instant::now();
            state.serve(now);
            let busy = state.busy(state.waiting.ahead_of(flow) + 1, now);
            if busy.wait > LONGEST_WAIT {
                return Err(busy);
            }
            state.waiting.push(flow, grant);
        }
        loop {
            let next = {
                let mut state = self.state();
                let now = Instant::now();
                state.serve(now);
                let busy = state.busy(1, now);
                if busy.wait > LONGEST_WAIT {
                    return Err(busy);
                }
                now + busy.wait
            };
            // Whoever wakes first serves all whose turn it is.
            tokio::select! {
                biased;
                _ = &mut granted => return Ok(()),
                () = sleep_until(next) => {}
            }
        }
    }

    /// Changes the bucket after an answer of Azure.
    pub fn adapt(&self, change: impl FnOnce(&mut Bucket, Instant)) {
        change(&mut self.state().bucket, Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, BucketState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BucketState {
    fn serve(&mut self, now: Instant) {
        while !self.waiting.is_empty() && self.bucket.wait_for(1, now).is_zero() {
            let Some(next) = self.waiting.pop() else { return };
            // One that has stopped waiting takes no token.
            if next.send(()).is_ok() {
                self.bucket.take(now);
            }
        }
    }

    fn busy(&self, tokens: usize, now: Instant) -> RateLimited {
        RateLimited {
            wait: self.bucket.wait_for(tokens, now),
            asked: self.bucket.rest(now) > LONGEST_WAIT,
        }
    }
}
