//! Client assertions signed with a certificate.
//!
//! `azure_identity` would need OpenSSL for this, a second TLS stack; the assertion is small:
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>.

use std::path::Path;

use async_trait::async_trait;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::SetupError;

/// Life of one assertion; Entra takes up to ten minutes.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// Signs assertions with the key of a certificate.
pub struct CertificateAssertion {
    client_id: String,
    audience: String,
    thumbprint: String,
    key: EncodingKey,
}

impl std::fmt::Debug for CertificateAssertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAssertion")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct AssertionClaims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: String,
    nbf: i64,
    exp: i64,
}

impl CertificateAssertion {
    /// Reads a PEM file with the certificate and its RSA key.
    ///
    /// # Errors
    /// Says what the file lacks.
    pub fn from_pem_file(path: &Path, client_id: &str, token_endpoint: &str) -> Result<Self, SetupError> {
        let pem = std::fs::read_to_string(path).map_err(|source| SetupError::File {
            what: "the client certificate",
            path: path.to_owned(),
            source,
        })?;
        let lacks = |what: &str| {
            SetupError::Setting(format!(
                "{} holds no {what}: AZURE_CLIENT_CERTIFICATE_PATH must be an unencrypted PEM file with a certificate and its RSA key",
                path.display()
            ))
        };
        let der = block(&pem, "CERTIFICATE").and_then(|b64| STANDARD.decode(b64).ok());
        let der = der.ok_or_else(|| lacks("certificate"))?;
        let key = EncodingKey::from_rsa_pem(pem_of_key(&pem).ok_or_else(|| lacks("RSA key"))?.as_bytes());
        Ok(Self {
            client_id: client_id.to_owned(),
            audience: token_endpoint.to_owned(),
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(der)),
            key: key.map_err(|_| lacks("usable RSA key"))?,
        })
    }

    fn sign(&self, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header {
            x5t_s256: Some(self.thumbprint.clone()),
            ..Header::new(Algorithm::PS256)
        };
        let claims = AssertionClaims {
            aud: &self.audience,
            iss: &self.client_id,
            sub: &self.client_id,
            jti: format!("{}-{}", self.thumbprint, now.as_nanosecond()),
            nbf: now.as_second(),
            exp: (now + LIFETIME).as_second(),
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}

#[async_trait]
impl ClientAssertion for CertificateAssertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.sign(Timestamp::now()).map_err(|e| {
            azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, e.to_string())
        })
    }
}

/// The base64 text of the first PEM block of a kind.
fn block(pem: &str, label: &str) -> Option<String> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    Some(body.split_whitespace().collect())
}

/// The key alone, as PEM: the signer takes no file that also holds a certificate.
fn pem_of_key(pem: &str) -> Option<String> {
    ["PRIVATE KEY", "RSA PRIVATE KEY"].into_iter().find_map(|label| {
        let body = block(pem, label)?;
        Some(format!(
            "-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
        ))
    })
}
