//! One test's part of a cluster: a namespace, an Azure of its own, and what people and workloads do there.

pub mod bindings;
mod gated;
mod people;
pub mod pods;
pub mod records;
mod storm;

pub use gated::Gates;
pub use storm::Storm;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_emulator::client::{AccessToken, TokenError, exchange};
use azure_emulator::{Emulator, Identity, Options};
use kube::Client;
use kube::config::Kubeconfig;
use serde_json::json;

use crate::cluster::{Cluster, LEASE_RBAC, OPERATOR_USER};
use crate::operator::{self, Operator};
use crate::{AUDIENCE, Write, platform};

/// Resource group of the identities that a test makes.
pub const RESOURCE_GROUP: &str = "shop";

/// A namespace, an Azure, and the operator's own identity in it.
pub struct World {
    /// The cluster, which other worlds may share.
    pub cluster: Arc<Cluster>,
    /// Azure, for this world alone.
    pub azure: Emulator,
    /// The namespace of this world.
    pub namespace: String,
    /// The operator's own identity.
    pub operator_identity: Identity,
    directory: tempfile::TempDir,
}

impl World {
    /// A new world in a cluster.
    pub async fn new(cluster: Arc<Cluster>) -> Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self::named(cluster, &format!("shop-{}", &id[..8])).await
    }

    /// A new world whose Azure has this subscription.
    pub async fn in_subscription(cluster: Arc<Cluster>, subscription: &str) -> Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self::made(cluster, &format!("shop-{}", &id[..8]), subscription).await
    }

    /// A new world whose namespace has this name.
    pub async fn named(cluster: Arc<Cluster>, namespace: &str) -> Result<Self> {
        // Of its own: the cluster's record of an identity is one for all who use the cluster.
        Self::made(cluster, namespace, &uuid::Uuid::new_v4().to_string()).await
    }

    async fn made(cluster: Arc<Cluster>, namespace: &str, subscription: &str) -> Result<Self> {
        let azure = Emulator::start(Options {
            subscription_id: subscription.to_owned(),
            ..Options::default()
        })
        .await?;
        let operator_identity = azure.create_identity("platform", "operator");
        Self::with(cluster, namespace, azure, operator_identity).await
    }

    /// A world that shares the Azure of this one, with an operator's identity of its own: another tenant of this
    /// cluster, or another cluster.
    pub async fn beside(&self, cluster: Arc<Cluster>, namespace: &str) -> Result<Self> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let operator_identity = self
            .azure
            .create_identity("platform", &format!("operator-{}", &id[..8]));
        Self::with(cluster, namespace, self.azure.clone(), operator_identity).await
    }

    /// A world of another namespace in the same cluster, with the same Azure and operator's identity.
    pub async fn neighbour(&self, namespace: &str) -> Result<Self> {
        let (cluster, azure) = (self.cluster.clone(), self.azure.clone());
        Self::with(cluster, namespace, azure, self.operator_identity.clone()).await
    }

    async fn with(
        cluster: Arc<Cluster>,
        namespace: &str,
        azure: Emulator,
        operator_identity: Identity,
    ) -> Result<Self> {
        azure.trust_issuer_ca(cluster.control_plane.ca_pem());
        let world = Self {
            azure,
            namespace: namespace.to_owned(),
            operator_identity,
            directory: tempfile::tempdir()?,
            cluster,
        };
        world.trust_operator(world.cluster.control_plane.issuer());
        platform::apply(
            &world.admin(),
            &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": world.namespace } }),
        )
        .await?;
        world.write_operator_files().await?;
        Ok(world)
    }

    /// Lets the operator log in with the tokens of an issuer.
    pub fn trust_operator(&self, issuer: &str) {
        let credential = azure_emulator::Credential {
            name: "operator".to_owned(),
            issuer: issuer.to_owned(),
            subject: OPERATOR_USER.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
        };
        self.azure
            .put_credential(&self.operator_identity.resource_id, credential);
    }

    /// Writes the operator's tokens anew, as a kubelet does when they rotate.
    pub async fn write_operator_files(&self) -> Result<()> {
        operator::write_files(self.directory.path(), &self.cluster, &self.azure).await
    }

    /// Writes a kubeconfig beside the operator's files, and says with which flag the operator uses it.
    pub fn write_kubeconfig(&self, name: &str, kubeconfig: &Kubeconfig) -> Result<String> {
        let path = self.directory().join(name);
        std::fs::write(&path, serde_yaml::to_string(kubeconfig)?)?;
        Ok(format!("--kubeconfig={}", path.display()))
    }

    /// The folder of the operator's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.cluster.admin()
    }

    /// Starts an operator for this namespace. What passes by itself is tried again within milliseconds.
    pub async fn operator(&self) -> Result<Operator> {
        self.operator_with(&[]).await
    }

    /// The same with further flags.
    pub async fn operator_with(&self, flags: &[&str]) -> Result<Operator> {
        Operator::start(self.operator_arguments(flags)).await
    }

    /// Lets operators hold a lease in this namespace, with the Role that the project ships. Answers the flags
    /// of the leader election for a replica of this name.
    pub async fn elect(&self, replica: &str, lease: Duration) -> Result<Vec<String>> {
        for file in LEASE_RBAC {
            let here = |object: &mut serde_json::Value| {
                object["metadata"]["namespace"] = self.namespace.as_str().into();
            };
            platform::apply_file_with(&self.admin(), file, here).await?;
        }
        Ok(vec![
            "--leader-elect=true".to_owned(),
            format!("--lease-namespace={}", self.namespace),
            format!("--lease-duration={}s", lease.as_secs()),
            format!("--pod-name={replica}"),
        ])
    }

    /// The arguments of `wib` for this world.
    pub fn operator_arguments(&self, flags: &[&str]) -> Vec<String> {
        let mut quick = vec!["--max-retry-interval=3s", "--slow-retry-interval=1s"];
        quick.retain(|q| !flags.iter().any(|f| f.split('=').next() == q.split('=').next()));
        quick.extend_from_slice(flags);
        let identity = &self.operator_identity;
        operator::arguments(self.directory(), &self.azure, identity, &self.namespace, &quick)
    }

    /// A token of a ServiceAccount of this namespace, exchanged at Entra as an Azure SDK does: what a
    /// workload sees. The outer error is the test's, the inner one Entra's answer.
    pub async fn exchange(
        &self,
        service_account: &str,
        client_id: &str,
    ) -> Result<Result<AccessToken, TokenError>> {
        let token = self.workload_token(service_account).await?;
        Ok(self.exchange_token(&token, client_id).await)
    }

    /// The same with a token that the workload has already.
    pub async fn exchange_token(&self, token: &str, client_id: &str) -> Result<AccessToken, TokenError> {
        let azure = &self.azure;
        exchange(azure.url(), azure.ca_pem(), azure.tenant_id(), client_id, token).await
    }

    /// A token of a ServiceAccount of this namespace, as the webhook projects it.
    pub async fn workload_token(&self, service_account: &str) -> Result<String> {
        let control_plane = &self.cluster.control_plane;
        control_plane
            .token(&self.namespace, service_account, AUDIENCE, 3600)
            .await
            .with_context(|| format!("no token for ServiceAccount {service_account}"))
    }

    /// Fails unless Entra accepts the workload.
    pub async fn assert_accepted(&self, service_account: &str, client_id: &str) -> Result<()> {
        let answer = self.exchange(service_account, client_id).await?;
        anyhow::ensure!(
            answer.is_ok(),
            "Entra refused {service_account}: {:?}",
            answer.err()
        );
        Ok(())
    }

    /// Fails unless Entra refuses the workload with this AADSTS code.
    pub async fn assert_refused(&self, service_account: &str, client_id: &str, code: i64) -> Result<()> {
        match self.exchange(service_account, client_id).await? {
            Ok(_) => anyhow::bail!("Entra accepted {service_account}, and should not have"),
            Err(error) => anyhow::ensure!(error.code == code, "Entra answered {error:?}, expected {code}"),
        }
        Ok(())
    }

    /// Fails unless Entra refuses the workload with this AADSTS code before that time is over. Answers how long it took.
    pub async fn refused_within(
        &self,
        service_account: &str,
        client_id: &str,
        code: i64,
        patience: Duration,
    ) -> Result<Duration> {
        let began = tokio::time::Instant::now();
        let token = self.workload_token(service_account).await?;
        self.token_refused(&token, client_id, code, began + patience)
            .await
            .with_context(|| format!("{service_account} is not refused within {patience:?}"))?;
        Ok(began.elapsed())
    }

    /// Waits until Entra refuses a token with this AADSTS code, until then and no longer.
    pub async fn token_refused(
        &self,
        token: &str,
        client_id: &str,
        code: i64,
        end: tokio::time::Instant,
    ) -> Result<()> {
        loop {
            let answer = self.exchange_token(token, client_id).await;
            if answer.as_ref().is_err_and(|error| error.code == code) {
                return Ok(());
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < end,
                "Entra {}",
                answer.map_or_else(
                    |e| format!("answers {e:?}"),
                    |_| "still accepts the token".to_owned()
                )
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The same, once the log, which has a moment's delay, holds so many writes of a status.
    pub async fn kubernetes_writes_after(&self, statuses: usize) -> Result<Vec<Write>> {
        let written = || {
            let writes = self.kubernetes_writes().unwrap_or_default();
            writes
                .iter()
                .filter(|w| w.resource == "workloadidentitybindings/status")
                .count()
        };
        self.until("the audit log is complete", || written() >= statuses)
            .await?;
        self.kubernetes_writes()
    }

    /// The operator's writes to objects of this namespace, from the API server's audit log.
    pub fn kubernetes_writes(&self) -> Result<Vec<Write>> {
        self.cluster.writes(&self.namespace)
    }
}
