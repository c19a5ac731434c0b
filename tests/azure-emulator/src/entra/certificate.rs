//! Logins of app registrations with a certificate (documented:
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).

use anyhow::Context;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::UnparsedPublicKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

use super::errors::EntraError;
use super::jwt::{self, Jwt};
use crate::call::Call;
use crate::state::App;

/// The DER form of the first certificate.
pub(crate) fn from_pem(pem: &str) -> anyhow::Result<Vec<u8>> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).context("no certificate in PEM")?;
    Ok(der.to_vec())
}

/// Checks thumbprint, signature, audience, issuer, subject and time.
pub(super) fn check(call: &Call, tenant: &str, app: &App, token: &Jwt) -> Result<(), EntraError> {
    let unknown = |thumbprint: &[u8]| {
        let hex = thumbprint
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02X}"));
        EntraError::unknown_certificate(&hex)
    };
    let sha256 = token.header("x5t#S256").map(|thumbprint| (&SHA256, thumbprint));
    let given = sha256.or_else(|| {
        token
            .header("x5t")
            .map(|thumbprint| (&SHA1_FOR_LEGACY_USE_ONLY, thumbprint))
    });
    let Some((hash, thumbprint)) = given else {
        return Err(unknown(&[]));
    };
    let thumbprint = jwt::decode(thumbprint).unwrap_or_default();
    let certificate = app
        .certificate
        .as_ref()
        .filter(|der| digest(hash, der).as_ref() == thumbprint);
    let Some(certificate) = certificate else {
        return Err(unknown(&thumbprint));
    };

    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return Err(unknown(&thumbprint));
    };
    let Some(algorithm) = token.header("alg").and_then(jwt::algorithm) else {
        return Err(EntraError::bad_signature("The algorithm is not supported."));
    };
    UnparsedPublicKey::new(algorithm, &parsed.public_key().subject_public_key.data)
        .verify(token.message.as_bytes(), &token.signature)
        .map_err(|_| {
            EntraError::bad_signature(
                "The provided signature value did not match the expected signature value.",
            )
        })?;

    let base = format!("{}/{tenant}", call.shared.url);
    let realms = [
        format!("{base}/oauth2/v2.0/token"),
        format!("{base}/v2.0"),
        format!("{base}/"),
    ];
    if !token
        .audiences()
        .iter()
        .any(|audience| realms.iter().any(|realm| realm.eq_ignore_ascii_case(audience)))
    {
        return Err(EntraError::wrong_realm());
    }
    if token.claim("sub") != Some(app.client_id.as_str()) {
        return Err(EntraError::wrong_assertion_subject());
    }
    let now = call.now();
    if token.in_time(now) {
        Ok(())
    } else {
        Err(EntraError::out_of_time(now, token.time("nbf"), token.time("exp")))
    }
}
