//! What is read from a cluster. Pure.

use crate::api::GROUP;
use crate::migrate::model::POD_IDENTITY;

/// What a kind is to the migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides which identities pods get, from any namespace.
    PodIdentity,
    /// Its pods may have identities.
    Workload,
    /// It stands beside workloads.
    Beside,
    /// It is not listed, only used by name.
    Named,
}

/// A kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub group: &'static str,
    pub kind: &'static str,
    pub role: Role,
}

const fn kind(group: &'static str, kind: &'static str, role: Role) -> Kind {
    Kind { group, kind, role }
}

const MONITORING: &str = "monitoring.coreos.com";
pub const ADMISSION: &str = "admissionregistration.k8s.io";
pub const RBAC: &str = "rbac.authorization.k8s.io";

/// All of them; those of a group stand together.
pub const KINDS: [Kind; 32] = [
    kind(POD_IDENTITY, "AzureIdentity", Role::PodIdentity),
    kind(POD_IDENTITY, "AzureIdentityBinding", Role::PodIdentity),
    kind(POD_IDENTITY, "AzurePodIdentityException", Role::PodIdentity),
    kind(POD_IDENTITY, "AzureAssignedIdentity", Role::PodIdentity),
    kind("", "ServiceAccount", Role::Beside),
    kind("", "Pod", Role::Workload),
    kind("", "ReplicationController", Role::Workload),
    kind("", "PodTemplate", Role::Workload),
    kind("", "ConfigMap", Role::Named),
    kind("apps", "Deployment", Role::Workload),
    kind("apps", "StatefulSet", Role::Workload),
    kind("apps", "DaemonSet", Role::Workload),
    kind("apps", "ReplicaSet", Role::Workload),
    kind("batch", "CronJob", Role::Workload),
    kind("batch", "Job", Role::Workload),
    kind("argoproj.io", "Rollout", Role::Workload),
    kind("apps.kruise.io", "CloneSet", Role::Workload),
    kind("apps.kruise.io", "StatefulSet", Role::Workload),
    kind("apps.kruise.io", "DaemonSet", Role::Workload),
    kind("serving.knative.dev", "Service", Role::Workload),
    kind("keda.sh", "ScaledJob", Role::Workload),
    kind("keda.sh", "TriggerAuthentication", Role::Beside),
    kind("keda.sh", "ClusterTriggerAuthentication", Role::Beside),
    kind(MONITORING, "Prometheus", Role::Workload),
    kind(MONITORING, "PrometheusAgent", Role::Workload),
    kind(MONITORING, "Alertmanager", Role::Workload),
    kind(MONITORING, "ThanosRuler", Role::Workload),
    kind("secrets-store.csi.x-k8s.io", "SecretProviderClass", Role::Beside),
    kind(GROUP, "WorkloadIdentityBinding", Role::Beside),
    kind(RBAC, "ClusterRole", Role::Named),
    kind(RBAC, "ClusterRoleBinding", Role::Named),
    kind(ADMISSION, "MutatingWebhookConfiguration", Role::Named),
];

/// Whether objects of this kind make others whose pods are theirs: what such an owner controls is not looked at.
/// Revisions stand between the Services of Knative and their Deployments.
pub fn speaks_for_its_pods(group: &str, name: &str) -> bool {
    (group, name) == ("serving.knative.dev", "Revision")
        || KINDS
            .iter()
            .any(|k| k.role == Role::Workload && (k.group, k.kind) == (group, name))
}
