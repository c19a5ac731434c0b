//! Campaign, hold, vacate.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Settings;
use super::claim::{Claim, Leadership};
use super::record::{Holder, SeenLease};
use super::store::{Error, Store};

/// Why this process leads no longer.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It could not be renewed in time.
    #[error("the claim on lease {lease} has run out; it could not be renewed for {after:?} ({problem})")]
    RanOut {
        /// Namespace and name.
        lease: String,
        /// How long a claim lasts.
        after: Duration,
        /// What came in between.
        problem: String,
    },
    /// Somebody else has changed the lease.
    #[error("lease {lease} {now}")]
    Taken {
        /// Namespace and name.
        lease: String,
        /// What it is like now.
        now: String,
    },
}

/// This process' part in the election.
pub struct Election {
    settings: Settings,
    store: Store,
    changes: BoxStream<'static, Option<String>>,
    publish: watch::Sender<Claim>,
    leadership: Leadership,
    seen: SeenLease,
    /// Whether the lease may be ours at the API server, whatever we have heard of it.
    tried: bool,
}

impl Election {
    /// Makes no call. The client must not try again by itself.
    pub fn new(client: Client, settings: Settings) -> (Self, Leadership) {
        let (publish, claim) = watch::channel(Claim::None);
        let (leadership, store) = (Leadership::new(claim), Store::new(client, &settings));
        let election = Self {
            changes: store.changes(),
            store,
            publish,
            leadership: leadership.clone(),
            seen: SeenLease::nothing(Instant::now()),
            tried: false,
            settings,
        };
        (election, leadership)
    }

    /// Waits for the lease, then renews it until `release` is cancelled: then gives it back.
    ///
    /// `reached` is called when the lease could be read or made for the first time.
    ///
    /// # Errors
    /// When the claim was lost. There is no way back in this process.
    pub async fn run(
        mut self,
        release: CancellationToken,
        reached: impl FnOnce() + Send,
    ) -> Result<(), Lost> {
        let result = tokio::select! {
            biased;
            () = release.cancelled() => Ok(()),
            lost = async {
                self.campaign(reached).await;
                self.hold().await
            } => Err(lost),
        };
        // Nobody writes any more from here on, whatever becomes of the lease.
        self.publish.send_replace(Claim::None);
        if result.is_ok() && self.tried {
            // Best effort: else it runs out.
            let _ = tokio::time::timeout(self.settings.call_deadline(), self.vacate()).await;
        }
        result
    }

    /// Returns when the claim is ours.
    async fn campaign(&mut self, reached: impl FnOnce() + Send) {
        let (mut reached, mut delays, mut told) = (Some(reached), self.delays(), String::new());
        loop {
            let (after, news) = match self.attempt().await {
                Ok(holder) => {
                    if let Some(reached) = reached.take() {
                        reached();
                    }
                    let Holder::Other { name, until } = holder else {
                        info!(
                            lease = self.lease(),
                            identity = self.settings.identity,
                            "this operator leads"
                        );
                        return;
                    };
                    delays = self.delays();
                    // The watch may be silent: look now and then.
                    let look = until.min(Instant::now() + self.settings.renew_interval());
                    (look, format!("standing by: {name:?} leads"))
                }
                Err(error) => {
                    let after = delays.next().unwrap_or_default();
                    (
                        Instant::now() + after,
                        format!("cannot take part in the election: {error}"),
                    )
                }
            };
            if news != told {
                info!(lease = self.lease(), "{news}");
                told = news;
            }
            tokio::select! {
                () = tokio::time::sleep_until(after) => {}
                () = change(&mut self.changes, &self.seen) => {}
            }
        }
    }

    /// Reads the lease, and takes it if it may be taken. Answers whose it is then.
    async fn attempt(&mut self) -> Result<Holder, Error> {
        let lease = self.store.read().await?;
        self.seen.note(lease, Instant::now());
        let holder = self.seen.holder(&self.settings);
        match holder {
            Holder::Other { until, .. } if Instant::now() < until => return Ok(holder),
            _ => {}
        }
        self.write().await?;
        Ok(Holder::Us)
    }

    /// Writes our claim over the version that was seen. It counts from before the request.
    async fn write(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        self.tried = true;
        let lease = self.seen.claimed(&self.settings, Timestamp::now());
        let lease = self.store.write(&lease).await?;
        self.seen.note(Some(lease), Instant::now());
        self.publish
            .send_replace(Claim::Until(began + self.settings.claim()));
        Ok(())
    }

    /// Renews the claim until it is lost.
    async fn hold(&mut self) -> Lost {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.settings.renew_interval().min(self.left())) => {}
                // Not by us: is it still ours? A renewal finds out.
                () = change(&mut self.changes, &self.seen) => {}
            }
            if let Err(lost) = self.renew().await {
                return lost;
            }
        }
    }

    /// Renews it once, and tries until it has run out.
    async fn renew(&mut self) -> Result<(), Lost> {
        let mut problem = "no time was left to try".to_owned();
        for delay in self.delays() {
            let leadership = self.leadership.clone();
            // A claim that has run out is not renewed: somebody else may have led since.
            if leadership.left().is_zero() {
                break;
            }
            match leadership.cover(Duration::ZERO, self.write_over()).await {
                None => break,
                Some(Ok(None)) => return Ok(()),
                Some(Ok(Some(lost))) => return Err(lost),
                Some(Err(error)) => problem = error.to_string(),
            }
            warn!(lease = self.lease(), left = ?self.left(), "the claim could not be renewed: {problem}");
            tokio::time::sleep(delay.min(self.left())).await;
        }
        Err(Lost::RanOut {
            lease: self.lease(),
            after: self.settings.claim(),
            problem,
        })
    }

    /// Renews it, also when somebody has touched the lease but left it ours.
    async fn write_over(&mut self) -> Result<Option<Lost>, Error> {
        loop {
            match self.write().await {
                Ok(()) => return Ok(None),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
            let lease = self.store.read().await?;
            self.seen.note(lease, Instant::now());
            let now = match self.seen.holder(&self.settings) {
                Holder::Us => continue,
                // Whoever took it away wants an election, and may have led in between.
                Holder::Missing => "was deleted".to_owned(),
                Holder::Nobody => "was cleared".to_owned(),
                Holder::Other { name, .. } => format!("is held by {name:?} now"),
            };
            let lease = self.lease();
            return Ok(Some(Lost::Taken { lease, now }));
        }
    }

    /// Clears our name from the lease, if it stands there.
    async fn vacate(&mut self) {
        for delay in self.delays() {
            if let Some(lease) = self.seen.vacated(&self.settings, Timestamp::now())
                && self.store.write(&lease).await.is_ok()
            {
                info!(lease = self.lease(), "gave the lease back");
                return;
            }
            // An earlier answer may have been lost: what does the lease say now?
            match self.store.read().await {
                Ok(lease) => {
                    self.seen.note(lease, Instant::now());
                    if self.seen.holder(&self.settings) != Holder::Us {
                        return;
                    }
                }
                Err(_) => tokio::time::sleep(delay).await,
            }
        }
    }

    fn left(&self) -> Duration {
        self.leadership.left()
    }

    fn lease(&self) -> String {
        format!("{}/{}", self.settings.namespace, self.settings.name)
    }

    /// Delays between tries, with jitter: replicas that lost sight of the API server together must
    /// not come back together. Never ends.
    fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.settings.duration / 60)
            .with_max_delay(self.settings.duration / 15)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// Returns when the lease has a version that we have not seen. A hint, and nothing more: every
/// decision is made on what is read then.
async fn change(changes: &mut BoxStream<'static, Option<String>>, seen: &SeenLease) {
    while let Some(version) = changes.next().await {
        if version.as_deref() != seen.version() {
            return;
        }
    }
    std::future::pending::<()>().await;
}
