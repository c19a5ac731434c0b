//! The claim to lead, and whoever asks for it. Reads the monotonic clock; no I/O.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A claim to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// None: another leads, or nobody.
    None,
    /// Ours until then, unless it is renewed.
    Until(Instant),
    /// Ours for good: there is no election.
    Always,
}

impl Claim {
    /// What is left of it now.
    pub fn left(self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Until(end) => end.saturating_duration_since(Instant::now()),
            Self::Always => Duration::MAX,
        }
    }
}

/// The claim of this process, as it stands at the moment of asking. Clones see the same one.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Claim>);

impl Leadership {
    pub(super) fn new(claim: watch::Receiver<Claim>) -> Self {
        Self(claim)
    }

    /// Leadership without an election.
    pub fn always() -> Self {
        Self(watch::channel(Claim::Always).1)
    }

    /// What is left of the claim now; nothing if another leads.
    pub fn left(&self) -> Duration {
        self.0.borrow().left()
    }

    /// Returns when there is a claim.
    pub async fn acquired(&self) {
        let mut claim = self.0.clone();
        if claim.wait_for(|claim| !claim.left().is_zero()).await.is_err() {
            // Whoever runs the election learns of its end there.
            pending::<()>().await;
        }
    }

    /// Makes a call if at least `needed` is left of the claim, and drops it unfinished when the
    /// claim ends. A claim that is renewed meanwhile covers it further.
    ///
    /// `None` when it was not made, or dropped: then it may have had its effect.
    ///
    /// The clock is read whenever the call goes a step on, not only when a timer fires: a process
    /// that was paused must not send first and look at the time afterwards.
    pub async fn cover<T>(&self, needed: Duration, call: impl Future<Output = T>) -> Option<T> {
        if self.left() < needed {
            return None;
        }
        let (mut call, mut ended) = (pin!(call), pin!(self.ended()));
        poll_fn(|context| {
            if self.left().is_zero() || ended.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            call.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Returns when there is no claim.
    async fn ended(&self) {
        let mut claim = self.0.clone();
        loop {
            let now = *claim.borrow_and_update();
            let end = async {
                match now {
                    Claim::None => {}
                    Claim::Until(end) => tokio::time::sleep_until(end).await,
                    Claim::Always => pending().await,
                }
            };
            tokio::select! {
                () = end => return,
                // Without anybody to renew it, it lasts as long as it lasts.
                Ok(()) = claim.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn write(takes: u64) -> &'static str {
        tokio::time::sleep(Duration::from_secs(takes)).await;
        "written"
    }

    fn claim(seconds: u64) -> (watch::Sender<Claim>, Leadership) {
        let end = Instant::now() + Duration::from_secs(seconds);
        let (publish, claim) = watch::channel(Claim::Until(end));
        (publish, Leadership::new(claim))
    }

    const ENOUGH: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_call_is_made_and_cut_by_what_is_left() {
        let (_publish, leadership) = claim(10);
        assert_eq!(leadership.cover(ENOUGH, write(2)).await, Some("written"));
        assert_eq!(leadership.left(), Duration::from_secs(8));
        let started = Instant::now();
        assert_eq!(leadership.cover(ENOUGH, write(60)).await, None);
        assert_eq!(started.elapsed().as_secs(), 8);
        assert_eq!(leadership.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn too_little_left_makes_no_call() {
        let (publish, leadership) = claim(10);
        tokio::time::advance(Duration::from_millis(9_500)).await;
        let touched = std::cell::Cell::new(false);
        let call = async { touched.set(true) };
        assert_eq!(leadership.cover(ENOUGH, call).await, None);
        publish.send_replace(Claim::None);
        assert_eq!(
            leadership
                .cover(Duration::ZERO, async { touched.set(true) })
                .await,
            None
        );
        assert!(!touched.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_claim_covers_a_call_further_and_a_lost_one_cuts_it_at_once() {
        let (publish, leadership) = claim(10);
        let started = Instant::now();
        let renew = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            publish.send_replace(Claim::Until(Instant::now() + Duration::from_secs(10)));
            tokio::time::sleep(Duration::from_secs(7)).await;
            publish.send_replace(Claim::None);
        };
        let (covered, ()) = tokio::join!(leadership.cover(ENOUGH, write(60)), renew);
        assert_eq!((covered, started.elapsed().as_secs()), (None, 12));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_paused_past_the_end_goes_no_step_further() {
        let (_publish, leadership) = claim(10);
        let sent = std::cell::Cell::new(false);
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let mut call = pin!(leadership.cover(ENOUGH, async {
            let _ = wait.await;
            sent.set(true);
        }));
        assert!(futures::poll!(&mut call).is_pending());
        // Both are due when the process goes on: the end of the claim, and the next step.
        tokio::time::advance(Duration::from_secs(11)).await;
        go.send(()).unwrap();
        assert_eq!(futures::poll!(&mut call), Poll::Ready(None));
        assert!(!sent.get());
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_election_nothing_is_cut() {
        let leadership = Leadership::always();
        leadership.acquired().await;
        assert_eq!(leadership.cover(ENOUGH, write(86_400)).await, Some("written"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_nobody_renews_any_more_ends_in_time() {
        let (publish, leadership) = claim(10);
        drop(publish);
        assert_eq!(leadership.cover(ENOUGH, write(60)).await, None);
    }
}
