use super::*;
use crate::api::{CredentialState, FormerIssuer, ManagedIdentitySpec, ManagedIdentityStatus};

const ISSUER: &str = "https://issuer/";
const FORMER: &str = "https://former/";

fn identity(name: &str) -> IdentityId {
    IdentityId::new("00000000-0000-0000-0000-000000000001", "rg", name).unwrap()
}

fn entry(namespace: &str, binding: &str) -> RecordedCredential {
    RecordedCredential {
        name: format!("wib-{namespace}-{binding}"),
        issuer: ISSUER.to_owned(),
        subject: format!("system:serviceaccount:{namespace}:web"),
        audience: "api://AzureADTokenExchange".to_owned(),
        binding: binding.to_owned(),
        state: CredentialState::Wanted,
    }
}

/// A record of this uid in this version.
fn object(name: &str, uid: &str, version: u64, entries: &[RecordedCredential]) -> ManagedIdentity {
    let id = identity(name);
    let spec = ManagedIdentitySpec {
        resource_id: id.key().to_owned(),
    };
    let mut object = ManagedIdentity::new(&grant::object_name(&id), spec);
    object.metadata.uid = Some(uid.to_owned());
    object.metadata.resource_version = Some(version.to_string());
    object.status = Some(ManagedIdentityStatus {
        credentials: entries.to_vec(),
        ..ManagedIdentityStatus::default()
    });
    object
}

fn listed(known: &mut KnownRecords, objects: &[ManagedIdentity]) -> Vec<Arc<ManagedIdentity>> {
    known.update(&Event::Init);
    for object in objects {
        known.update(&Event::InitApply(object.clone()));
    }
    known.update(&Event::InitDone)
}

fn of_binding(known: &KnownRecords, namespace: &str, name: &str) -> Vec<(String, String)> {
    let found = known.of_binding(namespace, name).into_iter();
    let mut found: Vec<_> = found
        .map(|(id, e)| (id.name().to_owned(), e.name.clone()))
        .collect();
    found.sort();
    found
}

fn at(name: &str, credential: &str) -> (String, String) {
    (name.to_owned(), credential.to_owned())
}

#[test]
fn a_binding_is_found_on_every_identity_and_only_while_it_is_on_record() {
    let mut known = KnownRecords::default();
    let (web, api) = (entry("shop", "web"), entry("shop", "api"));
    let same_name_elsewhere = entry("other", "web");
    listed(
        &mut known,
        &[
            object("one", "u1", 1, &[web.clone(), api, same_name_elsewhere]),
            object("two", "u2", 1, std::slice::from_ref(&web)),
        ],
    );
    assert_eq!(
        of_binding(&known, "shop", "web"),
        [at("one", "wib-shop-web"), at("two", "wib-shop-web")]
    );
    assert_eq!(of_binding(&known, "other", "web"), [at("one", "wib-other-web")]);
    assert_eq!(of_binding(&known, "shop", "job"), []);
    assert_eq!(known.all().count(), 4);

    known.update(&Event::Apply(object("one", "u1", 2, &[])));
    assert_eq!(of_binding(&known, "shop", "web"), [at("two", "wib-shop-web")]);
    known.update(&Event::Delete(object("two", "u2", 2, &[web])));
    assert_eq!(of_binding(&known, "shop", "web"), []);
    assert!(known.by_binding.is_empty(), "something is left in memory");
}

#[test]
fn former_issuers_are_known_while_any_record_names_them() {
    let mut known = KnownRecords::default();
    let formerly = |name: &str, version, issuers: &[&str]| {
        let mut object = object(name, name, version, &[]);
        let former = |issuer: &&str| FormerIssuer {
            issuer: (*issuer).to_owned(),
            retired_at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
        };
        let status = object.status.as_mut().unwrap();
        status.former_issuers = issuers.iter().map(former).collect();
        object
    };
    // Named twice by one record, which the schema does not allow, it counts once.
    listed(
        &mut known,
        &[
            formerly("one", 1, &[FORMER, FORMER]),
            formerly("two", 1, &[FORMER]),
        ],
    );
    known.update(&Event::Apply(formerly("one", 2, &[])));
    assert_eq!(known.former_issuers(), [FORMER]);
    known.update(&Event::Apply(formerly("two", 2, &[])));
    assert!(known.former_issuers().is_empty());
}

#[test]
fn what_is_older_than_what_is_known_is_not_taken_in() {
    let mut known = KnownRecords::default();
    let (web, api) = (entry("shop", "web"), entry("shop", "api"));
    known.wrote(object("one", "u1", 9, &[web.clone(), api.clone()]));
    // As numbers, and not as texts.
    known.update(&Event::Apply(object("one", "u1", 10, std::slice::from_ref(&web))));
    known.update(&Event::Apply(object("one", "u1", 9, &[web.clone(), api])));
    assert_eq!(known.all().count(), 1);
    // Another object of that name has a history of its own.
    known.update(&Event::Apply(object("one", "u2", 3, &[])));
    assert_eq!(known.all().count(), 0);
}

#[test]
fn news_is_what_others_have_written() {
    let mut known = KnownRecords::default();
    let of_version = |version| object("one", "u1", version, &[]);
    assert!(known.is_news(&of_version(5)), "never seen");
    known.update(&Event::Apply(of_version(5)));
    assert!(known.is_news(&of_version(5)), "not ours");
    known.wrote(of_version(7));
    assert!(!known.is_news(&of_version(7)));
    assert!(!known.is_news(&of_version(6)), "older than ours");
    assert!(known.is_news(&of_version(8)));
    // What a watch shows of our own write makes it no less ours.
    known.update(&Event::Apply(of_version(7)));
    assert!(!known.is_news(&of_version(7)));
    assert!(
        known.is_news(&object("one", "u2", 6, &[])),
        "made again by somebody"
    );
}

#[test]
fn a_record_that_somebody_deletes_is_answered_whole() {
    let mut known = KnownRecords::default();
    let web = entry("shop", "web");
    listed(&mut known, &[object("one", "u1", 1, std::slice::from_ref(&web))]);
    let lost = known.update(&Event::Delete(object("one", "u1", 2, &[])));
    assert_eq!(entries(&lost[0]), [web]);
    assert_eq!(known.get(&identity("one")), None);
    assert!(
        known
            .update(&Event::Delete(object("one", "u1", 2, &[])))
            .is_empty()
    );
}

#[test]
fn one_that_was_deleted_while_no_watch_ran_is_answered_too() {
    let mut known = KnownRecords::default();
    let web = entry("shop", "web");
    listed(
        &mut known,
        &[
            object("one", "u1", 1, std::slice::from_ref(&web)),
            object("two", "u2", 1, std::slice::from_ref(&web)),
        ],
    );
    let lost = listed(&mut known, &[object("two", "u2", 1, &[web])]);
    let names: Vec<_> = lost.iter().map(|lost| of(lost).unwrap()).collect();
    assert_eq!(names, [identity("one")]);
    assert!(known.get(&identity("two")).is_some());
}

#[test]
fn our_own_deletion_is_nothing_to_make_good_for() {
    let mut known = KnownRecords::default();
    let web = entry("shop", "web");
    let was = object("one", "u1", 1, &[web]);
    known.wrote(was.clone());
    known.remove(&was);
    // The watch is behind: first it shows what we had written.
    known.update(&Event::Apply(was.clone()));
    assert_eq!(known.get(&identity("one")), None);
    assert!(known.update(&Event::Delete(was.clone())).is_empty());
    assert!(known.removed.is_empty(), "something is left in memory");
    // Made again meanwhile, the deletion of the old one is none of the new one.
    known.wrote(was.clone());
    known.remove(&was);
    let again = object("one", "u2", 5, &[]);
    known.wrote(again.clone());
    assert!(known.update(&Event::Delete(was)).is_empty());
    assert_eq!(known.get(&identity("one")).as_deref(), Some(&again));
}

#[test]
fn a_deletion_that_failed_leaves_the_record() {
    let mut known = KnownRecords::default();
    let was = object("one", "u1", 1, &[entry("shop", "web")]);
    known.wrote(was.clone());
    known.remove(&was);
    known.removal_failed(was.clone());
    assert_eq!(known.get(&identity("one")).as_deref(), Some(&was));
    assert_eq!(known.update(&Event::Delete(was)).len(), 1);
}

#[test]
fn a_list_that_was_made_before_our_writes_undoes_none_of_them() {
    let mut known = KnownRecords::default();
    let web = entry("shop", "web");
    let gone = object("gone", "u1", 1, std::slice::from_ref(&web));
    known.wrote(gone.clone());
    known.update(&Event::Init);
    known.update(&Event::InitApply(gone.clone()));
    known.remove(&gone);
    let new = object("new", "u2", 2, &[web]);
    known.wrote(new.clone());
    assert!(known.update(&Event::InitDone).is_empty());
    assert_eq!(known.get(&identity("new")).as_deref(), Some(&new));
    assert_eq!(known.get(&identity("gone")), None);
    // The watch goes on from the list, and shows both.
    assert!(known.update(&Event::Delete(gone)).is_empty());
    assert!(known.removed.is_empty());
}

#[test]
fn what_a_later_list_does_not_show_is_kept_in_mind_no_longer() {
    let mut known = KnownRecords::default();
    let was = object("one", "u1", 1, &[]);
    known.wrote(was.clone());
    known.remove(&was);
    listed(&mut known, &[]);
    assert!(known.removed.is_empty(), "something is left in memory");
}

#[test]
fn an_object_of_another_name_stands_in_for_no_record() {
    let mut known = KnownRecords::default();
    let ours = object("one", "u1", 1, &[entry("shop", "web")]);
    known.wrote(ours.clone());
    let mut forged = object("one", "u2", 9, &[]);
    forged.metadata.name = Some("by-hand".to_owned());
    known.update(&Event::Apply(forged.clone()));
    assert_eq!(known.get(&identity("one")).as_deref(), Some(&ours));
    assert!(known.update(&Event::Delete(forged.clone())).is_empty());
    forged.spec.resource_id = "none".to_owned();
    known.update(&Event::Apply(forged));
    assert_eq!(known.all().count(), 1);
}

#[test]
fn an_entry_stays_on_record_when_a_write_began_before_the_deletion() {
    let mut known = KnownRecords::default();
    let web = entry("shop", "web");
    let name = (identity("one").key().to_owned(), web.name.clone());
    let other = (name.0.clone(), "another".to_owned());
    assert!(!known.begin_write(&name), "there is no record");
    known.wrote(object("one", "u1", 1, std::slice::from_ref(&web)));
    assert!(!known.begin_write(&other), "not on record");

    assert!(known.begin_write(&name));
    let own = known.begin_leave([name.clone()], Some(&name));
    assert_eq!(own, HashSet::from([name.clone()]), "nobody else writes it");
    assert!(!known.begin_write(&name), "it may be deleted for another one");
    known.end_leave(&own);
    assert!(known.begin_write(&name));
    assert!(known.begin_leave([name.clone()], Some(&name)).is_empty());
    known.end_write(&name);
    // The other one is still at it.
    let free = known.begin_leave([name.clone(), other.clone()], None);
    assert_eq!(free, HashSet::from([other]));
    known.end_write(&name);
    known.end_leave(&free);
    assert!(known.writing.is_empty() && known.leaving.is_empty());
}

#[test]
fn no_write_begins_between_a_deletion_and_the_end_of_the_entry() {
    let mut known = KnownRecords::default();
    let web = entry("shop", "web");
    let name = (identity("one").key().to_owned(), web.name.clone());
    known.wrote(object("one", "u1", 1, &[web]));
    // Two passes delete it.
    let first = known.begin_leave([name.clone()], None);
    let second = known.begin_leave([name.clone()], None);
    assert_eq!(first, second);
    known.end_leave(&first);
    assert!(!known.begin_write(&name), "the other one is not through");
    known.end_leave(&second);
    // It has stayed after all.
    assert!(known.begin_write(&name));
    known.end_write(&name);
    known.wrote(object("one", "u1", 2, &[]));
    assert!(!known.begin_write(&name), "it is off the record");
    assert!(known.writing.is_empty() && known.leaving.is_empty());
}

fn names(objects: &[Arc<ManagedIdentity>]) -> Vec<Vec<&str>> {
    objects
        .iter()
        .map(|object| entries(object).iter().map(|entry| entry.name.as_str()).collect())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_storage_lost_since_a_backup_is_answered_and_the_rest_is_as_storage_holds_it() {
    let mut known = KnownRecords::default();
    let (web, api, job) = (entry("shop", "web"), entry("shop", "api"), entry("shop", "job"));
    listed(&mut known, &[object("one", "u1", 5, std::slice::from_ref(&web))]);
    known.wrote(object("one", "u1", 9, &[web.clone(), api.clone()]));
    known.wrote(object("two", "u2", 10, std::slice::from_ref(&job)));
    tokio::time::advance(std::time::Duration::from_secs(1)).await;

    // The backup was made at version 5, when the record of the second identity was not there.
    let lost = listed(&mut known, &[object("one", "u1", 5, std::slice::from_ref(&web))]);
    assert_eq!(names(&lost), [["wib-shop-api"], ["wib-shop-job"]]);
    assert_eq!(of_binding(&known, "shop", "web"), [at("one", "wib-shop-web")]);
    assert_eq!(known.all().count(), 1);
    assert!(
        known.is_news(&object("one", "u1", 5, &[])),
        "our own write is no more"
    );
    // From here on it goes on.
    known.update(&Event::Apply(object("one", "u1", 6, &[])));
    assert_eq!(known.all().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_we_had_removed_comes_back_with_a_backup_and_not_with_a_late_list() {
    let mut known = KnownRecords::default();
    let record = object("one", "u1", 5, &[entry("shop", "web")]);
    listed(&mut known, std::slice::from_ref(&record));
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    known.remove(&record);
    assert!(
        listed(&mut known, std::slice::from_ref(&record)).is_empty(),
        "it is about to go"
    );
    assert_eq!(known.all().count(), 0);

    known.was_removed(&record);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert!(listed(&mut known, std::slice::from_ref(&record)).is_empty());
    assert_eq!(known.all().count(), 1);
}

#[test]
fn an_entry_that_somebody_else_takes_off_is_answered_and_one_that_is_being_deleted_is_not() {
    let mut known = KnownRecords::default();
    let (web, api, job) = (entry("shop", "web"), entry("shop", "api"), entry("shop", "job"));
    listed(
        &mut known,
        &[object("one", "u1", 5, &[web.clone(), api.clone(), job.clone()])],
    );
    let leaving = known.begin_leave(
        [at("one", "wib-shop-web")].map(|(id, name)| (identity(&id).key().to_owned(), name)),
        None,
    );
    assert_eq!(leaving.len(), 1);
    let lost = known.update(&Event::Apply(object("one", "u1", 6, std::slice::from_ref(&job))));
    assert_eq!(names(&lost), [["wib-shop-api"]]);

    // Of a record that was made again there is the same to say.
    let lost = known.update(&Event::Apply(object("one", "u2", 7, std::slice::from_ref(&api))));
    assert_eq!(names(&lost), [["wib-shop-job"]]);
    // Our own write takes off what it takes off.
    known.wrote(object("one", "u2", 8, &[]));
    assert!(
        known
            .update(&Event::Apply(object("one", "u2", 8, &[])))
            .is_empty()
    );
}

#[test]
fn what_is_being_written_is_missed_also_while_it_may_not_leave() {
    let mut known = KnownRecords::default();
    let web = entry("shop", "web");
    listed(&mut known, &[object("one", "u1", 5, std::slice::from_ref(&web))]);
    let name = (identity("one").key().to_owned(), web.name.clone());
    assert!(known.begin_write(&name));
    known.begin_leave([name.clone()], Some(&name));
    let lost = known.update(&Event::Apply(object("one", "u1", 6, &[])));
    assert_eq!(names(&lost), [["wib-shop-web"]]);
}

#[tokio::test(start_paused = true)]
async fn what_a_list_that_broke_off_had_shown_to_be_lost_is_not_forgotten() {
    let mut known = KnownRecords::default();
    listed(&mut known, &[object("one", "u1", 5, &[entry("shop", "web")])]);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    known.update(&Event::Init);
    known.update(&Event::InitApply(object("one", "u1", 4, &[])));
    let lost = listed(&mut known, &[object("one", "u1", 4, &[])]);
    assert_eq!(names(&lost), [["wib-shop-web"]]);
}

#[test]
fn what_was_put_back_is_looked_at_as_news() {
    let mut known = KnownRecords::default();
    known.wrote(object("one", "u1", 5, &[]));
    assert!(!known.is_news(&object("one", "u1", 5, &[])));
    known.disown(&identity("one"));
    assert!(known.is_news(&object("one", "u1", 5, &[])));
}
