//! Properties of names, ids and ownership, under whatever a person can put into a status or a spec.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::credential::{MAX_NAME, is_valid_prefix};
use super::ownership::{is_on, memory_of, record, remembered, removable, superseded, tuple_of};
use super::{Credential, Defaults, Desired, IdentityId, Tuple};
use crate::api::{
    CredentialOrigin, CredentialStatus, DeletionPolicy, IdentityStatus, Superseded,
    WorkloadIdentityBindingSpec, WorkloadIdentityBindingStatus,
};

const ID: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/Shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/";

fn any_tuple() -> impl Strategy<Value = Tuple> {
    (
        select(vec![
            "https://issuer/",
            "https://ISSUER/",
            "https://issuer",
            "https://ib.oic.prod-aks.azure.com/t/c",
        ]),
        select(vec!["shop", "payments", "a-b", "a", "shop:web", ""]),
        select(vec!["web", "Web", "b-c", "c", "", "x.y"]),
        select(vec!["aud", "AUD", ""]),
    )
        .prop_map(|(issuer, ns, sa, audience)| Tuple::for_service_account(issuer, ns, sa, audience))
}

fn any_credential() -> impl Strategy<Value = Credential> {
    let names = select(vec![
        "terraform",
        "aks-identity-binding",
        "wib-shop-web-0000000000000000",
        "",
    ]);
    prop_oneof![
        any_tuple().prop_map(|t| Credential::named_by_us("wib", t)),
        (names, any_tuple()).prop_map(|(name, tuple)| Credential {
            name: name.to_owned(),
            tuple
        }),
        (any_tuple(), any_tuple()).prop_map(|(named, tuple)| Credential {
            tuple,
            ..Credential::named_by_us("wib", named)
        }),
    ]
}

/// Every field from another place, as a forger would fill them in.
fn any_record() -> impl Strategy<Value = CredentialStatus> {
    let origin = select(vec![CredentialOrigin::Created, CredentialOrigin::Adopted]);
    let arbitrary =
        (".{0,40}", ".{0,40}", ".{0,40}", ".{0,40}").prop_map(|(name, issuer, subject, audience)| {
            Credential {
                name,
                tuple: Tuple {
                    issuer,
                    subject,
                    audience,
                },
            }
        });
    (prop_oneof![4 => any_credential(), 1 => arbitrary], origin).prop_map(|(c, origin)| record(&c, origin))
}

fn any_resource_id() -> impl Strategy<Value = String> {
    select(vec![
        format!("{ID}web"),
        format!("{ID}web").to_lowercase(),
        format!("{ID}api"),
        "nonsense".to_owned(),
        String::new(),
    ])
}

fn any_status() -> impl Strategy<Value = WorkloadIdentityBindingStatus> {
    let old = (any_resource_id(), any_record()).prop_map(|(resource_id, credential)| Superseded {
        resource_id,
        credential,
    });
    (
        prop::option::of(any_resource_id()),
        prop::option::of(any_record()),
        prop::collection::vec(old, 0..4),
    )
        .prop_map(
            |(identity, credential, superseded)| WorkloadIdentityBindingStatus {
                identity: identity.map(|resource_id| IdentityStatus {
                    resource_id,
                    ..IdentityStatus::default()
                }),
                credential,
                superseded,
                ..WorkloadIdentityBindingStatus::default()
            },
        )
}

fn desired(account: &str) -> Desired {
    let spec: WorkloadIdentityBindingSpec = serde_json::from_value(serde_json::json!({
        "identity": { "resourceId": format!("{ID}web") },
        "serviceAccount": { "name": account },
    }))
    .unwrap();
    let defaults = Defaults {
        subscription_id: None,
        resource_group: None,
        deletion_policy: DeletionPolicy::Delete,
        audience: "aud".to_owned(),
        prefix: "wib".to_owned(),
    };
    Desired::new("shop", &spec, &defaults, "https://issuer/").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The one that keeps tenants apart: status is writable by whoever has rights on it.
    #[test]
    fn no_status_makes_anything_removable_but_ours_in_this_namespace(
        found in prop::collection::vec(any_credential(), 0..8),
        forged in any_record(),
    ) {
        if let Some(hit) = removable(&found, &forged, "shop") {
            prop_assert_eq!(&hit.name, &forged.name);
            prop_assert_eq!(forged.origin, CredentialOrigin::Created);
            prop_assert!(!hit.is_aks_identity_binding());
            let made = tuple_of(&forged);
            prop_assert_eq!(made.service_account().map(|(ns, _)| ns), Some("shop"));
            let named = Credential { name: hit.name.clone(), tuple: made };
            prop_assert!(named.carries_our_hash());
            // It was made for this namespace, whatever it holds now: the hash says so.
            if let Some((namespace, _)) = hit.tuple.service_account().filter(|_| hit.carries_our_hash()) {
                prop_assert_eq!(namespace, "shop");
            }
        }
    }

    #[test]
    fn nothing_that_is_remembered_is_forgotten(status in any_status(), account in select(vec!["web", "api"])) {
        let desired = desired(account);
        let old = superseded(&status, &desired);
        for entry in remembered(&status) {
            let wanted = is_on(&entry, &desired.identity)
                && tuple_of(&entry.credential) == desired.credential.tuple;
            let latest = status.credential.as_ref() == Some(&entry.credential);
            let adopted = latest && entry.credential.origin == CredentialOrigin::Adopted;
            prop_assert!(wanted || adopted || old.contains(&entry), "{entry:?} is forgotten");
        }
        for entry in &old {
            prop_assert!(!(is_on(entry, &desired.identity)
                && tuple_of(&entry.credential) == desired.credential.tuple), "{entry:?} is wanted");
        }
        let distinct = old.iter().enumerate().all(|(at, entry)| !old[at + 1..].contains(entry));
        prop_assert!(distinct, "a list that grows with every visit");
    }

    #[test]
    fn memory_of_an_identity_speaks_of_that_identity(status in any_status()) {
        let desired = desired("web");
        if memory_of(&status, &desired.identity).is_some() {
            let on = status.identity.map(|i| i.resource_id).unwrap_or_default();
            prop_assert_eq!(on.to_lowercase(), desired.identity.key());
        }
    }

    #[test]
    fn names_are_valid_bounded_and_tell_every_tuple_apart(
        tuples in prop::collection::hash_set(prop_oneof![
            any_tuple(),
            (".{0,60}", "[a-z0-9-]{1,63}", "[a-z0-9.-]{1,253}", ".{0,60}")
                .prop_map(|(issuer, ns, sa, audience)| Tuple::for_service_account(&issuer, &ns, &sa, &audience)),
        ], 1..12),
        prefix in "[a-z0-9][a-z0-9-]{0,19}",
    ) {
        prop_assert!(is_valid_prefix(&prefix));
        let mut names = HashSet::new();
        for tuple in tuples {
            let credential = Credential::named_by_us(&prefix, tuple);
            let name = &credential.name;
            prop_assert!((3..=MAX_NAME).contains(&name.len()), "{name}");
            prop_assert!(name.starts_with(|c: char| c.is_ascii_alphanumeric()), "{name}");
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)), "{name}");
            prop_assert!(credential.carries_our_hash());
            prop_assert!(names.insert(name.to_owned()), "{name} twice");
        }
    }

    #[test]
    fn a_prefix_is_valid_only_if_azure_takes_names_with_it(prefix in ".{0,22}") {
        let allowed = prefix.starts_with(|c: char| c.is_ascii_alphanumeric())
            && prefix.len() <= 20
            && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        prop_assert_eq!(is_valid_prefix(&prefix), allowed);
    }

    #[test]
    fn ids_are_printed_as_they_were_read_and_compared_without_case(
        group in "[-a-zA-Z0-9_.()]{0,89}[-a-zA-Z0-9_()]",
        name in "[a-zA-Z0-9][-a-zA-Z0-9_]{2,127}",
        subscription in "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    ) {
        let id = IdentityId::new(&subscription, &group, &name).unwrap();
        let again: IdentityId = id.to_string().parse().unwrap();
        prop_assert_eq!((again.subscription(), again.resource_group(), again.name()), (&*subscription, &*group, &*name));
        let upper: IdentityId = id.to_string().to_ascii_uppercase().parse().unwrap();
        prop_assert_eq!(&upper, &id);
        prop_assert_eq!(HashSet::from([upper, id.clone(), again]).len(), 1);
        let key: IdentityId = id.key().parse().unwrap();
        prop_assert_eq!(key.key(), id.key());
    }

    #[test]
    fn collisions_are_symmetric_and_blind_to_the_audience(one in any_tuple(), two in any_tuple(), audience in ".{0,9}") {
        prop_assert_eq!(one.collides_with(&two), two.collides_with(&one));
        prop_assert_eq!(one.differs_in_case_only(&two), two.differs_in_case_only(&one));
        let elsewhere = Tuple { audience, ..one.clone() };
        prop_assert!(one.collides_with(&elsewhere));
        prop_assert!(!one.differs_in_case_only(&one));
        if one == two {
            prop_assert!(one.collides_with(&two));
        }
    }
}
