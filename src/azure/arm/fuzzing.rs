//! Ways into the adapter for bytes that no Azure has sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use futures::FutureExt;
use prometheus_client::registry::Registry;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::azure::transport::refusal;
use crate::azure::{Cloud, CredentialSettings, Endpoints, Pacing};

/// Answers the first call with these bytes, and later ones with an empty list, its last page.
#[derive(Debug)]
struct Canned {
    body: Vec<u8>,
    used: AtomicBool,
}

#[async_trait]
impl legacy::HttpClient for Canned {
    async fn execute_request(&self, _: &legacy::Request) -> legacy::Result<legacy::Response> {
        let body = if self.used.swap(true, Ordering::Relaxed) {
            b"{\"value\":[]}".to_vec()
        } else {
            self.body.clone()
        };
        let stream = futures::stream::once(async move { Ok(body.into()) });
        let headers = legacy::headers::Headers::new();
        Ok(legacy::Response::new(
            legacy::StatusCode::Ok,
            headers,
            Box::pin(stream),
        ))
    }
}

#[derive(Debug)]
struct AnyToken;

#[async_trait]
impl TokenCredential for AnyToken {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let expires = azure_core::time::OffsetDateTime::now_utc() + Duration::from_hours(1);
        Ok(AccessToken::new("token", expires))
    }
}

fn arm(body: &[u8]) -> Option<Arm> {
    let transport = Arc::new(Canned {
        body: body.to_vec(),
        used: AtomicBool::new(false),
    });
    let settings = AzureSettings {
        endpoints: Endpoints::new(Cloud::default(), None, None).ok()?,
        credential: CredentialSettings::default(),
        ca_bundle: None,
        timeout: Duration::from_secs(1),
    };
    let login = Arc::new(Login::fixed(&settings, Arc::new(AnyToken)));
    let endpoint = settings.endpoints.resource_manager.clone();
    let client = Client::builder(login.clone())
        .endpoint(endpoint.clone())
        .scopes(&["scope"])
        .retry(legacy::RetryOptions::none())
        .transport(legacy::TransportOptions::new(transport.clone()))
        .build()
        .ok()?;
    Some(Arm {
        client,
        transport,
        endpoint,
        login,
        limiter: Arc::new(RateLimiter::new(Pacing::default(), CancellationToken::new())),
        metrics: AzureMetrics::register(&mut Registry::default()),
        timeout: settings.timeout,
    })
}

fn any_identity() -> Option<IdentityId> {
    IdentityId::new("00000000-0000-0000-0000-00000000000a", "shop", "web").ok()
}

/// What the adapter makes of the body of a list.
pub fn list(body: &[u8]) -> Option<Result<Holdings, AzureError>> {
    arm(body)?.credentials(&any_identity()?).now_or_never()
}

/// What the adapter makes of the body of an identity.
pub fn identity(body: &[u8]) -> Option<Result<Identity, AzureError>> {
    arm(body)?.identity(&any_identity()?).now_or_never()
}

/// What the adapter makes of an answer that is no success.
pub fn refused(
    operation: Operation,
    status: u16,
    retry_after: &[u8],
    date: &[u8],
    body: &[u8],
) -> AzureError {
    let mut headers = HeaderMap::new();
    for (name, value) in [("retry-after", retry_after), ("date", date)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let kind = ErrorKind::http_response(legacy::StatusCode::InternalServerError, None);
    let error = legacy::Error::new(kind, refusal(status, &headers, body));
    any_identity().map_or_else(
        || broken(operation, "no identity"),
        |id| failed::call(operation, &id, &error),
    )
}

/// What the adapter makes of a login that failed.
pub fn login(text: &str) -> AzureError {
    failed::login(text)
}
