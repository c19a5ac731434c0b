//! What all watches have in common: they end and begin anew, say when they are interrupted, and do not hurry.

use std::fmt::Debug;
use std::future::{Ready, pending, ready};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{Stream, StreamExt, stream};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::core::text;

/// The API server ends a watch after this time, and one that says nothing for 5 s longer is taken for
/// dead: a connection can go silent without an end, and nothing else would tell.
pub(super) fn lasting(timeout: Duration) -> watcher::Config {
    watcher::Config::default().timeout(u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX))
}

/// A watch that lists anew when its version is refused as gone, and whenever storage has gone back. The
/// library does so for an event that says 410, but would ask with the same version for ever if it is the
/// status of the answer, and would wait in silence for a version that storage has not reached yet.
pub(super) fn watch<K>(
    api: Api<K>,
    lasting: watcher::Config,
    restores: watch::Receiver<u64>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    Api<K>: Clone,
{
    stream::repeat_with(move || {
        let mut restores = restores.clone();
        restores.mark_unchanged();
        let begin_anew = async move {
            if restores.changed().await.is_err() {
                pending::<()>().await;
            }
        };
        let running = watcher(api.clone(), lasting.clone()).take_until(Box::pin(begin_anew));
        let running = Some(running.boxed());
        stream::unfold(running, async |running| {
            let mut running = running?;
            let event = running.next().await?;
            let going_on = (!is_refused_as_gone(&event)).then_some(running);
            Some((event, going_on))
        })
    })
    .flatten()
}

fn is_refused_as_gone<K>(event: &watcher::Result<Event<K>>) -> bool {
    matches!(event, Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410)
}

/// How long a watch waits before it connects again: a restarted API server is back within seconds, and
/// what happened meanwhile, such as a revocation, must not wait long. With jitter up to twice 3 seconds.
pub(super) struct Reconnect {
    waits: ExponentialBackoff,
    last: Option<Instant>,
}

impl Reconnect {
    /// Time without an interruption after which the waits begin anew.
    const CALM: Duration = Duration::from_secs(30);

    fn waits() -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(3))
            .with_jitter()
            .without_max_times()
            .build()
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            waits: Self::waits(),
            last: None,
        }
    }
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.replace(now).is_some_and(|last| now - last > Self::CALM) {
            self.waits = Self::waits();
        }
        self.waits.next()
    }
}

impl Backoff for Reconnect {
    /// Nothing: it is called at the beginning of every list too, also of one that fails, and then the
    /// waits would never grow.
    fn reset(&mut self) {}
}

/// Keeps the errors of a watch from the controller. The watch connects again by itself; the
/// controller would hold all other triggers back as well.
pub(super) fn unbroken<K>(
    what: &str,
    event: Result<K, watcher::Error>,
) -> Ready<Option<Result<K, watcher::Error>>> {
    if let Err(error) = &event {
        interrupted(what, error);
    }
    ready(event.ok().map(Ok))
}

fn interrupted(what: &str, error: &watcher::Error) {
    warn!("the watch of {what} was interrupted: {}", text::cause(error));
}

/// Changes after the first complete list.
pub(super) fn changes<K>(
    what: &'static str,
    api: Api<K>,
    watching: watcher::Config,
    restores: watch::Receiver<u64>,
) -> impl Stream<Item = ()>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut listed = false;
    self::watch(api, watching, restores)
        .backoff(Reconnect::default())
        .filter_map(move |event| {
            let change = match event {
                Ok(Event::Apply(_) | Event::Delete(_)) => true,
                // A later list may bring what a broken watch has missed.
                Ok(Event::InitDone) => std::mem::replace(&mut listed, true),
                Ok(Event::Init | Event::InitApply(_)) => false,
                Err(error) => {
                    interrupted(what, &error);
                    false
                }
            };
            ready(change.then_some(()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_waits_grow_to_their_bound_and_begin_anew_after_a_calm_time() {
        let mut reconnect = Reconnect::default();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let wait = reconnect.next().unwrap();
            reconnect.reset();
            waits.push(wait);
            tokio::time::sleep(wait).await;
        }
        assert!(waits[0] < Duration::from_millis(500), "{waits:?}");
        assert!(
            waits[19] >= Duration::from_secs(3) && waits[19] <= Duration::from_secs(6),
            "{waits:?}"
        );
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(reconnect.next().unwrap() >= Duration::from_secs(3), "too early");
        tokio::time::sleep(Reconnect::CALM + Duration::from_secs(1)).await;
        assert!(reconnect.next().unwrap() < Duration::from_millis(500));
    }
}
