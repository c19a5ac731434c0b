//! What is due by the rules: orphans, former issuers, and every grant.

use super::revoke::{delete, deleted, run, situation, went};
use super::*;
use crate::core::reconcile::revoke::Why;

const MINUTE: Duration = Duration::from_mins(1);

fn entry_in(credential: &Credential, owner: Owner, state: CredentialState) -> OwnedEntry {
    OwnedEntry {
        recorded: RecordedCredential {
            state,
            ..entry(credential, "binding")
        },
        owner,
        unwanted_for: Duration::ZERO,
    }
}

fn wanted(credential: &Credential) -> OwnedEntry {
    entry_in(credential, Owner::Wants, CredentialState::Wanted)
}

fn orphan(credential: &Credential, unwanted_for: Duration) -> OwnedEntry {
    OwnedEntry {
        unwanted_for,
        ..entry_in(credential, Owner::Absent, CredentialState::Orphaned)
    }
}

fn next(after: Duration) -> Revoked {
    Revoked {
        next: Some(after),
        ..Revoked::default()
    }
}

fn orphaned(credential: &Credential, why: Why) -> (RecordedCredential, Why) {
    let (entry, why) = went(credential, why);
    let state = CredentialState::Orphaned;
    (RecordedCredential { state, ..entry }, why)
}

#[test]
fn a_record_in_order_is_reviewed_entry_by_entry_and_not_written() {
    let entries = vec![wanted(&credential()), wanted(&credential_of(ISSUER, "api"))];
    let steps = [(review_of("api"), GRANTED), (review(), GRANTED)];
    assert_eq!(run(situation(entries), Due::All, steps), Revoked::default());
}

#[test]
fn an_entry_that_nobody_wants_becomes_an_orphan_and_its_grace_begins() {
    let entries = vec![entry_in(&credential(), Owner::Absent, CredentialState::Wanted)];
    let marked = record(vec![mark(&credential(), CredentialState::Orphaned)]);
    let revoked = run(
        situation(entries),
        Due::All,
        [(review(), GRANTED), (marked, Answer::Done)],
    );
    let expected = Revoked {
        orphaned: vec![entry(&credential(), "binding")],
        ..next(Duration::from_hours(1))
    };
    assert_eq!(revoked, expected);
}

#[test]
fn only_an_absent_binding_makes_an_orphan_and_only_of_what_it_wanted() {
    use CredentialState::{Orphaned, Released, Retained, Wanted};
    for (owner, state) in [
        (Owner::Wants, Wanted),
        (Owner::Present, Wanted),
        (Owner::Wants, Orphaned),
        (Owner::Present, Orphaned),
        (Owner::Absent, Retained),
        (Owner::Absent, Released),
    ] {
        let mut entry = entry_in(&credential(), owner, state);
        entry.unwanted_for = Duration::from_hours(99);
        let revoked = run(situation(vec![entry]), Due::All, [(review(), GRANTED)]);
        assert_eq!(revoked, Revoked::default(), "{owner:?} {state:?}");
    }
}

#[test]
fn an_orphan_goes_after_its_grace_if_storage_knows_no_binding_for_it() {
    let subjects = vec![credential().tuple.subject];
    let entries = vec![orphan(&credential(), Duration::from_hours(1))];
    let revoked = run(
        situation(entries.clone()),
        Due::All,
        [
            (review(), GRANTED),
            (Effect::Confirm, TROUBLED),
            (
                Effect::ConfirmUnwanted(subjects.clone()),
                Answer::Unwanted(subjects.clone()),
            ),
            (delete(&[&credential()]), deleted(&[&credential()])),
            (record(vec![gone(&credential())]), Answer::Done),
            (withdraw(&["web"]), Answer::Annotated(Ok(None))),
        ],
    );
    let expected = Revoked {
        gone: vec![orphaned(&credential(), Why::Orphaned)],
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);

    // A binding that the watch has not shown yet keeps it.
    let revoked = run(
        situation(entries),
        Due::All,
        [
            (review(), GRANTED),
            (Effect::Confirm, CONFIRMED),
            (Effect::ConfirmUnwanted(subjects), Answer::Unwanted(Vec::new())),
        ],
    );
    assert_eq!(revoked, Revoked::default());
}

#[test]
fn an_orphan_stays_until_its_grace_is_over_and_the_first_due_sets_the_time() {
    let (api, zoo) = (credential_of(ISSUER, "api"), credential_of(ISSUER, "zoo"));
    let entries = vec![
        orphan(&api, 10 * MINUTE),
        orphan(&zoo, 50 * MINUTE),
        orphan(&credential(), 20 * MINUTE),
    ];
    let steps = [
        (review(), GRANTED),
        (review_of("zoo"), GRANTED),
        (review_of("api"), GRANTED),
    ];
    assert_eq!(run(situation(entries), Due::All, steps), next(10 * MINUTE));
}

#[test]
fn too_many_orphans_wait_for_a_person_and_ask_for_no_time() {
    let held = Situation {
        orphans: Orphans::Held,
        ..situation(vec![orphan(&credential(), Duration::from_hours(99))])
    };
    assert_eq!(run(held, Due::All, [(review(), GRANTED)]), Revoked::default());
}

#[test]
fn a_person_may_have_orphans_removed_at_once_also_those_that_no_record_had_named() {
    let unnamed = |orphans| {
        let mut entry = orphan(&credential(), Duration::from_hours(99));
        entry.recorded.binding = String::new();
        entry.unwanted_for = Duration::ZERO;
        Situation {
            orphans,
            ..situation(vec![entry])
        }
    };
    let subjects = vec![credential().tuple.subject];
    let revoked = run(
        unnamed(Orphans::Confirmed),
        Due::All,
        [
            (review(), GRANTED),
            (Effect::Confirm, CONFIRMED),
            (
                Effect::ConfirmUnwanted(subjects.clone()),
                Answer::Unwanted(subjects),
            ),
            (delete(&[&credential()]), deleted(&[&credential()])),
            (record(vec![gone(&credential())]), Answer::Done),
            (withdraw(&["web"]), Answer::Annotated(Ok(None))),
        ],
    );
    assert_eq!(revoked.gone.len(), 1);

    // Without that word it may be another cluster's, restored from the same backup.
    let mut late = unnamed(Orphans::Remove);
    late.entries[0].unwanted_for = Duration::from_hours(99);
    assert_eq!(run(late, Due::All, [(review(), GRANTED)]), Revoked::default());
}

#[test]
fn a_handful_of_orphans_or_a_twentieth_is_no_accident() {
    for (orphaned, recorded, expected) in [
        (0, 0, Orphans::Remove),
        (5, 5, Orphans::Remove),
        (6, 6, Orphans::Held),
        (6, 119, Orphans::Held),
        (6, 120, Orphans::Remove),
        (7, 120, Orphans::Held),
        (50, 1000, Orphans::Remove),
        (51, 1000, Orphans::Held),
    ] {
        assert_eq!(
            Orphans::of(orphaned, recorded),
            expected,
            "{orphaned} of {recorded}"
        );
    }
}

/// With this issuer on record as a former one for so long.
fn since(entries: Vec<OwnedEntry>, issuer: &str, retired_for: Duration) -> Situation {
    Situation {
        former_issuers: vec![(issuer.to_owned(), retired_for)],
        ..situation(entries)
    }
}

#[test]
fn an_issuer_that_is_no_longer_the_clusters_is_put_on_record_once() {
    let entries = vec![
        wanted(&credential_of(FORMER, "web")),
        wanted(&credential_of(FORMER, "api")),
        wanted(&credential()),
    ];
    let retired = record(vec![Change::Retire {
        issuer: FORMER.to_owned(),
        at: 1_000,
    }]);
    let revoked = run(
        situation(entries),
        Due::All,
        [
            (review(), GRANTED),
            (review_of("api"), GRANTED),
            (review(), GRANTED),
            (retired, Answer::Done),
        ],
    );
    assert_eq!(revoked, next(Duration::from_hours(24)));
}

#[test]
fn a_former_issuers_credential_stays_until_its_tokens_have_expired() {
    let former = credential_of(FORMER, "web");
    let entries = vec![wanted(&former), wanted(&credential())];
    let steps = || [(review(), GRANTED), (review(), GRANTED)];
    let early = since(entries.clone(), FORMER, Duration::from_hours(23));
    assert_eq!(run(early, Due::All, steps()), next(Duration::from_hours(1)));

    let over = since(entries, FORMER, Duration::from_hours(24));
    let [first, second] = steps();
    let revoked = run(
        over,
        Due::All,
        [
            first,
            second,
            (Effect::Confirm, TROUBLED),
            (delete(&[&former]), deleted(&[&former])),
            (record(vec![gone(&former)]), Answer::Done),
        ],
    );
    let expected = Revoked {
        gone: vec![went(&former, Why::FormerIssuer)],
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);
}

#[test]
fn an_issuer_that_is_the_clusters_again_is_no_former_one() {
    let situation = since(vec![wanted(&credential())], ISSUER, Duration::from_hours(99));
    let reinstated = record(vec![Change::Reinstate {
        issuer: ISSUER.to_owned(),
    }]);
    let steps = [(review(), GRANTED), (reinstated, Answer::Done)];
    assert_eq!(run(situation, Due::All, steps), Revoked::default());
}

#[test]
fn an_issuer_that_api_servers_name_by_turns_is_no_former_one() {
    let by_turns = |situation| Situation {
        alternating_issuers: vec![FORMER.to_owned()],
        ..situation
    };
    let entries = vec![wanted(&credential_of(FORMER, "web"))];
    let never_retired = by_turns(situation(entries.clone()));
    assert_eq!(
        run(never_retired, Due::All, [(review(), GRANTED)]),
        Revoked::default()
    );

    let retired_before = by_turns(since(entries, FORMER, Duration::from_hours(99)));
    let reinstated = record(vec![Change::Reinstate {
        issuer: FORMER.to_owned(),
    }]);
    let steps = [(review(), GRANTED), (reinstated, Answer::Done)];
    assert_eq!(run(retired_before, Due::All, steps), Revoked::default());
}

#[test]
fn a_denial_speaks_before_every_other_reason() {
    let former = credential_of(FORMER, "web");
    let mut entry = orphan(&former, Duration::from_hours(2));
    entry.recorded.issuer = FORMER.to_owned();
    let over = |entry| since(vec![entry], FORMER, Duration::from_hours(99));
    let subjects = vec![former.tuple.subject.clone()];

    // Both reasons hold: the first that is found is told.
    let revoked = run(
        over(entry.clone()),
        Due::All,
        [
            (review(), GRANTED),
            (Effect::Confirm, CONFIRMED),
            (
                Effect::ConfirmUnwanted(subjects.clone()),
                Answer::Unwanted(subjects),
            ),
            (delete(&[&former]), deleted(&[&former])),
            (record(vec![gone(&former)]), Answer::Done),
            (withdraw(&["web"]), Answer::Annotated(Ok(None))),
        ],
    );
    assert_eq!(revoked.gone, [orphaned(&former, Why::Orphaned)]);

    // Denied: no binding could keep it.
    let revoked = run(
        over(entry),
        Due::All,
        [
            (review(), DENIED),
            (Effect::Confirm, CONFIRMED),
            (delete(&[&former]), deleted(&[&former])),
            (record(vec![gone(&former)]), Answer::Done),
            (withdraw(&["web"]), Answer::Annotated(Ok(None))),
        ],
    );
    assert_eq!(revoked.gone, [orphaned(&former, Why::Denied)]);
}

#[test]
fn an_orphan_that_is_wanted_again_stays_while_what_is_denied_goes() {
    let api = credential_of(ISSUER, "api");
    let entries = vec![orphan(&credential(), Duration::from_hours(1)), wanted(&api)];
    let subjects = vec![credential().tuple.subject];
    let revoked = run(
        situation(entries),
        Due::All,
        [
            (review_of("api"), DENIED),
            (review(), GRANTED),
            (Effect::Confirm, CONFIRMED),
            (Effect::ConfirmUnwanted(subjects), Answer::Unwanted(Vec::new())),
            (delete(&[&api]), deleted(&[&api])),
            (record(vec![gone(&api)]), Answer::Done),
        ],
    );
    assert_eq!(revoked.gone, [went(&api, Why::Denied)]);
}

#[test]
fn an_entry_of_no_service_account_cannot_be_reviewed_and_stays() {
    let mut entry = wanted(&credential());
    entry.recorded.subject = "repo:x/y".to_owned();
    let entries = vec![wanted(&credential_of(ISSUER, "api")), entry];
    let revoked = run(situation(entries), Due::All, [(review_of("api"), GRANTED)]);
    let expected = Revoked {
        unsure: true,
        ..Revoked::default()
    };
    assert_eq!(revoked, expected);
}
