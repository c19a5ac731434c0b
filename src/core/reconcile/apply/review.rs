//! May the ServiceAccount use the identity, and is it this binding's turn to write on it?

use super::{Apply, ApplyStage, is_elsewhere};
use crate::api::{CredentialOrigin, Reason};
use crate::core::reconcile::{Contender, Due, Effect, Held, Review, Revoked};
use crate::core::{ConditionState, Desired, IdentityId, text};

impl Apply {
    pub(super) fn reviewed(&mut self, desired: &Desired, review: Result<Review, String>) -> Effect {
        self.outcome.authorized = match review {
            Ok(Review::Granted) => ConditionState::yes(Reason::Granted, "A grant allows it."),
            Ok(Review::Disabled) => ConditionState::yes(
                Reason::AuthorizationDisabled,
                "The operator runs with --authorization=none.",
            ),
            Ok(Review::Denied) => {
                self.outcome.authorized =
                    ConditionState::no(Reason::NotAuthorized, desired.grant().how_to_grant());
                if !self.known.reported.was_ready {
                    return self.deny(desired);
                }
                // Whoever was granted a moment ago is told otherwise only on what storage says.
                self.stage = ApplyStage::ConfirmDenied;
                return Effect::Confirm;
            }
            Err(error) => {
                let message = format!("cannot check the grant: {}", text::quote(&error));
                self.outcome.authorized = ConditionState::unknown(Reason::AuthorizationCheckFailed, message);
                return self.end();
            }
        };
        self.contend(desired, 0)
    }

    /// The pair of the spec is not granted. It is taken back, suspended or not: whoever may edit the binding
    /// must not keep what an administrator has revoked. A pair of an earlier spec stands for as long as it
    /// is granted itself.
    pub(super) fn deny(&mut self, desired: &Desired) -> Effect {
        let subject = &desired.credential.tuple.subject;
        let mut due = Vec::new();
        if self.known.recorded.iter().any(|entry| entry.subject == *subject) {
            due.push((desired.identity.clone(), Due::Denied(subject.clone())));
        }
        // The grants of earlier pairs may be gone as well: what stands in the way there is told here, too.
        for held in self
            .known
            .of_binding
            .iter()
            .filter(|held| is_elsewhere(held, desired))
        {
            let denied = (held.identity.clone(), Due::Denied(held.entry.subject.clone()));
            if !due.contains(&denied) {
                due.push(denied);
            }
        }
        due.reverse();
        self.deny_next(desired, due, Revoked::default())
    }

    pub(super) fn deny_next(
        &mut self,
        desired: &Desired,
        due: Vec<(IdentityId, Due)>,
        revoked: Revoked,
    ) -> Effect {
        match due.last().cloned() {
            Some((identity, denied)) => {
                self.stage = ApplyStage::RevokeDenied(due, revoked);
                Effect::Revoke(identity, denied)
            }
            None => self.denied(desired, &revoked),
        }
    }

    /// What is gone on this identity is nothing that the binding has any more. The entries of one
    /// ServiceAccount are alike on all identities.
    pub(super) fn forget(&mut self, identity: &IdentityId, revoked: &Revoked) {
        self.known.of_binding.retain(|held| {
            held.identity != *identity || revoked.gone.iter().all(|(entry, _)| *entry != held.entry)
        });
    }

    pub(super) fn denied(&mut self, desired: &Desired, revoked: &Revoked) -> Effect {
        let reported = &self.known.reported.status;
        let adopted_elsewhere = reported.credential.as_ref().is_some_and(|credential| {
            let identity = reported.identity.as_ref();
            credential.origin == CredentialOrigin::Adopted
                && identity.is_some_and(|i| !i.resource_id.eq_ignore_ascii_case(desired.identity.key()))
        });
        let obstacle = revoked.first_obstacle().map(|(obstacle, _)| {
            self.outcome.wait = revoked.wait();
            let message = format!("the grant is gone, but the operator {}", revoked.told());
            ConditionState::no(obstacle.fault.reason(), message)
        });
        let is_earlier = |held: &Held| is_elsewhere(held, desired);
        if self.known.of_binding.iter().any(is_earlier) || adopted_elsewhere {
            self.outcome.overall = obstacle;
            return self.end();
        }
        if obstacle.is_none() {
            self.outcome.identity = None;
            self.outcome.credential = None;
        }
        self.stage = ApplyStage::WithdrawDenied(obstacle);
        Effect::Withdraw(self.accounts(desired))
    }

    /// The ServiceAccount of the spec, and the one that an earlier spec had annotated.
    pub(super) fn accounts(&self, desired: &Desired) -> Vec<(String, String)> {
        crate::core::reconcile::accounts(&self.subject, &self.known, &desired.service_account.name)
    }

    /// Goes on with the first older binding from `at` on that may write on the ServiceAccount.
    pub(super) fn contend(&mut self, desired: &Desired, at: usize) -> Effect {
        let open = self.known.contenders.iter().enumerate().skip(at);
        let mut open = open.filter(|(_, contender)| contender.granted != Some(false));
        let next = if desired.service_account.annotate {
            open.next().map(|(at, contender)| (at, contender.clone()))
        } else {
            None
        };
        match next {
            None => {
                self.stage = ApplyStage::Observe;
                Effect::Observe(desired.identity.clone(), self.known.fresh)
            }
            Some((_, contender)) if contender.granted == Some(true) => self.taken(desired, &contender),
            Some((at, contender)) => {
                self.stage = ApplyStage::Contend(at);
                Effect::Review(contender.request)
            }
        }
    }

    pub(super) fn contended(
        &mut self,
        desired: &Desired,
        at: usize,
        review: &Result<Review, String>,
    ) -> Effect {
        match self.known.contenders.get(at).cloned() {
            // An error is no denial: the older one may well be granted.
            Some(contender) if *review != Ok(Review::Denied) => self.taken(desired, &contender),
            _ => self.contend(desired, at + 1),
        }
    }

    pub(super) fn taken(&mut self, desired: &Desired, by: &Contender) -> Effect {
        let message = format!(
            "binding {} is older and annotates ServiceAccount {} already; set annotate: false here, or remove that one",
            by.name, desired.service_account.name
        );
        self.outcome.annotated = ConditionState::no(Reason::ServiceAccountTaken, message);
        self.outcome.overall = Some(self.outcome.annotated.clone());
        self.end()
    }
}
