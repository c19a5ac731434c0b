//! [`ManagedIdentities`] over Azure Resource Manager, by `azure_mgmt_msi`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use azure_core_mgmt as legacy;
use azure_mgmt_msi::package_2023_01_31::{Client, models};
use futures::TryStreamExt;

use super::failed::{self, broken};
use super::login::Login;
use super::transport::Transport;
use super::{
    AzureError, AzureSettings, Identity, ManagedIdentities, Observer, Operation, Pace, SetupError, http,
};
use crate::domain::{Credential, Fault, IdentityId, Tuple, text};

/// Azure Resource Manager, api-version 2023-01-31: the oldest stable one with federated
/// credentials, and the same contract in every later one.
pub struct Arm {
    client: Client,
    login: Arc<Login>,
    observer: Arc<dyn Observer>,
}

impl Arm {
    /// Sets up the client. No call is made.
    ///
    /// # Errors
    /// Names the setting or the file that is missing or wrong.
    pub fn new(
        settings: &AzureSettings,
        pace: Arc<Pace>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, SetupError> {
        let http = http::client(settings.ca_bundle.as_deref(), settings.timeout)?;
        let login = Arc::new(Login::new(settings, http.clone())?);
        let endpoint = settings.endpoints.resource_manager.clone();
        let scope = settings.endpoints.scope.clone();
        let transport = Transport {
            client: http,
            endpoint: endpoint.clone(),
            pace,
            observer: observer.clone(),
        };
        let client = Client::builder(login.clone())
            .endpoint(endpoint)
            .scopes(&[&scope])
            // When to try again is decided above, by what the answer means.
            .retry(legacy::RetryOptions::none())
            .transport(legacy::TransportOptions::new(Arc::new(transport)))
            .build()
            .map_err(|error| SetupError::Setting(format!("the Azure client cannot be set up: {error}")))?;
        Ok(Self {
            client,
            login,
            observer,
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
        self.observer
            .called(Operation::GetToken, started.elapsed(), result.as_ref().err());
        result
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
        self.observer
            .called(operation, started.elapsed(), result.as_ref().err());
        result
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
        let operation = Operation::GetIdentity;
        let answer = self
            .call(operation, id, async { request.send().await?.into_body().await })
            .await?;
        let ids = answer.properties.and_then(|p| {
            Some(Identity {
                client_id: p.client_id.filter(|id| !id.is_empty())?,
                principal_id: p.principal_id.filter(|id| !id.is_empty())?,
                tenant_id: p.tenant_id.filter(|id| !id.is_empty())?,
            })
        });
        ids.ok_or_else(|| broken(operation, "the answer lacks clientId, principalId or tenantId"))
    }

    async fn credentials(&self, id: &IdentityId) -> Result<Vec<Credential>, AzureError> {
        let request = self.client.federated_identity_credentials_client().list(
            id.subscription(),
            id.resource_group(),
            id.name(),
        );
        let operation = Operation::ListCredentials;
        let pages: Vec<_> = self
            .call(operation, id, request.into_stream().try_collect())
            .await?;
        pages
            .into_iter()
            .flat_map(|page| page.value)
            .map(|c| credential(operation, c))
            .collect()
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
            Err(error) if error.fault.is_gone() => Ok(()),
            result => result,
        }
    }
}

fn credential(
    operation: Operation,
    found: models::FederatedIdentityCredential,
) -> Result<Credential, AzureError> {
    let name = found.proxy_resource.resource.name;
    let (Some(name), Some(properties)) = (name, found.properties) else {
        return Err(broken(
            operation,
            "a credential in the answer lacks its name or its properties",
        ));
    };
    Ok(Credential {
        name,
        tuple: Tuple {
            issuer: properties.issuer,
            subject: properties.subject,
            // Azure takes exactly one; more would equal nothing that we want, as it should.
            audience: properties.audiences.join(" "),
        },
    })
}

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
