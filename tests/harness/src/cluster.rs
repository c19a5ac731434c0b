//! A control plane that the operator is installed on.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use workload_identity_binding::api::GROUP;

use crate::audit::{Audit, Detail};
use crate::control_plane::{ControlPlane, Options};
use crate::{Call, Write, platform};

/// Namespace of the operator, as in `config/`.
pub const OPERATOR_NAMESPACE: &str = "workload-identity-binding-system";
/// ServiceAccount of the operator, as in `config/`.
pub const OPERATOR_SERVICE_ACCOUNT: &str = "workload-identity-binding";
/// How the API server calls that ServiceAccount.
pub const OPERATOR_USER: &str =
    "system:serviceaccount:workload-identity-binding-system:workload-identity-binding";

/// The definitions as the project ships them.
const CRDS: [&str; 2] = [
    "crds/workload-identity.io_workloadidentitybindings.yaml",
    "crds/workload-identity.io_managedidentities.yaml",
];
/// The kinds that they define.
const KINDS: [&str; 2] = ["WorkloadIdentityBinding", "ManagedIdentity"];
const RBAC: [&str; 5] = [
    "config/rbac/service_account.yaml",
    "config/rbac/role.yaml",
    "config/rbac/role_binding.yaml",
    LEASE_RBAC[0],
    LEASE_RBAC[1],
];
/// What the leader election needs, in the namespace of the lease.
pub(crate) const LEASE_RBAC: [&str; 2] = [
    "config/rbac/leader_election_role.yaml",
    "config/rbac/leader_election_role_binding.yaml",
];

/// An admission plugin that Kubernetes brings and OpenShift switches on: whoever changes the owner references of an
/// object that exists has to have the right to delete it.
const OWNER_REFERENCES: &str = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement";

/// A control plane with the CRDs and the operator's RBAC, exactly as `config/` ships them.
pub struct Cluster {
    /// The processes.
    pub control_plane: ControlPlane,
    audit: Audit,
}

impl Cluster {
    /// Starts a control plane and installs what the operator needs.
    pub async fn start() -> Result<Self> {
        let cluster = Self::start_bare().await?;
        cluster.install_crd().await?;
        Ok(cluster)
    }

    /// The same, with the owner references guarded as OpenShift does. Not so everywhere in the tests: the operator
    /// cannot let go of a ServiceAccount that it made, and would show nowhere what it does where it can.
    pub async fn start_as_openshift() -> Result<Self> {
        let cluster = Self::start_with(Detail::Writes, &[OWNER_REFERENCES]).await?;
        cluster.install_operator().await?;
        cluster.install_crd().await?;
        Ok(cluster)
    }

    /// The same without the CRDs.
    pub async fn start_bare() -> Result<Self> {
        let cluster = Self::start_empty().await?;
        cluster.install_operator().await?;
        Ok(cluster)
    }

    /// A control plane with nothing of ours on it.
    pub async fn start_empty() -> Result<Self> {
        Self::start_with(Detail::Writes, &[]).await
    }

    /// Starts a control plane with these objects on it, the CRDs among them, in place of what `config/` ships: what a
    /// chart makes for instance. The operator's ServiceAccount has to be the usual one. Every call of the operator is
    /// logged: see [`Self::calls`].
    pub async fn start_from(objects: &[Value]) -> Result<Self> {
        let cluster = Self::start_with(Detail::Calls, &[]).await?;
        cluster.make_namespace(OPERATOR_NAMESPACE).await?;
        cluster.apply(objects).await?;
        cluster.crd_is_served().await?;
        Ok(cluster)
    }

    async fn start_with(detail: Detail, flags: &[&str]) -> Result<Self> {
        let audit = Audit::new(detail)?;
        let mut api_server_flags = audit.flags();
        api_server_flags.extend(flags.iter().copied().map(str::to_owned));
        let options = Options {
            api_server_flags,
            ..Options::default()
        };
        let control_plane = ControlPlane::start_with(options).await?;
        Ok(Self { control_plane, audit })
    }

    /// Applies objects as a platform team does.
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let applied = platform::apply(&self.admin(), object).await;
            applied
                .with_context(|| format!("cannot apply {} {}", object["kind"], object["metadata"]["name"]))?;
        }
        Ok(())
    }

    /// Makes a namespace, if it is not there.
    pub async fn make_namespace(&self, name: &str) -> Result<()> {
        self.apply(&[json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })])
            .await
    }

    /// Installs the operator's namespace, ServiceAccount and rights.
    pub async fn install_operator(&self) -> Result<()> {
        self.make_namespace(OPERATOR_NAMESPACE).await?;
        for file in RBAC {
            platform::apply_file(&self.admin(), file).await?;
        }
        Ok(())
    }

    /// Installs both CRDs and waits until they are served.
    pub async fn install_crd(&self) -> Result<()> {
        for file in CRDS {
            platform::apply_file(&self.admin(), file).await?;
        }
        self.crd_is_served().await
    }

    /// Waits until both CRDs are served.
    pub async fn crd_is_served(&self) -> Result<()> {
        for kind in KINDS {
            self.kind_is_served(kind).await?;
        }
        Ok(())
    }

    async fn kind_is_served(&self, kind: &str) -> Result<()> {
        let wanted = GroupVersionKind::gvk(GROUP, "v1alpha1", kind);
        for _ in 0..200 {
            if kube::discovery::pinned_kind(&self.admin(), &wanted).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{kind} is not served after 10 s")
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.control_plane.admin()
    }

    /// Writes of the operator in a namespace, from the API server's audit log.
    pub fn writes(&self, namespace: &str) -> Result<Vec<Write>> {
        self.audit.writes(namespace)
    }

    /// Writes of the operator on the records of these names, from the API server's audit log.
    pub fn record_writes(&self, names: &BTreeSet<String>) -> Result<Vec<Write>> {
        self.audit.record_writes(names)
    }

    /// Every call of the operator so far, reads too. Only in a cluster of [`Self::start_from`].
    pub fn calls(&self) -> Result<Vec<Call>> {
        self.audit.calls()
    }

    /// A token of the operator's ServiceAccount. An empty audience means the API server.
    pub async fn operator_token(&self, audience: &str) -> Result<String> {
        let control_plane = &self.control_plane;
        control_plane
            .token(OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT, audience, 3600)
            .await
            .context("cannot get a token of the operator's ServiceAccount")
    }
}
