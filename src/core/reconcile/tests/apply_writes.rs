//! A live binding: finalizer, consistent read, record, and the write.

use super::*;

/// From the plan on, on an identity that holds `held`.
fn pass<const N: usize>(known: Known, held: Vec<Credential>, steps: [(Effect, Answer); N]) -> Outcome {
    match script(Rest::new(subject(desired()), known, held), steps) {
        End::Report(outcome) => *outcome,
        other => panic!("the pass ends with {other:?}"),
    }
}

/// A pass that has been reviewed and observed.
#[derive(Clone)]
struct Rest(BindingPass, Option<Effect>);

impl Rest {
    fn new(subject: Subject, known: Known, held: Vec<Credential>) -> Self {
        let mut pass = BindingPass::new(subject, known);
        assert_eq!(pass.next(Answer::Begin), review());
        assert_eq!(pass.next(GRANTED), observe());
        let effect = pass.next(observed(held));
        Self(pass, Some(effect))
    }
}

impl machine::PassUnderTest for Rest {
    fn next(&mut self, answer: Answer) -> Effect {
        self.1.take().unwrap_or_else(|| self.0.next(answer))
    }
}

#[test]
fn a_finalizer_that_was_stripped_is_put_back_though_all_is_in_order() {
    let subject = Subject {
        has_finalizer: false,
        ..subject(desired())
    };
    let end = script(
        Rest::new(subject, recorded(), vec![credential()]),
        [
            (Effect::AddFinalizer, CONFIRMED),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(end, End::Report(Box::new(in_order())));
}

#[test]
fn after_trouble_the_grant_is_reviewed_again_before_anything_is_written() {
    for review_again in [GRANTED, Answer::Reviewed(Ok(Review::Disabled))] {
        let outcome = pass(
            known(),
            Vec::new(),
            [
                (Effect::Confirm, TROUBLED),
                (review(), review_again),
                (record(wants(&credential(), 0)), Answer::Done),
                (write(input(&[&credential()])), put()),
                (find_account(), annotated_account()),
            ],
        );
        assert_eq!(outcome, in_order());
    }
}

#[test]
fn a_grant_that_is_not_confirmed_after_trouble_ends_the_pass() {
    for review_again in [DENIED, unsure()] {
        let end = script(
            Rest::new(subject(desired()), known(), Vec::new()),
            [(Effect::Confirm, TROUBLED), (review(), review_again)],
        );
        assert_eq!(end, End::Outdated);
    }
}

#[test]
fn one_that_stands_and_is_not_on_record_is_recorded_and_not_written() {
    let mut held = foreigners(3);
    held.push(credential());
    let outcome = pass(
        known(),
        held,
        [
            (Effect::Confirm, CONFIRMED),
            (record(wants(&credential(), 3)), Answer::Done),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn others_are_those_that_are_not_on_record() {
    let ours = credential_of(ISSUER, "api");
    let known = Known {
        recorded: vec![entry(&ours, "other")],
        ..known()
    };
    let mut held = foreigners(2);
    held.extend([ours.clone(), credential()]);
    let outcome = pass(
        known,
        held,
        [
            (Effect::Confirm, CONFIRMED),
            (record(wants(&credential(), 2)), Answer::Done),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn one_on_record_for_another_binding_of_the_same_pair_stays_there() {
    let known = |co_owners: &[&str]| Known {
        recorded: vec![entry(&credential(), "other")],
        co_owners: co_owners.iter().map(|&name| name.to_owned()).collect(),
        ..known()
    };
    let outcome = pass(
        known(&["third", "other"]),
        vec![credential()],
        [(find_account(), annotated_account())],
    );
    assert_eq!(outcome, in_order());

    // That binding has gone or moved on: this one takes the entry over.
    let outcome = pass(
        known(&["third"]),
        vec![credential()],
        [
            (Effect::Confirm, CONFIRMED),
            (record(wants(&credential(), 0)), Answer::Done),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn one_on_record_in_another_state_is_wanted_again() {
    let mut known = recorded();
    known.recorded[0].state = CredentialState::Orphaned;
    let outcome = pass(
        known,
        vec![credential()],
        [
            (Effect::Confirm, CONFIRMED),
            (record(wants(&credential(), 0)), Answer::Done),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

fn adopted(theirs: &Credential) -> Outcome {
    Outcome {
        credential_synced: ConditionState::yes(
            Reason::Adopted,
            "A credential that somebody else made trusts the ServiceAccount.",
        ),
        credential: Some(credential_status(theirs, CredentialOrigin::Adopted)),
        ..in_order()
    }
}

#[test]
fn what_is_adopted_is_not_recorded() {
    let theirs = foreign("terraform", credential().tuple);
    let outcome = pass(
        known(),
        vec![theirs.clone()],
        [(find_account(), annotated_account())],
    );
    assert_eq!(outcome, adopted(&theirs));
}

#[test]
fn ours_that_was_edited_goes_when_another_is_adopted() {
    let theirs = foreign("terraform", credential().tuple);
    let edited = foreign(&credential().name, tuple("https://edited/", "web"));
    let plan = Plan {
        steps: vec![Step::Delete(edited.name.clone())],
        decision: Decision::Trusted(theirs.clone(), CredentialOrigin::Adopted),
    };
    let held = vec![edited, theirs.clone()];
    let outcome = pass(
        recorded(),
        held.clone(),
        [
            (Effect::Confirm, CONFIRMED),
            (write(input(&[&credential()])), Answer::Written(Ok(plan.clone()))),
            // It is gone: a record that kept it would count what is not there.
            (record(vec![gone(&credential())]), Answer::Done),
            (find_account(), annotated_account()),
        ],
    );
    let expected = Outcome {
        is_repair: true,
        ..adopted(&theirs)
    };
    assert_eq!(outcome, expected);

    // Until then it is on record as this binding's, whatever it was before.
    let mut orphaned = recorded();
    orphaned.recorded[0].state = CredentialState::Orphaned;
    let outcome = pass(
        orphaned,
        held,
        [
            (Effect::Confirm, CONFIRMED),
            (record(wants(&credential(), 1)), Answer::Done),
            (write(input(&[&credential()])), Answer::Written(Ok(plan))),
            (record(vec![gone(&credential())]), Answer::Done),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, adopted(&theirs));
}

#[test]
fn a_credential_of_ours_that_is_missing_is_put_back_and_that_is_a_repair() {
    let outcome = pass(
        recorded(),
        Vec::new(),
        [
            (Effect::Confirm, CONFIRMED),
            (write(input(&[&credential()])), put()),
            (find_account(), annotated_account()),
        ],
    );
    let expected = Outcome {
        is_repair: true,
        ..in_order()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn nothing_to_write_any_more_is_no_repair() {
    let outcome = pass(
        recorded(),
        Vec::new(),
        [
            (Effect::Confirm, CONFIRMED),
            (write(input(&[&credential()])), written(Vec::new())),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, in_order());
}

#[test]
fn letter_case_is_put_right_by_two_steps_and_displaces_nothing() {
    let steps = vec![Step::Delete(credential().name), Step::Put(credential())];
    let outcome = pass(
        recorded(),
        vec![foreign(&credential().name, tuple("https://ISSUER/", "web"))],
        [
            (Effect::Confirm, CONFIRMED),
            (write(input(&[&credential()])), written(steps)),
            (find_account(), annotated_account()),
        ],
    );
    let repaired = Outcome {
        is_repair: true,
        ..in_order()
    };
    assert_eq!(outcome, repaired);
}

/// One that is to make room on a full identity: it leaves the record, and that is told.
fn gives_way(other: &Credential, of_binding: Vec<Held>) -> ConditionState {
    let known = Known {
        recorded: vec![entry(other, "other")],
        of_binding,
        ..known()
    };
    let mut held = foreigners(19);
    held.push(other.clone());
    let steps = vec![Step::Delete(other.name.clone()), Step::Put(credential())];
    let with_room = PlanInput {
        displaceable: vec![other.name.clone()],
        ..input(&[other, &credential()])
    };
    let mut rest = Rest::new(subject(desired()), known, held);
    let way = [
        (Effect::Confirm, CONFIRMED),
        (record(wants(&credential(), 19)), Answer::Done),
        (write(with_room), written(steps)),
        (record(vec![gone(other)]), Answer::Done),
        (find_account(), annotated_account()),
    ];
    let mut effect = machine::PassUnderTest::next(&mut rest, Answer::Begin);
    for (expected, answer) in way {
        assert_eq!(effect, expected);
        effect = machine::PassUnderTest::next(&mut rest, answer);
    }
    if matches!(effect, Effect::Revoke(..)) {
        effect = machine::PassUnderTest::next(&mut rest, revoked());
    }
    match effect {
        Effect::End(End::Report(outcome)) => outcome.credential_synced,
        other => panic!("the pass goes on with {other:?}"),
    }
}

#[test]
fn what_had_to_give_way_is_taken_off_the_record_and_told() {
    let gave_way = |issuer: &str| {
        let told = format!(
            "The credential trusts the ServiceAccount. The identity is full, so one of issuer {issuer} had to give way for it."
        );
        ConditionState::yes(Reason::Created, told)
    };
    // Another ServiceAccount's and this one's, of a former issuer; and what an earlier spec left.
    let former = credential_of(FORMER, "api");
    assert_eq!(gives_way(&former, Vec::new()), gave_way(FORMER));
    let own = credential_of(FORMER, "web");
    assert_eq!(gives_way(&own, Vec::new()), gave_way(FORMER));
    let left = credential_of(ISSUER, "api");
    assert_eq!(gives_way(&left, vec![held("web", &left, None)]), gave_way(ISSUER));
}

/// On a full identity, which of ours may give way.
fn displaceable(known: Known) -> Vec<String> {
    let mut rest = Rest::new(subject(desired()), known, Vec::new());
    assert_eq!(
        machine::PassUnderTest::next(&mut rest, Answer::Begin),
        Effect::Confirm
    );
    assert!(matches!(rest.0.next(CONFIRMED), Effect::Record(..)));
    match rest.0.next(Answer::Done) {
        Effect::Write(_, input, _) => input.displaceable,
        other => panic!("{other:?} and no write"),
    }
}

#[test]
fn former_issuers_give_way_first_those_of_this_service_account_before_all() {
    let (other, own) = (credential_of(FORMER, "api"), credential_of(FORMER, "web"));
    let current = credential_of(ISSUER, "zoo");
    let mut known = known();
    known.recorded = [&other, &current, &own].map(|c| entry(c, "other")).to_vec();
    assert_eq!(displaceable(known.clone()), [own.name, other.name]);

    // New tokens have it as well.
    known.alternating_issuers = vec![FORMER.to_owned()];
    assert!(displaceable(known).is_empty());
}

#[test]
fn what_an_earlier_spec_left_here_gives_way_and_nothing_else() {
    let left = credential_of(ISSUER, "api");
    let recorded = vec![entry(&left, "binding")];
    let displaced_with = |of_binding| {
        displaceable(Known {
            recorded: recorded.clone(),
            of_binding,
            ..known()
        })
    };
    assert_eq!(
        displaced_with(vec![held("web", &left, None)]),
        [left.name.clone()]
    );
    let none: [String; 0] = [];
    // Not with an heir, not on another identity, not one of another name, not what is still wanted.
    assert_eq!(displaced_with(vec![held("web", &left, Some("heir"))]), none);
    assert_eq!(displaced_with(vec![held("api", &left, None)]), none);
    assert_eq!(
        displaced_with(vec![held("web", &credential_of(ISSUER, "zoo"), None)]),
        none
    );
    assert_eq!(displaced_with(Vec::new()), none);
    // Of the same ServiceAccount, with an earlier audience.
    let audience = Credential::named_by_us("wib", Tuple::for_service_account(ISSUER, "shop", "web", "old"));
    let known = Known {
        recorded: vec![entry(&audience, "binding")],
        of_binding: vec![held("web", &audience, None)],
        ..known()
    };
    assert_eq!(displaceable(known), none);
}

#[test]
fn only_what_this_operator_looks_after_is_ours() {
    let elsewhere = Credential::named_by_us("wib", Tuple::for_service_account(FORMER, "pay", "api", "aud"));
    let nobody = foreign(
        "nobody",
        Tuple {
            issuer: FORMER.to_owned(),
            subject: "repo:x/y".to_owned(),
            audience: "aud".to_owned(),
        },
    );
    let here = credential_of(FORMER, "api");
    let known = |namespace: Option<&str>| Known {
        recorded: [&elsewhere, &nobody, &here].map(|c| entry(c, "other")).to_vec(),
        namespace: namespace.map(str::to_owned),
        ..known()
    };
    assert_eq!(displaceable(known(Some("shop"))), [here.name.clone()]);
    let all = [&elsewhere, &nobody, &here].map(|c| c.name.clone());
    assert_eq!(displaceable(known(None)), all);
}

#[test]
fn azure_that_knows_better_than_its_list_is_asked_once_more() {
    for fault in [Fault::Duplicate, Fault::LimitReached] {
        let better = || Answer::Written(Err(obstacle(fault, "Azure knows better", Some(2))));
        let outcome = pass(
            recorded(),
            Vec::new(),
            [
                (Effect::Confirm, CONFIRMED),
                (write(input(&[&credential()])), better()),
                (write(input(&[&credential()])), put()),
                (find_account(), annotated_account()),
            ],
        );
        assert_eq!(outcome.credential_synced, created());
        let outcome = pass(
            recorded(),
            Vec::new(),
            [
                (Effect::Confirm, CONFIRMED),
                (write(input(&[&credential()])), better()),
                (write(input(&[&credential()])), better()),
            ],
        );
        assert_eq!(
            outcome.credential_synced,
            ConditionState::no(fault.reason(), "Azure knows better")
        );
        assert_eq!(outcome.wait, Some(Duration::from_secs(2)));
    }
}

#[test]
fn any_other_fault_of_a_write_is_told_at_once() {
    let outcome = pass(
        known(),
        Vec::new(),
        [
            (Effect::Confirm, CONFIRMED),
            (record(wants(&credential(), 0)), Answer::Done),
            (
                write(input(&[&credential()])),
                Answer::Written(Err(obstacle(Fault::Locked, "a lock", Some(4)))),
            ),
        ],
    );
    let expected = Outcome {
        credential_synced: ConditionState::no(Reason::ResourceLocked, "a lock"),
        annotated: ConditionState::pending(),
        service_account: None,
        wait: Some(Duration::from_secs(4)),
        ..in_order()
    };
    assert_eq!(outcome, expected);
}

#[test]
fn a_plan_that_cannot_be_by_the_time_of_the_write_is_told() {
    let plan = Plan {
        steps: Vec::new(),
        decision: Decision::Refused(Reason::CredentialNameTaken, "taken meanwhile".to_owned()),
    };
    let outcome = pass(
        recorded(),
        Vec::new(),
        [
            (Effect::Confirm, CONFIRMED),
            (write(input(&[&credential()])), Answer::Written(Ok(plan))),
        ],
    );
    assert_eq!(
        outcome.credential_synced,
        ConditionState::no(Reason::CredentialNameTaken, "taken meanwhile")
    );
    assert_eq!(outcome.annotated, ConditionState::pending());
}

#[test]
fn what_somebody_made_by_the_time_of_the_write_is_adopted() {
    let theirs = foreign("terraform", credential().tuple);
    let plan = Plan {
        steps: Vec::new(),
        decision: Decision::Trusted(theirs.clone(), CredentialOrigin::Adopted),
    };
    let outcome = pass(
        recorded(),
        Vec::new(),
        [
            (Effect::Confirm, CONFIRMED),
            (write(input(&[&credential()])), Answer::Written(Ok(plan))),
            (find_account(), annotated_account()),
        ],
    );
    assert_eq!(outcome, adopted(&theirs));
}

#[test]
fn the_former_issuers_credential_of_this_service_account_is_told() {
    let told = ConditionState::yes(
        Reason::Created,
        "The credential trusts the ServiceAccount. The one of the cluster's former issuer https://former/ stays until its tokens have expired.",
    );
    for (former, expected) in [
        (credential_of(FORMER, "web"), told),
        (credential_of(FORMER, "api"), created()),
        (credential_of(ISSUER, "api"), created()),
    ] {
        let mut known = recorded();
        known.recorded.push(entry(&former, "binding"));
        let outcome = pass(
            known,
            vec![credential(), former],
            [(find_account(), annotated_account())],
        );
        assert_eq!(outcome.credential_synced, expected);
    }
}

#[test]
fn an_issuer_that_api_servers_name_by_turns_is_told() {
    let other = credential_of(FORMER, "web");
    let mut known = recorded();
    known.recorded.push(entry(&other, "binding"));
    known.alternating_issuers = vec![FORMER.to_owned()];
    let outcome = pass(
        known,
        vec![credential(), other],
        [(find_account(), annotated_account())],
    );
    let told = "The credential trusts the ServiceAccount. API servers of this cluster name issuer https://former/ as well, whose credential stays: give all of them the same --service-account-issuer.";
    assert_eq!(
        outcome.credential_synced,
        ConditionState::yes(Reason::Created, told)
    );
}
