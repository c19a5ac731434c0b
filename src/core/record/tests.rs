// Builders of test data read best by value.
#![allow(clippy::needless_pass_by_value, clippy::cloned_ref_to_slice_refs)]

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn credential(issuer: &str, account: &str) -> Credential {
    let tuple = Tuple::for_service_account(issuer, "shop", account, "aud");
    Credential::named_by_us("wib", tuple)
}

fn web() -> Credential {
    credential("https://issuer/", "web")
}

fn api() -> Credential {
    credential("https://issuer/", "api")
}

fn want(credential: &Credential, binding: &str) -> Change {
    Change::Want {
        credential: credential.clone(),
        binding: binding.to_owned(),
    }
}

fn mark(credential: &Credential, state: CredentialState) -> Change {
    Change::Mark {
        name: credential.name.clone(),
        state,
    }
}

fn gone(credential: &Credential) -> Change {
    Change::Gone {
        name: credential.name.clone(),
    }
}

fn retire(issuer: &str, at: i64) -> Change {
    Change::Retire {
        issuer: issuer.to_owned(),
        at,
    }
}

fn seen(others: usize) -> Change {
    Change::Seen {
        identity: Identity {
            client_id: "client".to_owned(),
            principal_id: "principal".to_owned(),
            tenant_id: "tenant".to_owned(),
        },
        others,
    }
}

/// A record after these changes.
fn after<const N: usize>(changes: [Change; N]) -> ManagedIdentityStatus {
    let mut record = ManagedIdentityStatus::default();
    apply(&mut record, &changes);
    record
}

/// How many there are, how many of ours, how many orphans.
fn counts(record: &ManagedIdentityStatus) -> (Option<&str>, i64, i64) {
    (record.held.as_deref(), record.ours, record.orphaned)
}

#[test]
fn what_is_wanted_is_recorded_with_all_that_it_trusts() {
    let record = after([want(&web(), "binding")]);
    let expected = RecordedCredential {
        name: web().name,
        issuer: "https://issuer/".to_owned(),
        subject: "system:serviceaccount:shop:web".to_owned(),
        audience: "aud".to_owned(),
        binding: "binding".to_owned(),
        state: CredentialState::Wanted,
    };
    assert_eq!(record.credentials, [expected.clone()]);
    assert_eq!(tuple(&expected), web().tuple);
    assert_eq!(counts(&record), (None, 1, 0));
}

#[test]
fn what_is_wanted_again_is_its_new_bindings() {
    let orphaned = mark(&web(), CredentialState::Orphaned);
    let record = after([
        want(&api(), "other"),
        want(&web(), "a"),
        orphaned,
        want(&web(), "b"),
    ]);
    assert_eq!(
        record.credentials,
        after([want(&api(), "other"), want(&web(), "b")]).credentials
    );
}

#[test]
fn what_is_found_belongs_to_no_binding_and_what_is_known_stays_as_it_is() {
    let found = after([Change::Found(web())]);
    assert_eq!(found.credentials[0].binding, "");
    assert_eq!(found.credentials[0].state, CredentialState::Orphaned);
    assert_eq!(counts(&found), (None, 1, 1));
    let known = after([want(&web(), "binding"), Change::Found(web())]);
    assert_eq!(known, after([want(&web(), "binding")]));
    let both = after([want(&api(), "binding"), Change::Found(web())]);
    assert_eq!(both.credentials.len(), 2);
}

#[test]
fn a_mark_changes_the_state_of_that_name_alone() {
    let record = after([
        want(&web(), "a"),
        want(&api(), "b"),
        mark(&api(), CredentialState::Retained),
    ]);
    let states: Vec<_> = record.credentials.iter().map(|c| c.state).collect();
    assert_eq!(states, [CredentialState::Wanted, CredentialState::Retained]);
    assert_eq!(record.credentials[1].binding, "b");
    assert_eq!(after([mark(&web(), CredentialState::Retained)]), after([]));
}

#[test]
fn only_what_is_gone_leaves_the_record() {
    let record = after([want(&web(), "a"), want(&api(), "b"), gone(&web())]);
    assert_eq!(record, after([want(&api(), "b")]));
    assert_eq!(
        after([want(&api(), "b"), gone(&web())]),
        after([want(&api(), "b")])
    );
}

#[test]
fn what_may_not_leave_stays_and_all_else_is_allowed() {
    let changes = [
        want(&api(), "b"),
        gone(&web()),
        gone(&api()),
        retire("https://old/", 1),
    ];
    let web = web();
    assert_eq!(allowed(&changes, |_| true), changes);
    let without = [changes[0].clone(), changes[1].clone(), changes[3].clone()];
    assert_eq!(allowed(&changes, |name| name == web.name), without);
}

#[test]
fn orphans_are_counted_and_nothing_else_is() {
    let orphan = |c: &Credential| mark(c, CredentialState::Orphaned);
    let zoo = credential("https://issuer/", "zoo");
    let all = [
        want(&web(), "a"),
        want(&api(), "b"),
        want(&zoo, "c"),
        orphan(&web()),
        orphan(&zoo),
    ];
    assert_eq!(counts(&after(all)), (None, 3, 2));
}

#[test]
fn what_azure_says_of_the_identity_is_kept() {
    let record = after([seen(4)]);
    assert_eq!(record.client_id.as_deref(), Some("client"));
    assert_eq!(record.principal_id.as_deref(), Some("principal"));
    assert_eq!(record.tenant_id.as_deref(), Some("tenant"));
    assert_eq!(counts(&record), (Some("4/20"), 0, 0));
}

#[test]
fn others_are_counted_once_and_ours_as_they_come_and_go() {
    let mut record = after([seen(4), want(&web(), "a")]);
    assert_eq!(counts(&record), (Some("5/20"), 1, 0));
    apply(&mut record, &[want(&api(), "b")]);
    assert_eq!(counts(&record), (Some("6/20"), 2, 0));
    apply(&mut record, &[gone(&web()), gone(&api())]);
    assert_eq!(counts(&record), (Some("4/20"), 0, 0));
    apply(&mut record, &[seen(1)]);
    assert_eq!(counts(&record), (Some("1/20"), 0, 0));
}

#[test]
fn a_count_that_nobody_can_read_is_left_out() {
    for held in ["", "x/20", "7", "-1/20"] {
        let mut record = ManagedIdentityStatus {
            held: Some(held.to_owned()),
            ..ManagedIdentityStatus::default()
        };
        apply(&mut record, &[want(&web(), "a")]);
        assert_eq!(record.held, None, "{held:?}");
    }
    // A smaller one than what is ours: somebody has written it.
    let mut record = after([want(&web(), "a"), want(&api(), "b")]);
    record.held = Some("1/20".to_owned());
    apply(&mut record, &[]);
    assert_eq!(record.held.as_deref(), Some("2/20"));
}

const FORMER: &str = "https://former/";

#[test]
fn a_former_issuer_is_noticed_once_and_kept_while_a_credential_of_it_is_left() {
    let old = credential(FORMER, "web");
    let mut record = after([want(&old, "a"), retire(FORMER, 100), retire(FORMER, 900)]);
    let expected = [FormerIssuer {
        issuer: FORMER.to_owned(),
        retired_at: Time(Timestamp::from_second(100).unwrap()),
    }];
    assert_eq!(record.former_issuers, expected);
    apply(&mut record, &[want(&web(), "a")]);
    assert_eq!(record.former_issuers, expected);
    apply(&mut record, &[gone(&old)]);
    assert_eq!(record.former_issuers, []);
}

#[test]
fn an_issuer_of_no_credential_or_of_no_time_is_not_kept() {
    assert_eq!(after([want(&web(), "a"), retire(FORMER, 100)]).former_issuers, []);
    let old = credential(FORMER, "web");
    assert_eq!(
        after([want(&old, "a"), retire(FORMER, i64::MAX)]).former_issuers,
        []
    );
}

#[test]
fn an_issuer_that_is_the_clusters_again_is_taken_off_alone() {
    let (old, older) = (credential(FORMER, "web"), credential("https://older/", "web"));
    let record = after([
        want(&old, "a"),
        want(&older, "a"),
        retire(FORMER, 100),
        retire("https://older/", 50),
        Change::Reinstate {
            issuer: FORMER.to_owned(),
        },
    ]);
    let left: Vec<_> = record.former_issuers.iter().map(|f| f.issuer.as_str()).collect();
    assert_eq!(left, ["https://older/"]);
}

#[test]
fn is_wanted_tells_binding_tuple_and_state_apart() {
    let record = after([
        want(&web(), "a"),
        want(&api(), "b"),
        mark(&api(), CredentialState::Retained),
    ]);
    let is = |credential: &Credential, binding| is_wanted(&record.credentials, credential, binding);
    assert!(is(&web(), "a"));
    assert!(!is(&web(), "b"));
    assert!(!is(&api(), "b"));
    let edited = Credential {
        name: web().name,
        ..api()
    };
    assert!(!is(&edited, "a"));
}

#[test]
fn an_entry_is_for_the_service_account_of_its_subject() {
    let of = |subject: &str| {
        let entry = RecordedCredential {
            subject: subject.to_owned(),
            ..recorded(&web(), "a", CredentialState::Wanted)
        };
        service_account(&entry).map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
    };
    let shop_web = Some(("shop".to_owned(), "web".to_owned()));
    assert_eq!(of("system:serviceaccount:shop:web"), shop_web);
    assert_eq!(of("system:serviceaccount:shop"), None);
    assert_eq!(of("repo:shop/web:ref:refs/heads/main"), None);
}

#[test]
fn what_is_unrecorded_bears_our_mark_for_an_issuer_and_a_namespace_of_ours() {
    let marked = |issuer, namespace| {
        Credential::named_by_us("any", Tuple::for_service_account(issuer, namespace, "web", "aud"))
    };
    let ours = marked("https://issuer/", "shop");
    let pay = marked("https://issuer/", "pay");
    let elsewhere = marked("https://elsewhere/", "shop");
    let aks = marked("https://ib.oic.prod-aks.azure.com/t/c", "shop");
    let edited = Credential {
        tuple: api().tuple,
        ..web()
    };
    let nobody = Credential::named_by_us(
        "wib",
        Tuple {
            issuer: "https://issuer/".to_owned(),
            subject: "repo:x/y".to_owned(),
            audience: "aud".to_owned(),
        },
    );
    let found = [&ours, &pay, &elsewhere, &aks, &edited, &nobody].map(Clone::clone);
    let holdings = Holdings::from(found.to_vec());
    let issuers = [
        "https://issuer/".to_owned(),
        "https://ib.oic.prod-aks.azure.com/t/c".to_owned(),
    ];
    let entries = |changes: &[Change]| {
        let mut record = ManagedIdentityStatus::default();
        apply(&mut record, changes);
        record.credentials
    };
    let none = entries(&[]);
    assert_eq!(
        unrecorded(&none, &holdings, &issuers, None),
        [ours.clone(), pay.clone()]
    );
    assert_eq!(
        unrecorded(&none, &holdings, &issuers, Some("shop")),
        [ours.clone()]
    );
    assert_eq!(unrecorded(&none, &holdings, &[], None), []);
    let known = entries(&[want(&ours, "a")]);
    assert_eq!(unrecorded(&known, &holdings, &issuers, None), [pay]);
}

#[test]
fn others_are_whatever_is_not_on_record_readable_or_not() {
    let entries = after([want(&web(), "a"), want(&api(), "b")]).credentials;
    let holdings = Holdings {
        credentials: vec![
            web(),
            credential("https://x/", "zoo"),
            credential("https://y/", "zoo"),
        ],
        unreadable: vec!["flexible".to_owned(), api().name],
    };
    assert_eq!(others_on(&entries, &holdings), 3);
    assert_eq!(others_on(&[], &holdings), 5);
    assert_eq!(others_on(&entries, &Holdings::default()), 0);
}

#[test]
fn a_record_that_was_lost_is_made_again_as_it_was() {
    let old = credential(FORMER, "web");
    let lost = after([
        seen(3),
        want(&web(), "a"),
        want(&old, "b"),
        mark(&old, CredentialState::Released),
        retire(FORMER, 100),
    ]);
    let made = |lost: &ManagedIdentityStatus, entries: &[RecordedCredential]| {
        let mut record = ManagedIdentityStatus::default();
        apply(&mut record, &restored(lost, entries.iter()));
        record
    };
    assert_eq!(made(&lost, &lost.credentials), lost);
    // Another operator of this cluster makes its own entries again.
    let own = made(&lost, &lost.credentials[1..]);
    assert_eq!(own.credentials, lost.credentials[1..]);
    assert_eq!(own.former_issuers, lost.former_issuers);
    assert_eq!(counts(&own), (Some("4/20"), 1, 0));
    // Of an identity that was never read, nothing is made up.
    let unread = after([want(&web(), "a")]);
    assert_eq!(made(&unread, &unread.credentials), unread);
}

fn any_change() -> impl Strategy<Value = Change> {
    let issuers = || select(vec!["https://issuer/", FORMER]);
    let credentials =
        || (issuers(), select(vec!["web", "api"])).prop_map(|(issuer, account)| credential(issuer, account));
    let states = select(vec![
        CredentialState::Wanted,
        CredentialState::Retained,
        CredentialState::Released,
        CredentialState::Orphaned,
    ]);
    prop_oneof![
        (credentials(), select(vec!["a", "b"])).prop_map(|(credential, binding)| want(&credential, binding)),
        (credentials(), states).prop_map(|(credential, state)| mark(&credential, state)),
        credentials().prop_map(Change::Found),
        credentials().prop_map(|credential| gone(&credential)),
        (issuers(), 0..9_i64).prop_map(|(issuer, at)| retire(issuer, at)),
        issuers().prop_map(|issuer| Change::Reinstate {
            issuer: issuer.to_owned()
        }),
        (0..19_usize).prop_map(seen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// A write whose answer was lost is made again.
    #[test]
    fn a_change_that_is_applied_twice_changes_nothing_more(
        before in prop::collection::vec(any_change(), 0..8),
        change in any_change(),
    ) {
        let mut once = ManagedIdentityStatus::default();
        apply(&mut once, &before);
        apply(&mut once, std::slice::from_ref(&change));
        let mut twice = once.clone();
        apply(&mut twice, &[change]);
        prop_assert_eq!(once, twice);
    }

    /// Bindings of one identity have their changes written together.
    #[test]
    fn the_numbers_are_those_of_the_list_however_the_changes_came(changes in prop::collection::vec(any_change(), 0..10)) {
        let mut record = ManagedIdentityStatus::default();
        for change in &changes {
            apply(&mut record, std::slice::from_ref(change));
        }
        prop_assert_eq!(usize::try_from(record.ours).unwrap(), record.credentials.len());
        let orphans = record.credentials.iter().filter(|c| c.state == CredentialState::Orphaned);
        prop_assert_eq!(usize::try_from(record.orphaned).unwrap(), orphans.count());
        let seen = changes.iter().rev().find_map(|c| match c {
            Change::Seen { others, .. } => Some(*others),
            _ => None,
        });
        prop_assert_eq!(record.held, seen.map(|others| format!("{}/20", others + record.credentials.len())));
        let mut names: Vec<_> = record.credentials.iter().map(|c| &c.name).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), record.credentials.len());
        for former in &record.former_issuers {
            prop_assert!(record.credentials.iter().any(|c| c.issuer == former.issuer));
        }
    }
}
