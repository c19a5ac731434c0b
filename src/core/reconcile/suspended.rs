//! `suspend: true`: says what differs, and changes nothing.

use super::Account;
use super::apply::{resolved, wanted};
use crate::api::Reason;
use crate::core::plan::{Decision, PlanInput, plan};
use crate::core::{ConditionState, Desired, Outcome, Snapshot, ownership};

/// Says in the outcome how things stand.
pub(super) fn look(
    outcome: &mut Outcome,
    desired: &Desired,
    input: &PlanInput,
    snapshot: &Snapshot,
    account: Option<&Account>,
) {
    let planned = plan(input, &snapshot.holdings);
    outcome.credential_synced = match planned.decision {
        Decision::Refused(reason, message) => ConditionState::no(reason, message),
        Decision::Trusted(credential, origin) if planned.steps.is_empty() => {
            outcome.identity = Some(resolved(desired, snapshot));
            outcome.credential = Some(ownership::reported(&credential, origin));
            ConditionState::yes(Reason::Suspended, "The credential trusts the ServiceAccount.")
        }
        Decision::Trusted(..) => ConditionState::no(
            Reason::Suspended,
            "The credential is missing or differs; it is not written while suspended.",
        ),
    };
    outcome.annotated = annotations(desired, snapshot, account);
    let in_order = outcome.steps().iter().all(|(_, state)| state.holds == Some(true));
    outcome.overall = Some(if in_order {
        ConditionState::yes(
            Reason::Suspended,
            "Everything is in place; suspended, nothing is written.",
        )
    } else {
        ConditionState::no(
            Reason::Suspended,
            "Something differs from what is asked for (see the other conditions); suspended, nothing is written.",
        )
    });
}

fn annotations(desired: &Desired, snapshot: &Snapshot, account: Option<&Account>) -> ConditionState {
    if !desired.service_account.annotate {
        return ConditionState::yes(
            Reason::NotRequested,
            "annotate is false: nothing is written on the ServiceAccount.",
        );
    }
    match account {
        None => ConditionState::no(
            Reason::ServiceAccountNotFound,
            "The ServiceAccount does not exist.",
        ),
        Some(found) if found.present.needs_apply(&wanted(desired, snapshot)) => ConditionState::no(
            Reason::Suspended,
            "The ids are missing or differ; they are not written while suspended.",
        ),
        Some(_) => ConditionState::yes(
            Reason::Annotated,
            "The ServiceAccount carries client id and tenant id.",
        ),
    }
}
