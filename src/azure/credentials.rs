//! How the operator logs in to Azure.

use std::path::PathBuf;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};

use super::certificate::CertificateAssertion;
use super::{Endpoints, SetupError};

/// Which way to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CredentialKind {
    /// The first of: workload identity when a token file is set, a client secret or certificate
    /// when one is set, managed identity in a cluster, the az login elsewhere.
    #[default]
    Auto,
    /// The operator's own projected ServiceAccount token, re-read as it rotates.
    WorkloadIdentity,
    /// The managed identity of the node.
    ManagedIdentity,
    /// A client secret or certificate from the environment.
    Environment,
    /// What `az login` left behind; for development.
    Cli,
}

/// What the ways to log in need.
#[derive(Clone, Default)]
pub struct CredentialSettings {
    /// Which way.
    pub kind: CredentialKind,
    /// Tenant of the operator's identity.
    pub tenant_id: Option<String>,
    /// Client id of the operator's identity.
    pub client_id: Option<String>,
    /// The operator's projected token.
    pub token_file: Option<PathBuf>,
    /// Client secret.
    pub client_secret: Option<String>,
    /// PEM file with certificate and key.
    pub client_certificate: Option<PathBuf>,
    /// Whether this process runs in a cluster.
    pub in_cluster: bool,
}

impl std::fmt::Debug for CredentialSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialSettings")
            .field("kind", &self.kind)
            .field("tenant_id", &self.tenant_id)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl CredentialSettings {
    /// The way that `Auto` comes to.
    fn resolved(&self) -> CredentialKind {
        match self.kind {
            CredentialKind::Auto if self.token_file.is_some() => CredentialKind::WorkloadIdentity,
            CredentialKind::Auto if self.client_secret.is_some() || self.client_certificate.is_some() => {
                CredentialKind::Environment
            }
            CredentialKind::Auto if self.in_cluster => CredentialKind::ManagedIdentity,
            CredentialKind::Auto => CredentialKind::Cli,
            kind => kind,
        }
    }
}

/// Sets up the login. No call is made.
///
/// # Errors
/// Names the setting or the file that is missing.
pub fn login(
    settings: &CredentialSettings,
    endpoints: &Endpoints,
    http: reqwest::Client,
) -> Result<Arc<dyn TokenCredential>, SetupError> {
    let kind = settings.resolved();
    let required = |value: &Option<String>, name: &str| {
        value.clone().ok_or_else(|| {
            SetupError::Setting(format!(
                "{name} is not set; logging in to Azure by {} needs it",
                describe(kind)
            ))
        })
    };
    let tenant = || required(&settings.tenant_id, "AZURE_TENANT_ID (--azure-tenant-id)");
    let client = || required(&settings.client_id, "AZURE_CLIENT_ID (--azure-client-id)");
    let client_options = client_options(endpoints, http);
    let credential: Arc<dyn TokenCredential> = match kind {
        CredentialKind::WorkloadIdentity => {
            let path = settings.token_file.clone().ok_or_else(|| {
                SetupError::Setting("AZURE_FEDERATED_TOKEN_FILE (--azure-federated-token-file) is not set; logging in to Azure by workload identity needs it".to_owned())
            })?;
            // The credential would say only that it cannot be made.
            std::fs::read(&path).map_err(|source| SetupError::File {
                what: "the operator's ServiceAccount token",
                path: path.clone(),
                source,
            })?;
            WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                client_id: Some(client()?),
                tenant_id: Some(tenant()?),
                token_file_path: Some(path),
            }))
            .map_err(|e| unusable(&e))?
        }
        CredentialKind::Environment => match (&settings.client_secret, &settings.client_certificate) {
            (Some(secret), _) => {
                let options = Some(ClientSecretCredentialOptions { client_options });
                ClientSecretCredential::new(&tenant()?, client()?, Secret::new(secret.clone()), options)
                    .map_err(|e| unusable(&e))?
            }
            (None, Some(path)) => {
                let token_endpoint = format!(
                    "{}/{}/oauth2/v2.0/token",
                    endpoints.authority.as_str().trim_end_matches('/'),
                    tenant()?
                );
                let assertion = CertificateAssertion::from_pem_file(path, &client()?, &token_endpoint)?;
                let options = Some(ClientAssertionCredentialOptions { client_options });
                ClientAssertionCredential::new(tenant()?, client()?, assertion, options)
                    .map_err(|e| unusable(&e))?
            }
            (None, None) => {
                return Err(SetupError::Setting(
                    "neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set; --azure-credential=environment needs one".to_owned(),
                ));
            }
        },
        CredentialKind::ManagedIdentity => {
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: settings.client_id.clone().map(UserAssignedId::ClientId),
                client_options,
            }))
            .map_err(|e| unusable(&e))?
        }
        CredentialKind::Auto | CredentialKind::Cli => {
            AzureCliCredential::new(Some(AzureCliCredentialOptions {
                tenant_id: settings.tenant_id.clone(),
                ..AzureCliCredentialOptions::default()
            }))
            .map_err(|e| unusable(&e))?
        }
    };
    Ok(credential)
}

fn client_options(endpoints: &Endpoints, http: reqwest::Client) -> ClientOptions {
    let mut cloud = CustomConfiguration::default();
    endpoints.authority.as_str().clone_into(&mut cloud.authority_host);
    ClientOptions {
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        transport: Some(Transport::new(Arc::new(http))),
        // A login that fails is reported and tried again by the controller, within its deadline.
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    }
}

fn unusable(error: &azure_core::Error) -> SetupError {
    SetupError::Setting(format!("the Azure login cannot be set up: {error}"))
}

fn describe(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::WorkloadIdentity => "workload identity",
        CredentialKind::Environment => "client secret or certificate",
        CredentialKind::ManagedIdentity => "managed identity",
        CredentialKind::Auto | CredentialKind::Cli => "az",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(in_cluster: bool) -> CredentialSettings {
        CredentialSettings {
            in_cluster,
            ..CredentialSettings::default()
        }
    }

    #[test]
    fn auto_takes_what_is_there() {
        assert_eq!(settings(false).resolved(), CredentialKind::Cli);
        assert_eq!(settings(true).resolved(), CredentialKind::ManagedIdentity);
        let secret = CredentialSettings {
            client_secret: Some("s".into()),
            ..settings(true)
        };
        assert_eq!(secret.resolved(), CredentialKind::Environment);
        let token = CredentialSettings {
            token_file: Some("f".into()),
            ..secret
        };
        assert_eq!(token.resolved(), CredentialKind::WorkloadIdentity);
    }

    #[test]
    fn no_secret_is_printed() {
        let secret = CredentialSettings {
            client_secret: Some("hunter2".into()),
            ..settings(true)
        };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
