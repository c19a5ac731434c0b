//! One lane per identity: shared reads, one writer, at Azure's rate.
//!
//! Azure refuses two credential writes on one identity at the same time, and its limits are counted
//! per identity, subscription and tenant. So every access to an identity goes through its lane:
//! readers share one answer; writers take turns, removals first and fairly between namespaces, each
//! planning on what the one before has left; and a call goes out only when the lane's view says
//! that it is needed and the rate limiter allows it.

mod settings;
mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

pub use self::settings::LaneSettings;
use self::view::{Freshness, LaneView};
use super::rate_limit::{IdentityLimiter, RateLimited, RateLimiter};
use super::{AzureError, ManagedIdentities, Operation};
use crate::core::backoff::Jitter;
use crate::core::credential::MAX_PER_IDENTITY;
use crate::core::plan::{Plan, PlanInput, Step, plan};
use crate::core::{Credential, Fault, Holdings, Identity, IdentityId, Snapshot};
use crate::fairness::{FairSemaphore, Flow, Permit};

/// From so many credentials on, the log names the identity at every list: somebody should make room in time.
const NEARLY_FULL: usize = MAX_PER_IDENTITY - 2;

/// For so long an answer that an identity is gone has to stay the same before it is believed: Azure may answer 404
/// for what exists, and what is believed to be gone is taken off the record.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);

/// All lanes.
pub struct Lanes {
    common: Arc<Common>,
    lanes: Mutex<HashMap<String, (Instant, Arc<Lane>)>>,
}

struct Common {
    azure: Arc<dyn ManagedIdentities>,
    settings: LaneSettings,
    limiter: Arc<RateLimiter>,
    jitter: Arc<dyn Jitter>,
}

/// The lane of one identity.
pub struct Lane {
    id: IdentityId,
    common: Arc<Common>,
    limiter: IdentityLimiter,
    view: Mutex<LaneView>,
    /// Held during a call: one at a time, and whoever waited finds its answer in the view.
    calling: tokio::sync::Mutex<()>,
    writer: Arc<FairSemaphore>,
    /// Writes in a row that met another client's.
    contended: AtomicU32,
    /// Since when every answer has been that the identity is gone.
    gone_since: Mutex<Option<Instant>>,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(
        azure: Arc<dyn ManagedIdentities>,
        limiter: Arc<RateLimiter>,
        settings: LaneSettings,
        jitter: Arc<dyn Jitter>,
    ) -> Self {
        Self {
            common: Arc::new(Common {
                azure,
                settings,
                limiter,
                jitter,
            }),
            lanes: Mutex::default(),
        }
    }

    /// The lane of an identity.
    pub fn lane(&self, id: &IdentityId) -> Arc<Lane> {
        let now = Instant::now();
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if !lanes.contains_key(id.key()) {
            let idle = self.common.settings.idle;
            lanes.retain(|_, (used, lane)| Arc::strong_count(lane) > 1 || now.duration_since(*used) < idle);
        }
        let (used, lane) = lanes
            .entry(id.key().to_owned())
            .or_insert_with(|| (now, Arc::new(Lane::new(id, self.common.clone()))));
        *used = now;
        lane.clone()
    }

    /// How many credentials there are on each identity in use, where that is known.
    pub fn held(&self) -> Vec<usize> {
        let idle = self.common.settings.idle;
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let used = lanes.values().filter(|(used, _)| used.elapsed() < idle);
        used.filter_map(|(_, lane)| lane.view().held()).collect()
    }
}

impl Lane {
    fn new(id: &IdentityId, common: Arc<Common>) -> Self {
        Self {
            id: id.clone(),
            limiter: IdentityLimiter::new(id.subscription(), common.limiter.clone()),
            common,
            view: Mutex::default(),
            calling: tokio::sync::Mutex::default(),
            writer: FairSemaphore::new(1),
            contended: AtomicU32::new(0),
            gone_since: Mutex::default(),
        }
    }

    /// Identity and credentials, read at most `max_age` ago: one GET and one LIST, however many
    /// ask.
    ///
    /// # Errors
    /// The failure of either read. It is shared for a moment too, so that many bindings on a
    /// missing identity make one call. [`Fault::Queued`] when the rate limiter leaves no room soon.
    pub async fn snapshot(&self, max_age: Duration, flow: Flow<'_>) -> Result<Snapshot, AzureError> {
        let fresh = self.fresh(max_age);
        // In this order: an identity that was made anew holds none of what is known.
        let identity = self.identity(fresh, flow).await?;
        let holdings = self.credentials(fresh, flow).await?;
        Ok(Snapshot {
            identity,
            holdings,
            age: self.view().age(),
        })
    }

    /// Plans on what the identity holds, read at most `max_age` ago, and carries the plan out, with
    /// nobody else of this process writing in between.
    ///
    /// # Errors
    /// The first call that fails. Earlier steps stand; planning again goes on from there.
    /// [`Fault::Queued`] when the rate limiter leaves no room soon.
    ///
    /// # Cancel safety
    /// Dropped during a write, the lane forgets what it knew and reads before it writes again.
    pub async fn write(
        &self,
        max_age: Duration,
        flow: Flow<'_>,
        input: &PlanInput,
    ) -> Result<Plan, AzureError> {
        let (_permit, mut held) = self.writer(max_age, flow).await?;
        let plan = plan(input, &held);
        for step in &plan.steps {
            self.step(&mut held, step, flow).await?;
        }
        Ok(plan)
    }

    /// Deletes credentials by name, each for itself, with nobody else of this process writing in between.
    /// Answers what came of each: one that cannot be deleted keeps no other.
    ///
    /// One that no list shows may be there all the same: the list is older than our write, or Azure still
    /// works on one whose answer never came. It is deleted by its name alone. What has become unreadable
    /// under our name is somebody else's by now, and left.
    ///
    /// That the identity is gone is asked once more, after a while, before it is answered.
    ///
    /// # Errors
    /// When the identity could not be read, so that none was tried.
    ///
    /// # Cancel safety
    /// As [`Self::write`].
    pub async fn delete(&self, max_age: Duration, flow: Flow<'_>, names: &[String]) -> Deleted {
        let deleted = self.try_delete(max_age, flow, names).await;
        let left = BELIEVED_AFTER.saturating_sub(self.gone_for().unwrap_or_default());
        if left.is_zero() || !says_gone(&deleted) {
            return deleted;
        }
        tokio::time::sleep(left).await;
        self.try_delete(max_age, flow, names).await
    }

    async fn try_delete(&self, max_age: Duration, flow: Flow<'_>, names: &[String]) -> Deleted {
        let (_permit, mut held) = self.writer(max_age, flow).await?;
        let mut results = Vec::with_capacity(names.len());
        for name in names {
            let entry = held.named(name);
            let is_theirs =
                held.is_unreadable(name) || entry.is_some_and(Credential::is_aks_identity_binding);
            let is_unseen = entry.is_none();
            let result = if is_theirs {
                Ok(())
            } else {
                self.step(&mut held, &Step::Delete(name.clone()), flow).await
            };
            let result = match result {
                // No list shows it, and what forbids to delete it forbade to make it.
                Err(error) if is_unseen && error.fault.is_lasting() && !is_identity_gone(&error) => Ok(()),
                result => result,
            };
            results.push((name.clone(), result));
        }
        Ok(results)
    }

    /// Waits to be the only writer, and reads what the identity holds.
    async fn writer(&self, max_age: Duration, flow: Flow<'_>) -> Result<(Permit, Holdings), AzureError> {
        let write = Operation::PutCredential;
        let ahead = self.writer.ahead_of(flow);
        self.limiter
            .check(write, ahead)
            .map_err(|busy| queued(write, busy))?;
        let permit = self.writer.take(flow).await;
        let held = self.credentials(self.fresh(max_age), flow).await?;
        Ok((permit, held))
    }

    async fn step(&self, held: &mut Holdings, step: &Step, flow: Flow<'_>) -> Result<(), AzureError> {
        if self.view().has_deleted(step, held) {
            return Ok(());
        }
        let operation = match step {
            Step::Put(_) => Operation::PutCredential,
            Step::Delete(_) => Operation::DeleteCredential,
        };
        let grace = self.common.settings.grace;
        self.pass(operation, flow).await?;
        let _calling = self.calling.lock().await;
        let read_at = self.view().begin_write(step, held);
        let result = match step {
            Step::Put(credential) => self.common.azure.put(&self.id, credential).await,
            Step::Delete(name) => self.common.azure.delete(&self.id, name).await,
        };
        self.learn(operation, result.as_ref().err());
        self.view()
            .end_write(step, held, read_at, result.as_ref().copied(), grace);
        result
    }

    async fn identity(&self, fresh: Freshness, flow: Flow<'_>) -> Result<Identity, AzureError> {
        if let Some(answer) = self.view().identity(fresh) {
            return answer;
        }
        let operation = Operation::GetIdentity;
        let _calling = self.calling.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(answer) = self.view().identity(fresh) {
            return answer;
        }
        self.pass(operation, flow).await?;
        let answer = self.common.azure.identity(&self.id).await;
        self.learn(operation, answer.as_ref().err());
        self.view().read_identity(answer, fresh.failure)
    }

    async fn credentials(&self, fresh: Freshness, flow: Flow<'_>) -> Result<Holdings, AzureError> {
        if let Some(answer) = self.view().credentials(fresh) {
            return answer;
        }
        let operation = Operation::ListCredentials;
        let _calling = self.calling.lock().await;
        if let Some(answer) = self.view().credentials(fresh) {
            return answer;
        }
        self.pass(operation, flow).await?;
        let answer = self.common.azure.credentials(&self.id).await;
        self.learn(operation, answer.as_ref().err());
        let grace = self.common.settings.grace;
        let (answer, unreadable) = {
            let mut view = self.view();
            let answer = view.read_credentials(answer, grace, fresh.failure);
            (answer, view.newly_unreadable())
        };
        if let Some(unreadable) = unreadable {
            info!(
                identity = self.id.key(),
                unreadable,
                "credentials that the operator cannot read (flexible ones, for example): they count, and are never touched"
            );
        }
        if let Some(held) = answer
            .as_ref()
            .ok()
            .map(Holdings::len)
            .filter(|held| *held >= NEARLY_FULL)
        {
            warn!(
                identity = self.id.key(),
                credentials = held,
                "the identity is nearly full: Azure allows {MAX_PER_IDENTITY} credentials"
            );
        }
        answer
    }

    async fn pass(&self, operation: Operation, flow: Flow<'_>) -> Result<(), AzureError> {
        let passed = self.limiter.pass(operation, flow).await;
        passed.map_err(|busy| queued(operation, busy))
    }

    /// Takes into account what an answer says about how fast to go on.
    fn learn(&self, operation: Operation, error: Option<&AzureError>) {
        {
            let mut gone_since = self.gone_since.lock().unwrap_or_else(PoisonError::into_inner);
            match error {
                Some(error) if is_identity_gone(error) => {
                    gone_since.get_or_insert_with(Instant::now);
                }
                None => *gone_since = None,
                Some(_) => {}
            }
        }
        match error.map(|e| (e.fault, e)) {
            Some((Fault::Throttled, error)) => self.limiter.throttled(operation, error),
            Some((Fault::Contended, _)) => {
                // Full jitter: two clusters that met must not meet again.
                let met = self.contended.fetch_add(1, Ordering::Relaxed);
                let longest = self.common.settings.longest_rest;
                let bound = (longest / 60).saturating_mul(2_u32.saturating_pow(met.min(16)));
                self.limiter
                    .rest(bound.min(longest).mul_f64(self.common.jitter.draw()));
            }
            None if operation.is_write() => self.contended.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// For how long every answer has been that the identity is gone.
    fn gone_for(&self) -> Option<Duration> {
        let gone_since = self.gone_since.lock().unwrap_or_else(PoisonError::into_inner);
        gone_since.map(|since| since.elapsed())
    }

    fn fresh(&self, max_age: Duration) -> Freshness {
        Freshness {
            answer: max_age,
            failure: self.common.settings.share_failure,
        }
    }

    fn view(&self) -> MutexGuard<'_, LaneView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of deleting each, by name, or why none could be tried.
type Deleted = Result<Vec<(String, Result<(), AzureError>)>, AzureError>;

fn says_gone(deleted: &Deleted) -> bool {
    match deleted {
        Err(error) => is_identity_gone(error),
        Ok(results) => {
            let mut refused = results.iter().filter_map(|(_, result)| result.as_ref().err());
            refused.any(is_identity_gone)
        }
    }
}

fn is_identity_gone(error: &AzureError) -> bool {
    matches!(error.fault, Fault::IdentityGone | Fault::ResourceGroupGone)
}

/// A call that has to wait its turn for too long to wait for it here.
fn queued(operation: Operation, busy: RateLimited) -> AzureError {
    AzureError {
        operation,
        fault: if busy.asked {
            Fault::Throttled
        } else {
            Fault::Queued
        },
        status: None,
        code: None,
        message: String::new(),
        request_id: None,
        // A little early, so that the queue does not run dry.
        retry_after: Some(if busy.asked { busy.wait } else { busy.wait / 2 }),
    }
}

#[cfg(test)]
mod tests;
