//! A number of turns that namespaces take one after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Flow, Queue};

/// FairSemaphore to take. Like a semaphore, but fair between namespaces.
#[derive(Debug)]
pub struct FairSemaphore(Mutex<SemaphoreState>);

#[derive(Debug)]
struct SemaphoreState {
    free: usize,
    waiting: Queue<oneshot::Sender<Permit>>,
}

/// One turn. Dropped, it goes to whoever is next.
#[derive(Debug)]
pub struct Permit(Option<Arc<FairSemaphore>>);

impl FairSemaphore {
    /// As many turns at a time.
    pub fn new(turns: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(SemaphoreState {
            free: turns,
            waiting: Queue::default(),
        })))
    }

    /// Waits for a turn.
    ///
    /// # Cancel safety
    /// Dropped, the place in the queue is given up; a turn that was just handed over goes on to the
    /// next.
    pub async fn take(self: &Arc<Self>, flow: Flow<'_>) -> Permit {
        let (hand_over, handed) = oneshot::channel();
        {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(self.clone()));
            }
            state.waiting.push(flow, hand_over);
        }
        // The sender goes away only with a turn in it: the queue keeps it for as long as we wait.
        handed.await.unwrap_or(Permit(None))
    }

    /// How many would be served before a new flow.
    pub fn ahead_of(&self, flow: Flow<'_>) -> usize {
        let state = self.state();
        if state.free > 0 {
            0
        } else {
            state.waiting.ahead_of(flow)
        }
    }

    fn pass_on(self: Arc<Self>) {
        loop {
            let Some(next) = self.next() else { return };
            match next.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // It has stopped waiting.
                Err(mut turn) => turn.0 = None,
            }
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.state();
        let next = state.waiting.pop();
        if next.is_none() {
            state.free += 1;
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, SemaphoreState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::fairness::Priority;

    fn flow(namespace: &str) -> Flow<'_> {
        Flow {
            namespace,
            priority: Priority::Usual,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_goes_round_between_namespaces() {
        let turns = FairSemaphore::new(1);
        let first = turns.take(flow("big")).await;
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["big", "big", "big", "small"] {
            let (turns, served) = (turns.clone(), served.clone());
            tasks.push(tokio::spawn(async move {
                let _turn = turns.take(flow(name)).await;
                served.lock().unwrap().push(name);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*served.lock().unwrap(), ["big", "small", "big", "big"]);
        assert_eq!(turns.ahead_of(flow("any")), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_loses_nothing_for_the_others() {
        let turns = FairSemaphore::new(1);
        let held = turns.take(flow("a")).await;
        assert!(
            timeout(Duration::from_secs(1), turns.take(flow("b")))
                .await
                .is_err()
        );
        let mut handed = Box::pin(turns.take(flow("c")));
        assert!(futures::poll!(&mut handed).is_pending());
        drop(held);
        // Handed over and never picked up.
        drop(handed);
        let again = timeout(Duration::from_secs(1), turns.take(flow("d"))).await;
        assert!(again.is_ok(), "the turn is lost");
    }
}
