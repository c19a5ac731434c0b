//! Discovery documents (documented: OpenID Connect Discovery 1.0 and
//! <https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc>).

use serde_json::json;

use super::errors::EntraError;
use crate::call::Call;
use crate::reply::Reply;

/// The tenant must be the emulated one.
pub(super) fn check_tenant(call: &Call, tenant: &str) -> Result<(), EntraError> {
    if tenant.eq_ignore_ascii_case(&call.shared.tenant_id) {
        Ok(())
    } else {
        Err(EntraError::tenant_not_found(tenant))
    }
}

pub(super) fn configuration(call: &Call, tenant: &str) -> Result<Reply, EntraError> {
    if !matches!(tenant, "common" | "organizations") {
        check_tenant(call, tenant)?;
    }
    let (url, id) = (&call.shared.url, &call.shared.tenant_id);
    let body = json!({
        "token_endpoint": format!("{url}/{tenant}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "jwks_uri": format!("{url}/{tenant}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{url}/{id}/v2.0"),
        "authorization_endpoint": format!("{url}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{url}/{tenant}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{url}/{tenant}/oauth2/v2.0/logout"),
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "oid", "tid"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "127.0.0.1",
        "cloud_graph_host_name": "127.0.0.1",
        "msgraph_host": "127.0.0.1"
    });
    Ok(Reply::json(200, &body))
}

pub(super) fn keys(call: &Call, tenant: &str) -> Result<Reply, EntraError> {
    if !matches!(tenant, "common" | "organizations") {
        check_tenant(call, tenant)?;
    }
    Ok(Reply::json(200, &json!({ "keys": [call.shared.keys.jwk()] })))
}

/// Authority validation of the Microsoft authentication libraries.
pub(super) fn instance(call: &Call) -> Reply {
    let (url, tenant) = (&call.shared.url, &call.shared.tenant_id);
    let host = url.trim_start_matches("https://");
    let body = json!({
        "tenant_discovery_endpoint": format!("{url}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }]
    });
    Reply::json(200, &body)
}
