//! What one visit holds: what all visits share, and its turn.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::context::Context;
use super::observe::{Progress, Stage};
use crate::azure::{AzureError, Snapshot};
use crate::domain::plan::Plan;
use crate::domain::{Credential, IdentityId};
use crate::fairness::{Party, Turn, Urgency};

/// One visit of a binding. All access to Azure goes through it.
pub(super) struct Visit<'a> {
    context: &'a Context,
    namespace: String,
    turn: Mutex<Option<Turn>>,
    progress: Mutex<Progress<'a>>,
}

impl Deref for Visit<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        self.context
    }
}

impl<'a> Visit<'a> {
    /// Begins a visit whose turn it is.
    pub fn new(context: &'a Context, namespace: String, turn: Turn, mut progress: Progress<'a>) -> Self {
        progress.to(Stage::Working);
        Self {
            context,
            namespace,
            turn: Mutex::new(Some(turn)),
            progress: Mutex::new(progress),
        }
    }

    /// What the identity is and holds, read at most `max_age` ago.
    ///
    /// # Errors
    /// What Azure says, or that it cannot be asked now.
    pub async fn observe(&self, id: &IdentityId, max_age: Duration) -> Result<Snapshot, AzureError> {
        let lane = self.context.parts.lanes.lane(id);
        self.aside(lane.snapshot(max_age, self.party(Urgency::Usual)))
            .await
    }

    /// Plans and acts on an identity, read at most `max_age` ago.
    ///
    /// # Errors
    /// What Azure says, or that it cannot be asked now.
    pub async fn act(
        &self,
        id: &IdentityId,
        max_age: Duration,
        urgency: Urgency,
        plan: impl FnOnce(&[Credential]) -> Plan + Send,
    ) -> Result<Plan, AzureError> {
        let lane = self.context.parts.lanes.lane(id);
        self.aside(lane.act(max_age, self.party(urgency), plan)).await
    }

    /// Waits for Azure without holding a turn: visits that need only Kubernetes go on meanwhile.
    async fn aside<T>(&self, waiting: impl Future<Output = T>) -> T {
        self.now(Stage::Azure);
        drop(self.swap(None));
        let result = waiting.await;
        self.now(Stage::Queued);
        let again = self.context.turns.take(self.party(Urgency::Begun)).await;
        drop(self.swap(Some(again)));
        self.now(Stage::Working);
        result
    }

    fn now(&self, stage: Stage) {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .to(stage);
    }

    fn swap(&self, turn: Option<Turn>) -> Option<Turn> {
        let mut held = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, turn)
    }

    fn party(&self, urgency: Urgency) -> Party<'_> {
        Party {
            namespace: &self.namespace,
            urgency,
        }
    }
}
