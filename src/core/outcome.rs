//! What one pass found and did, and what it adds up to.

use std::time::Duration;

use crate::api::{
    ConditionType, CredentialStatus, Disposition, IdentityStatus, Reason, ServiceAccountStatus,
};

/// What is said of one condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConditionState {
    /// True, false, or unknown.
    pub holds: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// A sentence a person can act on. Deterministic: no times, no ids of requests, no counters.
    pub message: String,
}

impl ConditionState {
    /// The condition holds.
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(true),
            reason,
            message: message.into(),
        }
    }

    /// The condition does not hold.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(false),
            reason,
            message: message.into(),
        }
    }

    /// It could not be found out.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: None,
            reason,
            message: message.into(),
        }
    }

    /// An earlier step has to succeed first.
    pub fn pending() -> Self {
        Self::unknown(Reason::Pending, "Waits for an earlier step.")
    }
}

/// What one pass found and did. The only input to conditions, requeue, event and metric.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// May the ServiceAccount use the identity?
    pub authorized: ConditionState,
    /// Does the identity exist?
    pub identity_resolved: ConditionState,
    /// Does the credential stand?
    pub credential_synced: ConditionState,
    /// Does the ServiceAccount carry the ids?
    pub annotated: ConditionState,
    /// Set when one sentence stands for the whole object, whatever the steps say.
    pub overall: Option<ConditionState>,
    /// Goes into `status.identity`.
    pub identity: Option<IdentityStatus>,
    /// Goes into `status.credential`.
    pub credential: Option<CredentialStatus>,
    /// Goes into `status.serviceAccount`.
    pub service_account: Option<ServiceAccountStatus>,
    /// Another client id of ours stood on the ServiceAccount: pods that run already still have it.
    pub client_id_replaced: bool,
    /// A credential that we had made was missing or changed in Azure, and was put right.
    pub is_repair: bool,
    /// The shortest time after which the other side wants to be asked again.
    pub wait: Option<Duration>,
    /// How old the shared read of the identity was.
    pub age: Duration,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            authorized: ConditionState::pending(),
            identity_resolved: ConditionState::pending(),
            credential_synced: ConditionState::pending(),
            annotated: ConditionState::pending(),
            overall: None,
            identity: None,
            credential: None,
            service_account: None,
            client_id_replaced: false,
            is_repair: false,
            wait: None,
            age: Duration::ZERO,
        }
    }
}

impl Outcome {
    /// The four steps, in the order of the flow.
    pub fn steps(&self) -> [(ConditionType, &ConditionState); 4] {
        [
            (ConditionType::Authorized, &self.authorized),
            (ConditionType::IdentityResolved, &self.identity_resolved),
            (ConditionType::CredentialSynced, &self.credential_synced),
            (ConditionType::ServiceAccountAnnotated, &self.annotated),
        ]
    }

    /// The state of the whole: the first step that does not hold speaks for it.
    pub fn ready(&self) -> ConditionState {
        if let Some(overall) = &self.overall {
            return overall.clone();
        }
        let failed = self
            .steps()
            .into_iter()
            .find(|(_, state)| state.holds != Some(true));
        failed.map_or_else(
            || {
                ConditionState::yes(
                    Reason::Synced,
                    "The identity trusts the ServiceAccount and the ServiceAccount carries the ids.",
                )
            },
            |(_, state)| ConditionState::no(state.reason, state.message.clone()),
        )
    }

    /// What the reason of [`Self::ready`] means for kstatus and for the next visit.
    pub fn disposition(&self) -> Disposition {
        self.ready().reason.disposition()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order() -> Outcome {
        Outcome {
            authorized: ConditionState::yes(Reason::Granted, "a"),
            identity_resolved: ConditionState::yes(Reason::Found, "b"),
            credential_synced: ConditionState::yes(Reason::Created, "c"),
            annotated: ConditionState::yes(Reason::Annotated, "d"),
            ..Outcome::default()
        }
    }

    #[test]
    fn the_whole_is_ready_when_every_step_holds() {
        let ready = in_order().ready();
        assert_eq!((ready.holds, ready.reason), (Some(true), Reason::Synced));
        assert_eq!(in_order().disposition(), Disposition::Done);
    }

    #[test]
    fn the_first_step_that_does_not_hold_speaks_for_the_whole() {
        let mut outcome = in_order();
        outcome.annotated = ConditionState::no(Reason::FieldConflict, "held");
        let state = |reason, message: &str| ConditionState::no(reason, message);
        assert_eq!(outcome.ready(), state(Reason::FieldConflict, "held"));
        outcome.identity_resolved = ConditionState::unknown(Reason::AzureUnavailable, "no answer");
        assert_eq!(outcome.ready(), state(Reason::AzureUnavailable, "no answer"));
        assert_eq!(outcome.disposition(), Disposition::RetrySoon);
        let pending = Outcome::default().ready();
        assert_eq!(pending, state(Reason::Pending, "Waits for an earlier step."));
    }

    #[test]
    fn one_sentence_over_the_whole_speaks_before_the_steps() {
        let said = ConditionState::yes(Reason::Suspended, "suspended");
        let outcome = Outcome {
            overall: Some(said.clone()),
            ..Outcome::default()
        };
        assert_eq!(outcome.ready(), said);
    }

    #[test]
    fn the_steps_stand_in_the_order_of_the_flow() {
        let outcome = in_order();
        let steps = outcome
            .steps()
            .map(|(kind, state)| (kind, state.message.as_str()));
        let expected = [
            (ConditionType::Authorized, "a"),
            (ConditionType::IdentityResolved, "b"),
            (ConditionType::CredentialSynced, "c"),
            (ConditionType::ServiceAccountAnnotated, "d"),
        ];
        assert_eq!(steps, expected);
    }
}
