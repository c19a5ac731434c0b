//! A live binding whose pair is not granted.

use super::*;
use crate::core::reconcile::revoke;

fn denied() -> ConditionState {
    ConditionState::no(Reason::NotAuthorized, request("web").how_to_grant())
}

fn due() -> Effect {
    Effect::Revoke(identity("web"), Due::Denied(credential().tuple.subject))
}

/// Reported before, and not as ready: what is told of it is no news.
fn was_reported() -> Reported {
    Reported {
        was_ready: false,
        ..reported()
    }
}

fn was_in_order() -> Known {
    Known {
        reported: was_reported(),
        ..recorded()
    }
}

#[test]
fn whoever_was_ready_is_told_otherwise_only_on_what_storage_says() {
    let known = || Known {
        reported: reported(),
        ..recorded()
    };
    let end = |after_trouble, again: Answer| {
        let mut steps = BindingPass::new(subject(desired()), known());
        assert_eq!(steps.next(Answer::Begin), review());
        assert_eq!(steps.next(DENIED), Effect::Confirm);
        let next = steps.next(Answer::Confirmed { after_trouble });
        if after_trouble {
            assert_eq!(next, review());
            steps.next(again)
        } else {
            next
        }
    };
    assert_eq!(end(false, Answer::Begin), due());
    assert_eq!(end(true, DENIED), due());
    for no_denial in [
        Answer::Reviewed(Ok(Review::Granted)),
        Answer::Reviewed(Err(String::new())),
    ] {
        assert_eq!(end(true, no_denial), Effect::End(End::Outdated));
    }
}

#[test]
fn a_denial_that_could_not_be_confirmed_takes_nothing_off() {
    let unsure = Answer::Revoked(Revoked {
        unsure: true,
        ..Revoked::default()
    });
    let end = script(
        BindingPass::new(subject(desired()), was_in_order()),
        [(review(), DENIED), (due(), unsure)],
    );
    assert_eq!(end, End::Outdated);
}

/// Nothing is left to report.
fn nothing_left() -> Outcome {
    Outcome {
        authorized: denied(),
        ..Outcome::default()
    }
}

#[test]
fn azure_is_not_even_asked() {
    let outcome = report_of(
        subject(desired()),
        known(),
        [
            (review(), DENIED),
            (withdraw(&["web"]), Answer::Annotated(Ok(None))),
        ],
    );
    assert_eq!(outcome, nothing_left());
}

#[test]
fn what_is_on_record_is_taken_back_first_suspended_or_not() {
    for suspend in [false, true] {
        let subject = subject(Desired { suspend, ..desired() });
        let outcome = report_of(
            subject,
            was_in_order(),
            [
                (review(), DENIED),
                (due(), revoked()),
                (withdraw(&["web"]), Answer::Annotated(Ok(None))),
            ],
        );
        assert_eq!(outcome, nothing_left());
    }
}

#[test]
fn what_is_on_record_for_other_service_accounts_is_not_this_bindings_business() {
    let known = Known {
        recorded: vec![entry(&credential_of(ISSUER, "api"), "other")],
        ..known()
    };
    let outcome = report_of(
        subject(desired()),
        known,
        [
            (review(), DENIED),
            (withdraw(&["web"]), Answer::Annotated(Ok(None))),
        ],
    );
    assert_eq!(outcome, nothing_left());
}

#[test]
fn all_that_stands_in_the_way_is_told_and_the_credential_stays_reported() {
    let obstacles = hindered(vec![
        obstacle(Fault::Locked, "met a lock", Some(3)),
        obstacle(Fault::Throttled, "was throttled", Some(8)),
        obstacle(Fault::Locked, "met a lock", None),
    ]);
    let told = ConditionState::no(
        Reason::ResourceLocked,
        "the grant is gone, but the operator met a lock; was throttled",
    );
    let expected = Outcome {
        authorized: denied(),
        overall: Some(told),
        service_account: None,
        wait: Some(Duration::from_secs(8)),
        ..reported().outcome()
    };
    // The obstacle in Azure speaks, whatever comes of the annotations.
    for annotations in [Answer::Annotated(Ok(None)), refused()] {
        let outcome = report_of(
            subject(desired()),
            was_in_order(),
            [
                (review(), DENIED),
                (due(), obstacles.clone()),
                (withdraw(&["web"]), annotations),
            ],
        );
        assert_eq!(outcome, expected);
    }
}

#[test]
fn annotations_that_cannot_be_taken_off_are_told() {
    let outcome = report_of(
        subject(desired()),
        was_in_order(),
        [
            (review(), DENIED),
            (due(), revoked()),
            (withdraw(&["web"]), refused()),
        ],
    );
    let expected = Outcome {
        overall: Some(ConditionState::no(refusal().reason, refusal().message)),
        ..nothing_left()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn a_pair_of_an_earlier_spec_stands_and_keeps_its_annotations() {
    let other_account = held("web", &credential_of(ISSUER, "api"), None);
    let other_identity = held("api", &credential(), None);
    for earlier in [other_account, other_identity] {
        let earlier_due = Effect::Revoke(
            earlier.identity.clone(),
            Due::Denied(earlier.entry.subject.clone()),
        );
        let granted = || Answer::Revoked(Revoked::default());
        let known = Known {
            of_binding: vec![held("web", &credential(), None), earlier],
            ..was_in_order()
        };
        let outcome = report_of(
            subject(desired()),
            known.clone(),
            [
                (review(), DENIED),
                (due(), revoked()),
                (earlier_due.clone(), granted()),
            ],
        );
        let kept = Outcome {
            authorized: denied(),
            ..reported().outcome()
        };
        assert_eq!(outcome, kept);

        let locked = hindered(vec![obstacle(Fault::Locked, "met a lock", None)]);
        let steps = [(review(), DENIED), (due(), locked), (earlier_due, granted())];
        let outcome = report_of(subject(desired()), known, steps);
        let told = ConditionState::no(
            Reason::ResourceLocked,
            "the grant is gone, but the operator met a lock",
        );
        let expected = Outcome {
            overall: Some(told),
            ..kept
        };
        assert_eq!(outcome, expected);
    }
}

/// This is gone.
fn took_back(credential: &Credential) -> Answer {
    Answer::Revoked(Revoked {
        gone: vec![(entry(credential, "binding"), revoke::Why::Denied)],
        ..Revoked::default()
    })
}

#[test]
fn a_pair_on_an_earlier_identity_stands_though_that_of_the_spec_is_gone() {
    let known = Known {
        of_binding: vec![held("web", &credential(), None), held("api", &credential(), None)],
        ..was_in_order()
    };
    let earlier = Effect::Revoke(identity("api"), Due::Denied(credential().tuple.subject));
    // The two entries are alike but for the identity.
    let steps = |earlier_answer| {
        [
            (review(), DENIED),
            (due(), took_back(&credential())),
            (earlier.clone(), earlier_answer),
        ]
    };
    let outcome = report_of(subject(desired()), known.clone(), steps(revoked()));
    let kept = Outcome {
        authorized: denied(),
        ..reported().outcome()
    };
    assert_eq!(outcome, kept);

    let [first, second, third] = steps(took_back(&credential()));
    let off = (withdraw(&["web"]), Answer::Annotated(Ok(None)));
    let outcome = report_of(subject(desired()), known, [first, second, third, off]);
    assert_eq!(outcome, nothing_left());
}

/// A status that reports this credential on this identity.
fn reports(origin: CredentialOrigin, resource_id: Option<String>) -> Known {
    let mut reported = was_reported();
    reported.status.credential = Some(credential_status(&credential(), origin));
    reported.status.identity = resource_id.map(|resource_id| IdentityStatus {
        resource_id,
        ..IdentityStatus::default()
    });
    Known { reported, ..known() }
}

#[test]
fn an_adopted_credential_on_an_earlier_identity_keeps_its_annotations() {
    let known = reports(CredentialOrigin::Adopted, Some(identity("api").to_string()));
    let kept = Outcome {
        authorized: denied(),
        ..known.reported.outcome()
    };
    assert_eq!(report_of(subject(desired()), known, [(review(), DENIED)]), kept);
}

#[test]
fn any_other_reported_credential_keeps_no_annotations() {
    let here = identity("web").to_string().to_ascii_uppercase();
    for known in [
        reports(CredentialOrigin::Adopted, Some(here)),
        reports(CredentialOrigin::Adopted, None),
        reports(CredentialOrigin::Created, Some(identity("api").to_string())),
    ] {
        let outcome = report_of(
            subject(desired()),
            known,
            [
                (review(), DENIED),
                (withdraw(&["web"]), Answer::Annotated(Ok(None))),
            ],
        );
        assert_eq!(outcome, nothing_left());
    }
}

#[test]
fn annotations_are_taken_off_what_an_earlier_spec_named_if_it_is_a_name_at_all() {
    for (earlier, expected) in [
        ("api", vec!["api", "web"]),
        ("zoo", vec!["web", "zoo"]),
        ("web", vec!["web"]),
        ("../web", vec!["web"]),
        ("", vec!["web"]),
    ] {
        let mut reported = was_reported();
        reported.status.service_account = Some(account_status(earlier, ServiceAccountOrigin::Existing));
        let known = Known { reported, ..known() };
        let outcome = report_of(
            subject(desired()),
            known,
            [
                (review(), DENIED),
                (withdraw(&expected), Answer::Annotated(Ok(None))),
            ],
        );
        assert_eq!(outcome, nothing_left());
    }
}
