//! Entra: the token endpoint and what clients need to find it.

mod certificate;
mod discovery;
mod errors;
mod federation;
mod issuer;
mod jwt;
mod keys;
mod paths;
mod token;

pub(crate) use certificate::from_pem as certificate_from_pem;
pub(crate) use issuer::Issuers;
pub(crate) use keys::{SigningKey, TokenFault, verify_access_token};
pub(crate) use paths::EntraTarget;

use crate::call::Call;
use crate::reply::Reply;

/// Answers one request.
pub(crate) async fn handle(call: &Call, target: &EntraTarget) -> Reply {
    call.take_time().await;
    let answer = match target {
        EntraTarget::Token(tenant) => token::handle(call, tenant).await,
        EntraTarget::Discovery(tenant) => discovery::configuration(call, tenant),
        EntraTarget::Keys(tenant) => discovery::keys(call, tenant),
        EntraTarget::Instance => Ok(discovery::instance(call)),
        EntraTarget::Unknown => Ok(Reply::empty(404)),
    };
    let mut reply = answer.unwrap_or_else(|error| error.into_reply(call));
    for (name, value) in [
        ("cache-control", "no-store, no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
    ] {
        reply = reply.with(name, value);
    }
    reply.with("x-ms-request-id", &uuid::Uuid::new_v4().to_string())
}
