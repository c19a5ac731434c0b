//! A live binding: its ServiceAccount.

use super::*;
use crate::core::annotations::{CLIENT_ID, TENANT_ID, TOKEN_EXPIRATION};

/// From the look at the ServiceAccount on; the credential is in order.
fn pass<const N: usize>(
    desired: Desired,
    known: Known,
    found: Answer,
    rest: [(Effect, Answer); N],
) -> Outcome {
    let find = Effect::FindAccount(desired.service_account.name.clone());
    let mut pass = BindingPass::new(subject(desired), known);
    let mut effect = pass.next(Answer::Begin);
    let before = [
        (review(), GRANTED),
        (observe(), observed(vec![credential()])),
        (find, found),
    ];
    for (expected, answer) in before.into_iter().chain(rest) {
        assert_eq!(effect, expected);
        effect = pass.next(answer);
    }
    match effect {
        Effect::End(End::Report(outcome)) => *outcome,
        other => panic!("the pass goes on with {other:?}"),
    }
}

fn with(annotate: bool, create: bool) -> Desired {
    let mut desired = desired();
    desired.service_account.annotate = annotate;
    desired.service_account.create = create;
    desired
}

const NONE: Answer = Answer::Found(None);

#[test]
fn one_that_does_not_exist_is_waited_for() {
    let outcome = pass(desired(), recorded(), NONE, []);
    let expected = Outcome {
        annotated: ConditionState::no(
            Reason::ServiceAccountNotFound,
            "ServiceAccount shop/web does not exist; create it, or set spec.serviceAccount.create: true",
        ),
        service_account: None,
        ..in_order()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn one_that_is_to_be_created_is_created_with_what_it_is_to_carry() {
    for (annotate, carries, said) in [
        (true, ids(), carries_ids()),
        (false, Annotations::new(), not_requested()),
    ] {
        let create = Effect::CreateAccount("web".to_owned(), carries);
        let outcome = pass(with(annotate, true), recorded(), NONE, [(create, annotated())]);
        let expected = Outcome {
            annotated: said,
            service_account: Some(account_status("web", ServiceAccountOrigin::Created)),
            ..in_order()
        };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn one_that_nothing_is_to_be_written_on_may_be_missing() {
    let known = Known {
        reported: reported(),
        ..recorded()
    };
    let outcome = pass(with(false, false), known, NONE, []);
    let expected = Outcome {
        annotated: not_requested(),
        service_account: None,
        ..in_order()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn one_that_this_binding_owns_is_reported_as_created() {
    let found = Answer::Found(Some(Account {
        uid: "uid".to_owned(),
        present: Present {
            all: ids(),
            ours: Vec::new(),
        },
        origin: ServiceAccountOrigin::Created,
    }));
    let outcome = pass(with(true, true), recorded(), found, []);
    let created = account_status("web", ServiceAccountOrigin::Created);
    assert_eq!(outcome.service_account, Some(created));
}

#[test]
fn a_token_lifetime_is_written_beside_the_ids() {
    let mut desired = desired();
    desired.service_account.token_expiration_seconds = Some(7200);
    let mut wanted = ids();
    wanted.insert(TOKEN_EXPIRATION.to_owned(), "7200".to_owned());
    let annotate = Effect::Annotate("web".to_owned(), wanted);
    let outcome = pass(
        desired,
        recorded(),
        annotated_account(),
        [(annotate, annotated())],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn another_client_id_of_ours_is_replaced_and_that_is_told() {
    let mut other = ids();
    other.insert(CLIENT_ID.to_owned(), "other".to_owned());
    let of_ours = account(other.clone(), &[CLIENT_ID]);
    let outcome = pass(desired(), recorded(), of_ours, [(annotate(), annotated())]);
    let expected = Outcome {
        client_id_replaced: true,
        ..in_order()
    };
    assert_eq!(outcome, expected);
    // Where it was not ours, pods did not have it from us.
    let of_others = account(other, &[TENANT_ID]);
    let outcome = pass(desired(), recorded(), of_others, [(annotate(), annotated())]);
    assert_eq!(outcome, in_order());
}

#[test]
fn what_is_no_longer_wanted_is_taken_off_and_replaces_nothing() {
    let mut other = ids();
    other.insert(CLIENT_ID.to_owned(), "other".to_owned());
    let clear = Effect::Annotate("web".to_owned(), Annotations::new());
    let of_ours = account(other, &[CLIENT_ID, TENANT_ID]);
    let outcome = pass(with(false, false), recorded(), of_ours, [(clear, annotated())]);
    let expected = Outcome {
        annotated: not_requested(),
        ..in_order()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn what_another_binding_annotates_is_left_to_it() {
    let known = Known {
        annotated_by_another: true,
        ..recorded()
    };
    let outcome = pass(with(false, false), known.clone(), annotated_account(), []);
    let expected = Outcome {
        annotated: not_requested(),
        ..in_order()
    };
    assert_eq!(outcome, expected);
    // One that annotates itself goes on all the same: who comes first has been settled.
    let bare = account(Annotations::new(), &[]);
    let outcome = pass(desired(), known, bare, [(annotate(), annotated())]);
    assert_eq!(outcome, in_order());
}

#[test]
fn a_refusal_of_the_annotations_is_told() {
    let mut other = ids();
    other.insert(CLIENT_ID.to_owned(), "other".to_owned());
    let known = Known {
        of_binding: vec![held("api", &credential(), None)],
        ..recorded()
    };
    let found = account(other, &[CLIENT_ID]);
    let outcome = pass(desired(), known, found, [(annotate(), refused())]);
    let expected = Outcome {
        annotated: ConditionState::no(refusal().reason, refusal().message),
        service_account: None,
        ..in_order()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn one_that_others_made_or_that_vanished_meanwhile_is_reported_without_a_uid() {
    let bare = account(Annotations::new(), &[]);
    let gone = Answer::Annotated(Ok(None));
    let outcome = pass(desired(), recorded(), bare, [(annotate(), gone)]);
    assert_eq!(outcome.service_account.unwrap().uid, None);
    assert_eq!(in_order().service_account.unwrap().uid, None);
}
