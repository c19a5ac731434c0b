//! What platform teams and tenants do.

use std::time::Duration;

use anyhow::Result;
use azure_emulator::{Credential, Identity};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use serde_json::{Value, json};

use super::{RESOURCE_GROUP, World};
use crate::{AUDIENCE, platform};

/// Longest wait for an id on a ServiceAccount.
const ANNOTATED_WITHIN: Duration = Duration::from_mins(1);

impl World {
    /// Makes a managed identity.
    pub fn identity(&self, name: &str) -> Identity {
        self.azure.create_identity(RESOURCE_GROUP, name)
    }

    /// Where an identity of this name is, or would be: with its ids only if it is there.
    pub fn at(&self, name: &str) -> Identity {
        let resource_id = format!(
            "/subscriptions/{}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}",
            self.azure.subscription_id()
        );
        self.azure.identity(&resource_id).unwrap_or_else(|| Identity {
            resource_id,
            name: name.to_owned(),
            client_id: String::new(),
            principal_id: String::new(),
            tenant_id: String::new(),
        })
    }

    /// Makes an identity and a ServiceAccount of one name, and grants the one to the other.
    pub async fn workload(&self, name: &str) -> Result<Identity> {
        let identity = self.identity(name);
        self.service_account(name).await?;
        self.grant(name, &identity).await?;
        Ok(identity)
    }

    /// Makes a ServiceAccount in this namespace.
    pub async fn service_account(&self, name: &str) -> Result<ServiceAccount> {
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        Ok(self
            .service_accounts()
            .create(&PostParams::default(), &account)
            .await?)
    }

    /// The ServiceAccounts of this namespace.
    pub fn service_accounts(&self) -> Api<ServiceAccount> {
        Api::namespaced(self.admin(), &self.namespace)
    }

    /// An annotation of a ServiceAccount.
    pub async fn annotation(&self, service_account: &str, key: &str) -> Result<Option<String>> {
        let account = self.service_accounts().get(service_account).await?;
        Ok(account.metadata.annotations.and_then(|mut a| a.remove(key)))
    }

    /// Waits until a ServiceAccount carries the id of an identity.
    pub async fn annotated(&self, service_account: &str, identity: &Identity) -> Result<()> {
        let end = tokio::time::Instant::now() + ANNOTATED_WITHIN;
        loop {
            let id = self
                .annotation(service_account, "azure.workload.identity/client-id")
                .await?;
            if id.as_ref() == Some(&identity.client_id) {
                return Ok(());
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < end,
                "{service_account} carries {id:?} after {ANNOTATED_WITHIN:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Grants an identity to a ServiceAccount of this namespace.
    pub async fn grant(&self, service_account: &str, identity: &Identity) -> Result<()> {
        let name = self.grant_name(service_account, identity);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": [{
                "apiGroups": ["workload-identity.io"],
                "resources": ["managedidentities"],
                "verbs": ["use"],
                "resourceNames": [identity.resource_id.to_lowercase()],
            }],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "namespace": self.namespace, "name": service_account }],
        });
        platform::apply(&self.admin(), &role).await?;
        platform::apply(&self.admin(), &binding).await?;
        let user = format!("system:serviceaccount:{}:{service_account}", self.namespace);
        let attributes = json!({
            "group": "workload-identity.io", "resource": "managedidentities", "verb": "use",
            "name": identity.resource_id.to_lowercase(),
        });
        self.await_right(&user, attributes, Duration::from_secs(5)).await
    }

    /// Takes the grant back.
    pub async fn revoke(&self, service_account: &str, identity: &Identity) -> Result<()> {
        let name = self.grant_name(service_account, identity);
        let params = DeleteParams::default();
        Api::<ClusterRoleBinding>::all(self.admin())
            .delete(&name, &params)
            .await?;
        Api::<ClusterRole>::all(self.admin())
            .delete(&name, &params)
            .await?;
        Ok(())
    }

    /// Waits until a user has a right, as a review sees it: the API server's authorizer follows RBAC by a watch of its
    /// own, and built-in roles get what other roles add to them from a controller.
    pub async fn await_right(&self, user: &str, attributes: Value, patience: Duration) -> Result<()> {
        let review = json!({ "spec": { "user": user, "resourceAttributes": &attributes } });
        let review: SubjectAccessReview = serde_json::from_value(review)?;
        let reviews: Api<SubjectAccessReview> = Api::all(self.admin());
        let end = tokio::time::Instant::now() + patience;
        loop {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            if answer.status.is_some_and(|s| s.allowed) {
                return Ok(());
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < end,
                "after {patience:?} {user} still lacks the right to {attributes}"
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    fn grant_name(&self, service_account: &str, identity: &Identity) -> String {
        format!(
            "wib-{}-{service_account}-{}",
            self.namespace,
            identity.name.to_lowercase()
        )
    }

    /// The credential that trusts a ServiceAccount of this namespace, as somebody else would make it.
    pub fn foreign_credential(&self, name: &str, service_account: &str) -> Credential {
        Credential {
            name: name.to_owned(),
            issuer: self.cluster.control_plane.issuer().to_owned(),
            subject: format!("system:serviceaccount:{}:{service_account}", self.namespace),
            audiences: vec![AUDIENCE.to_owned()],
        }
    }

    /// Deletes this namespace; does not wait.
    pub async fn delete_namespace(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.admin());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await?;
        Ok(())
    }
}
