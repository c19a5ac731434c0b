//! Bodies of credential answers: one credential, and pages of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;

use super::errors::ArmError;
use super::paths::IdentityPath;
use crate::call::Call;
use crate::knobs::{IdCase, NextLink};
use crate::model::Credential;
use crate::state::{ManagedIdentity, identity_id};

/// The answer's member order (observed).
#[derive(Serialize)]
pub(super) struct FederatedCredential<'a> {
    pub(super) id: String,
    name: String,
    r#type: &'static str,
    properties: Properties<'a>,
}

#[derive(Serialize)]
struct Properties<'a> {
    issuer: &'a str,
    subject: &'a str,
    audiences: &'a [String],
}

#[derive(Serialize)]
pub(super) struct Credentials<'a> {
    pub(super) value: Vec<Shown<'a>>,
    #[serde(rename = "nextLink", skip_serializing_if = "Option::is_none")]
    pub(super) next_link: Option<String>,
}

impl<'a> FederatedCredential<'a> {
    pub(super) fn new(
        call: &Call,
        identity: &ManagedIdentity,
        path: &IdentityPath,
        credential: &'a Credential,
    ) -> Self {
        let asked = call
            .path
            .rsplit('/')
            .next()
            .filter(|name| name.eq_ignore_ascii_case(&credential.name));
        let name = match call.knobs.id_case {
            IdCase::AsCreated => credential.name.clone(),
            IdCase::AsRequested => asked.unwrap_or(&credential.name).to_owned(),
            IdCase::Lower => credential.name.to_ascii_lowercase(),
        };
        Self {
            id: format!(
                "{}/federatedIdentityCredentials/{name}",
                cased_id(call, identity, path)
            ),
            name,
            r#type: "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
            properties: Properties {
                issuer: &credential.issuer,
                subject: &credential.subject,
                audiences: &credential.audiences,
            },
        }
    }
}

/// A credential as reads show it: in the usual form, or in the one that a knob gives it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shown<'a> {
    Usual(FederatedCredential<'a>),
    Odd(Value),
}

impl<'a> Shown<'a> {
    pub(super) fn new(
        call: &Call,
        identity: &ManagedIdentity,
        path: &IdentityPath,
        credential: &'a Credential,
    ) -> Self {
        let usual = FederatedCredential::new(call, identity, path, credential);
        let Some(shape) = call.knobs.shapes.get(&credential.name) else {
            return Self::Usual(usual);
        };
        let mut odd = serde_json::to_value(&usual).unwrap_or_default();
        shape.apply(&mut odd);
        Self::Odd(odd)
    }
}

/// The id of the identity in the letter case of the knob.
pub(super) fn cased_id(call: &Call, identity: &ManagedIdentity, path: &IdentityPath) -> String {
    let subscription = &call.shared.subscription_id;
    match call.knobs.id_case {
        IdCase::AsCreated => identity.resource_id(subscription),
        IdCase::AsRequested => identity_id(subscription, &path.group, &path.name),
        IdCase::Lower => identity_id(
            subscription,
            &identity.group.to_ascii_lowercase(),
            &identity.name.to_ascii_lowercase(),
        ),
    }
}

pub(super) fn child_id(call: &Call, identity: &ManagedIdentity, path: &IdentityPath, name: &str) -> String {
    format!(
        "{}/federatedIdentityCredentials/{name}",
        cased_id(call, identity, path)
    )
}

/// The link to the page that begins at `to`, if there is one; and links that lead nowhere, when told.
pub(super) fn next_link(call: &Call, to: usize, total: usize) -> Option<String> {
    let to = match call.knobs.next_link {
        NextLink::NextPage => Some(to).filter(|to| *to < total),
        NextLink::Itself => Some(skipped(call).unwrap_or_default()),
        NextLink::Endless => Some(to.max(skipped(call).unwrap_or_default()) + 1),
    };
    to.map(|to| {
        let version = call.query("api-version").unwrap_or_default();
        let top = call
            .query("$top")
            .map_or_else(String::new, |top| format!("&%24top={top}"));
        let token = URL_SAFE_NO_PAD.encode(to.to_string());
        format!(
            "{}{}?api-version={version}{top}&%24skiptoken={token}",
            call.shared.url, call.path
        )
    })
}

/// The number in the `$skiptoken`.
fn skipped(call: &Call) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(call.query("$skiptoken")?).ok()?;
    String::from_utf8(bytes).ok()?.parse().ok()
}

/// The range of a page. How Azure treats `$top` is unverified; here it is a page size.
pub(super) fn page(call: &Call, total: usize) -> Result<(usize, usize), ArmError> {
    let bad =
        |what: &str| ArmError::provider(400, "BadRequest", format!("The value of '{what}' is invalid."));
    let top = match call.query("$top") {
        None => None,
        Some(text) => Some(
            text.parse::<usize>()
                .ok()
                .filter(|top| *top >= 1)
                .ok_or_else(|| bad("$top"))?,
        ),
    };
    let from = match call.query("$skiptoken") {
        None => 0,
        Some(_) => skipped(call).ok_or_else(|| bad("$skiptoken"))?,
    };
    let size = call
        .knobs
        .page_size
        .unwrap_or(usize::MAX)
        .min(top.unwrap_or(usize::MAX))
        .max(1);
    let from = from.min(total);
    Ok((from, from.saturating_add(size).min(total)))
}
