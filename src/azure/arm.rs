//! [`ManagedIdentities`] over Azure Resource Manager.
//!
//! `azure_mgmt_msi` makes the requests, but for lists. What comes back is read here: its models refuse a
//! whole answer for one entry that they do not know.

mod pages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core_mgmt as legacy;
use azure_mgmt_msi::package_2023_01_31::{Client, models};
use legacy::auth::TokenCredential;
use legacy::error::ErrorKind;
use serde_json::Value;
use tracing::debug;
use url::Url;

use self::pages::Pages;
use super::failed::{self, broken};
use super::login::Login;
use super::metrics::AzureMetrics;
use super::transport::Transport;
use super::{AzureError, AzureSettings, ManagedIdentities, Operation, RateLimiter, SetupError, http};
use crate::core::{Credential, Fault, Holdings, Identity, IdentityId, text};

/// Of the package of `azure_mgmt_msi` that is used here.
const API_VERSION: &str = "2023-01-31";

/// Azure Resource Manager, api-version 2023-01-31: the oldest stable one with federated
/// credentials, and the same contract in every later one.
pub struct Arm {
    client: Client,
    transport: Arc<dyn legacy::HttpClient>,
    endpoint: Url,
    login: Arc<Login>,
    limiter: Arc<RateLimiter>,
    metrics: AzureMetrics,
    timeout: Duration,
}

impl Arm {
    /// Sets up the client. No call is made.
    ///
    /// # Errors
    /// Names the setting or the file that is missing or wrong.
    pub fn new(
        settings: &AzureSettings,
        limiter: Arc<RateLimiter>,
        metrics: AzureMetrics,
    ) -> Result<Self, SetupError> {
        let http = http::client(settings.ca_bundle.as_deref(), settings.timeout)?;
        let login = Arc::new(Login::new(settings, http.clone())?);
        let endpoint = settings.endpoints.resource_manager.clone();
        let scope = settings.endpoints.scope.clone();
        let transport = Arc::new(Transport {
            client: http,
            endpoint: endpoint.clone(),
            limiter: limiter.clone(),
            metrics: metrics.clone(),
        });
        let client = Client::builder(login.clone())
            .endpoint(endpoint.clone())
            .scopes(&[&scope])
            // When to try again is decided above, by what the answer means.
            .retry(legacy::RetryOptions::none())
            .transport(legacy::TransportOptions::new(transport.clone()))
            .build()
            .map_err(|error| SetupError::Setting(format!("the Azure client cannot be set up: {error}")))?;
        Ok(Self {
            client,
            transport,
            endpoint,
            login,
            limiter,
            metrics,
            timeout: settings.timeout,
        })
    }

    /// Logs in to Azure, to find out at once whether that works.
    ///
    /// # Errors
    /// Says what Entra answered.
    pub async fn check_login(&self) -> Result<(), AzureError> {
        let started = Instant::now();
        let token = self.login.token().await;
        let result = token
            .map(drop)
            .map_err(|error| failed::login(&text::cause(&error)));
        self.ended(Operation::GetToken, started, result.as_ref().err());
        result
    }

    /// One page of a list. `azure_mgmt_msi` lists, and follows links, only with its own models.
    async fn get(&self, url: Url) -> legacy::Result<legacy::Response> {
        let token = TokenCredential::get_token(&*self.login, &[]).await?;
        let mut request = legacy::Request::new(url, legacy::Method::Get);
        let bearer = format!("Bearer {}", token.token.secret());
        request.insert_header(legacy::headers::AUTHORIZATION, bearer);
        self.transport.execute_request(&request).await
    }

    async fn call<T>(
        &self,
        operation: Operation,
        id: &IdentityId,
        request: impl Future<Output = legacy::Result<T>>,
    ) -> Result<T, AzureError> {
        let started = Instant::now();
        let result = request.await.map_err(|error| failed::call(operation, id, &error));
        if let Err(error) = &result
            && error.fault == Fault::LoginFailed
            && error.status.is_some()
        {
            self.login.refused();
        }
        self.ended(operation, started, result.as_ref().err());
        result
    }

    fn ended(&self, operation: Operation, started: Instant, error: Option<&AzureError>) {
        self.metrics.called(operation, started.elapsed(), error);
        if let Some(error) = error {
            tracing::debug!(
                operation = operation.as_str(),
                fault = error.fault.as_str(),
                status = error.status,
                code = error.code,
                request_id = error.request_id,
                "call to Azure failed"
            );
        }
    }
}

#[async_trait]
impl ManagedIdentities for Arm {
    async fn identity(&self, id: &IdentityId) -> Result<Identity, AzureError> {
        let request = self.client.user_assigned_identities_client().get(
            id.subscription(),
            id.resource_group(),
            id.name(),
        );
        self.call(Operation::GetIdentity, id, async {
            let answer = request.send().await?.into_raw_response();
            identity(&answer.into_body().collect().await?)
        })
        .await
    }

    async fn credentials(&self, id: &IdentityId) -> Result<Holdings, AzureError> {
        let operation = Operation::ListCredentials;
        let started = Instant::now();
        let (mut pages, first) = Pages::of(&self.endpoint, id);
        let mut next = Some(first);
        while let Some(url) = next {
            next = self
                .call(operation, id, async {
                    let answer = self.get(url).await?;
                    pages.add(&answer.into_body().collect().await?)
                })
                .await?;
            if next.is_some() {
                if started.elapsed() > self.timeout {
                    return Err(broken(operation, "the pages of the list took too long"));
                }
                // Whoever asked has waited for one call. Those that come later pay for this one.
                self.limiter.charge(id.subscription(), operation);
            }
        }
        let held = pages.held();
        for name in &held.unreadable {
            debug!(
                identity = id.key(),
                credential = text::quote(name),
                "a credential that the operator cannot read"
            );
        }
        Ok(held)
    }

    async fn put(&self, id: &IdentityId, credential: &Credential) -> Result<(), AzureError> {
        let tuple = credential.tuple.clone();
        let body = models::FederatedIdentityCredential {
            properties: Some(models::FederatedIdentityCredentialProperties::new(
                tuple.issuer,
                tuple.subject,
                vec![tuple.audience],
            )),
            ..models::FederatedIdentityCredential::new()
        };
        let request = self
            .client
            .federated_identity_credentials_client()
            .create_or_update(
                id.subscription(),
                id.resource_group(),
                id.name(),
                credential.name.clone(),
                body,
            );
        self.call(Operation::PutCredential, id, async {
            request.send().await.map(drop)
        })
        .await
    }

    async fn delete(&self, id: &IdentityId, name: &str) -> Result<(), AzureError> {
        let request = self.client.federated_identity_credentials_client().delete(
            id.subscription(),
            id.resource_group(),
            id.name(),
            name,
        );
        match self
            .call(Operation::DeleteCredential, id, async {
                request.send().await.map(drop)
            })
            .await
        {
            Err(error) if error.fault == Fault::CredentialGone => Ok(()),
            result => result,
        }
    }
}

/// The ids of an identity, whatever else stands in the answer.
fn identity(body: &[u8]) -> legacy::Result<Identity> {
    let found: Value = serde_json::from_slice(body)?;
    let id = |member: &str| {
        let id = found.get("properties")?.get(member)?.as_str()?;
        Some(id.to_owned()).filter(|id| !id.is_empty())
    };
    let ids = || {
        Some(Identity {
            client_id: id("clientId")?,
            principal_id: id("principalId")?,
            tenant_id: id("tenantId")?,
        })
    };
    let lacks = "the answer lacks clientId, principalId or tenantId";
    ids().ok_or_else(|| legacy::Error::message(ErrorKind::Other, lacks))
}

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
