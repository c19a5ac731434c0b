//! Entra's own signing key, and the access tokens made with it.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::jwt::{self, Jwt};
use crate::rbac::Caller;
use crate::shared::{Shared, lock};

/// How often tokens of the principal had been revoked when the token was made; the emulator's own claim.
const REVOCATIONS: &str = "emulator_revocations";

/// An RSA key. All emulators of a process use one, as all tenants of Entra do.
pub(crate) struct SigningKey {
    pair: RsaKeyPair,
    kid: String,
}

impl SigningKey {
    /// The key of this process; making one takes a moment.
    pub(crate) fn of_process() -> anyhow::Result<&'static Self> {
        static KEY: OnceLock<SigningKey> = OnceLock::new();
        if let Some(key) = KEY.get() {
            return Ok(key);
        }
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)
            .map_err(|_| anyhow::anyhow!("an RSA key could not be made"))?;
        let kid = Uuid::new_v4().simple().to_string();
        Ok(KEY.get_or_init(|| Self { pair, kid }))
    }

    pub(super) fn jwk(&self) -> Value {
        let (n, e) = self.components().unwrap_or_default();
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": jwt::encode(&n), "e": jwt::encode(&e) })
    }

    /// Modulus and exponent.
    fn components(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let spki: PublicKeyX509Der<'_> = self.pair.public_key().as_der().ok()?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(spki.as_ref()).ok()?;
        let PublicKey::RSA(key) = spki.parsed().ok()? else {
            return None;
        };
        let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        Some((number(key.modulus), number(key.exponent)))
    }

    fn sign(&self, claims: &Value) -> Option<String> {
        let message = jwt::message(&json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid }), claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .ok()?;
        Some(format!("{message}.{}", jwt::encode(&signature)))
    }

    fn verifies(&self, token: &Jwt) -> bool {
        let Some(algorithm) = token
            .header("alg")
            .filter(|alg| *alg == "RS256")
            .and_then(jwt::algorithm)
        else {
            return false;
        };
        UnparsedPublicKey::new(algorithm, self.pair.public_key())
            .verify(token.message.as_bytes(), &token.signature)
            .is_ok()
    }
}

/// An access token for `audience`, as `caller`. `resource_id` is set for managed identities.
pub(super) fn access_token(
    shared: &Shared,
    caller: &Caller,
    resource_id: Option<&str>,
    audience: &str,
    now: Timestamp,
    lifetime: u64,
) -> Option<String> {
    let seconds = now.as_second();
    let mut claims = json!({
        "aud": audience,
        "iss": issuer(shared),
        "iat": seconds,
        "nbf": seconds,
        "exp": seconds.saturating_add_unsigned(lifetime),
        "appid": caller.client_id,
        "idtyp": "app",
        "oid": caller.object_id,
        "sub": caller.object_id,
        "tid": shared.tenant_id,
        "uti": Uuid::new_v4().simple().to_string(),
        "ver": "1.0"
    });
    claims[REVOCATIONS] = Value::from(lock(&shared.world).revocations(&caller.object_id));
    if let Some(id) = resource_id {
        claims["xms_mirid"] = Value::from(id);
    }
    shared.keys.sign(&claims)
}

/// Why a bearer token is no good for ARM.
#[derive(Debug)]
pub(crate) enum TokenFault {
    Invalid,
    Expired(Timestamp),
    Audience(String),
    Revoked,
}

/// Checks a bearer token for ARM.
pub(crate) fn verify_access_token(shared: &Shared, token: &str) -> Result<Caller, TokenFault> {
    let token = Jwt::parse(token).ok_or(TokenFault::Invalid)?;
    if !shared.keys.verifies(&token) || token.claim("iss") != Some(issuer(shared).as_str()) {
        return Err(TokenFault::Invalid);
    }
    let now = shared.now();
    if !token.in_time(now) {
        return Err(TokenFault::Expired(token.time("exp").unwrap_or(now)));
    }
    let audience = token.claim("aud").unwrap_or_default();
    let plain = audience.trim_end_matches('/');
    let public = [
        "https://management.azure.com",
        "https://management.core.windows.net",
    ];
    if plain != shared.url && !public.contains(&plain) {
        return Err(TokenFault::Audience(audience.to_owned()));
    }
    let caller = Caller {
        client_id: token.claim("appid").unwrap_or_default().to_owned(),
        object_id: token.claim("oid").unwrap_or_default().to_owned(),
    };
    let revocations = lock(&shared.world).revocations(&caller.object_id);
    if revocations.is_none_or(|now| token.number(REVOCATIONS) == Some(now)) {
        Ok(caller)
    } else {
        Err(TokenFault::Revoked)
    }
}

fn issuer(shared: &Shared) -> String {
    format!("{}/{}/v2.0", shared.url, shared.tenant_id)
}
