//! Credential writes: validation, quota, duplicates, young identities, regions, policies.

use std::time::Duration;

use azure_emulator::{DeleteMissing, DuplicateError, ErrorShape, Policy, YoungAnswer, YoungIdentity};
use serde_json::{Value, json};

use crate::common::{AUDIENCE, Azure, answer, credential, fic, properties};

#[tokio::test]
async fn bodies_and_names_are_checked() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let good = properties("https://issuer.test", "a", AUDIENCE);
    let without = |member: &str| {
        let mut body = good.clone();
        body["properties"].as_object_mut().unwrap().remove(member);
        body
    };
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body["properties"][member] = value;
        body
    };
    let missing = "The request format was unexpected. Federated Identity Credential must specify 'issuer', \
                   'subject' and 'audience'.";
    let one = "Federated identity credentials must have exactly one audience.";
    let empty = "Federated Identity Credential from HTTP body has empty properties";
    let long =
        |member: &str| format!("Federated Identity Credential property '{member}' exceeds 600 characters.");
    for (body, message) in [
        (without("issuer"), missing.to_owned()),
        (without("subject"), missing.to_owned()),
        (without("audiences"), missing.to_owned()),
        (with("subject", Value::Null), missing.to_owned()),
        (with("audiences", json!([])), one.to_owned()),
        (with("audiences", json!(["a", "b"])), one.to_owned()),
        (json!({}), empty.to_owned()),
        (json!({ "properties": {} }), empty.to_owned()),
        (with("issuer", json!("i".repeat(601))), long("issuer")),
        (with("subject", json!("s".repeat(601))), long("subject")),
        (with("audiences", json!(["a".repeat(601)])), long("audiences")),
    ] {
        let answer = azure.send("PUT", &fic(&identity, "fic-a"), Some(body)).await;
        answer.is(400, "BadRequest", false);
        assert_eq!(answer.message(), message);
    }
    for name in ["ab", "-abc", "a.bc", &"a".repeat(121)] {
        let answer = azure.send("PUT", &fic(&identity, name), Some(good.clone())).await;
        answer.is(400, "BadRequest", false);
        assert_eq!(
            answer.message(),
            format!("Federated Identity Credential name '{name}' is invalid.")
        );
    }
    let url = format!(
        "{}{}?api-version=2023-01-31",
        azure.emulator.url(),
        fic(&identity, "fic-a")
    );
    let raw = |content: &'static str, body: &'static str| {
        let request = azure.http.put(&url).bearer_auth(&azure.token);
        answer(request.header("content-type", content).body(body))
    };
    raw("application/json", "{")
        .await
        .unwrap()
        .is(400, "InvalidRequestContent", true);
    raw("text/plain", "{}")
        .await
        .unwrap()
        .is(415, "UnsupportedMediaType", true);
    assert!(azure.emulator.credentials(&identity.resource_id).is_empty());

    let widest = with("subject", json!("s".repeat(600)));
    assert_eq!(
        azure
            .send("PUT", &fic(&identity, &"a".repeat(120)), Some(widest))
            .await
            .status,
        201
    );
    let odd = properties("https://nowhere.invalid", "system:*", "updated");
    assert_eq!(
        azure.send("PUT", &fic(&identity, "odd"), Some(odd)).await.status,
        201
    );
}

#[tokio::test]
async fn twenty_and_no_more() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.emulator.put_credential(
        &identity.resource_id,
        credential("aks-identity-binding", "binding"),
    );
    for n in 1..20 {
        assert_eq!(
            azure
                .put_fic(&identity, &format!("fic-{n}"), &n.to_string())
                .await
                .status,
            201
        );
    }
    let full = azure.put_fic(&identity, "fic-20", "20").await;
    full.is(400, "BadRequest", false);
    assert_eq!(full.message(), "Too many Federated Identity Credentials");
    assert_eq!(azure.put_fic(&identity, "fic-1", "changed").await.status, 200);

    azure
        .emulator
        .knobs(|knobs| knobs.limit_error = ErrorShape::new(409, "QuotaExceeded", "full"));
    azure
        .put_fic(&identity, "fic-20", "20")
        .await
        .is(409, "QuotaExceeded", false);
    azure.emulator.knobs(|knobs| knobs.max_fics = 21);
    assert_eq!(azure.put_fic(&identity, "fic-20", "20").await.status, 201);
}

#[tokio::test]
async fn issuer_and_subject_are_unique() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.put_fic(&identity, "fic-a", "web").await;
    let other_audience = properties("https://issuer.test", "web", "other");
    let text = "Issuer and subject combination already exists for this Managed Identity.";
    for (kind, status, code) in [
        (DuplicateError::BadRequest, 400, "BadRequest"),
        (DuplicateError::Conflict, 409, "Conflict"),
    ] {
        azure.emulator.knobs(|knobs| knobs.duplicate_error = kind);
        let refused = azure
            .send("PUT", &fic(&identity, "fic-b"), Some(other_audience.clone()))
            .await;
        refused.is(status, code, false);
        assert_eq!(refused.message(), text);
    }
    assert_eq!(azure.put_fic(&identity, "fic-b", "Web").await.status, 201);
    azure
        .put_fic(&identity, "fic-b", "web")
        .await
        .is(409, "Conflict", false);
    azure.emulator.knobs(|knobs| knobs.duplicate_ignores_case = true);
    azure
        .put_fic(&identity, "fic-c", "WEB")
        .await
        .is(409, "Conflict", false);
    let other = azure.emulator.create_identity("rg-shop", "other");
    assert_eq!(azure.put_fic(&other, "fic-a", "web").await.status, 201);
}

#[tokio::test]
async fn young_identities_refuse_credentials() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    let until = Duration::from_mins(2);
    let young = |answer| Some(YoungIdentity { until, answer });
    azure
        .emulator
        .knobs(|knobs| knobs.young_identity = young(YoungAnswer::ParentResourceNotFound));
    azure
        .put_fic(&identity, "fic-a", "a")
        .await
        .is(404, "ParentResourceNotFound", true);
    azure
        .emulator
        .knobs(|knobs| knobs.young_identity = young(YoungAnswer::GraphObjectNotFound));
    let graph = azure.put_fic(&identity, "fic-a", "a").await;
    graph.is(404, "NotFound", false);
    assert_eq!(
        graph.message(),
        "MS Graph resource not found during Federated Identity Credential creation."
    );
    azure.emulator.advance_clock(until);
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
}

#[tokio::test]
async fn regions_policies_and_the_missing_delete() {
    let azure = Azure::start().await;
    let south = azure
        .emulator
        .create_identity_in("rg-shop", "south", "malaysiasouth");
    azure
        .emulator
        .knobs(|knobs| knobs.regions_without_support = vec!["MalaysiaSouth".to_owned()]);
    let refused = azure.put_fic(&south, "fic-a", "a").await;
    refused.is(405, "MethodNotAllowed", false);
    assert_eq!(
        refused.message(),
        "The request format was unexpected: Support for federated identity credentials not enabled."
    );

    let identity = azure.identity();
    azure.emulator.knobs(|knobs| knobs.policy = Some(Policy::DenyAll));
    let denied = azure.put_fic(&identity, "fic-a", "a").await;
    denied.is(403, "RequestDisallowedByPolicy", true);
    assert_eq!(denied.body["error"]["target"], json!("fic-a"));
    let allowed = vec!["https://issuer.test".to_owned()];
    azure
        .emulator
        .knobs(|knobs| knobs.policy = Some(Policy::AllowedIssuers(allowed)));
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
    let other = properties("https://other.test", "b", AUDIENCE);
    azure
        .send("PUT", &fic(&identity, "fic-b"), Some(other))
        .await
        .is(403, "RequestDisallowedByPolicy", true);

    azure
        .emulator
        .knobs(|knobs| knobs.delete_missing = DeleteMissing::NotFound);
    azure
        .delete(&fic(&identity, "gone"))
        .await
        .is(404, "NotFound", false);
    assert_eq!(azure.delete(&fic(&identity, "fic-a")).await.status, 200);
}
