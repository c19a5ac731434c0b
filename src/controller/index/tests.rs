use serde_json::{Value, json};

use super::*;
use crate::api::{CredentialState, DeletionPolicy};

const NAMESPACE: &str = "shop";

fn resource_id(name: &str) -> String {
    format!(
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/identity-{name}"
    )
}

fn identity_of(name: &str) -> IdentityId {
    resource_id(name).parse().unwrap()
}

/// A binding that has been through a pass: it wants ServiceAccount `web` to use this identity.
fn binding(name: &str, second: u32, identity: &str) -> Value {
    json!({
        "apiVersion": "workload-identity.io/v1alpha1", "kind": "WorkloadIdentityBinding",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": format!("uid-of-{name}"), "generation": 1,
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"), "finalizers": [FINALIZER],
        },
        "spec": {
            "identity": { "resourceId": resource_id(identity) },
            "serviceAccount": { "name": "web" },
        },
    })
}

fn defaults() -> Defaults {
    Defaults {
        subscription_id: None,
        resource_group: None,
        deletion_policy: DeletionPolicy::Delete,
        audience: "api://AzureADTokenExchange".to_owned(),
        prefix: "wib".to_owned(),
    }
}

fn with(mut binding: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    binding.pointer_mut(parent).unwrap()[key] = value;
    binding
}

fn object(binding: Value) -> Guarded {
    serde_json::from_value(binding).unwrap()
}

fn index(bindings: impl IntoIterator<Item = Value>) -> Index {
    let index = Index::new(defaults());
    index.update(&Event::Init);
    for binding in bindings {
        index.update(&Event::InitApply(object(binding)));
    }
    index.update(&Event::InitDone);
    index
}

fn names(references: impl IntoIterator<Item = ObjectRef<Guarded>>) -> Vec<String> {
    let mut names: Vec<_> = references.into_iter().map(|reference| reference.name).collect();
    names.sort();
    names
}

fn review(identity: &str) -> grant::Request {
    grant::Request {
        namespace: NAMESPACE.to_owned(),
        service_account: "web".to_owned(),
        identity: identity_of(identity),
    }
}

fn entry(binding: &str) -> RecordedCredential {
    RecordedCredential {
        name: "wib-shop-web".to_owned(),
        issuer: "https://issuer/".to_owned(),
        subject: format!("system:serviceaccount:{NAMESPACE}:web"),
        audience: "api://AzureADTokenExchange".to_owned(),
        binding: binding.to_owned(),
        state: CredentialState::Wanted,
    }
}

#[test]
fn who_owns_a_credential_is_what_bindings_want_now() {
    let all = index([
        binding("one", 1, "a"),
        binding("two", 2, "a"),
        binding("moved", 3, "b"),
    ]);
    let owner = |binding: &str, identity: &str| all.owner(&entry(binding), &identity_of(identity));
    assert_eq!(owner("one", "a"), Owner::Wants);
    // Whoever it was recorded for.
    assert_eq!(owner("gone", "a"), Owner::Wants);
    assert_eq!(owner("one", "c"), Owner::Present);
    assert_eq!(owner("gone", "c"), Owner::Absent);
    let elsewhere = RecordedCredential {
        subject: "system:serviceaccount:other:web".to_owned(),
        ..entry("one")
    };
    assert_eq!(all.owner(&elsewhere, &identity_of("a")), Owner::Absent);
    let nobodys = RecordedCredential {
        subject: "repo:shop/web".to_owned(),
        ..entry("one")
    };
    assert_eq!(all.owner(&nobodys, &identity_of("a")), Owner::Absent);
}

#[test]
fn one_that_is_deleted_wants_nothing_and_is_there() {
    let deleted = with(
        binding("one", 1, "a"),
        "/metadata/deletionTimestamp",
        json!("2026-01-02T00:00:00Z"),
    );
    let all = index([deleted]);
    assert_eq!(all.owner(&entry("one"), &identity_of("a")), Owner::Present);
    assert!(all.wanting("", NAMESPACE, "web", &identity_of("a")).is_empty());
    assert!(!all.annotated_by_another("", NAMESPACE, "web"));
}

#[test]
fn annotations_are_those_of_bindings_that_got_as_far_as_their_finalizer() {
    for (change, value, annotates) in [
        ("/metadata/name", json!("other"), true),
        ("/metadata/finalizers", json!([]), false),
        ("/metadata/finalizers", json!(["example.com/theirs"]), false),
        (
            "/spec/serviceAccount",
            json!({ "name": "web", "annotate": false }),
            false,
        ),
        ("/spec/serviceAccount", json!({ "name": "api" }), false),
        // What it had written it keeps.
        ("/spec/suspend", json!(true), true),
    ] {
        let all = index([with(binding("other", 1, "a"), change, value.clone())]);
        let found = all.annotated_by_another("own", NAMESPACE, "web");
        assert_eq!(found, annotates, "{change} {value}");
        assert!(!all.annotated_by_another("other", NAMESPACE, "web"), "itself");
    }
    let all = index([binding("other", 1, "a")]);
    all.reviewed(&review("a"), false);
    assert!(!all.annotated_by_another("own", NAMESPACE, "web"), "not granted");
}

#[test]
fn the_oldest_that_is_granted_decides_on_the_annotations() {
    let all = index([
        binding("first", 1, "a"),
        binding("second", 2, "b"),
        binding("third", 3, "b"),
    ]);
    let contenders = |name: &str, second: i64, identity: &str| {
        let spec = object(binding(name, 0, identity)).0.unwrap().spec;
        let desired = Desired::new(NAMESPACE, &spec, &defaults(), "https://issuer/").unwrap();
        let created = Some(Timestamp::from_second(1_767_225_600 + second).unwrap());
        let found = all.contenders(&format!("uid-of-{name}"), created, &desired);
        found
            .into_iter()
            .map(|contender| contender.name)
            .collect::<Vec<_>>()
    };
    assert!(contenders("first", 1, "a").is_empty());
    assert_eq!(contenders("third", 3, "b"), ["first"]);
    // Denied, the first stands in nobody's way, and those behind it are told.
    assert_eq!(
        names(all.reviewed(&review("a"), false)),
        ["first", "second", "third"]
    );
    assert!(contenders("third", 3, "b").is_empty());
    assert!(all.reviewed(&review("a"), false).is_empty(), "nothing new");
    assert_eq!(contenders("late", 4, "c"), ["second", "third"]);
}

#[test]
fn a_label_asks_for_no_pass_and_what_a_pass_goes_by_does() {
    let own = || binding("one", 1, "a");
    let all = index([own()]);
    let asks = |changed: Value| {
        let changed = object(changed);
        all.update(&Event::Apply(changed.clone()));
        all.asks(&changed)
    };
    assert!(asks(own()), "listed");
    assert!(!asks(own()), "once");
    assert!(!asks(with(own(), "/metadata/labels", json!({ "team": "shop" }))));
    assert!(!asks(with(own(), "/status", json!({ "observedGeneration": 7 }))));
    assert!(
        asks(with(own(), "/metadata/finalizers", json!([]))),
        "the finalizer is off"
    );
    assert!(!asks(own()), "our own finalizer");
    assert!(asks(with(own(), "/metadata/generation", json!(2))));
    assert!(asks(with(own(), "/metadata/uid", json!("another"))), "made again");
    let released = json!({ RELEASE_ANNOTATION: "true" });
    assert!(asks(with(own(), "/metadata/annotations", released)));
}

#[test]
fn a_binding_that_moves_on_or_goes_wakes_its_heir_and_its_identities() {
    let all = index([
        binding("one", 1, "a"),
        binding("two", 2, "a"),
        binding("three", 3, "a"),
    ]);
    let touched = all.update(&Event::Apply(object(binding("one", 1, "b"))));
    assert!(touched.bindings.iter().any(|heir| heir.name == "two"));
    assert_eq!(touched.identities, [identity_of("a"), identity_of("b")]);
    let touched = all.update(&Event::Delete(object(binding("two", 2, "a"))));
    assert!(touched.bindings.iter().any(|heir| heir.name == "three"));
    assert!(touched.identities.contains(&identity_of("a")));
    // Nothing that matters to anybody else.
    let labelled = with(
        binding("three", 3, "a"),
        "/metadata/labels",
        json!({ "team": "shop" }),
    );
    let touched = all.update(&Event::Apply(object(labelled)));
    assert!(touched.bindings.is_empty() && touched.identities.is_empty());
}

#[test]
fn what_a_new_list_does_not_show_is_gone() {
    let all = index([binding("one", 1, "a"), binding("two", 2, "b")]);
    all.update(&Event::Init);
    all.update(&Event::InitApply(object(binding("two", 2, "b"))));
    // Until the list is complete nothing is missing.
    assert_eq!(all.owner(&entry("one"), &identity_of("a")), Owner::Wants);
    let touched = all.update(&Event::InitDone);
    assert_eq!(all.owner(&entry("one"), &identity_of("a")), Owner::Absent);
    assert!(touched.identities.contains(&identity_of("a")));
    assert_eq!(all.uids(), HashSet::from(["uid-of-two".to_owned()]));
    assert_eq!(names(all.naming(NAMESPACE, "web")), ["two"]);
}
