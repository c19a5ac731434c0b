//! App registrations: secrets and certificates, and requests that are wrong in themselves.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use azure_emulator::client::{AccessToken, TokenError, request_token};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};

use crate::common::{Azure, OPERATOR, SECRET};
use crate::issuer::{key, sign};

const BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn ask(azure: &Azure, form: &[(&str, &str)]) -> Result<AccessToken, TokenError> {
    let emulator = &azure.emulator;
    request_token(emulator.url(), emulator.ca_pem(), emulator.tenant_id(), form).await
}

#[tokio::test]
async fn the_form_is_checked() {
    let azure = Azure::start().await;
    let scope = "https://management.azure.com/.default";
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", OPERATOR),
        ("client_secret", SECRET),
        ("scope", scope),
    ];
    assert!(ask(&azure, &good).await.is_ok());
    let with = |name: &str, value: &'static str| {
        good.map(|(key, old)| if key == name { (key, value) } else { (key, old) })
    };
    for (form, code, status, error) in [
        (with("grant_type", ""), 900_144, 400, "invalid_request"),
        (
            with("grant_type", "password"),
            70_003,
            400,
            "unsupported_grant_type",
        ),
        (with("client_id", ""), 900_144, 400, "invalid_request"),
        (with("scope", ""), 900_144, 400, "invalid_request"),
        (
            with("scope", "https://management.azure.com"),
            1_002_012,
            400,
            "invalid_scope",
        ),
        (with("client_secret", "wrong"), 7_000_215, 401, "invalid_client"),
        (with("client_secret", ""), 7_000_218, 401, "invalid_client"),
    ] {
        let refused = ask(&azure, &form).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.status, refused.error.as_str()),
            (code, status, error),
            "{form:?}"
        );
    }
    let untyped = [good[0], good[1], good[3], ("client_assertion", "a.b.c")];
    assert_eq!(ask(&azure, &untyped).await.unwrap_err().code, 900_144);
    let identity = azure.identity();
    let secret_of_identity = [
        good[0],
        ("client_id", identity.client_id.as_str()),
        ("client_secret", SECRET),
        good[3],
    ];
    assert_eq!(
        ask(&azure, &secret_of_identity).await.unwrap_err().code,
        7_000_218
    );
}

#[tokio::test]
async fn certificates_log_in() {
    let azure = Azure::frozen().await;
    let app = "ce470000-0000-4000-8000-00000000000c";
    let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(key(1)).unwrap();
    let pair = PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec());
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pair, &PKCS_RSA_SHA256).unwrap();
    let certificate = CertificateParams::new(Vec::new())
        .unwrap()
        .self_signed(&pair)
        .unwrap();
    azure.emulator.add_app(app, None, Some(&certificate.pem()));

    let audience = format!(
        "{}/{}/oauth2/v2.0/token",
        azure.emulator.url(),
        azure.emulator.tenant_id()
    );
    let now = azure.emulator.now().as_second();
    let sha1 = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der()));
    let sha256 = URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate.der()));
    let good = json!({ "iss": app, "sub": app, "aud": audience, "nbf": now, "exp": now + 600 });
    let header = json!({ "alg": "RS256", "x5t#S256": sha256 });
    let login = |assertion: String| {
        let azure = &azure;
        async move {
            let form = [
                ("grant_type", "client_credentials"),
                ("client_id", app),
                ("scope", "https://management.azure.com/.default"),
                ("client_assertion_type", BEARER),
                ("client_assertion", assertion.as_str()),
            ];
            ask(azure, &form).await
        }
    };
    for header in [&header, &json!({ "alg": "RS256", "x5t": sha1 })] {
        let token = login(sign(key(1), header, &good)).await.unwrap().token;
        assert_eq!(
            azure.send_as(&token, "GET", "/subscriptions", None).await.status,
            200
        );
    }
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (assertion, code) in [
        (sign(key(0), &header, &good), 700_027),
        (
            sign(key(1), &json!({ "alg": "RS256", "x5t": "AAAA" }), &good),
            700_027,
        ),
        (sign(key(1), &json!({ "alg": "RS256" }), &good), 700_027),
        (
            sign(key(1), &header, &with("aud", json!("https://elsewhere.test"))),
            700_023,
        ),
        (sign(key(1), &header, &with("sub", json!("somebody"))), 700_021),
        (sign(key(1), &header, &with("exp", json!(now))), 700_024),
        (
            sign(key(1), &header, &with("iss", json!("https://issuer.test"))),
            70_025,
        ),
    ] {
        assert_eq!(login(assertion).await.unwrap_err().code, code);
    }
}
