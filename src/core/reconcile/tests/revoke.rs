//! What is taken back by name, or because it is denied.

use super::*;
use crate::core::reconcile::revoke::Why;

fn entry_of(credential: &Credential, owner: Owner) -> OwnedEntry {
    OwnedEntry {
        recorded: entry(credential, "binding"),
        owner,
        unwanted_for: Duration::ZERO,
    }
}

/// Identity `web` with these entries on record.
pub(super) fn situation(entries: Vec<OwnedEntry>) -> Situation {
    Situation {
        identity: identity("web"),
        entries,
        issuer: ISSUER.to_owned(),
        former_issuers: Vec::new(),
        alternating_issuers: Vec::new(),
        former_issuer_retention: Duration::from_hours(24),
        orphan_grace_period: Duration::from_hours(1),
        orphans: Orphans::Remove,
        now: 1_000,
        fresh: FRESH,
    }
}

pub(super) fn run<const N: usize>(situation: Situation, due: Due, steps: [(Effect, Answer); N]) -> Revoked {
    match script(RevocationPass::new(situation, due), steps) {
        End::Revoked(revoked) => revoked,
        other => panic!("the pass ends with {other:?}"),
    }
}

pub(super) fn delete(credentials: &[&Credential]) -> Effect {
    let names = credentials.iter().map(|c| c.name.clone()).collect();
    Effect::Delete(identity("web"), names)
}

/// All of these are gone.
pub(super) fn deleted(credentials: &[&Credential]) -> Answer {
    let results = credentials.iter().map(|c| (c.name.clone(), Ok(())));
    Answer::Deleted(Ok(results.collect()))
}

pub(super) fn went(credential: &Credential, why: Why) -> (RecordedCredential, Why) {
    (entry(credential, "binding"), why)
}

fn named(credentials: &[&Credential]) -> Due {
    Due::Named(credentials.iter().map(|c| c.name.clone()).collect())
}

#[test]
fn what_is_named_goes_in_azure_and_then_from_the_record() {
    let (web, api, zoo) = (
        credential(),
        credential_of(ISSUER, "api"),
        credential_of(ISSUER, "zoo"),
    );
    let entries = [&web, &api, &zoo].map(|c| entry_of(c, Owner::Present));
    let revoked = run(
        situation(entries.to_vec()),
        named(&[&zoo, &web]),
        [
            (Effect::Confirm, TROUBLED),
            (delete(&[&web, &zoo]), deleted(&[&zoo, &web])),
            (record(vec![gone(&web), gone(&zoo)]), Answer::Done),
        ],
    );
    let expected = Revoked {
        gone: vec![went(&web, Why::Left), went(&zoo, Why::Left)],
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);
}

#[test]
fn what_is_named_and_wanted_again_stays() {
    let entries = vec![entry_of(&credential(), Owner::Wants)];
    let revoked = run(situation(entries), named(&[&credential()]), []);
    assert_eq!(revoked, Revoked::default());
}

#[test]
fn what_is_named_and_not_on_record_is_not_touched() {
    let revoked = run(situation(Vec::new()), named(&[&credential()]), []);
    assert_eq!(revoked, Revoked::default());
}

#[test]
fn where_no_binding_is_left_the_pass_takes_the_annotations_off() {
    let (web, api, zoo) = (
        credential(),
        credential_of(ISSUER, "api"),
        credential_of(ISSUER, "zoo"),
    );
    let entries = vec![
        entry_of(&web, Owner::Absent),
        entry_of(&api, Owner::Present),
        entry_of(&zoo, Owner::Absent),
    ];
    let all = [&web, &api, &zoo];
    // Whatever comes of them: they have no part in trust.
    for answer in [
        Answer::Annotated(Ok(None)),
        refused(),
        Answer::Failed(refusal()),
        Answer::Outdated,
    ] {
        let revoked = run(
            situation(entries.clone()),
            named(&all),
            [
                (Effect::Confirm, CONFIRMED),
                (delete(&all), deleted(&all)),
                (record(all.map(gone).to_vec()), Answer::Done),
                (withdraw(&["web", "zoo"]), answer),
            ],
        );
        assert_eq!(revoked.gone.len(), 3);
        assert_eq!(revoked.obstacles, []);
    }
}

/// An obstacle as it is told: with the identity that it was met on.
fn on_web(obstacle: Obstacle) -> Obstacle {
    Obstacle {
        message: format!("{} (managed identity web)", obstacle.message),
        ..obstacle
    }
}

#[test]
fn an_obstacle_at_one_delays_no_other_and_leaves_the_record() {
    let (web, api, zoo) = (
        credential(),
        credential_of(ISSUER, "api"),
        credential_of(ISSUER, "zoo"),
    );
    let entries = [&web, &api, &zoo].map(|c| entry_of(c, Owner::Absent));
    let lock = obstacle(Fault::Locked, "met a lock", Some(9));
    let already = obstacle(Fault::CredentialGone, "gone", None);
    let results = vec![
        (web.name.clone(), Err(lock.clone())),
        (api.name.clone(), Err(already)),
        // Nothing is said of the third: it was not there.
    ];
    let revoked = run(
        situation(entries.to_vec()),
        named(&[&web, &api, &zoo]),
        [
            (Effect::Confirm, CONFIRMED),
            (delete(&[&web, &api, &zoo]), Answer::Deleted(Ok(results))),
            (record(vec![gone(&api), gone(&zoo)]), Answer::Done),
            (withdraw(&["api", "zoo"]), Answer::Annotated(Ok(None))),
        ],
    );
    let expected = Revoked {
        gone: vec![went(&api, Why::Left), went(&zoo, Why::Left)],
        obstacles: vec![(on_web(lock), web.name)],
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);
}

#[test]
fn when_nothing_can_be_tried_all_stays_on_record() {
    let (web, api) = (credential(), credential_of(ISSUER, "api"));
    let entries = [&web, &api].map(|c| entry_of(c, Owner::Absent));
    let down = obstacle(Fault::Unavailable, "no answer", None);
    let revoked = run(
        situation(entries.to_vec()),
        named(&[&web, &api]),
        [
            (Effect::Confirm, CONFIRMED),
            (delete(&[&web, &api]), Answer::Deleted(Err(down.clone()))),
        ],
    );
    let expected = Revoked {
        obstacles: vec![(on_web(down.clone()), web.name), (on_web(down), api.name)],
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);
}

#[test]
fn with_the_identity_all_that_it_held_is_gone() {
    let (web, api) = (credential(), credential_of(ISSUER, "api"));
    let entries = [&web, &api].map(|c| entry_of(c, Owner::Present));
    let no_identity = Answer::Deleted(Err(obstacle(Fault::IdentityGone, "no identity", None)));
    let revoked = run(
        situation(entries.to_vec()),
        named(&[&web, &api]),
        [
            (Effect::Confirm, CONFIRMED),
            (delete(&[&web, &api]), no_identity),
            (record(vec![gone(&web), gone(&api)]), Answer::Done),
        ],
    );
    assert_eq!((revoked.gone.len(), revoked.obstacles), (2, Vec::new()));
}

fn due_of(credential: &Credential) -> Due {
    Due::Denied(credential.tuple.subject.clone())
}

/// Two of ServiceAccount web, of two issuers, and one of another.
fn three() -> ([Credential; 3], Situation) {
    let all = [
        credential(),
        credential_of(FORMER, "web"),
        credential_of(ISSUER, "api"),
    ];
    // Whoever wants it: a denial speaks before all.
    let entries = all.iter().map(|c| entry_of(c, Owner::Wants)).collect();
    (all, situation(entries))
}

#[test]
fn every_entry_of_a_denied_subject_goes_whoever_wants_it() {
    let ([web, former, _], situation) = three();
    let revoked = run(
        situation,
        due_of(&web),
        [
            (review(), DENIED),
            (review(), DENIED),
            (Effect::Confirm, CONFIRMED),
            (delete(&[&former, &web]), deleted(&[&former, &web])),
            (record(vec![gone(&former), gone(&web)]), Answer::Done),
        ],
    );
    let expected = Revoked {
        gone: vec![went(&former, Why::Denied), went(&web, Why::Denied)],
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);
}

#[test]
fn what_is_granted_or_needs_no_grant_stays() {
    for answer in [GRANTED, Answer::Reviewed(Ok(Review::Disabled))] {
        let ([web, ..], situation) = three();
        let steps = [(review(), answer.clone()), (review(), answer)];
        assert_eq!(run(situation, due_of(&web), steps), Revoked::default());
    }
}

#[test]
fn a_review_that_fails_takes_nothing_back_and_asks_for_another() {
    let ([web, former, _], situation) = three();
    let revoked = run(
        situation,
        due_of(&web),
        [
            (review(), DENIED),
            (review(), unsure()),
            (Effect::Confirm, CONFIRMED),
            (delete(&[&former]), deleted(&[&former])),
            (record(vec![gone(&former)]), Answer::Done),
        ],
    );
    let expected = Revoked {
        gone: vec![went(&former, Why::Denied)],
        unsure: true,
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);
}

#[test]
fn after_trouble_every_denial_is_asked_about_again() {
    let ([web, former, _], situation) = three();
    let revoked = run(
        situation.clone(),
        due_of(&web),
        [
            (review(), DENIED),
            (review(), DENIED),
            (Effect::Confirm, TROUBLED),
            // The last of them first.
            (review(), GRANTED),
            (review(), DENIED),
            (delete(&[&former]), deleted(&[&former])),
            (record(vec![gone(&former)]), Answer::Done),
        ],
    );
    let expected = Revoked {
        gone: vec![went(&former, Why::Denied)],
        unsure: true,
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);

    let revoked = run(
        situation.clone(),
        due_of(&web),
        [
            (review(), DENIED),
            (review(), DENIED),
            (Effect::Confirm, TROUBLED),
            (review(), GRANTED),
            (review(), unsure()),
        ],
    );
    let expected = Revoked {
        unsure: true,
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);

    let revoked = run(
        situation,
        due_of(&web),
        [
            (review(), DENIED),
            (review(), DENIED),
            (Effect::Confirm, TROUBLED),
            (review(), DENIED),
            (review(), DENIED),
            (delete(&[&former, &web]), deleted(&[&former, &web])),
            (record(vec![gone(&former), gone(&web)]), Answer::Done),
        ],
    );
    assert_eq!((revoked.gone.len(), revoked.unsure), (2, false));
}

#[test]
fn a_call_that_kubernetes_fails_ends_the_pass() {
    let ([web, ..], situation) = three();
    for steps in [
        vec![(review(), Answer::Failed(refusal()))],
        vec![
            (review(), DENIED),
            (review(), GRANTED),
            (Effect::Confirm, Answer::Failed(refusal())),
        ],
    ] {
        let mut pass = RevocationPass::new(situation.clone(), due_of(&web));
        let mut effect = pass.next(Answer::Begin);
        for (expected, answer) in steps {
            assert_eq!(effect, expected);
            effect = pass.next(answer);
        }
        assert_eq!(effect, Effect::End(End::Failed(refusal())));
    }
}

#[test]
fn a_report_tells_each_obstacle_once_and_the_longest_wait() {
    let told = |obstacles| {
        let Answer::Revoked(revoked) = hindered(obstacles) else {
            panic!()
        };
        (revoked.told(), revoked.wait())
    };
    assert_eq!(told(Vec::new()), (String::new(), None));
    let obstacles = vec![
        obstacle(Fault::Locked, "met a lock", Some(2)),
        obstacle(Fault::Throttled, "was throttled", Some(7)),
        obstacle(Fault::Locked, "met a lock", None),
    ];
    assert_eq!(
        told(obstacles),
        (
            "met a lock; was throttled".to_owned(),
            Some(Duration::from_secs(7))
        )
    );
}

#[test]
fn two_passes_add_up() {
    let one = |name: &str, unsure| Revoked {
        gone: vec![went(&credential_of(ISSUER, name), Why::Left)],
        obstacles: vec![(obstacle(Fault::Locked, name, None), name.to_owned())],
        orphaned: vec![entry(&credential_of(ISSUER, name), "binding")],
        next: None,
        unsure,
    };
    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut whole = one("a", first);
        whole.merge(one("b", second));
        assert_eq!(whole.gone.len(), 2);
        assert_eq!(whole.obstacles.len(), 2);
        assert_eq!(whole.orphaned.len(), 2);
        assert_eq!(whole.unsure, first || second);
        assert_eq!(whole.first_obstacle().map(|(_, name)| name.as_str()), Some("a"));
    }
}

#[test]
fn every_why_has_words_of_its_own() {
    let all = [Why::Denied, Why::Left, Why::Orphaned, Why::FormerIssuer].map(Why::as_str);
    assert_eq!(
        all,
        [
            "its grant is gone",
            "its binding no longer wants it",
            "no binding wants it",
            "its issuer is a former one"
        ]
    );
}
