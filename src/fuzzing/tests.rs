use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;

use super::*;

const ID: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/Shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Web";

/// Good inputs of all kinds: mutations of them reach deeper than noise does.
fn seeds() -> Vec<Vec<u8>> {
    let credential = json!({
        "id": format!("{ID}/federatedIdentityCredentials/wib"), "name": "wib",
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        "properties": { "issuer": "https://issuer/", "subject": "system:serviceaccount:shop:web", "audiences": ["aud"] },
    });
    let status = json!({
        "observedGeneration": 1, "conditions": [],
        "identity": { "resourceId": ID, "clientId": "c" },
        "credential": { "name": "wib-shop-web-147a1ae1af9b8930", "issuer": "https://issuer/",
            "subject": "system:serviceaccount:shop:web", "audience": "aud", "origin": "Created" },
        "superseded": [{ "resourceId": ID, "credential": { "name": "x", "subject": "system:serviceaccount:pay:web" } }],
    });
    let flexible = json!({ "name": "flexible", "properties": { "issuer": "https://issuer/", "audiences": ["aud"],
        "claimsMatchingExpression": { "value": "claims['sub'] matches 'x'", "languageVersion": 1 } } });
    let values = [
        json!({ "value": [credential, flexible], "nextLink": "https://management.azure.com/next" }),
        json!({ "id": ID, "location": "x", "properties": { "clientId": "00000000-0000-0000-0000-000000000001",
            "principalId": "00000000-0000-0000-0000-000000000002", "tenantId": "00000000-0000-0000-0000-000000000003" } }),
        json!({ "apiVersion": "workload-identity.io/v1alpha1", "kind": "WorkloadIdentityBinding",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "identity": { "resourceId": ID }, "serviceAccount": { "name": "web", "annotate": true } },
            "status": status }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "web",
            "annotations": { "azure.workload.identity/client-id": "c", "other": "x" },
            "managedFields": [{ "manager": "workload-identity-binding", "operation": "Apply", "fieldsV1":
                { "f:metadata": { "f:annotations": { "f:azure.workload.identity/client-id": {} } } } }] } }),
        json!({ "issuer": "https://issuer/", "jwks_uri": "https://issuer/keys" }),
    ];
    let mut seeds: Vec<Vec<u8>> = values.iter().map(|v| v.to_string().into_bytes()).collect();
    for code in [
        "ResourceNotFound",
        "NotFound",
        "ParentResourceNotFound",
        "SubscriptionNotFound",
        "x",
    ] {
        let message =
            "federatedIdentityCredentials: Retry after 99999999 seconds\r\nTrace\nID: 1 Trace ID: 2";
        let body = json!({ "error": { "code": code, "message": message } });
        let head = [
            &[0, 0, 104][..],
            b"18446744073709551615\nWed, 21 Oct 2026 07:28:00 GMT\n",
        ]
        .concat();
        seeds.push([head, body.to_string().into_bytes()].concat());
    }
    seeds.push(ID.as_bytes().to_vec());
    seeds.push(format!("AADSTS{}: no\u{1b}[31m\r\nTrace\r\nID: 1", "7".repeat(5000)).into_bytes());
    seeds.push(
        format!(
            "e30.{}.c2ln",
            URL_SAFE_NO_PAD.encode(r#"{"iss":"https://issuer/"}"#)
        )
        .into_bytes(),
    );
    seeds
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index, usize),
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let tokens = select(vec![
        "null",
        "{",
        "]",
        "\"",
        "\\u0000",
        "\u{202e}",
        "../",
        "%2f",
        "Trace ID:",
        "after ",
        "é",
        "-1",
        "1e999",
        "\n",
        "ResourceNotFound",
        "429",
    ]);
    let inserted = prop_oneof![
        tokens.prop_map(|t| t.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), inserted).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<Index>(), 1..200_usize).prop_map(|(a, b, n)| Mutation::Repeat(a, b, n)),
    ]
}

fn mutate(mut data: Vec<u8>, mutation: Mutation) -> Vec<u8> {
    let place = |at: Index, data: &[u8]| at.index(data.len() + 1);
    match mutation {
        Mutation::Flip(at, byte) if !data.is_empty() => {
            let at = at.index(data.len());
            data[at] = byte;
        }
        Mutation::Flip(..) => {}
        Mutation::Cut(at) => data.truncate(place(at, &data)),
        Mutation::Insert(at, bytes) => {
            let at = place(at, &data);
            data.splice(at..at, bytes);
        }
        Mutation::Repeat(from, to, times) => {
            let (from, to) = (place(from, &data), place(to, &data));
            let part = data[from.min(to)..from.max(to).min(from.min(to) + 64)].to_vec();
            let at = from.min(to);
            data.splice(at..at, part.repeat(times));
        }
    }
    data
}

fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let mutated = (select(seeds()), prop::collection::vec(any_mutation(), 0..4))
        .prop_map(|(seed, mutations)| mutations.into_iter().fold(seed, mutate));
    let text = ".{0,600}".prop_map(String::into_bytes);
    prop_oneof![6 => mutated, 1 => text, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

type Target = fn(&[u8]);

/// What `fuzz/` has a target for.
const TARGETS: [(&str, Target); 10] = [
    ("arm_id", arm_id),
    ("refusal", refusal),
    ("list", list),
    ("identity", identity),
    ("login", login),
    ("token", token),
    ("discovery", discovery),
    ("binding", binding),
    ("service_account", service_account),
    ("quote", quote),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_input_breaks_a_promise(input in any_input()) {
        for (_, target) in TARGETS {
            target(&input);
        }
    }

    #[test]
    fn an_issuer_is_read_byte_for_byte(iss in "(?s).{0,80}") {
        let claims = json!({ "iss": iss }).to_string();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        prop_assert_eq!(issuer::issuer_of(&token), Some(iss.clone()));
        let document = json!({ "issuer": iss }).to_string();
        prop_assert_eq!(issuer::issuer_in(document.as_bytes()), Some(iss));
    }

    #[test]
    fn only_a_404_with_a_known_code_is_gone(operation in any::<u8>(), status in 0..300_u16, code in "[A-Za-z]{0,20}", message in ".{0,80}") {
        let [high, low] = status.to_be_bytes();
        let body = json!({ "error": { "code": code, "message": message } }).to_string();
        refusal(&[&[operation, high, low][..], b"\n\n", body.as_bytes()].concat());
    }
}

#[test]
fn every_seed_is_taken_by_what_it_is_for() {
    let seeds = seeds();
    let held = azure::fuzzing::list(&seeds[0]).unwrap().unwrap();
    assert_eq!((held.credentials.len(), held.unreadable.len()), (1, 1));
    assert_eq!(
        azure::fuzzing::identity(&seeds[1])
            .unwrap()
            .unwrap()
            .tenant_id
            .len(),
        36
    );
    assert!(serde_json::from_slice::<WorkloadIdentityBinding>(&seeds[2]).is_ok());
    assert_eq!(
        controller::fuzzing::annotations(&seeds[3]).unwrap().0.ours.len(),
        1
    );
}

#[test]
fn every_target_has_its_program_in_fuzz() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = format!("{}/fuzz/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(program).unwrap();
        assert!(source.contains(&format!("fuzzing::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
    }
}
