//! The two rules that no step is trusted with.

use super::*;

fn is_early(name: &str) -> Result<(), Unsafe> {
    Err(Unsafe::NotRecorded(name.to_owned()))
}

fn deletion(on: &str, credentials: &[&Credential]) -> Effect {
    Effect::Delete(identity(on), credentials.iter().map(|c| c.name.clone()).collect())
}

/// For a pass that begins with [`credential`] on record on identity `web`.
fn with_record() -> Safeguard {
    let held = [held("web", &credential(), None)];
    Safeguard::new(held.iter().map(|held| (&held.identity, &held.entry)))
}

#[test]
fn a_write_needs_a_record_and_a_consistent_read() {
    let write = write(input(&[]));
    let mut nothing = Safeguard::default();
    nothing.learn(&CONFIRMED);
    assert_eq!(nothing.check(&write), is_early(&credential().name));

    let mut recorded = with_record();
    assert_eq!(recorded.check(&write), Err(Unsafe::NotConfirmed));
    recorded.learn(&TROUBLED);
    assert_eq!(recorded.check(&write), Ok(()));
}

#[test]
fn the_pass_of_a_binding_begins_with_the_record_of_the_identity_of_its_spec() {
    let mut guard = Safeguard::of_binding(&subject(desired()), &recorded());
    guard.learn(&CONFIRMED);
    assert_eq!(guard.check(&write(input(&[]))), Ok(()));
    let elsewhere = Effect::Write(identity("api"), input(&[]), FRESH);
    assert_eq!(guard.check(&elsewhere), is_early(&credential().name));

    let not_understood = Subject {
        desired: Err(String::new()),
        ..subject(desired())
    };
    let nothing = Safeguard::of_binding(&not_understood, &recorded());
    assert_eq!(nothing, Safeguard::default());
}

#[test]
fn the_record_is_that_of_the_identity() {
    let mut guard = with_record();
    guard.learn(&CONFIRMED);
    let elsewhere = Effect::Write(identity("api"), input(&[]), FRESH);
    assert_eq!(guard.check(&elsewhere), is_early(&credential().name));
    assert_eq!(
        guard.check(&deletion("api", &[&credential()])),
        is_early(&credential().name)
    );
}

#[test]
fn a_delete_needs_a_record_of_every_name_and_a_consistent_read() {
    let api = credential_of(ISSUER, "api");
    let mut guard = with_record();
    let one = deletion("web", &[&credential()]);
    assert_eq!(guard.check(&one), Err(Unsafe::NotConfirmed));
    guard.learn(&CONFIRMED);
    assert_eq!(guard.check(&one), Ok(()));
    assert_eq!(
        guard.check(&deletion("web", &[&credential(), &api])),
        is_early(&api.name)
    );
}

#[test]
fn what_is_wanted_or_found_is_on_record_once_that_is_done() {
    for change in [want(&credential(), "binding"), Change::Found(credential())] {
        let effect = record(vec![change]);
        let write = write(input(&[]));
        let begin = || {
            let mut guard = Safeguard::default();
            guard.learn(&CONFIRMED);
            assert_eq!(guard.check(&effect), Ok(()));
            guard
        };
        let mut done = begin();
        done.learn(&Answer::Done);
        assert_eq!(done.check(&write), Ok(()));

        // Before the answer, or when it failed, it is not.
        for other in [Answer::Outdated, Answer::Failed(refusal()), CONFIRMED] {
            let mut failed = begin();
            failed.learn(&other);
            assert_eq!(failed.check(&write), is_early(&credential().name));
        }
    }
}

#[test]
fn a_done_that_answers_something_else_records_nothing() {
    let mut guard = Safeguard::default();
    guard.learn(&CONFIRMED);
    assert_eq!(guard.check(&record(wants(&credential(), 0))), Ok(()));
    guard.learn(&Answer::Failed(refusal()));
    guard.learn(&Answer::Done);
    assert_eq!(guard.check(&write(input(&[]))), is_early(&credential().name));

    assert_eq!(guard.check(&record(wants(&credential(), 0))), Ok(()));
    assert_eq!(guard.check(&Effect::RemoveFinalizer), Ok(()));
    guard.learn(&Answer::Done);
    assert_eq!(guard.check(&write(input(&[]))), is_early(&credential().name));
}

#[test]
fn marks_and_the_like_put_nothing_on_record() {
    let changes = vec![
        mark(&credential(), CredentialState::Orphaned),
        gone(&credential()),
        Change::Reinstate {
            issuer: ISSUER.to_owned(),
        },
    ];
    let mut guard = Safeguard::default();
    guard.learn(&CONFIRMED);
    assert_eq!(guard.check(&record(changes)), Ok(()));
    guard.learn(&Answer::Done);
    assert_eq!(guard.check(&write(input(&[]))), is_early(&credential().name));
}

#[test]
fn a_refusal_says_which_rule_was_broken() {
    assert_eq!(
        Unsafe::NotConfirmed.to_string(),
        "a write in Azure before a consistent read of Kubernetes"
    );
    assert_eq!(
        Unsafe::NotRecorded("x".to_owned()).to_string(),
        "credential x was about to be written or deleted without being on record"
    );
}
