//! From outcome to `status`: the one place where conditions are made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::IntoEnumIterator;

use super::{ConditionState, Outcome};
use crate::api::{ConditionType, Disposition, Reason, WorkloadIdentityBindingStatus};

/// The status that says what `outcome` found.
///
/// Every type but the two abnormal-true ones is always present, in a fixed order. The transition
/// time of a condition moves only when its status does, so that an unchanged world makes an
/// unchanged status.
pub fn status(
    outcome: &Outcome,
    previous: &WorkloadIdentityBindingStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> WorkloadIdentityBindingStatus {
    let ready = outcome.ready();
    let abnormal = match outcome.disposition() {
        Disposition::Done => None,
        Disposition::Stalled => Some(ConditionType::Stalled),
        Disposition::Working | Disposition::RetrySoon | Disposition::RetrySlowly => {
            Some(ConditionType::Reconciling)
        }
    };
    let flagged = abnormal.map(|kind| {
        (
            kind,
            ConditionState {
                holds: Some(true),
                ..ready.clone()
            },
        )
    });
    let steps = outcome.steps().map(|(kind, state)| (kind, state.clone()));

    let conditions = [(ConditionType::Ready, ready)]
        .into_iter()
        .chain(steps)
        .chain(flagged)
        .map(|(kind, state)| condition(kind, state, &previous.conditions, generation, now))
        .collect();

    WorkloadIdentityBindingStatus {
        observed_generation: generation,
        conditions,
        identity: outcome.identity.clone(),
        credential: outcome.credential.clone(),
        service_account: outcome.service_account.clone(),
    }
}

fn condition(
    kind: ConditionType,
    state: ConditionState,
    previous: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match state.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let unchanged = previous
        .iter()
        .find(|c| c.type_ == kind.as_str() && c.status == status);
    // The API keeps whole seconds; a finer time would differ from what it hands back.
    let whole_seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.as_str().to_owned(),
        status: status.to_owned(),
        reason: state.reason.as_str().to_owned(),
        message: state.message,
        observed_generation: generation,
        last_transition_time: unchanged.map_or(Time(whole_seconds), |c| c.last_transition_time.clone()),
    }
}

/// What a status says, as the outcome that would say the same: for putting one sentence over it.
pub fn outcome(status: &WorkloadIdentityBindingStatus) -> Outcome {
    let state = |kind: ConditionType| {
        let said = find(status, kind)?;
        let reason = Reason::iter().find(|reason| reason.as_str() == said.reason)?;
        let holds = match said.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Some(ConditionState {
            holds,
            reason,
            message: said.message.clone(),
        })
    };
    let or_pending = |kind| state(kind).unwrap_or_else(ConditionState::pending);
    Outcome {
        authorized: or_pending(ConditionType::Authorized),
        identity_resolved: or_pending(ConditionType::IdentityResolved),
        credential_synced: or_pending(ConditionType::CredentialSynced),
        annotated: or_pending(ConditionType::ServiceAccountAnnotated),
        identity: status.identity.clone(),
        credential: status.credential.clone(),
        service_account: status.service_account.clone(),
        ..Outcome::default()
    }
}

/// The condition of this type.
pub fn find(status: &WorkloadIdentityBindingStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.type_ == kind.as_str())
}

/// Whether a condition of this type is `True`.
pub fn is_true(status: &WorkloadIdentityBindingStatus, kind: ConditionType) -> bool {
    find(status, kind).is_some_and(|c| c.status == "True")
}

/// Whether the status says that this generation is ready.
pub fn is_ready(status: &WorkloadIdentityBindingStatus, generation: Option<i64>) -> bool {
    status.observed_generation == generation && is_true(status, ConditionType::Ready)
}

/// Whether the last word on this generation was that it is ready, or that nobody knows any more.
pub fn is_not_known_bad(status: &WorkloadIdentityBindingStatus, generation: Option<i64>) -> bool {
    let ready = find(status, ConditionType::Ready);
    status.observed_generation == generation && ready.is_some_and(|c| c.status != "False")
}

/// The reason under `Ready`, as text: what the last visit said.
pub fn ready_reason(status: &WorkloadIdentityBindingStatus) -> Option<&str> {
    find(status, ConditionType::Ready).map(|ready| ready.reason.as_str())
}

/// An outcome in which one thing is wrong with the object as a whole.
pub fn whole(reason: Reason, message: impl Into<String>) -> Outcome {
    Outcome {
        overall: Some(ConditionState::no(reason, message)),
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn in_order() -> Outcome {
        Outcome {
            authorized: ConditionState::yes(Reason::Granted, ""),
            identity_resolved: ConditionState::yes(Reason::Found, ""),
            credential_synced: ConditionState::yes(Reason::Created, ""),
            annotated: ConditionState::yes(Reason::Annotated, ""),
            ..Outcome::default()
        }
    }

    fn types(status: &WorkloadIdentityBindingStatus) -> Vec<&str> {
        status.conditions.iter().map(|c| c.type_.as_str()).collect()
    }

    #[test]
    fn all_types_are_there_from_the_first_visit_and_in_order() {
        let status = status(
            &Outcome::default(),
            &WorkloadIdentityBindingStatus::default(),
            Some(1),
            at(5),
        );
        let expected = [
            "Ready",
            "Authorized",
            "IdentityResolved",
            "CredentialSynced",
            "ServiceAccountAnnotated",
            "Reconciling",
        ];
        assert_eq!(types(&status), expected);
    }

    #[test]
    fn what_is_in_order_is_ready_and_carries_no_abnormal_condition() {
        let status = status(
            &in_order(),
            &WorkloadIdentityBindingStatus::default(),
            Some(1),
            at(5),
        );
        assert!(is_ready(&status, Some(1)) && !is_ready(&status, Some(2)));
        assert_eq!(types(&status).len(), 5);
    }

    #[test]
    fn times_move_only_with_the_status() {
        let first = status(
            &in_order(),
            &WorkloadIdentityBindingStatus::default(),
            Some(1),
            at(5),
        );
        assert_eq!(status(&in_order(), &first, Some(1), at(99)), first);
        let failed = Outcome {
            annotated: ConditionState::no(Reason::FieldConflict, "x"),
            ..in_order()
        };
        let second = status(&failed, &first, Some(1), at(99));
        let time = |s: &WorkloadIdentityBindingStatus, i: usize| s.conditions[i].last_transition_time.0;
        assert_eq!((time(&second, 0), time(&second, 1)), (at(99), at(5)));
        // Each by itself: two conditions of one status have moved at different times.
        let third = status(&in_order(), &second, Some(1), at(200));
        assert_eq!((time(&third, 0), time(&third, 1)), (at(200), at(5)));
        assert_eq!(status(&in_order(), &third, Some(1), at(300)), third);
    }

    #[test]
    fn reconciling_and_stalled_are_never_set_together() {
        for reason in Reason::iter() {
            let status = status(
                &whole(reason, "x"),
                &WorkloadIdentityBindingStatus::default(),
                None,
                at(1),
            );
            let abnormal = types(&status)
                .iter()
                .filter(|t| ["Reconciling", "Stalled"].contains(t))
                .count();
            assert!(abnormal <= 1, "{reason:?}");
        }
    }

    fn said(outcome: &Outcome) -> WorkloadIdentityBindingStatus {
        status(outcome, &WorkloadIdentityBindingStatus::default(), Some(3), at(5))
    }

    #[test]
    fn what_a_status_says_comes_back_as_the_outcome_that_said_it() {
        let outcome = Outcome {
            authorized: ConditionState::yes(Reason::Granted, "a"),
            identity_resolved: ConditionState::no(Reason::IdentityNotFound, "b"),
            credential_synced: ConditionState::unknown(Reason::Progressing, "c"),
            annotated: ConditionState::no(Reason::FieldConflict, "d"),
            identity: Some(crate::api::IdentityStatus {
                resource_id: "id".to_owned(),
                ..Default::default()
            }),
            credential: Some(crate::api::CredentialStatus {
                name: "credential".to_owned(),
                ..Default::default()
            }),
            service_account: Some(crate::api::ServiceAccountStatus {
                name: "web".to_owned(),
                ..Default::default()
            }),
            ..Outcome::default()
        };
        assert_eq!(super::outcome(&said(&outcome)), outcome);
        assert_eq!(
            super::outcome(&WorkloadIdentityBindingStatus::default()),
            Outcome::default()
        );
    }

    #[test]
    fn a_reason_of_a_later_version_is_nothing_that_was_said() {
        let mut status = said(&in_order());
        let authorized = status.conditions.iter_mut().find(|c| c.type_ == "Authorized");
        authorized.unwrap().reason = "FromTheFuture".to_owned();
        let outcome = super::outcome(&status);
        assert_eq!(outcome.authorized, ConditionState::pending());
        assert_eq!(outcome.identity_resolved, in_order().identity_resolved);
    }

    #[test]
    fn true_false_and_unknown_are_written_as_such_and_in_whole_seconds() {
        let outcome = Outcome {
            identity_resolved: ConditionState::no(Reason::IdentityNotFound, "gone"),
            ..in_order()
        };
        let late = at(5) + jiff::SignedDuration::from_millis(700);
        let status = status(&outcome, &WorkloadIdentityBindingStatus::default(), Some(3), late);
        let written = |kind| {
            let c = find(&status, kind).unwrap();
            (c.status.as_str(), c.reason.as_str(), c.message.as_str())
        };
        assert_eq!(written(ConditionType::Authorized), ("True", "Granted", ""));
        assert_eq!(
            written(ConditionType::IdentityResolved),
            ("False", "IdentityNotFound", "gone")
        );
        assert_eq!(
            written(ConditionType::Ready),
            ("False", "IdentityNotFound", "gone")
        );
        let unknown = said(&Outcome::default());
        assert_eq!(
            find(&unknown, ConditionType::Authorized).unwrap().status,
            "Unknown"
        );
        assert!(
            status
                .conditions
                .iter()
                .all(|c| c.last_transition_time.0 == at(5))
        );
        assert!(status.conditions.iter().all(|c| c.observed_generation == Some(3)));
        assert_eq!(status.observed_generation, Some(3));
    }

    #[test]
    fn what_a_person_must_mend_is_stalled_and_what_goes_on_is_reconciling() {
        for (reason, expected) in [
            (Reason::NotAuthorized, Some(ConditionType::Stalled)),
            (Reason::Pending, Some(ConditionType::Reconciling)),
            (Reason::AzureThrottled, Some(ConditionType::Reconciling)),
            (Reason::AzureAccessDenied, Some(ConditionType::Reconciling)),
            (Reason::Suspended, None),
        ] {
            let status = said(&whole(reason, "x"));
            for kind in [ConditionType::Stalled, ConditionType::Reconciling] {
                assert_eq!(is_true(&status, kind), expected == Some(kind), "{reason:?}");
            }
        }
    }

    #[test]
    fn not_known_bad_is_ready_or_unknown_of_this_generation() {
        let ready = said(&in_order());
        assert!(is_not_known_bad(&ready, Some(3)));
        assert!(!is_not_known_bad(&ready, Some(4)));
        assert_eq!(ready_reason(&ready), Some("Synced"));
        assert!(!is_true(&ready, ConditionType::Stalled));

        let bad = said(&whole(Reason::NotAuthorized, "x"));
        assert!(!is_not_known_bad(&bad, Some(3)) && !is_ready(&bad, Some(3)));
        assert_eq!(ready_reason(&bad), Some("NotAuthorized"));

        let unknown = Outcome {
            overall: Some(ConditionState::unknown(Reason::KubernetesUnavailable, "x")),
            ..in_order()
        };
        let unknown = said(&unknown);
        assert!(is_not_known_bad(&unknown, Some(3)) && !is_ready(&unknown, Some(3)));
        let empty = WorkloadIdentityBindingStatus::default();
        assert!(!is_not_known_bad(&empty, None) && !is_ready(&empty, None));
        assert_eq!(ready_reason(&empty), None);
    }
}
