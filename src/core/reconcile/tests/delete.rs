//! A binding that is being deleted.

use super::*;

fn deleting() -> Subject {
    Subject {
        is_deleting: true,
        ..subject(desired())
    }
}

fn released() -> Subject {
    Subject {
        is_released: true,
        ..deleting()
    }
}

fn retained() -> Subject {
    Subject {
        deletion_policy: DeletionPolicy::Retain,
        ..deleting()
    }
}

const STANDS: Answer = Answer::Definition { is_going: false };
const GOING: Answer = Answer::Definition { is_going: true };
const WITHDRAWN: Answer = Answer::Annotated(Ok(None));

fn finalizer_goes() -> (Effect, Answer) {
    (Effect::RemoveFinalizer, Answer::Done)
}

fn run<const N: usize>(subject: Subject, known: Known, steps: [(Effect, Answer); N]) -> End {
    script(BindingPass::new(subject, known), steps)
}

#[test]
fn without_our_finalizer_there_is_nothing_to_do() {
    let subject = Subject {
        has_finalizer: false,
        ..deleting()
    };
    assert_eq!(run(subject, recorded(), []), End::Nothing);
}

#[test]
fn its_credential_its_annotations_and_the_finalizer_go_in_this_order() {
    let end = run(
        deleting(),
        recorded(),
        [
            (Effect::Confirm, TROUBLED),
            (Effect::ReadDefinition, STANDS),
            (revoke("web", &[&credential()]), revoked()),
            (withdraw(&["web"]), WITHDRAWN),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}

#[test]
fn one_that_never_had_a_credential_needs_no_revocation() {
    let end = run(
        deleting(),
        known(),
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, STANDS),
            (withdraw(&["web"]), WITHDRAWN),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}

#[test]
fn a_spec_that_cannot_be_understood_is_deleted_by_the_record() {
    let subject = Subject {
        desired: Err("no".to_owned()),
        service_account: "../web".to_owned(),
        ..deleting()
    };
    let end = run(
        subject,
        recorded(),
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, STANDS),
            (revoke("web", &[&credential()]), revoked()),
            (withdraw(&[]), WITHDRAWN),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}

#[test]
fn what_others_want_goes_over_to_them_and_the_rest_is_taken_back_on_each_identity() {
    let (api, zoo) = (credential_of(ISSUER, "api"), credential_of(ISSUER, "zoo"));
    let known = Known {
        of_binding: vec![
            held("web", &credential(), Some("heir")),
            held("web", &api, None),
            held("web", &zoo, Some("other")),
            held("old", &credential(), Some("third")),
            held("old", &api, None),
            held("old", &zoo, None),
        ],
        ..known()
    };
    let end = run(
        deleting(),
        known,
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, STANDS),
            (
                record(vec![want(&credential(), "heir"), want(&zoo, "other")]),
                Answer::Done,
            ),
            (record_on("old", vec![want(&credential(), "third")]), Answer::Done),
            (revoke("web", &[&api]), revoked()),
            (revoke("old", &[&api, &zoo]), revoked()),
            (withdraw(&["web"]), WITHDRAWN),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}

#[test]
fn a_released_binding_goes_without_touching_azure_or_annotations() {
    let api = credential_of(ISSUER, "api");
    let mut known = recorded();
    known.of_binding.push(held("web", &api, Some("heir")));
    known.of_binding.push(held("old", &api, None));
    let end = run(
        released(),
        known,
        [
            (Effect::Confirm, CONFIRMED),
            (
                record(vec![
                    mark(&credential(), CredentialState::Released),
                    want(&api, "heir"),
                ]),
                Answer::Done,
            ),
            (
                record_on("old", vec![mark(&api, CredentialState::Released)]),
                Answer::Done,
            ),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}

#[test]
fn the_release_speaks_before_the_policy() {
    let subject = Subject {
        deletion_policy: DeletionPolicy::Retain,
        ..released()
    };
    let marks = record(vec![mark(&credential(), CredentialState::Released)]);
    let steps = [
        (Effect::Confirm, CONFIRMED),
        (marks, Answer::Done),
        finalizer_goes(),
    ];
    assert_eq!(run(subject, recorded(), steps), End::Nothing);
}

#[test]
fn a_definition_that_is_going_takes_nobodys_access_away() {
    let end = run(
        deleting(),
        recorded(),
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, GOING),
            (
                record(vec![mark(&credential(), CredentialState::Released)]),
                Answer::Done,
            ),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}

#[test]
fn what_is_retained_is_what_the_spec_names_and_not_what_an_earlier_one_left() {
    let api = credential_of(ISSUER, "api");
    let mut known = recorded();
    known.of_binding.push(held("web", &api, None));
    known.of_binding.push(held("old", &credential(), None));
    let end = run(
        retained(),
        known.clone(),
        [
            (Effect::Confirm, CONFIRMED),
            (
                record(vec![
                    mark(&credential(), CredentialState::Retained),
                    mark(&api, CredentialState::Orphaned),
                ]),
                Answer::Done,
            ),
            (
                record_on("old", vec![mark(&credential(), CredentialState::Orphaned)]),
                Answer::Done,
            ),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);

    // Of a spec that cannot be understood nobody knows what is earlier.
    let subject = Subject {
        desired: Err("no".to_owned()),
        ..retained()
    };
    let end = run(
        subject,
        known,
        [
            (Effect::Confirm, CONFIRMED),
            (
                record(vec![
                    mark(&credential(), CredentialState::Retained),
                    mark(&api, CredentialState::Retained),
                ]),
                Answer::Done,
            ),
            (
                record_on("old", vec![mark(&credential(), CredentialState::Retained)]),
                Answer::Done,
            ),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}

/// With a status that names this ServiceAccount.
fn made(name: &str, origin: ServiceAccountOrigin) -> Known {
    let mut reported = reported();
    reported.status.service_account = Some(account_status(name, origin));
    Known { reported, ..known() }
}

fn disown() -> Effect {
    Effect::Disown(account_status("web", ServiceAccountOrigin::Created))
}

#[test]
fn a_service_account_that_create_made_outlives_a_binding_that_is_let_go() {
    for subject in [released(), retained()] {
        let end = run(
            subject,
            made("web", ServiceAccountOrigin::Created),
            [
                (Effect::Confirm, CONFIRMED),
                (disown(), Answer::Done),
                finalizer_goes(),
            ],
        );
        assert_eq!(end, End::Nothing);
    }
}

#[test]
fn nothing_is_disowned_that_was_there_before_or_has_no_name_of_a_service_account() {
    for known in [
        made("web", ServiceAccountOrigin::Existing),
        made("../web", ServiceAccountOrigin::Created),
        known(),
    ] {
        let end = run(
            released(),
            known,
            [(Effect::Confirm, CONFIRMED), finalizer_goes()],
        );
        assert_eq!(end, End::Nothing);
    }
}

/// What is said of a binding that cannot be deleted yet.
fn blocked(reason: Reason, message: &str) -> Outcome {
    let deleting = ConditionState::unknown(Reason::Deleting, "The binding is being deleted.");
    let obstacle = ConditionState::no(reason, message);
    Outcome {
        authorized: deleting.clone(),
        identity_resolved: deleting.clone(),
        credential_synced: obstacle.clone(),
        annotated: deleting,
        overall: Some(obstacle),
        ..reported().outcome()
    }
}

fn blocked_end(reason: Reason, message: &str) -> End {
    End::Report(Box::new(blocked(reason, message)))
}

const WAY_OUT: &str =
    "To let the binding go without touching Azure, annotate it with workload-identity.io/release: \"true\"";

#[test]
fn a_service_account_that_cannot_be_disowned_holds_a_retained_binding_but_no_released_one() {
    let known = || {
        let mut known = made("web", ServiceAccountOrigin::Created);
        known.reported = Reported {
            status: Box::new(ReportedStatus {
                service_account: known.reported.status.service_account,
                ..*reported().status
            }),
            ..reported()
        };
        known
    };
    let steps = || {
        [
            (Effect::Confirm, CONFIRMED),
            (disown(), Answer::Failed(refusal())),
        ]
    };
    let End::Report(outcome) = run(retained(), known(), steps()) else {
        panic!("it went")
    };
    let told = format!(
        "field manager kubectl holds it. The ServiceAccount is to stay: take its ownerReference off by hand. {WAY_OUT}"
    );
    let expected = Outcome {
        service_account: Some(account_status("web", ServiceAccountOrigin::Created)),
        ..blocked(Reason::FieldConflict, &told)
    };
    assert_eq!(*outcome, expected);

    let [confirm, disown] = steps();
    let end = run(released(), known(), [confirm, disown, finalizer_goes()]);
    assert_eq!(end, End::Nothing);
}

#[test]
fn every_obstacle_is_told_and_none_holds_up_another_identity() {
    let mut known = recorded();
    known.reported = reported();
    known.of_binding.push(held("old", &credential(), None));
    let lock = vec![
        obstacle(Fault::Locked, "met a lock", Some(9)),
        obstacle(Fault::AccessDenied, "was refused", None),
    ];
    let busy = vec![obstacle(Fault::Throttled, "was throttled", Some(5))];
    let steps = |first, second| {
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, STANDS),
            (revoke("web", &[&credential()]), first),
            (revoke("old", &[&credential()]), second),
        ]
    };
    let wait = Some(Duration::from_secs(9));
    let told = format!("the operator met a lock; was refused; was throttled. {WAY_OUT}");
    let expected = Outcome {
        wait,
        ..blocked(Reason::ResourceLocked, &told)
    };
    let end = run(
        deleting(),
        known.clone(),
        steps(hindered(lock.clone()), hindered(busy)),
    );
    assert_eq!(end, End::Report(Box::new(expected)));

    let told = format!("the operator met a lock; was refused. {WAY_OUT}");
    let expected = Outcome {
        wait,
        ..blocked(Reason::ResourceLocked, &told)
    };
    let end = run(deleting(), known, steps(revoked(), hindered(lock)));
    assert_eq!(end, End::Report(Box::new(expected)));
}

#[test]
fn whoever_only_waits_for_others_is_not_told_to_let_go() {
    let mut known = recorded();
    known.reported = reported();
    let queued = hindered(vec![obstacle(Fault::Queued, "keeps to Azure's limits", Some(6))]);
    let end = run(
        deleting(),
        known,
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, STANDS),
            (revoke("web", &[&credential()]), queued),
        ],
    );
    let expected = Outcome {
        wait: Some(Duration::from_secs(6)),
        ..blocked(Reason::Queued, "the operator keeps to Azure's limits")
    };
    assert_eq!(end, End::Report(Box::new(expected)));
}

#[test]
fn annotations_that_cannot_be_taken_off_hold_the_binding() {
    let mut known = recorded();
    known.reported = reported();
    let end = run(
        deleting(),
        known,
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, STANDS),
            (revoke("web", &[&credential()]), revoked()),
            (withdraw(&["web"]), refused()),
        ],
    );
    let told = format!("field manager kubectl holds it. {WAY_OUT}");
    assert_eq!(end, blocked_end(Reason::FieldConflict, &told));
}

#[test]
fn a_call_that_kubernetes_fails_holds_the_binding_wherever_it_is() {
    let failed = || Answer::Failed(refusal());
    let told = format!("field manager kubectl holds it. {WAY_OUT}");
    let blocked = || blocked_end(Reason::FieldConflict, &told);
    let mut known = recorded();
    known.reported = reported();
    let start = (Effect::Confirm, CONFIRMED);
    let end = |steps: [(Effect, Answer); 1]| run(deleting(), known.clone(), steps);
    assert_eq!(end([(Effect::Confirm, failed())]), blocked());
    let steps = [start.clone(), (Effect::ReadDefinition, failed())];
    assert_eq!(run(deleting(), known.clone(), steps), blocked());
    let mark = record(vec![mark(&credential(), CredentialState::Released)]);
    let steps = [start.clone(), (mark.clone(), failed())];
    assert_eq!(run(released(), known.clone(), steps), blocked());
    let steps = [start, (mark, Answer::Done), (Effect::RemoveFinalizer, failed())];
    assert_eq!(run(released(), known.clone(), steps), blocked());
}

#[test]
fn annotations_come_off_the_earlier_service_account_too() {
    let end = run(
        deleting(),
        made("api", ServiceAccountOrigin::Created),
        [
            (Effect::Confirm, CONFIRMED),
            (Effect::ReadDefinition, STANDS),
            (withdraw(&["api", "web"]), WITHDRAWN),
            finalizer_goes(),
        ],
    );
    assert_eq!(end, End::Nothing);
}
