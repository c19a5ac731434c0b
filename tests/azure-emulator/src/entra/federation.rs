//! Logins of identities with a token of another issuer (documented:
//! <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>).
//!
//! Issuer, subject and audience are compared byte for byte. The order of the checks is an assumption: what can
//! be told without asking the issuer comes first, so that no stranger makes Entra connect anywhere.

use super::errors::EntraError;
use super::jwt::Jwt;
use crate::call::Call;
use crate::clock::passed;
use crate::model::Credential;

/// Finds the credential that the token matches, or says most precisely why there is none.
pub(super) async fn check(call: &Call, credentials: &[Credential], token: &Jwt) -> Result<(), EntraError> {
    let (issuer, subject) = (
        token.claim("iss").unwrap_or_default(),
        token.claim("sub").unwrap_or_default(),
    );
    let audiences = token.audiences();
    let audience = audiences.join(",");
    let precise = |error: EntraError| {
        if call.knobs.legacy_no_match {
            EntraError::legacy_no_match(issuer, subject, &audience)
        } else {
            error
        }
    };
    if credentials.is_empty() {
        return Err(precise(EntraError::no_credentials()));
    }
    let of_issuer: Vec<&Credential> = credentials.iter().filter(|c| c.issuer == issuer).collect();
    if of_issuer.is_empty() {
        return Err(precise(EntraError::no_issuer(issuer)));
    }
    check_signature(call, issuer, token).await?;
    let now = call.now();
    if !token.in_time(now) {
        return Err(EntraError::out_of_time(now, token.time("nbf"), token.time("exp")));
    }
    let of_subject: Vec<&&Credential> = of_issuer.iter().filter(|c| c.subject == subject).collect();
    if of_subject.is_empty() {
        let case_only = of_issuer
            .iter()
            .any(|c| c.subject.to_lowercase() == subject.to_lowercase());
        let error = if case_only {
            EntraError::subject_case(subject)
        } else {
            EntraError::no_subject(subject)
        };
        return Err(precise(error));
    }
    let accepts = |c: &&&Credential| {
        c.audiences
            .iter()
            .any(|wanted| audiences.contains(&wanted.as_str()))
    };
    if !of_subject.iter().any(accepts) {
        return Err(precise(EntraError::no_audience(&audience)));
    }
    if call.shared.chance("flap", call.knobs.flap_rate) {
        return Err(precise(EntraError::no_subject(subject)));
    }
    Ok(())
}

/// RS256 by a key that the issuer publishes.
async fn check_signature(call: &Call, issuer: &str, token: &Jwt) -> Result<(), EntraError> {
    let kid = token.header("kid").unwrap_or_default();
    if token.header("alg") != Some("RS256") {
        return Err(EntraError::bad_signature("Only RS256 is supported."));
    }
    let (now, knobs) = (call.now(), &call.knobs);
    let first_seen = call.shared.issuers.first_seen(issuer, now);
    let key = call
        .shared
        .issuers
        .key(issuer, kid, now, knobs.issuer_cache_ttl)
        .await;
    let key = key.map_err(|reason| {
        tracing::debug!(issuer, %reason, "issuer unreachable");
        EntraError::issuer_unreachable()
    })?;
    let warm = passed(first_seen, knobs.issuer_cache_cold, now);
    let Some(key) = key.filter(|_| warm) else {
        return Err(EntraError::unknown_kid(kid));
    };
    key.verify(&token.message, &token.signature)
        .then_some(())
        .ok_or_else(|| {
            EntraError::bad_signature(
                "The provided signature value did not match the expected signature value.",
            )
        })
}
