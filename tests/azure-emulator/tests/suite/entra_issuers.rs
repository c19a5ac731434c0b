//! How Entra asks token issuers for their keys.

use std::time::Duration;

use serde_json::json;

use crate::common::AUDIENCE;
use crate::issuer::{Issuer, key, sign};
use crate::workload::{WEB, Workload};

#[tokio::test]
async fn keys_are_cached_and_rotate() {
    let workload = Workload::start().await;
    let issuer = &workload.issuer;
    workload.good().await.unwrap();
    workload.good().await.unwrap();
    assert_eq!(issuer.hits(), ["/.well-known/openid-configuration", "/keys"]);
    let newer = |workload: &Workload| {
        let claims =
            json!({ "iss": workload.issuer.url, "sub": WEB, "aud": AUDIENCE, "exp": workload.now() + 60 });
        sign(key(1), &json!({ "alg": "RS256", "kid": "key-1" }), &claims)
    };
    assert_eq!(workload.code(&newer(&workload)).await, (7_000_272, 401));
    issuer.rotate(&[("key-0", 0), ("key-1", 1)]);
    assert!(workload.present(&newer(&workload)).await.is_ok());

    issuer.forget();
    assert!(workload.good().await.is_ok(), "known keys need no issuer");
    workload.azure.emulator.advance_clock(Duration::from_hours(24));
    assert_eq!(workload.good().await.unwrap_err().code, 50_166);
}

#[tokio::test]
async fn a_new_issuer_can_be_cold() {
    let workload = Workload::start().await;
    let cold = Duration::from_mins(30);
    workload
        .azure
        .emulator
        .knobs(|knobs| knobs.issuer_cache_cold = cold);
    assert_eq!(workload.good().await.unwrap_err().code, 7_000_272);
    workload.azure.emulator.advance_clock(cold);
    assert!(workload.good().await.is_ok());
}

#[tokio::test]
async fn a_busy_issuer_is_asked_again() {
    let workload = Workload::start().await;
    workload.issuer.busy(2);
    assert!(workload.good().await.is_ok());

    let swamped = Workload::start().await;
    swamped.issuer.busy(3);
    assert_eq!(swamped.good().await.unwrap_err().code, 50_166);
}

#[tokio::test]
async fn the_issuer_is_asked_carefully() {
    let workload = Workload::of(Issuer::with_suffix("/tenant/cluster/").await).await;
    assert!(
        workload.good().await.is_ok(),
        "a trailing slash is part of the issuer, not of the document's place"
    );
    assert_eq!(
        workload.issuer.hits()[0],
        "/tenant/cluster/.well-known/openid-configuration"
    );

    let liar = Workload::start().await;
    liar.issuer
        .publish(&liar.issuer.url, "https://127.0.0.1/somebody-else");
    assert_eq!(liar.good().await.unwrap_err().code, 50_166);

    let gone = Workload::start().await;
    gone.issuer.forget();
    let error = gone.good().await.unwrap_err();
    assert_eq!(
        (error.code, error.status, error.error.as_str()),
        (50_166, 400, "invalid_request")
    );

    let untrusted = Workload::start().await;
    let stranger = Issuer::start().await;
    untrusted.trust(&stranger.url, WEB, AUDIENCE);
    assert_eq!(
        untrusted.code(&stranger.token(WEB, untrusted.now())).await,
        (50_166, 400)
    );
    assert!(stranger.hits().is_empty());

    for outside in [
        "https://oidc.example.com/cluster",
        "http://127.0.0.1:1",
        "https://192.0.2.1",
        "not a url",
    ] {
        untrusted.trust(outside, WEB, AUDIENCE);
        let token = stranger.token_with(WEB, untrusted.now(), |_, claims| claims["iss"] = json!(outside));
        assert_eq!(untrusted.code(&token).await, (50_166, 400), "{outside}");
    }
}
