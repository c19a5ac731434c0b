//! From outcome to `status`: the one place where conditions are made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Outcome, Verdict};
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
            Verdict {
                holds: Some(true),
                ..ready.clone()
            },
        )
    });
    let steps = outcome.steps().map(|(kind, verdict)| (kind, verdict.clone()));

    let conditions = [(ConditionType::Ready, ready)]
        .into_iter()
        .chain(steps)
        .chain(flagged)
        .map(|(kind, verdict)| condition(kind, verdict, &previous.conditions, generation, now))
        .collect();

    WorkloadIdentityBindingStatus {
        observed_generation: generation,
        conditions,
        identity: outcome.identity.clone(),
        credential: outcome.credential.clone(),
        service_account: outcome.service_account.clone(),
        superseded: outcome.superseded.clone(),
    }
}

fn condition(
    kind: ConditionType,
    verdict: Verdict,
    previous: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match verdict.holds {
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
        reason: verdict.reason.as_str().to_owned(),
        message: verdict.message,
        observed_generation: generation,
        last_transition_time: unchanged.map_or(Time(whole_seconds), |c| c.last_transition_time.clone()),
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
        overall: Some(Verdict::no(reason, message)),
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
            authorized: Verdict::yes(Reason::Granted, ""),
            identity_resolved: Verdict::yes(Reason::Found, ""),
            credential_synced: Verdict::yes(Reason::Created, ""),
            annotated: Verdict::yes(Reason::Annotated, ""),
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
            annotated: Verdict::no(Reason::FieldConflict, "x"),
            ..in_order()
        };
        let second = status(&failed, &first, Some(1), at(99));
        let time = |s: &WorkloadIdentityBindingStatus, i: usize| s.conditions[i].last_transition_time.0;
        assert_eq!((time(&second, 0), time(&second, 1)), (at(99), at(5)));
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
}
