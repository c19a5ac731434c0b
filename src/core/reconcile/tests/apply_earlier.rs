//! A live binding: what its earlier specs left.

use super::*;

/// The binding is in order; `earlier` is what was last wanted by it, `account` the ServiceAccount that its
/// status names.
fn pass<const N: usize>(earlier: Vec<Held>, account: &str, rest: [(Effect, Answer); N]) -> Outcome {
    let mut reported = reported();
    reported.status.service_account = Some(account_status(account, ServiceAccountOrigin::Existing));
    let mut known = Known {
        reported,
        ..recorded()
    };
    known.of_binding.extend(earlier);
    let mut pass = BindingPass::new(subject(desired()), known);
    let mut effect = pass.next(Answer::Begin);
    let before = [
        (review(), GRANTED),
        (observe(), observed(vec![credential()])),
        (find_account(), annotated_account()),
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

fn synced(reason: Reason, message: &str) -> Outcome {
    Outcome {
        credential_synced: ConditionState::no(reason, message),
        ..in_order()
    }
}

#[test]
fn it_is_taken_back_on_each_identity_once_the_new_trust_stands() {
    let (api, zoo) = (credential_of(ISSUER, "api"), credential_of(ISSUER, "zoo"));
    let earlier = vec![
        held("web", &api, None),
        held("old", &credential(), None),
        held("web", &zoo, None),
    ];
    let outcome = pass(
        earlier,
        "web",
        [
            (revoke("web", &[&api, &zoo]), revoked()),
            (revoke("old", &[&credential()]), revoked()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn what_another_binding_wants_is_left_to_it() {
    let api = credential_of(ISSUER, "api");
    let earlier = vec![
        held("web", &api, Some("heir")),
        held("old", &credential(), Some("heir")),
    ];
    assert_eq!(pass(earlier, "web", []), in_order());
}

#[test]
fn another_audience_or_issuer_of_the_same_pair_is_nothing_that_a_spec_left() {
    let former = credential_of(FORMER, "web");
    assert_eq!(pass(vec![held("web", &former, None)], "web", []), in_order());
}

#[test]
fn annotations_come_off_the_earlier_service_account_first() {
    let api = credential_of(ISSUER, "api");
    let outcome = pass(
        vec![held("web", &api, None)],
        "api",
        [
            (withdraw(&["api"]), Answer::Annotated(Ok(None))),
            (revoke("web", &[&api]), revoked()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn annotations_that_cannot_be_taken_off_are_told_and_the_earlier_trust_stays() {
    let api = credential_of(ISSUER, "api");
    let outcome = pass(
        vec![held("web", &api, None)],
        "api",
        [(withdraw(&["api"]), refused())],
    );
    let expected = Outcome {
        annotated: ConditionState::no(refusal().reason, refusal().message),
        ..in_order()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn an_obstacle_is_told_and_holds_up_no_other_identity() {
    let earlier = || vec![held("old", &credential(), None), held("pay", &credential(), None)];
    let on = |name| revoke(name, &[&credential()]);
    let lock = || hindered(vec![obstacle(Fault::Locked, "met\na lock", Some(9))]);
    let busy = || {
        hindered(vec![
            obstacle(Fault::Throttled, "was throttled", Some(5)),
            obstacle(Fault::AccessDenied, "was refused", None),
        ])
    };
    let expected = Outcome {
        wait: Some(Duration::from_secs(9)),
        ..synced(
            Reason::ResourceLocked,
            "a credential of an earlier spec still stands: met a lock",
        )
    };
    assert_eq!(
        pass(earlier(), "web", [(on("pay"), lock()), (on("old"), revoked())]),
        expected
    );
    assert_eq!(
        pass(earlier(), "web", [(on("pay"), revoked()), (on("old"), lock())]),
        expected
    );

    // All are told, the first of them under its reason, and the longest wait counts.
    let both = "a credential of an earlier spec still stands: met a lock; a credential of an earlier spec still stands: was throttled; was refused";
    let expected = Outcome {
        wait: Some(Duration::from_secs(9)),
        ..synced(Reason::ResourceLocked, both)
    };
    assert_eq!(
        pass(earlier(), "web", [(on("pay"), lock()), (on("old"), busy())]),
        expected
    );
}
