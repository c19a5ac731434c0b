//! A workload's own view: exchanging a token as any Azure SDK does.

use reqwest::{Certificate, Client};
use serde::Deserialize;

/// A token for an Azure service.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct AccessToken {
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// The token.
    #[serde(rename = "access_token")]
    pub token: String,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {error}: {description}")]
pub struct TokenError {
    /// HTTP status; 0 without an answer.
    pub status: u16,
    /// OAuth error, such as `invalid_client`.
    pub error: String,
    /// The first of `error_codes`, such as 700213; 0 without an answer.
    pub code: i64,
    /// Text for people.
    pub description: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    error_description: String,
    error_codes: Vec<i64>,
}

impl TokenError {
    fn transport(status: u16, error: &dyn std::error::Error) -> Self {
        let mut description = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            description = format!("{description}: {inner}");
            source = inner.source();
        }
        Self {
            status,
            error: "transport".to_owned(),
            code: 0,
            description,
        }
    }
}

/// Exchanges a ServiceAccount token for an access token for the emulator's ARM, as the identity `client_id`.
pub async fn exchange(
    emulator_url: &str,
    ca_pem: &str,
    tenant: &str,
    client_id: &str,
    assertion: &str,
) -> Result<AccessToken, TokenError> {
    let scope = format!("{emulator_url}/.default");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("scope", scope.as_str()),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", assertion),
    ];
    request_token(emulator_url, ca_pem, tenant, &form).await
}

/// Logs an app registration in with its secret, for the emulator's ARM.
pub async fn secret_login(
    emulator_url: &str,
    ca_pem: &str,
    tenant: &str,
    client_id: &str,
    secret: &str,
) -> Result<AccessToken, TokenError> {
    let scope = format!("{emulator_url}/.default");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("scope", scope.as_str()),
        ("client_secret", secret),
    ];
    request_token(emulator_url, ca_pem, tenant, &form).await
}

/// Sends any form to the token endpoint.
pub async fn request_token(
    emulator_url: &str,
    ca_pem: &str,
    tenant: &str,
    form: &[(&str, &str)],
) -> Result<AccessToken, TokenError> {
    let lost = |error: reqwest::Error| TokenError::transport(0, &error);
    let ca = Certificate::from_pem(ca_pem.as_bytes()).map_err(lost)?;
    let client = Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .build()
        .map_err(lost)?;
    let url = format!("{emulator_url}/{tenant}/oauth2/v2.0/token");
    let response = client.post(url).form(form).send().await.map_err(lost)?;
    let status = response.status();
    let body = response.bytes().await.map_err(lost)?;
    let broken = |error: serde_json::Error| TokenError::transport(status.as_u16(), &error);
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(broken);
    }
    let body: ErrorBody = serde_json::from_slice(&body).map_err(broken)?;
    Err(TokenError {
        status: status.as_u16(),
        error: body.error,
        code: body.error_codes.first().copied().unwrap_or_default(),
        description: body.error_description,
    })
}
