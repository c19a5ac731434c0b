//! A binding that is being deleted. Needs neither the ServiceAccount nor events: in a terminating
//! namespace both are gone.
//!
//! Either it is let go, and what it had is marked in the record (`Retained`, `Released`); or what it had is
//! taken back, on each identity for itself, and the finalizer goes when nothing is left. Whatever stands in
//! the way is told, and the binding never says again that it is ready.

use std::collections::BTreeMap;

use super::{Answer, Due, Effect, End, Held, Known, Refusal, Revoked, Subject, report};
use crate::api::{
    CredentialState, DeletionPolicy, RELEASE_ANNOTATION, Reason, ServiceAccountOrigin, ServiceAccountStatus,
};
use crate::core::record::{self, Change};
use crate::core::{ConditionState, Credential, Fault, IdentityId, Outcome, desired};

/// One pass of a binding that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delete {
    subject: Subject,
    known: Known,
    stage: DeleteStage,
    revoked: Revoked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum DeleteStage {
    Start,
    Confirm,
    Definition,
    /// Marks in the record, one identity after the other, and then lets go.
    Mark(Vec<(IdentityId, Vec<Change>)>),
    Disown,
    /// Leaves to others what they want.
    Leave(Vec<(IdentityId, Vec<Change>)>),
    Revoke(Vec<(IdentityId, Due)>),
    Withdraw,
    RemoveFinalizer,
}

impl Delete {
    pub(super) fn new(subject: Subject, known: Known) -> Self {
        Self {
            subject,
            known,
            stage: DeleteStage::Start,
            revoked: Revoked::default(),
        }
    }

    // An arm for each step of the way, also where two end alike.
    #[allow(clippy::match_same_arms)]
    pub(super) fn next(&mut self, answer: Answer) -> Effect {
        match (std::mem::replace(&mut self.stage, DeleteStage::Start), answer) {
            (_, Answer::Outdated) => Effect::End(End::Outdated),
            // What is released is let go of, whatever Kubernetes says to the ServiceAccount.
            (DeleteStage::Disown, Answer::Failed(_)) if self.subject.is_released => self.remove_finalizer(),
            (DeleteStage::Disown, Answer::Failed(refusal)) => self.refused(&Refusal {
                message: format!(
                    "{}. The ServiceAccount is to stay: take its ownerReference off by hand",
                    refusal.message
                ),
                ..refusal
            }),
            (_, Answer::Failed(refusal)) => self.refused(&refusal),
            (DeleteStage::Start, Answer::Begin) if self.subject.has_finalizer => {
                self.stage = DeleteStage::Confirm;
                Effect::Confirm
            }
            (DeleteStage::Start, Answer::Begin) => Effect::End(End::Nothing),
            (DeleteStage::Confirm, Answer::Confirmed { .. }) => {
                if self.subject.is_released {
                    return self.let_go(CredentialState::Released);
                }
                if self.subject.deletion_policy == DeletionPolicy::Retain {
                    return self.let_go(CredentialState::Retained);
                }
                self.stage = DeleteStage::Definition;
                Effect::ReadDefinition
            }
            // Nobody deletes a definition to take every workload's access away at one stroke.
            (DeleteStage::Definition, Answer::Definition { is_going: true }) => {
                self.let_go(CredentialState::Released)
            }
            (DeleteStage::Definition, Answer::Definition { is_going: false }) => {
                let left = self.per_identity(|held| held.heir.as_ref().map(|heir| want(held, heir)));
                self.leave(left)
            }
            (DeleteStage::Mark(rest), Answer::Done) => self.mark(rest),
            (DeleteStage::Disown, Answer::Done) => self.remove_finalizer(),
            (DeleteStage::Leave(rest), Answer::Done) => self.leave(rest),
            (DeleteStage::Revoke(rest), Answer::Revoked(revoked)) => {
                self.revoked.merge(revoked);
                self.revoke(rest)
            }
            (DeleteStage::Withdraw, Answer::Annotated(Ok(_))) => self.remove_finalizer(),
            (DeleteStage::Withdraw, Answer::Annotated(Err(refusal))) => self.refused(&refusal),
            (DeleteStage::RemoveFinalizer, Answer::Done) => Effect::End(End::Nothing),
            _ => Effect::End(End::Outdated),
        }
    }

    /// Changes of records, by identity.
    fn per_identity(&self, change: impl Fn(&Held) -> Option<Change>) -> Vec<(IdentityId, Vec<Change>)> {
        let mut changes: BTreeMap<&str, (IdentityId, Vec<Change>)> = BTreeMap::new();
        for held in &self.known.of_binding {
            if let Some(change) = change(held) {
                let entry = changes.entry(held.identity.key());
                let (_, list) = entry.or_insert_with(|| (held.identity.clone(), Vec::new()));
                list.push(change);
            }
        }
        changes.into_values().collect()
    }

    fn let_go(&mut self, state: CredentialState) -> Effect {
        let current = self.subject.desired.as_ref().ok();
        let is_current = |held: &Held| {
            current.is_none_or(|desired| {
                held.identity == desired.identity && held.entry.subject == desired.credential.tuple.subject
            })
        };
        let marks = self.per_identity(|held| {
            if let Some(heir) = &held.heir {
                return Some(want(held, heir));
            }
            // What an earlier spec left is not what is to be retained.
            let state = if state == CredentialState::Retained && !is_current(held) {
                CredentialState::Orphaned
            } else {
                state
            };
            Some(Change::Mark {
                name: held.entry.name.clone(),
                state,
            })
        });
        self.mark(marks)
    }

    fn mark(&mut self, mut rest: Vec<(IdentityId, Vec<Change>)>) -> Effect {
        if let Some((identity, changes)) = rest.pop() {
            self.stage = DeleteStage::Mark(rest);
            return Effect::Record(identity, changes);
        }
        // A ServiceAccount that `create: true` made would be collected with its owner. Where access is to
        // stay, it stays. The name is part of an address, and a status can be forged.
        let account = self.known.reported.status.service_account.as_ref();
        let made = account.filter(|a| {
            a.origin == ServiceAccountOrigin::Created && desired::is_service_account_name(&a.name)
        });
        match made.cloned() {
            Some(account) => self.disown(account),
            None => self.remove_finalizer(),
        }
    }

    fn disown(&mut self, account: ServiceAccountStatus) -> Effect {
        self.stage = DeleteStage::Disown;
        Effect::Disown(account)
    }

    fn leave(&mut self, mut rest: Vec<(IdentityId, Vec<Change>)>) -> Effect {
        if let Some((identity, changes)) = rest.pop() {
            self.stage = DeleteStage::Leave(rest);
            return Effect::Record(identity, changes);
        }
        let left = self.known.of_binding.iter().filter(|held| held.heir.is_none());
        self.revoke(super::by_identity(left))
    }

    fn revoke(&mut self, mut rest: Vec<(IdentityId, Due)>) -> Effect {
        if let Some((identity, due)) = rest.pop() {
            self.stage = DeleteStage::Revoke(rest);
            return Effect::Revoke(identity, due);
        }
        let Some((obstacle, _)) = self.revoked.first_obstacle() else {
            return self.withdraw();
        };
        let told = self.revoked.told();
        let message = if obstacle.fault == Fault::Queued {
            format!("the operator {told}")
        } else {
            format!("the operator {told}. {}", way_out())
        };
        let reason = obstacle.fault.reason();
        self.blocked(reason, message, self.revoked.wait())
    }

    fn withdraw(&mut self) -> Effect {
        self.stage = DeleteStage::Withdraw;
        Effect::Withdraw(super::accounts(
            &self.subject,
            &self.known,
            &self.subject.service_account,
        ))
    }

    fn remove_finalizer(&mut self) -> Effect {
        self.stage = DeleteStage::RemoveFinalizer;
        Effect::RemoveFinalizer
    }

    fn refused(&self, refusal: &Refusal) -> Effect {
        let message = format!("{}. {}", refusal.message, way_out());
        self.blocked(refusal.reason, message, None)
    }

    fn blocked(&self, reason: Reason, message: String, wait: Option<std::time::Duration>) -> Effect {
        let deleting = || ConditionState::unknown(Reason::Deleting, "The binding is being deleted.");
        let obstacle = ConditionState::no(reason, message);
        report(Outcome {
            credential_synced: obstacle.clone(),
            overall: Some(obstacle),
            authorized: deleting(),
            identity_resolved: deleting(),
            annotated: deleting(),
            wait,
            ..self.known.reported.outcome()
        })
    }
}

fn way_out() -> String {
    format!("To let the binding go without touching Azure, annotate it with {RELEASE_ANNOTATION}: \"true\"")
}

/// The entry goes over to another binding.
fn want(held: &Held, heir: &str) -> Change {
    Change::Want {
        credential: Credential {
            name: held.entry.name.clone(),
            tuple: record::tuple(&held.entry),
        },
        binding: heir.to_owned(),
    }
}
