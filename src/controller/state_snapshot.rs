//! The state of bindings, identities and credentials, for whoever counts them: read from the watches at the moment of
//! the question, so that it is right whatever came before.

use jiff::Timestamp;
use kube::core::ObjectMeta;
use strum::IntoEnumIterator;

use super::context::Context;
use super::index::Guarded;
use crate::api::{ConditionType, CredentialState, Reason, WorkloadIdentityBindingStatus};
use crate::core::conditions;

/// The state of one binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingState {
    /// Whether it is ready; `None` when nobody could tell, or has looked yet.
    pub ready: Option<bool>,
    /// Whether a person must act.
    pub stalled: bool,
    /// The reason under `Ready`; `None` for a word that is not one of ours.
    pub reason: Option<Reason>,
    /// Since when it has not been ready, as far as it says so itself.
    pub not_ready_since: Option<Timestamp>,
}

/// What there is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSnapshot {
    /// The state of every binding.
    pub bindings: Vec<BindingState>,
    /// How many credentials each identity holds, of those that bindings name and Azure has answered for.
    pub identities: Vec<usize>,
    /// How many credentials of ours are in which state, by the records. A state may come more than once.
    pub credentials: Vec<(CredentialState, usize)>,
}

impl StateSnapshot {
    /// What the running controller knows now.
    pub(super) fn of(context: &Context) -> Self {
        Self {
            bindings: context.bindings.state().iter().map(|o| of_object(o)).collect(),
            identities: context.parts.lanes.held(),
            credentials: context.records.states(),
        }
    }
}

fn of_object(object: &Guarded) -> BindingState {
    match &object.0 {
        Ok(binding) => {
            let none = WorkloadIdentityBindingStatus::default();
            of_status(&binding.metadata, binding.status.as_ref().unwrap_or(&none))
        }
        // What such an object says of itself cannot be read.
        Err(invalid) => BindingState {
            ready: Some(false),
            stalled: true,
            reason: Some(Reason::InvalidSpec),
            not_ready_since: invalid.metadata.creation_timestamp.as_ref().map(|t| t.0),
        },
    }
}

fn of_status(meta: &ObjectMeta, status: &WorkloadIdentityBindingStatus) -> BindingState {
    let ready = conditions::find(status, ConditionType::Ready);
    let current = ready.filter(|_| status.observed_generation == meta.generation);
    let deleted = meta.deletion_timestamp.as_ref().map(|t| t.0);
    let created = meta.creation_timestamp.as_ref().map(|t| t.0);
    let said = |reason: &str| Reason::iter().find(|known| known.as_str() == reason);
    match (current, deleted) {
        (Some(condition), None) => BindingState {
            ready: match condition.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            stalled: conditions::is_true(status, ConditionType::Stalled),
            reason: said(&condition.reason),
            not_ready_since: Some(condition.last_transition_time.0).filter(|_| condition.status != "True"),
        },
        // It has to say why it is still there.
        (Some(condition), Some(_)) if condition.status != "True" => BindingState {
            ready: Some(false),
            stalled: conditions::is_true(status, ConditionType::Stalled),
            reason: said(&condition.reason),
            not_ready_since: deleted,
        },
        (_, Some(_)) => BindingState {
            ready: Some(false),
            stalled: false,
            reason: Some(Reason::Deleting),
            not_ready_since: deleted,
        },
        // Not reconciled since it was made or changed. When it was changed nobody knows.
        (None, None) => BindingState {
            ready: None,
            stalled: false,
            reason: Some(Reason::Progressing),
            not_ready_since: match ready {
                None => created,
                Some(earlier) if earlier.status != "True" => Some(earlier.last_transition_time.0),
                Some(_) => None,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::core::{ConditionState, Outcome};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn meta(generation: i64, deleted: Option<i64>) -> ObjectMeta {
        ObjectMeta {
            generation: Some(generation),
            creation_timestamp: Some(Time(at(100))),
            deletion_timestamp: deleted.map(|second| Time(at(second))),
            ..ObjectMeta::default()
        }
    }

    fn status(verdict: ConditionState) -> WorkloadIdentityBindingStatus {
        let outcome = Outcome {
            overall: Some(verdict),
            ..Outcome::default()
        };
        conditions::status(
            &outcome,
            &WorkloadIdentityBindingStatus::default(),
            Some(1),
            at(200),
        )
    }

    fn summary(
        meta: &ObjectMeta,
        status: &WorkloadIdentityBindingStatus,
    ) -> (Option<bool>, bool, &'static str, i64) {
        let state = of_status(meta, status);
        (
            state.ready,
            state.stalled,
            state.reason.map_or("?", Reason::as_str),
            state.not_ready_since.map_or(0, Timestamp::as_second),
        )
    }

    #[test]
    fn the_state_of_a_binding_is_what_it_says_of_its_current_generation() {
        let ready = status(ConditionState::yes(Reason::Synced, ""));
        let denied = status(ConditionState::no(Reason::NotAuthorized, ""));
        let unseen = status(ConditionState::unknown(Reason::AzureUnavailable, ""));
        let new = WorkloadIdentityBindingStatus::default();
        for (meta, status, expected) in [
            (meta(1, None), &ready, (Some(true), false, "Synced", 0)),
            (meta(1, None), &denied, (Some(false), true, "NotAuthorized", 200)),
            (meta(1, None), &unseen, (None, false, "AzureUnavailable", 200)),
            (meta(1, None), &new, (None, false, "Progressing", 100)),
            (meta(2, None), &ready, (None, false, "Progressing", 0)),
            (meta(2, None), &denied, (None, false, "Progressing", 200)),
            (meta(2, Some(300)), &ready, (Some(false), false, "Deleting", 300)),
            (
                meta(1, Some(300)),
                &denied,
                (Some(false), true, "NotAuthorized", 300),
            ),
        ] {
            assert_eq!(summary(&meta, status), expected, "{meta:?} {status:?}");
        }
    }

    #[test]
    fn a_reason_that_is_none_of_ours_is_no_reason() {
        let mut forged = status(ConditionState::no(Reason::NotAuthorized, ""));
        forged.conditions[0].reason = "Whatever".to_owned();
        assert_eq!(summary(&meta(1, None), &forged).2, "?");
    }
}
