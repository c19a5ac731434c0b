//! One lane per identity: shared reads, one writer.
//!
//! Azure refuses two credential writes on one identity at the same time, and its limits are counted
//! per identity. So every access to an identity goes through its lane: readers share one answer,
//! writers queue in the order in which they came, and a write goes out only when the lane's view
//! says that something differs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{AzureError, Identity, ManagedIdentities};
use crate::domain::plan::{self, Plan, Step};
use crate::domain::{Credential, Fault, IdentityId};

/// How a lane treats what it has read and written.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// How long a list that lacks our own write is taken for stale rather than for drift: Azure
    /// may answer a read right after a write with the state before it.
    pub grace: Duration,
    /// How long a failed read is the answer for everybody who asks.
    pub share_failure: Duration,
    /// After how long without use a lane is forgotten.
    pub idle: Duration,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            grace: Duration::from_mins(2),
            share_failure: Duration::from_secs(1),
            idle: Duration::from_hours(1),
        }
    }
}

/// What an identity is and holds.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The identity.
    pub identity: Identity,
    /// Its credentials, whoever made them.
    pub credentials: Vec<Credential>,
    /// How long ago the older of the two was read.
    pub age: Duration,
}

/// All lanes.
pub struct Lanes {
    azure: Arc<dyn ManagedIdentities>,
    settings: LaneSettings,
    lanes: Mutex<HashMap<String, (Instant, Arc<Lane>)>>,
}

/// The lane of one identity.
pub struct Lane {
    id: IdentityId,
    azure: Arc<dyn ManagedIdentities>,
    settings: LaneSettings,
    // Held across calls to Azure on purpose: this is the queue. It is fair, and a caller's
    // deadline bounds the wait.
    view: tokio::sync::Mutex<View>,
}

/// An answer of Azure, or its refusal, and when it came.
type Answer<T> = Option<(Instant, Result<T, AzureError>)>;

#[derive(Default)]
struct View {
    identity: Answer<Identity>,
    credentials: Answer<Vec<Credential>>,
    /// Our own writes, for as long as a list may not show them.
    recent: Vec<(Instant, Step)>,
    /// Azure asked to be left alone until then.
    paused: Option<(Instant, AzureError)>,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(azure: Arc<dyn ManagedIdentities>, settings: LaneSettings) -> Self {
        Self {
            azure,
            settings,
            lanes: Mutex::default(),
        }
    }

    /// The lane of an identity.
    pub fn lane(&self, id: &IdentityId) -> Arc<Lane> {
        let now = Instant::now();
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if !lanes.contains_key(id.key()) {
            let idle = self.settings.idle;
            lanes.retain(|_, (used, lane)| Arc::strong_count(lane) > 1 || now.duration_since(*used) < idle);
        }
        let (used, lane) = lanes.entry(id.key().to_owned()).or_insert_with(|| {
            let lane = Lane {
                id: id.clone(),
                azure: self.azure.clone(),
                settings: self.settings,
                view: tokio::sync::Mutex::default(),
            };
            (now, Arc::new(lane))
        });
        *used = now;
        lane.clone()
    }
}

impl Lane {
    /// Identity and credentials, read at most `max_age` ago: one GET and one LIST, however many
    /// ask.
    ///
    /// # Errors
    /// The failure of either read. It is shared for a moment too, so that many bindings on a
    /// missing identity make one call.
    pub async fn snapshot(&self, max_age: Duration) -> Result<Snapshot, AzureError> {
        let mut view = self.view.lock().await;
        let identity = self.identity(&mut view, max_age).await?;
        let credentials = self.credentials(&mut view, max_age).await?;
        let age = |at: Option<Instant>| at.map(|at| at.elapsed()).unwrap_or_default();
        let read = [
            view.identity.as_ref().map(|(at, _)| *at),
            view.credentials.as_ref().map(|(at, _)| *at),
        ];
        Ok(Snapshot {
            identity,
            credentials,
            age: read.into_iter().map(age).max().unwrap_or_default(),
        })
    }

    /// Plans on what the identity holds, read at most `max_age` ago, and carries the plan out, with
    /// nobody else of this process writing in between.
    ///
    /// # Errors
    /// The first call that fails. Earlier steps stand; planning again goes on from there.
    ///
    /// # Cancel safety
    /// Dropped during a write, the lane forgets what it knew and reads before it writes again.
    pub async fn act(
        &self,
        max_age: Duration,
        plan: impl FnOnce(&[Credential]) -> Plan + Send,
    ) -> Result<Plan, AzureError> {
        let mut view = self.view.lock().await;
        let mut held = self.credentials(&mut view, max_age).await?;
        let plan = plan(&held);
        for step in &plan.steps {
            self.write(&mut view, &mut held, step).await?;
        }
        Ok(plan)
    }

    async fn write(
        &self,
        view: &mut View,
        held: &mut Vec<Credential>,
        step: &Step,
    ) -> Result<(), AzureError> {
        view.check_pause()?;
        let read_at = view.credentials.take();
        let result = match step {
            Step::Put(credential) => self.azure.put(&self.id, credential).await,
            Step::Delete(name) => self.azure.delete(&self.id, name).await,
        };
        match result {
            Ok(()) => {
                plan::apply(held, step);
                let at = read_at.map_or_else(Instant::now, |(at, _)| at);
                view.credentials = Some((at, Ok(held.clone())));
                view.remember(step.clone(), self.settings.grace);
                Ok(())
            }
            Err(error) => {
                // What is known stays known, unless the answer says that it was wrong or open.
                if !error.fault.leaves_write_open() {
                    view.credentials = read_at;
                }
                view.note(&error);
                Err(error)
            }
        }
    }

    async fn identity(&self, view: &mut View, max_age: Duration) -> Result<Identity, AzureError> {
        if let Some(answer) = self.known(view.identity.as_ref(), max_age) {
            return answer;
        }
        view.check_pause()?;
        let answer = self.azure.identity(&self.id).await;
        let before = view.identity.as_ref().and_then(|(_, known)| known.as_ref().ok());
        if answer
            .as_ref()
            .ok()
            .is_some_and(|now| before.is_some_and(|before| before != now))
        {
            // Deleted and made again: it holds none of what the old one held.
            view.credentials = None;
            view.recent.clear();
        }
        if let Err(error) = &answer {
            view.note(error);
        }
        view.identity = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn credentials(&self, view: &mut View, max_age: Duration) -> Result<Vec<Credential>, AzureError> {
        if let Some(answer) = self.known(view.credentials.as_ref(), max_age) {
            return answer;
        }
        view.check_pause()?;
        let mut answer = self.azure.credentials(&self.id).await;
        match &mut answer {
            Ok(found) => view.overlay(found, self.settings.grace),
            Err(error) => view.note(error),
        }
        view.credentials = Some((Instant::now(), answer.clone()));
        answer
    }

    fn known<T: Clone>(
        &self,
        answer: Option<&(Instant, Result<T, AzureError>)>,
        max_age: Duration,
    ) -> Option<Result<T, AzureError>> {
        let (at, result) = answer?;
        let limit = if result.is_ok() {
            max_age
        } else {
            self.settings.share_failure
        };
        (at.elapsed() <= limit).then(|| result.clone())
    }
}

impl View {
    /// Refuses a call that Azure asked not to make yet.
    fn check_pause(&self) -> Result<(), AzureError> {
        let now = Instant::now();
        match &self.paused {
            Some((until, error)) if now < *until => Err(AzureError {
                retry_after: Some(*until - now),
                ..error.clone()
            }),
            _ => Ok(()),
        }
    }

    fn note(&mut self, error: &AzureError) {
        match (error.fault, error.retry_after) {
            (Fault::Throttled, Some(wait)) => self.paused = Some((Instant::now() + wait, error.clone())),
            (Fault::IdentityGone | Fault::ResourceGroupGone, _) => self.recent.clear(),
            _ => {}
        }
    }

    fn remember(&mut self, step: Step, grace: Duration) {
        self.recent.retain(|(at, _)| at.elapsed() < grace);
        self.recent.push((Instant::now(), step));
    }

    /// Puts our own recent writes over a list that may be older than they are.
    fn overlay(&mut self, found: &mut Vec<Credential>, grace: Duration) {
        self.recent.retain(|(at, _)| at.elapsed() < grace);
        for (_, step) in &self.recent {
            plan::apply(found, step);
        }
    }
}

#[cfg(test)]
mod tests;
