//! Properties of names, ids and ownership, under whatever a person can put on an identity or into a spec.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::select;

use super::credential::{MAX_NAME, is_valid_prefix};
use super::record::{self, Change};
use super::{Credential, Holdings, IdentityId, Tuple};
use crate::api::ManagedIdentityStatus;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The one that keeps tenants and clusters apart: what stands on an identity can be made by anybody who
    /// has rights there.
    #[test]
    fn nothing_on_an_identity_is_taken_for_ours_but_what_bears_our_mark(
        found in prop::collection::vec(any_credential(), 0..8),
        recorded in prop::collection::vec(any_credential(), 0..3),
        only in select(vec![None, Some("shop"), Some("payments")]),
    ) {
        let mut status = ManagedIdentityStatus::default();
        record::apply(&mut status, &recorded.into_iter().map(Change::Found).collect::<Vec<_>>());
        let issuers = ["https://issuer/".to_owned(), "https://ib.oic.prod-aks.azure.com/t/c".to_owned()];
        let taken = record::unrecorded(&status.credentials, &Holdings::from(found.clone()), &issuers, only);
        for credential in &found {
            let account = credential.tuple.service_account();
            let is_marked = credential.carries_our_hash() && credential.tuple.issuer == "https://issuer/";
            let is_looked_after = account.is_some_and(|(namespace, _)| only.is_none_or(|o| o == namespace));
            let is_recorded = status.credentials.iter().any(|e| e.name == credential.name);
            let expected = is_marked && is_looked_after && !is_recorded;
            prop_assert_eq!(taken.contains(credential), expected, "{:?}", credential);
        }
        prop_assert!(taken.iter().all(|credential| found.contains(credential)));
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
