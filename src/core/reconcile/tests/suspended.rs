//! `suspend: true`: how things stand is said, and nothing is written.

use super::*;
use crate::core::annotations::CLIENT_ID;

/// One pass of a suspended binding: two reads, and a look at the ServiceAccount.
fn look(desired: Desired, known: Known, held: Vec<Credential>, found: Answer) -> Outcome {
    let desired = Desired {
        suspend: true,
        ..desired
    };
    // Even without the finalizer, and without a record: nothing is written.
    let subject = Subject {
        has_finalizer: false,
        ..subject(desired)
    };
    report_of(
        subject,
        known,
        [
            (review(), GRANTED),
            (observe(), observed(held)),
            (find_account(), found),
        ],
    )
}

const DIFFERS: &str =
    "Something differs from what is asked for (see the other conditions); suspended, nothing is written.";

fn differs() -> Option<ConditionState> {
    Some(ConditionState::no(Reason::Suspended, DIFFERS))
}

/// Everything is in place.
fn all_in_place() -> Outcome {
    Outcome {
        credential_synced: ConditionState::yes(
            Reason::Suspended,
            "The credential trusts the ServiceAccount.",
        ),
        annotated: ConditionState::yes(
            Reason::Annotated,
            "The ServiceAccount carries client id and tenant id.",
        ),
        overall: Some(ConditionState::yes(
            Reason::Suspended,
            "Everything is in place; suspended, nothing is written.",
        )),
        service_account: None,
        ..in_order()
    }
}

#[test]
fn everything_in_place() {
    let outcome = look(desired(), known(), vec![credential()], annotated_account());
    assert_eq!(outcome, all_in_place());
}

#[test]
fn an_adopted_credential_is_in_place_too() {
    let theirs = foreign("terraform", credential().tuple);
    let outcome = look(desired(), known(), vec![theirs.clone()], annotated_account());
    let expected = Outcome {
        credential: Some(credential_status(&theirs, CredentialOrigin::Adopted)),
        ..all_in_place()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn a_credential_that_is_missing_is_told_and_what_was_reported_stays() {
    let mut known = recorded();
    known.reported = reported();
    known.reported.status.credential = None;
    let outcome = look(desired(), known, Vec::new(), annotated_account());
    let expected = Outcome {
        credential_synced: ConditionState::no(
            Reason::Suspended,
            "The credential is missing or differs; it is not written while suspended.",
        ),
        overall: differs(),
        credential: None,
        service_account: reported().status.service_account,
        ..all_in_place()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn one_that_was_edited_differs_and_one_of_nobody_is_refused() {
    let edited = foreign(&credential().name, tuple(ISSUER, "api"));
    let ours = look(desired(), recorded(), vec![edited.clone()], annotated_account());
    assert_eq!(ours.credential_synced.reason, Reason::Suspended);
    assert_eq!(ours.credential_synced.holds, Some(false));
    let theirs = look(desired(), known(), vec![edited], annotated_account());
    assert_eq!(theirs.credential_synced.reason, Reason::CredentialNameTaken);
    assert_eq!(theirs.credential_synced.holds, Some(false));
    assert_eq!((theirs.overall, theirs.credential), (differs(), None));
}

#[test]
fn a_service_account_that_is_missing_is_told() {
    let outcome = look(desired(), known(), vec![credential()], Answer::Found(None));
    let expected = Outcome {
        annotated: ConditionState::no(
            Reason::ServiceAccountNotFound,
            "The ServiceAccount does not exist.",
        ),
        overall: differs(),
        ..all_in_place()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn ids_that_differ_are_told() {
    let mut other = ids();
    other.insert(CLIENT_ID.to_owned(), "other".to_owned());
    let outcome = look(
        desired(),
        known(),
        vec![credential()],
        account(other, &[CLIENT_ID]),
    );
    let expected = Outcome {
        annotated: ConditionState::no(
            Reason::Suspended,
            "The ids are missing or differ; they are not written while suspended.",
        ),
        overall: differs(),
        ..all_in_place()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn ids_that_are_not_asked_for_are_not_missed() {
    let mut desired = desired();
    desired.service_account.annotate = false;
    for found in [Answer::Found(None), account(Annotations::new(), &[])] {
        let outcome = look(desired.clone(), known(), vec![credential()], found);
        let expected = Outcome {
            annotated: not_requested(),
            ..all_in_place()
        };
        assert_eq!(outcome, expected);
    }
}
