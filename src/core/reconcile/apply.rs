//! A live binding: review the grant, observe, record, write, annotate, and take back what an earlier spec
//! left.
//!
//! The way of a binding that is new and granted, each line an [`Effect`] and its answer:
//!
//! 1. [`Effect::Review`]: may the ServiceAccount use the identity? Denied, Azure is not even asked.
//! 2. [`Effect::Observe`]: the identity, and what it holds. The plan is made on that.
//! 3. [`Effect::AddFinalizer`]: from here on a deletion waits for us. A write to the binding is a consistent
//!    read of it as well; where the finalizer is there already, [`Effect::Confirm`] is that read.
//! 4. [`Effect::Record`]: the credential is on record before it is in Azure.
//! 5. [`Effect::Write`]: planned again by the identity's only writer, and written.
//! 6. [`Effect::FindAccount`], [`Effect::Annotate`]: the ids on the ServiceAccount.
//! 7. [`Effect::Revoke`]: what this binding had wanted before, now that the new trust stands.
//!
//! A binding in order ends after 1, 2 and 6, without a write.

mod annotate;
mod observe;
mod review;
mod write;

use super::{Answer, Due, Effect, End, Held, Known, Review, Revoked, Subject, report, suspended};
use crate::api::{CredentialOrigin, IdentityStatus, Reason, ServiceAccountOrigin};
use crate::core::annotations::{self, Annotations};
use crate::core::plan::{Plan, PlanInput};
use crate::core::record::Change;
use crate::core::{ConditionState, Desired, IdentityId, Outcome, Snapshot, conditions, text};

/// One pass of a live binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Apply {
    subject: Subject,
    known: Known,
    outcome: Outcome,
    /// The issuer of a credential that had to give way in this pass.
    displaced: Option<String>,
    stage: ApplyStage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ApplyStage {
    Start,
    Review,
    /// The pair of the spec is denied, and was not before.
    ConfirmDenied,
    ReviewDenied,
    /// What denied pairs had is taken back; the last of them has been asked for.
    RevokeDenied(Vec<(IdentityId, Due)>, Revoked),
    WithdrawDenied(Option<ConditionState>),
    /// Of a spec that cannot be understood nothing is on record any more.
    WithdrawInvalid,
    /// Asks whether the contender of this number is granted.
    Contend(usize),
    Observe,
    /// Our mark was found on credentials that are not on record.
    Rebuild(Box<Snapshot>),
    LookWhileSuspended(Box<Snapshot>),
    Confirm(Box<Act>),
    ReviewAgain(Box<Act>),
    Record(Box<Act>),
    Write(Box<Act>, Attempt),
    /// What had to give way is no longer on record.
    Displaced(Box<Snapshot>),
    FindAccount(Box<Snapshot>),
    Annotate(Box<Annotating>),
    WithdrawEarlier,
    /// Takes back what an earlier spec left, one identity after the other.
    RevokeEarlier(Vec<(IdentityId, Due)>),
}

/// Azure may know better than the list that a plan was made on; it is asked once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Attempt {
    First,
    Second,
}

/// What is about to be written on the identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Act {
    snapshot: Snapshot,
    input: PlanInput,
    /// What the list leads to.
    plan: Plan,
    /// Changes of the record that come first.
    changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Annotating {
    origin: ServiceAccountOrigin,
    replaces_client_id: bool,
}

impl Apply {
    pub(super) fn new(subject: Subject, known: Known) -> Self {
        let outcome = known.reported.outcome();
        Self {
            subject,
            known,
            outcome,
            displaced: None,
            stage: ApplyStage::Start,
        }
    }

    // An arm for each step of the way, also where two end alike.
    #[allow(clippy::match_same_arms)]
    pub(super) fn next(&mut self, answer: Answer) -> Effect {
        if let Answer::Failed(refusal) = answer {
            return Effect::End(End::Failed(refusal));
        }
        let desired = match &self.subject.desired {
            Ok(desired) => desired.clone(),
            Err(message) => {
                let invalid = ConditionState::no(Reason::InvalidSpec, message.clone());
                let stage = std::mem::replace(&mut self.stage, ApplyStage::Start);
                return self.invalid(invalid, &stage, &answer);
            }
        };
        match (std::mem::replace(&mut self.stage, ApplyStage::Start), answer) {
            (ApplyStage::Start, Answer::Begin) => {
                self.stage = ApplyStage::Review;
                Effect::Review(desired.grant())
            }
            (ApplyStage::Review, Answer::Reviewed(review)) => self.reviewed(&desired, review),
            (ApplyStage::ConfirmDenied, Answer::Confirmed { after_trouble: true }) => {
                self.stage = ApplyStage::ReviewDenied;
                Effect::Review(desired.grant())
            }
            (ApplyStage::ConfirmDenied, Answer::Confirmed { after_trouble: false })
            | (ApplyStage::ReviewDenied, Answer::Reviewed(Ok(Review::Denied))) => self.deny(&desired),
            // Reviewed again, it was granted after all, or nobody can tell: the next pass knows.
            (ApplyStage::RevokeDenied(..), Answer::Revoked(revoked)) if revoked.unsure => {
                Effect::End(End::Outdated)
            }
            (ApplyStage::RevokeDenied(mut due, mut all), Answer::Revoked(revoked)) => {
                if let Some((identity, _)) = due.pop() {
                    self.forget(&identity, &revoked);
                }
                all.merge(revoked);
                self.deny_next(&desired, due, all)
            }
            (ApplyStage::WithdrawDenied(obstacle), Answer::Annotated(result)) => {
                self.outcome.service_account = None;
                let refused = result.err().map(|r| ConditionState::no(r.reason, r.message));
                self.outcome.overall = obstacle.or(refused);
                self.end()
            }
            (ApplyStage::Contend(at), Answer::Reviewed(review)) => self.contended(&desired, at, &review),
            (ApplyStage::Observe, Answer::Observed(observed)) => match observed {
                Ok(snapshot) => self.observed(&desired, snapshot),
                Err(obstacle) => self.unresolved(&desired, &obstacle),
            },
            (ApplyStage::Rebuild(snapshot), Answer::Done) => self.planned(&desired, *snapshot),
            (ApplyStage::LookWhileSuspended(snapshot), Answer::Found(account)) => {
                let input = self.input(&desired);
                suspended::look(&mut self.outcome, &desired, &input, &snapshot, account.as_ref());
                self.end()
            }
            (ApplyStage::Confirm(act), Answer::Confirmed { after_trouble: true }) => {
                self.stage = ApplyStage::ReviewAgain(act);
                Effect::Review(desired.grant())
            }
            (ApplyStage::Confirm(act), Answer::Confirmed { after_trouble: false }) => {
                self.confirmed(&desired, act)
            }
            // What was answered before the trouble may have been wrong: the next pass knows.
            (ApplyStage::ReviewAgain(act), Answer::Reviewed(Ok(Review::Granted | Review::Disabled))) => {
                self.confirmed(&desired, act)
            }
            (ApplyStage::Record(act), Answer::Done) => self.recorded(&desired, act),
            (ApplyStage::Write(act, attempt), Answer::Written(written)) => {
                self.written(&desired, act, attempt, written)
            }
            (ApplyStage::Displaced(snapshot), Answer::Done) => self.trusted(&desired, snapshot),
            (ApplyStage::FindAccount(snapshot), Answer::Found(account)) => {
                self.found(&desired, &snapshot, account.as_ref())
            }
            (ApplyStage::Annotate(annotating), Answer::Annotated(result)) => match result {
                Ok(uid) => {
                    self.outcome.client_id_replaced = annotating.replaces_client_id;
                    self.annotated(&desired, uid, annotating.origin)
                }
                Err(refusal) => {
                    self.outcome.annotated = ConditionState::no(refusal.reason, refusal.message);
                    self.revoke_earlier(&desired)
                }
            },
            (ApplyStage::WithdrawEarlier, Answer::Annotated(result)) => {
                if let Err(refusal) = result {
                    self.outcome.annotated = ConditionState::no(refusal.reason, refusal.message);
                }
                self.revoke_earlier(&desired)
            }
            (ApplyStage::RevokeEarlier(rest), Answer::Revoked(revoked)) => {
                self.earlier_revoked(&revoked);
                self.revoke_next(rest)
            }
            _ => Effect::End(End::Outdated),
        }
    }

    fn end(&mut self) -> Effect {
        report(std::mem::take(&mut self.outcome))
    }

    /// The spec cannot be understood. What an earlier one made stands, for as long as it is granted: its
    /// revocation goes by the record, and once that holds nothing more, the ids go as well.
    fn invalid(&mut self, invalid: ConditionState, stage: &ApplyStage, answer: &Answer) -> Effect {
        let reported = self.known.reported.status.credential.as_ref();
        let is_lost = self.known.of_binding.is_empty()
            && reported.is_some_and(|credential| credential.origin == CredentialOrigin::Created);
        match (stage, answer) {
            (ApplyStage::Start, Answer::Begin) if is_lost => {
                self.outcome.overall = Some(invalid);
                self.outcome.identity = None;
                self.outcome.credential = None;
                self.stage = ApplyStage::WithdrawInvalid;
                let accounts = super::accounts(&self.subject, &self.known, &self.subject.service_account);
                Effect::Withdraw(accounts)
            }
            (ApplyStage::Start, Answer::Begin) => {
                self.outcome.overall = Some(invalid);
                self.end()
            }
            (ApplyStage::WithdrawInvalid, Answer::Annotated(taken_off)) => {
                if taken_off.is_ok() {
                    self.outcome.service_account = None;
                }
                self.end()
            }
            _ => Effect::End(End::Outdated),
        }
    }
}

/// What the ServiceAccount is to carry as ours.
pub(super) fn wanted(desired: &Desired, snapshot: &Snapshot) -> Annotations {
    if !desired.service_account.annotate {
        return Annotations::new();
    }
    annotations::wanted(
        &snapshot.identity.client_id,
        &snapshot.identity.tenant_id,
        desired.service_account.token_expiration_seconds,
    )
}

/// Whether a recorded credential is for another ServiceAccount or on another identity than the spec names.
fn is_elsewhere(held: &Held, desired: &Desired) -> bool {
    held.identity != desired.identity || held.entry.subject != desired.credential.tuple.subject
}

/// The identity, as a status reports it.
pub(super) fn resolved(desired: &Desired, snapshot: &Snapshot) -> IdentityStatus {
    IdentityStatus {
        resource_id: desired.identity.to_string(),
        client_id: Some(snapshot.identity.client_id.clone()),
        principal_id: Some(snapshot.identity.principal_id.clone()),
        tenant_id: Some(snapshot.identity.tenant_id.clone()),
    }
}

/// An object that cannot be read at all.
pub fn unreadable(error: &str) -> Outcome {
    let message = format!(
        "the object cannot be read by this version of the operator: {}. Correct it or delete it",
        text::quote(error)
    );
    conditions::whole(Reason::InvalidSpec, message)
}
