//! The ids on the ServiceAccount, and what an earlier spec left.

use super::{Annotating, Apply, ApplyStage, is_elsewhere, wanted};
use crate::api::{Reason, ServiceAccountOrigin, ServiceAccountStatus};
use crate::core::reconcile::{Account, Due, Effect, Revoked, by_identity};
use crate::core::{ConditionState, Desired, IdentityId, Snapshot, text};

impl Apply {
    pub(super) fn found(
        &mut self,
        desired: &Desired,
        snapshot: &Snapshot,
        account: Option<&Account>,
    ) -> Effect {
        let wanted = wanted(desired, snapshot);
        let (namespace, name) = (&desired.namespace, &desired.service_account.name);
        let Some(account) = account else {
            if desired.service_account.create {
                self.stage = ApplyStage::Annotate(Box::new(Annotating {
                    origin: ServiceAccountOrigin::Created,
                    replaces_client_id: false,
                }));
                return Effect::CreateAccount(name.clone(), wanted);
            }
            if desired.service_account.annotate {
                let message = format!(
                    "ServiceAccount {namespace}/{name} does not exist; create it, or set spec.serviceAccount.create: true"
                );
                self.outcome.annotated = ConditionState::no(Reason::ServiceAccountNotFound, message);
                return self.revoke_earlier(desired);
            }
            self.outcome.service_account = None;
            self.outcome.annotated = annotated(desired);
            return self.withdraw_earlier(desired);
        };
        // Nothing to annotate ourselves; another binding may, under the same field manager.
        let is_idle = !desired.service_account.annotate && self.known.annotated_by_another;
        if is_idle || !account.present.needs_apply(&wanted) {
            return self.annotated(desired, Some(account.uid.clone()), account.origin);
        }
        self.stage = ApplyStage::Annotate(Box::new(Annotating {
            origin: account.origin,
            replaces_client_id: desired.service_account.annotate
                && account.present.has_other_client_id(&snapshot.identity.client_id),
        }));
        Effect::Annotate(name.clone(), wanted)
    }

    pub(super) fn annotated(
        &mut self,
        desired: &Desired,
        uid: Option<String>,
        origin: ServiceAccountOrigin,
    ) -> Effect {
        self.outcome.service_account = Some(ServiceAccountStatus {
            name: desired.service_account.name.clone(),
            // Of one that somebody else makes again and again, every binding would have to write its status.
            uid: uid.filter(|_| origin == ServiceAccountOrigin::Created),
            origin,
        });
        self.outcome.annotated = annotated(desired);
        self.withdraw_earlier(desired)
    }

    /// Takes our annotations off the ServiceAccount that an earlier spec named.
    pub(super) fn withdraw_earlier(&mut self, desired: &Desired) -> Effect {
        let reported = self.known.reported.status.service_account.as_ref();
        match reported.filter(|account| account.name != desired.service_account.name) {
            Some(earlier) => {
                let account = (desired.namespace.clone(), earlier.name.clone());
                self.stage = ApplyStage::WithdrawEarlier;
                Effect::Withdraw(vec![account])
            }
            None => self.revoke_earlier(desired),
        }
    }

    /// Takes back what an earlier spec left on this and other identities, if the new trust stands whole.
    pub(super) fn revoke_earlier(&mut self, desired: &Desired) -> Effect {
        if self.outcome.annotated.holds != Some(true) {
            return self.end();
        }
        let superseded = self
            .known
            .of_binding
            .iter()
            .filter(|held| held.heir.is_none() && is_elsewhere(held, desired));
        let due = by_identity(superseded);
        self.revoke_next(due)
    }

    pub(super) fn revoke_next(&mut self, mut rest: Vec<(IdentityId, Due)>) -> Effect {
        let Some((identity, due)) = rest.pop() else {
            return self.end();
        };
        self.stage = ApplyStage::RevokeEarlier(rest);
        Effect::Revoke(identity, due)
    }

    pub(super) fn earlier_revoked(&mut self, revoked: &Revoked) {
        let Some((obstacle, _)) = revoked.first_obstacle() else {
            return;
        };
        let told = format!(
            "a credential of an earlier spec still stands: {}",
            text::quote(&revoked.told())
        );
        self.outcome.wait = self.outcome.wait.max(revoked.wait());
        // All obstacles are told, the first of them under its reason.
        self.outcome.credential_synced = match self.outcome.credential_synced.holds {
            Some(false) => ConditionState::no(
                self.outcome.credential_synced.reason,
                format!("{}; {told}", self.outcome.credential_synced.message),
            ),
            _ => ConditionState::no(obstacle.fault.reason(), told),
        };
    }
}

fn annotated(desired: &Desired) -> ConditionState {
    if desired.service_account.annotate {
        ConditionState::yes(
            Reason::Annotated,
            "The ServiceAccount carries client id and tenant id; pods get them when they start.",
        )
    } else {
        ConditionState::yes(
            Reason::NotRequested,
            "annotate is false: nothing is written on the ServiceAccount.",
        )
    }
}
