//! A live binding: from the review of its grant to the plan.

use super::*;

#[test]
fn a_new_binding_goes_the_whole_way_in_this_order() {
    let subject = Subject {
        has_finalizer: false,
        ..subject(desired())
    };
    let outcome = report_of(
        subject,
        known(),
        [
            (review(), GRANTED),
            (observe(), observed(foreigners(2))),
            (Effect::AddFinalizer, CONFIRMED),
            (record(wants(&credential(), 2)), Answer::Done),
            (write(input(&[&credential()])), put()),
            (find_account(), account(Annotations::new(), &[])),
            (annotate(), annotated()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn a_binding_in_order_is_looked_at_and_nothing_is_written() {
    let known = Known {
        reported: reported(),
        ..recorded()
    };
    let outcome = report_of(
        subject(desired()),
        known,
        [
            (review(), GRANTED),
            (observe(), observed(vec![credential()])),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn a_spec_that_cannot_be_understood_is_told_and_what_was_reported_stays() {
    let subject = Subject {
        desired: Err("spec.identity: no".to_owned()),
        ..subject(desired())
    };
    let known = Known {
        reported: reported(),
        ..recorded()
    };
    let outcome = report_of(subject, known, []);
    let expected = Outcome {
        overall: Some(ConditionState::no(Reason::InvalidSpec, "spec.identity: no")),
        ..reported().outcome()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn of_a_spec_that_cannot_be_understood_the_ids_go_with_the_credential() {
    let not_understood = || Subject {
        desired: Err("spec.identity: no".to_owned()),
        ..subject(desired())
    };
    let invalid = || Some(ConditionState::no(Reason::InvalidSpec, "spec.identity: no"));
    let revoked = |reported| Known { reported, ..known() };
    let outcome = report_of(
        not_understood(),
        revoked(reported()),
        [(withdraw(&["web"]), Answer::Annotated(Ok(None)))],
    );
    let expected = Outcome {
        overall: invalid(),
        identity: None,
        credential: None,
        service_account: None,
        ..reported().outcome()
    };
    assert_eq!(outcome, expected);

    // They could not be taken off: they are reported until they are.
    let outcome = report_of(
        not_understood(),
        revoked(reported()),
        [(withdraw(&["web"]), refused())],
    );
    let expected = Outcome {
        service_account: reported().outcome().service_account,
        ..expected
    };
    assert_eq!(outcome, expected);

    // What was adopted is nothing that a record could have lost.
    let mut adopted = reported();
    if let Some(credential) = &mut adopted.status.credential {
        credential.origin = CredentialOrigin::Adopted;
    }
    let outcome = report_of(not_understood(), revoked(adopted.clone()), []);
    let expected = Outcome {
        overall: invalid(),
        ..adopted.outcome()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn a_call_that_kubernetes_fails_ends_the_pass_wherever_it_is() {
    let way = [
        (review(), GRANTED),
        (observe(), observed(Vec::new())),
        (Effect::Confirm, CONFIRMED),
        (record(wants(&credential(), 0)), Answer::Done),
        (write(input(&[&credential()])), put()),
        (find_account(), account(Annotations::new(), &[])),
    ];
    for at in 0..way.len() {
        let mut pass = BindingPass::new(subject(desired()), known());
        let mut effect = pass.next(Answer::Begin);
        for (expected, answer) in way[..at].iter().cloned() {
            assert_eq!(effect, expected);
            effect = pass.next(answer);
        }
        let failed = pass.next(Answer::Failed(refusal()));
        assert_eq!(failed, Effect::End(End::Failed(refusal())), "at {at}");
    }
}

#[test]
fn without_authorization_the_pass_goes_on_and_says_so() {
    let outcome = report_of(
        subject(desired()),
        recorded(),
        [
            (review(), Answer::Reviewed(Ok(Review::Disabled))),
            (observe(), observed(vec![credential()])),
            (find_account(), annotated_account()),
        ],
    );
    let authorized = ConditionState::yes(
        Reason::AuthorizationDisabled,
        "The operator runs with --authorization=none.",
    );
    assert_eq!(
        outcome,
        Outcome {
            authorized,
            ..in_order()
        }
    );
}

#[test]
fn a_review_that_fails_is_no_denial_and_changes_nothing() {
    let known = Known {
        reported: reported(),
        ..recorded()
    };
    let outcome = report_of(subject(desired()), known, [(review(), unsure())]);
    let authorized = ConditionState::unknown(
        Reason::AuthorizationCheckFailed,
        "cannot check the grant: timed out",
    );
    let expected = Outcome {
        authorized,
        ..reported().outcome()
    };
    assert_eq!(outcome, expected);
}

/// What is said when the identity cannot be read.
fn unresolved(fault: Fault) -> Outcome {
    let known = Known {
        reported: reported(),
        ..recorded()
    };
    let obstacle = obstacle(fault, "Azure says no", Some(9));
    report_of(
        subject(desired()),
        known,
        [(review(), GRANTED), (observe(), Answer::Observed(Err(obstacle)))],
    )
}

#[test]
fn an_identity_that_is_gone_is_named_and_its_ids_are_nobodys_any_more() {
    let outcome = unresolved(Fault::IdentityGone);
    let expected = Outcome {
        authorized: granted(),
        identity_resolved: ConditionState::no(
            Reason::IdentityNotFound,
            "managed identity web does not exist in resource group shop; create it, or name another one. Ids on the ServiceAccount stay as they are until then",
        ),
        identity: Some(IdentityStatus {
            resource_id: identity("web").to_string(),
            ..IdentityStatus::default()
        }),
        wait: Some(Duration::from_secs(9)),
        ..reported().outcome()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn a_resource_group_that_is_gone_is_told_in_azures_words() {
    let outcome = unresolved(Fault::ResourceGroupGone);
    let state = ConditionState::no(Reason::IdentityNotFound, "Azure says no");
    assert_eq!(outcome.identity_resolved, state);
    assert_eq!(outcome.identity.unwrap().client_id, None);
}

#[test]
fn an_identity_that_cannot_be_read_is_not_said_to_be_gone() {
    for fault in [Fault::Unavailable, Fault::SubscriptionNotFound, Fault::Throttled] {
        let outcome = unresolved(fault);
        let expected = Outcome {
            authorized: granted(),
            identity_resolved: ConditionState::unknown(fault.reason(), "Azure says no"),
            wait: Some(Duration::from_secs(9)),
            ..reported().outcome()
        };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn an_identity_that_was_never_seen_and_is_gone_reports_no_identity() {
    let gone = Answer::Observed(Err(obstacle(Fault::IdentityGone, "gone", None)));
    let outcome = report_of(
        subject(desired()),
        known(),
        [(review(), GRANTED), (observe(), gone)],
    );
    assert_eq!((outcome.identity, outcome.wait), (None, None));
}

#[test]
fn credentials_with_our_mark_are_put_on_record_before_the_plan() {
    let other = credential_of(ISSUER, "api");
    let former = credential_of(FORMER, "api");
    let unknown = credential_of("https://elsewhere/", "api");
    let known = Known {
        issuers: vec![ISSUER.to_owned(), FORMER.to_owned()],
        ..recorded()
    };
    let all = vec![credential(), other.clone(), former.clone(), unknown];
    let outcome = report_of(
        subject(desired()),
        known,
        [
            (review(), GRANTED),
            (observe(), observed(all)),
            (
                record(vec![Change::Found(other), Change::Found(former)]),
                Answer::Done,
            ),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn what_was_put_on_record_counts_in_the_plan_that_follows() {
    // Ours with an earlier audience, and the record was deleted by hand: found again, it may give way.
    let earlier = Credential::named_by_us("wib", Tuple::for_service_account(ISSUER, "shop", "web", "old"));
    let steps = vec![Step::Delete(earlier.name.clone()), Step::Put(credential())];
    let outcome = report_of(
        subject(desired()),
        known(),
        [
            (review(), GRANTED),
            (observe(), observed(vec![earlier.clone()])),
            (record(vec![Change::Found(earlier.clone())]), Answer::Done),
            (Effect::Confirm, CONFIRMED),
            (record(wants(&credential(), 0)), Answer::Done),
            (write(input(&[&earlier, &credential()])), written(steps)),
            (record(vec![gone(&earlier)]), Answer::Done),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn marks_of_namespaces_that_others_look_after_are_left_alone() {
    let other = Credential::named_by_us("wib", Tuple::for_service_account(ISSUER, "pay", "api", "aud"));
    let known = Known {
        namespace: Some("shop".to_owned()),
        ..recorded()
    };
    let outcome = report_of(
        subject(desired()),
        known,
        [
            (review(), GRANTED),
            (observe(), observed(vec![credential(), other])),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn a_plan_that_cannot_be_is_told_and_nothing_is_written() {
    let taken = foreign(&credential().name, tuple(ISSUER, "api"));
    let outcome = report_of(
        subject(desired()),
        known(),
        [(review(), GRANTED), (observe(), observed(vec![taken]))],
    );
    assert_eq!(outcome.credential_synced.reason, Reason::CredentialNameTaken);
    assert_eq!(outcome.credential_synced.holds, Some(false));
    assert_eq!((outcome.identity, outcome.credential), (None, None));
    assert_eq!(outcome.annotated, ConditionState::pending());
}

fn contender(name: &str, granted: Option<bool>) -> Contender {
    Contender {
        name: name.to_owned(),
        request: request(name),
        granted,
    }
}

fn taken_by(name: &str) -> Outcome {
    let taken = ConditionState::no(
        Reason::ServiceAccountTaken,
        format!(
            "binding {name} is older and annotates ServiceAccount web already; set annotate: false here, or remove that one"
        ),
    );
    Outcome {
        authorized: granted(),
        annotated: taken.clone(),
        overall: Some(taken),
        ..Outcome::default()
    }
}

#[test]
fn an_older_binding_that_is_granted_has_the_service_account() {
    let known = Known {
        contenders: vec![contender("denied", Some(false)), contender("older", Some(true))],
        ..known()
    };
    let outcome = report_of(subject(desired()), known, [(review(), GRANTED)]);
    assert_eq!(outcome, taken_by("older"));
}

#[test]
fn older_bindings_that_were_never_reviewed_are_reviewed_one_after_the_other() {
    let contenders = vec![
        contender("first", None),
        contender("denied", Some(false)),
        contender("second", None),
        contender("third", None),
    ];
    let known = Known {
        contenders,
        ..known()
    };
    let asked = [
        (review(), GRANTED),
        (review_of("first"), DENIED),
        (review_of("second"), GRANTED),
    ];
    assert_eq!(report_of(subject(desired()), known, asked), taken_by("second"));
}

#[test]
fn an_older_binding_whose_review_fails_may_well_be_granted() {
    let known = Known {
        contenders: vec![contender("older", None)],
        ..known()
    };
    let asked = [(review(), GRANTED), (review_of("older"), unsure())];
    assert_eq!(report_of(subject(desired()), known, asked), taken_by("older"));
}

#[test]
fn when_no_older_binding_is_granted_this_one_goes_on() {
    let known = Known {
        contenders: vec![
            contender("a", None),
            contender("b", None),
            contender("c", Some(false)),
        ],
        ..recorded()
    };
    let outcome = report_of(
        subject(desired()),
        known,
        [
            (review(), GRANTED),
            (review_of("a"), DENIED),
            (review_of("b"), DENIED),
            (observe(), observed(vec![credential()])),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn whoever_does_not_annotate_contends_with_nobody() {
    let mut desired = desired();
    desired.service_account.annotate = false;
    let known = Known {
        contenders: vec![contender("older", Some(true)), contender("other", None)],
        ..recorded()
    };
    let outcome = report_of(
        subject(desired),
        known,
        [
            (review(), GRANTED),
            (observe(), observed(vec![credential()])),
            (find_account(), account(Annotations::new(), &[])),
        ],
    );
    assert_eq!(
        outcome,
        Outcome {
            annotated: not_requested(),
            ..in_order()
        }
    );
}

#[test]
fn an_object_that_cannot_be_read_is_told_in_one_line() {
    let outcome = crate::core::reconcile::apply::unreadable("missing\nfield");
    let message =
        "the object cannot be read by this version of the operator: missing field. Correct it or delete it";
    assert_eq!(
        outcome,
        Outcome {
            overall: Some(ConditionState::no(Reason::InvalidSpec, message)),
            ..Outcome::default()
        }
    );
}
