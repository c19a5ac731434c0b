//! Workloads: tokens of another issuer in exchange for access tokens.

use std::time::Duration;

use azure_emulator::client::exchange;
use serde_json::json;

use crate::common::{AUDIENCE, fics};
use crate::issuer::{key, sign};
use crate::workload::{TENANT, WEB, Workload};

#[tokio::test]
async fn a_matching_token_is_exchanged_and_opens_arm() {
    let workload = Workload::start().await;
    let token = workload.good().await.unwrap();
    assert_eq!((token.token_type.as_str(), token.expires_in), ("Bearer", 86_399));
    let claims = token.token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    let identity = &workload.identity;
    assert_eq!(
        (&claims["tid"], &claims["appid"]),
        (&json!(TENANT), &json!(identity.client_id))
    );
    assert_eq!(
        (&claims["oid"], &claims["sub"]),
        (&json!(identity.principal_id), &json!(identity.principal_id))
    );
    assert_eq!(claims["exp"].as_i64().unwrap(), workload.now() + 86_399);

    let azure = &workload.azure;
    assert_eq!(
        azure
            .send_as(&token.token, "GET", &fics(identity), None)
            .await
            .status,
        200
    );
    assert_eq!(
        azure.emulator.journal().last().unwrap().caller.as_deref(),
        Some(identity.client_id.as_str())
    );
    let revoke = format!("{}/revokeTokens?api-version=2024-11-30", identity.resource_id);
    let revoked = azure.send("POST", &revoke, None).await;
    assert_eq!((revoked.status, revoked.raw.as_str()), (200, ""));
    assert_eq!(
        azure
            .send_as(&token.token, "GET", &fics(identity), None)
            .await
            .status,
        401
    );
    let fresh = workload.good().await.unwrap();
    assert_eq!(
        azure
            .send_as(&fresh.token, "GET", &fics(identity), None)
            .await
            .status,
        200
    );
    azure.emulator.delete_identity(&identity.resource_id);
    let orphan = azure.send_as(&fresh.token, "GET", &fics(identity), None).await;
    orphan.is(403, "AuthorizationFailed", true);
}

#[tokio::test]
async fn each_mismatch_has_its_code() {
    let workload = Workload::start().await;
    let (issuer, now) = (&workload.issuer, workload.now());
    let good = issuer.token(WEB, now);
    let id = &workload.identity.resource_id;

    workload.azure.emulator.delete_credential(id, "web");
    assert_eq!(workload.code(&good).await, (70_025, 401));
    workload.trust(&format!("{}/", issuer.url), WEB, AUDIENCE);
    assert_eq!(workload.code(&good).await, (700_211, 401));
    workload.trust(&issuer.url, "system:serviceaccount:shop:api", AUDIENCE);
    assert_eq!(workload.code(&good).await, (700_213, 401));
    workload.trust(&issuer.url, "system:serviceaccount:Shop:web", AUDIENCE);
    assert_eq!(workload.code(&good).await, (7_002_138, 401));
    workload.trust(&issuer.url, WEB, "api://azureadtokenexchange");
    assert_eq!(workload.code(&good).await, (700_212, 401));
    let error = workload.present(&good).await.unwrap_err();
    assert_eq!(error.error, "invalid_client");
    let text = format!(
        "AADSTS700212: No matching federated identity record found for presented assertion audience '{AUDIENCE}'."
    );
    assert!(error.description.starts_with(&text), "{error}");
    let tail: Vec<&str> = error.description.split("\r\n").skip(1).collect();
    assert!(
        tail[0].starts_with("Trace ID: ") && tail[1].starts_with("Correlation ID: "),
        "{tail:?}"
    );
    assert_eq!(tail[2], "Timestamp: 2030-01-01 00:00:00Z");

    workload.trust(&issuer.url, WEB, AUDIENCE);
    assert!(workload.present(&good).await.is_ok());
    let audience = |aud| issuer.token_with(WEB, now, |_, claims| claims["aud"] = aud);
    assert!(workload.present(&audience(json!(AUDIENCE))).await.is_ok());
    assert_eq!(
        workload
            .code(&audience(json!("https://kubernetes.default.svc")))
            .await,
        (700_212, 401)
    );

    workload
        .azure
        .emulator
        .knobs(|knobs| knobs.legacy_no_match = true);
    let legacy = workload
        .present(&issuer.token("somebody", now))
        .await
        .unwrap_err();
    assert_eq!(
        (legacy.code, legacy.status, legacy.error.as_str()),
        (70_021, 400, "invalid_request")
    );
}

#[tokio::test]
async fn time_and_signatures_are_checked() {
    let workload = Workload::start().await;
    let (issuer, now) = (&workload.issuer, workload.now());
    assert_eq!(
        workload.code(&issuer.token(WEB, now - 3600)).await,
        (700_024, 401)
    );
    assert_eq!(workload.code(&issuer.token(WEB, now + 1)).await, (700_024, 401));
    let endless = issuer.token_with(WEB, now, |_, claims| {
        claims.as_object_mut().unwrap().remove("exp");
    });
    assert_eq!(workload.code(&endless).await, (700_024, 401));

    let claims = json!({ "iss": issuer.url, "sub": WEB, "aud": AUDIENCE, "exp": now + 60 });
    let forged = sign(key(1), &json!({ "alg": "RS256", "kid": "key-0" }), &claims);
    assert_eq!(workload.code(&forged).await, (700_027, 401));
    let none = issuer.token_with(WEB, now, |header, _| header["alg"] = json!("none"));
    assert_eq!(workload.code(&none).await, (700_027, 401));
    let hmac = issuer.token_with(WEB, now, |header, _| header["alg"] = json!("HS256"));
    assert_eq!(workload.code(&hmac).await, (700_027, 401));
    assert_eq!(workload.code("not a token").await, (50_027, 401));
    let (signed, _) = issuer
        .token(WEB, now)
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(workload.code(&format!("{signed}.")).await, (700_027, 401));
}

#[tokio::test]
async fn unknown_clients_and_tenants() {
    let workload = Workload::start().await;
    let azure = &workload.azure.emulator;
    let token = workload.issuer.token(WEB, workload.now());
    let ask = |tenant: &'static str, client: &'static str| {
        let token = token.clone();
        async move {
            exchange(azure.url(), azure.ca_pem(), tenant, client, &token)
                .await
                .unwrap_err()
        }
    };
    let nobody = "c11e4700-0000-4000-8000-0000000000ff";
    let client = ask(TENANT, nobody).await;
    assert_eq!(
        (client.code, client.status, client.error.as_str()),
        (700_016, 400, "unauthorized_client")
    );
    let tenant = ask("7e7a7e7a-0000-4000-8000-0000000000ff", nobody).await;
    assert_eq!((tenant.code, tenant.status), (90_002, 400));
    assert_eq!(
        azure.journal().last().unwrap().error_code.as_deref(),
        Some("AADSTS90002")
    );
}

#[tokio::test]
async fn entra_learns_and_forgets_late() {
    let workload = Workload::start().await;
    let azure = &workload.azure.emulator;
    let id = &workload.identity.resource_id;
    azure.knobs(|knobs| {
        knobs.fic_propagation = Duration::from_mins(1);
        knobs.delete_propagation = Duration::from_mins(5);
    });
    assert_eq!(workload.good().await.unwrap_err().code, 70_025);
    azure.advance_clock(Duration::from_mins(1));
    assert!(workload.good().await.is_ok());
    azure.delete_credential(id, "web");
    azure.advance_clock(Duration::from_secs(299));
    assert!(workload.good().await.is_ok());
    azure.advance_clock(Duration::from_secs(1));
    assert_eq!(workload.good().await.unwrap_err().code, 70_025);
}

#[tokio::test]
async fn good_credentials_flap_when_told() {
    let workload = Workload::start().await;
    workload.azure.emulator.knobs(|knobs| {
        knobs.flap_rate = 0.25;
        knobs.expires_in = 5;
    });
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(workload.good().await.map_or_else(
            |error| error.code,
            |token| i64::try_from(token.expires_in).unwrap(),
        ));
    }
    assert_eq!(codes, [5, 5, 5, 700_213]);
}
