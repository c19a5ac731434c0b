//! JSON Web Tokens: taking them apart, checking RSA signatures, and making them.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A token in parts; nothing about it is verified.
#[derive(Debug)]
pub(super) struct Jwt {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    pub(super) message: String,
    pub(super) signature: Vec<u8>,
}

impl Jwt {
    pub(super) fn parse(token: &str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let object = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            message: message.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    pub(super) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.claims.get(name)?.as_u64()
    }

    /// `aud` is a string or a list.
    pub(super) fn audiences(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        #[allow(clippy::cast_possible_truncation, reason = "seconds since 1970")]
        let seconds = self
            .claims
            .get(name)
            .and_then(|value| value.as_i64().or_else(|| value.as_f64().map(|f| f as i64)))?;
        Timestamp::from_second(seconds).ok()
    }

    /// Whether `exp` is set and ahead, and `nbf` is not.
    pub(super) fn in_time(&self, now: Timestamp) -> bool {
        self.time("exp").is_some_and(|until| now < until) && self.time("nbf").is_none_or(|from| from <= now)
    }
}

/// The RSA scheme of an `alg`, if it is one of these.
pub(super) fn algorithm(name: &str) -> Option<&'static RsaParameters> {
    match name {
        "RS256" => Some(&RSA_PKCS1_2048_8192_SHA256),
        "PS256" => Some(&RSA_PSS_2048_8192_SHA256),
        _ => None,
    }
}

/// Header and claims, encoded and joined; what is signed.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}
