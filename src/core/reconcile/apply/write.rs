//! On record first, then in Azure.

use super::{Act, Apply, ApplyStage, Attempt};
use crate::api::{CredentialOrigin, Reason, RecordedCredential};
use crate::core::plan::{Decision, Plan};
use crate::core::reconcile::{Effect, Obstacle};
use crate::core::record::{self, Change};
use crate::core::{ConditionState, Desired, Fault, Snapshot, ownership};

impl Apply {
    pub(super) fn confirmed(&mut self, desired: &Desired, act: Box<Act>) -> Effect {
        if act.changes.is_empty() {
            return self.recorded(desired, act);
        }
        self.remember(&act.changes);
        let changes = act.changes.clone();
        self.stage = ApplyStage::Record(act);
        Effect::Record(desired.identity.clone(), changes)
    }

    pub(super) fn recorded(&mut self, desired: &Desired, mut act: Box<Act>) -> Effect {
        if act.plan.steps.is_empty() {
            return self.trusted(desired, Box::new(act.snapshot));
        }
        self.outcome.credential_synced =
            ConditionState::unknown(Reason::Progressing, "The credential is being written.");
        act.input = self.input(desired);
        let input = act.input.clone();
        self.stage = ApplyStage::Write(act, Attempt::First);
        Effect::Write(desired.identity.clone(), input, self.known.fresh)
    }

    pub(super) fn written(
        &mut self,
        desired: &Desired,
        act: Box<Act>,
        attempt: Attempt,
        written: Result<Plan, Obstacle>,
    ) -> Effect {
        let plan = match written {
            Ok(plan) => plan,
            // Azure knows better than the list did: it is read and planned again, once.
            Err(obstacle)
                if attempt == Attempt::First
                    && matches!(obstacle.fault, Fault::Duplicate | Fault::LimitReached) =>
            {
                let input = act.input.clone();
                self.stage = ApplyStage::Write(act, Attempt::Second);
                return Effect::Write(desired.identity.clone(), input, self.known.fresh);
            }
            Err(obstacle) => {
                self.outcome.credential_synced =
                    ConditionState::no(obstacle.fault.reason(), obstacle.message);
                self.outcome.wait = obstacle.wait;
                return self.end();
            }
        };
        let (credential, origin) = match &plan.decision {
            Decision::Refused(reason, message) => {
                self.outcome.credential_synced = ConditionState::no(*reason, message.clone());
                return self.end();
            }
            Decision::Trusted(credential, origin) => (credential, *origin),
        };
        let entry = self
            .known
            .recorded
            .iter()
            .find(|e| e.name == desired.credential.name);
        self.outcome.is_repair = !plan.steps.is_empty()
            && act.changes.is_empty()
            && entry.is_some_and(|e| record::tuple(e) == desired.credential.tuple);
        self.outcome.credential = Some(ownership::reported(credential, origin));
        // One that is deleted to be made again stays on record; ours that gives way to an adopted one does not.
        let deleted = plan.deleted().filter(|name| *name != credential.name);
        let gone: Vec<Change> = deleted
            .map(|name| Change::Gone {
                name: name.to_owned(),
            })
            .collect();
        if gone.is_empty() {
            return self.trusted(desired, Box::new(act.snapshot));
        }
        let is_gone = |name: &str| plan.deleted().any(|deleted| deleted == name);
        // Azure takes no second one beside ours of an earlier audience: that one is replaced.
        let tuple = &desired.credential.tuple;
        let is_replaced =
            |entry: &&RecordedCredential| entry.subject == tuple.subject && entry.issuer == tuple.issuer;
        let gave_way = |entry: &&RecordedCredential| is_gone(&entry.name) && !is_replaced(entry);
        let displaced = self.known.recorded.iter().find(gave_way);
        self.displaced = displaced.map(|entry| entry.issuer.clone());
        self.remember(&gone);
        self.stage = ApplyStage::Displaced(Box::new(act.snapshot));
        Effect::Record(desired.identity.clone(), gone)
    }

    /// The identity trusts the ServiceAccount.
    pub(super) fn trusted(&mut self, desired: &Desired, snapshot: Box<Snapshot>) -> Effect {
        let is_adopted = self
            .outcome
            .credential
            .as_ref()
            .is_some_and(|c| c.origin == CredentialOrigin::Adopted);
        let subject = &desired.credential.tuple.subject;
        let issuer = &desired.credential.tuple.issuer;
        let mut formers = self
            .known
            .recorded
            .iter()
            .filter(|e| e.subject == *subject && e.issuer != *issuer);
        let former = formers.next().map(|entry| entry.issuer.clone());
        self.outcome.credential_synced = if is_adopted {
            ConditionState::yes(
                Reason::Adopted,
                "A credential that somebody else made trusts the ServiceAccount.",
            )
        } else if let Some(other) = former
            .as_ref()
            .filter(|f| self.known.alternating_issuers.contains(f))
        {
            let message = format!(
                "The credential trusts the ServiceAccount. API servers of this cluster name issuer {other} as well, whose credential stays: give all of them the same --service-account-issuer."
            );
            ConditionState::yes(Reason::Created, message)
        } else if let Some(former) = former {
            let message = format!(
                "The credential trusts the ServiceAccount. The one of the cluster's former issuer {former} stays until its tokens have expired."
            );
            ConditionState::yes(Reason::Created, message)
        } else if let Some(displaced) = self.displaced.take() {
            let message = format!(
                "The credential trusts the ServiceAccount. The identity is full, so one of issuer {displaced} had to give way for it."
            );
            ConditionState::yes(Reason::Created, message)
        } else {
            ConditionState::yes(Reason::Created, "The credential trusts the ServiceAccount.")
        };
        self.stage = ApplyStage::FindAccount(snapshot);
        Effect::FindAccount(desired.service_account.name.clone())
    }
}
