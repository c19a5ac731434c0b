//! `POST /{tenant}/oauth2/v2.0/token` with the client credentials grant (documented:
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::discovery::check_tenant;
use super::errors::EntraError;
use super::jwt::Jwt;
use super::keys::access_token;
use super::{certificate, federation};
use crate::call::Call;
use crate::model::Credential;
use crate::rbac::Caller;
use crate::reply::Reply;
use crate::shared::lock;
use crate::state::App;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The answer's member order (reported).
#[derive(Serialize)]
struct Answer<'a> {
    token_type: &'a str,
    expires_in: u64,
    ext_expires_in: u64,
    access_token: String,
}

/// Who wants to log in.
enum Client {
    Identity {
        caller: Caller,
        resource_id: String,
        credentials: Vec<Credential>,
    },
    App(App),
}

pub(super) async fn handle(call: &Call, tenant: &str) -> Result<Reply, EntraError> {
    if call.method != "POST" {
        return Ok(Reply::empty(405));
    }
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&call.body).into_owned().collect();
    let value = |name: &str| {
        form.get(name)
            .filter(|value| !value.is_empty())
            .map(String::as_str)
    };
    call.update(|entry| {
        entry.caller = value("client_id").map(str::to_owned);
        entry.body = Some(without_secrets(&form));
    });
    check_tenant(call, tenant)?;
    let required = |name: &str| value(name).ok_or_else(|| EntraError::missing_parameter(name));
    let grant = required("grant_type")?;
    if grant != "client_credentials" {
        return Err(EntraError::unsupported_grant(grant));
    }
    let (client_id, scope) = (required("client_id")?, required("scope")?);
    let Some(audience) = scope
        .strip_suffix("/.default")
        .filter(|audience| !audience.is_empty())
    else {
        return Err(EntraError::invalid_scope(scope));
    };

    let client = find(call, client_id).ok_or_else(|| EntraError::unknown_client(client_id, tenant))?;
    let assertion = match (value("client_assertion"), value("client_assertion_type")) {
        (Some(assertion), Some(JWT_BEARER)) => Some(assertion),
        (Some(_), _) => return Err(EntraError::missing_parameter("client_assertion_type")),
        (None, _) => None,
    };
    let (caller, resource_id) = prove(call, tenant, client, assertion, value("client_secret")).await?;

    let expires_in = call.knobs.expires_in;
    let token = access_token(
        &call.shared,
        &caller,
        resource_id.as_deref(),
        audience,
        call.now(),
        expires_in,
    )
    .ok_or_else(EntraError::malformed_assertion)?;
    let answer = Answer {
        token_type: "Bearer",
        expires_in,
        ext_expires_in: expires_in,
        access_token: token,
    };
    Ok(Reply::json(200, &answer))
}

fn find(call: &Call, client_id: &str) -> Option<Client> {
    let world = lock(&call.shared.world);
    if let Some(app) = world.app(client_id) {
        return Some(Client::App(app.clone()));
    }
    let identity = world.identity_of_client(client_id)?;
    let (knobs, now) = (&call.knobs, call.now());
    Some(Client::Identity {
        caller: Caller {
            client_id: identity.client_id.clone(),
            object_id: identity.principal_id.clone(),
        },
        resource_id: identity.resource_id(&call.shared.subscription_id),
        credentials: identity
            .credentials
            .entra(now, knobs.fic_propagation, knobs.delete_propagation),
    })
}

/// Checks the secret, the certificate or the federated token.
async fn prove(
    call: &Call,
    tenant: &str,
    client: Client,
    assertion: Option<&str>,
    secret: Option<&str>,
) -> Result<(Caller, Option<String>), EntraError> {
    let parse = |assertion: &str| Jwt::parse(assertion).ok_or_else(EntraError::malformed_assertion);
    match client {
        Client::Identity {
            caller,
            resource_id,
            credentials,
        } => {
            let Some(assertion) = assertion else {
                return Err(EntraError::no_proof());
            };
            federation::check(call, &credentials, &parse(assertion)?).await?;
            Ok((caller, Some(resource_id)))
        }
        Client::App(app) => {
            let token = assertion.map(parse).transpose()?;
            match (&token, secret) {
                (Some(token), _) if token.claim("iss") == Some(app.client_id.as_str()) => {
                    certificate::check(call, tenant, &app, token)?;
                }
                (Some(token), _) => federation::check(call, &[], token).await?,
                (None, Some(secret)) if app.secret.as_deref() == Some(secret) => {}
                (None, Some(_)) => return Err(EntraError::wrong_secret(&app.client_id)),
                (None, None) => return Err(EntraError::no_proof()),
            }
            Ok((
                Caller {
                    client_id: app.client_id,
                    object_id: app.object_id,
                },
                None,
            ))
        }
    }
}

/// What the journal may keep of a form.
fn without_secrets(form: &BTreeMap<String, String>) -> serde_json::Value {
    let kept = ["client_assertion_type", "client_id", "grant_type", "scope"];
    let proof = ["client_assertion", "client_secret"]
        .into_iter()
        .find(|name| form.contains_key(*name));
    let mut body = json!({ "proof": proof });
    for name in kept {
        if let Some(value) = form.get(name) {
            body[name] = json!(value);
        }
    }
    body
}
