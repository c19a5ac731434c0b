//! `WorkloadIdentityBinding.status`. Every field is optional: old objects must always decode.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator found and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentityBindingStatus {
    /// Generation of the spec that the conditions speak of; -1 until the operator has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Authorized, IdentityResolved, CredentialSynced, ServiceAccountAnnotated; and, only
    /// while true, Reconciling or Stalled.
    #[serde(default)]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
    /// The managed identity as Azure answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,
    /// The federated identity credential that trusts the ServiceAccount. A report: what the operator has made
    /// is on record in the `ManagedIdentity` of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
    /// The ServiceAccount that carries the ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountStatus>,
}

/// The managed identity as Azure answers for it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// ARM id, as the spec gives or completes it.
    #[serde(default)]
    pub resource_id: String,
    /// Client id (application id) that workloads log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Object id of the service principal, the one that role assignments name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// Tenant of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// The federated identity credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// Name on the identity: prefix, namespace, ServiceAccount, and a hash over the other three.
    #[serde(default)]
    pub name: String,
    /// Issuer, byte for byte as in the tokens of this cluster.
    #[serde(default)]
    pub issuer: String,
    /// Subject, `system:serviceaccount:<namespace>:<name>`.
    #[serde(default)]
    pub subject: String,
    /// Audience, the operator's `--audience`.
    #[serde(default)]
    pub audience: String,
    /// Who made it, and so who may delete it. `Created`: this operator, which repairs it and deletes
    /// it with the binding. `Adopted`: somebody else; it is never changed and never deleted.
    #[serde(default)]
    pub origin: CredentialOrigin,
}

/// Who made a credential, and so who may delete it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CredentialOrigin {
    /// This operator: repaired on drift, deleted with the binding.
    #[default]
    Created,
    /// Somebody else: never changed, never deleted.
    Adopted,
}

/// The ServiceAccount that carries the ids.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountStatus {
    /// Name, in the namespace of the binding.
    #[serde(default)]
    pub name: String,
    /// Its uid, if the operator made it: one that somebody made again under the same name is told apart by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Who made it. `Existing`: it was there. `Created`: the operator, by `create: true`.
    #[serde(default)]
    pub origin: ServiceAccountOrigin,
}

/// Who made the ServiceAccount.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceAccountOrigin {
    /// It was there.
    #[default]
    Existing,
    /// `create: true` made it; it is owned by the binding.
    Created,
}
