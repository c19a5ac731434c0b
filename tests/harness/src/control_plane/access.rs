//! Ways into the API server: kubeconfigs and clients for the administrator, for tokens and for other users.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::client::ClientBuilder;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

use super::ControlPlane;
use super::pki::Identity;

/// The client repeats 429 and 503 without a word and waits for ever otherwise: a test would hang instead of fail.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const NAME: &str = "test";

/// Where the API server is, and whom to trust there.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub url: String,
    pub ca_pem: String,
}

impl Address {
    /// A kubeconfig with this way to authenticate.
    pub fn kubeconfig(&self, user: AuthInfo) -> Kubeconfig {
        let cluster = Cluster {
            server: Some(self.url.clone()),
            certificate_authority_data: Some(BASE64_STANDARD.encode(&self.ca_pem)),
            ..Cluster::default()
        };
        let context = Context {
            cluster: NAME.to_owned(),
            user: Some(NAME.to_owned()),
            ..Context::default()
        };
        Kubeconfig {
            api_version: Some("v1".to_owned()),
            kind: Some("Config".to_owned()),
            clusters: vec![NamedCluster {
                name: NAME.to_owned(),
                cluster: Some(cluster),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: NAME.to_owned(),
                auth_info: Some(user),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: NAME.to_owned(),
                context: Some(context),
                ..NamedContext::default()
            }],
            current_context: Some(NAME.to_owned()),
            ..Kubeconfig::default()
        }
    }

    /// A client that authenticates in this way.
    pub async fn client(&self, user: AuthInfo) -> Result<Client> {
        let config =
            Config::from_custom_kubeconfig(self.kubeconfig(user), &KubeConfigOptions::default()).await?;
        Ok(ClientBuilder::try_from(config)?
            .with_layer(&TimeoutLayer::new(REQUEST_TIMEOUT))
            .build())
    }
}

impl ControlPlane {
    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// A kubeconfig that may do everything.
    pub fn kubeconfig(&self) -> Kubeconfig {
        self.address.kubeconfig(self.admin_user.clone())
    }

    /// A kubeconfig that authenticates with a token.
    pub fn kubeconfig_for_token(&self, token: &str) -> Kubeconfig {
        self.address.kubeconfig(by_token(token))
    }

    /// A client that authenticates with a token. Its audience must be one that the API server accepts: the issuer.
    pub async fn client_for_token(&self, token: &str) -> Result<Client> {
        self.address.client(by_token(token)).await
    }

    /// A client for this user, by a certificate of their own. Several groups do not fit in a certificate made by
    /// `rcgen`: then the administrator acts as that user, which authorizes in the same way.
    pub async fn client_for_user(&self, user: &str, groups: &[&str]) -> Result<Client> {
        let user = match groups {
            [] => by_certificate(&self.pki.client(user, None)?),
            [group] => by_certificate(&self.pki.client(user, Some(group))?),
            several => AuthInfo {
                impersonate: Some(user.to_owned()),
                impersonate_groups: Some(several.iter().copied().map(str::to_owned).collect()),
                ..self.admin_user.clone()
            },
        };
        self.address.client(user).await
    }

    /// A new token of a ServiceAccount. Without an audience it is for the API server itself.
    pub async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
        seconds: i64,
    ) -> Result<String> {
        let audiences = if audience.is_empty() {
            Vec::new()
        } else {
            vec![audience.to_owned()]
        };
        let spec = TokenRequestSpec {
            audiences,
            expiration_seconds: Some(seconds),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            spec,
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let answer = accounts
            .create_token_request(service_account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("requesting a token of {namespace}/{service_account}"))?;
        Ok(answer
            .status
            .context("the API server answered without a token")?
            .token)
    }
}

/// By client certificate.
pub(super) fn by_certificate(identity: &Identity) -> AuthInfo {
    AuthInfo {
        client_certificate_data: Some(BASE64_STANDARD.encode(&identity.certificate)),
        client_key_data: Some(BASE64_STANDARD.encode(&identity.key).into()),
        ..AuthInfo::default()
    }
}

/// By bearer token.
pub(super) fn by_token(token: &str) -> AuthInfo {
    AuthInfo {
        token: Some(token.to_owned().into()),
        ..AuthInfo::default()
    }
}

/// Not at all: the API server sees `system:anonymous`.
pub(super) fn anonymous() -> AuthInfo {
    AuthInfo::default()
}
