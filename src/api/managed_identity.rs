//! `ManagedIdentity`: the operator's record of what it has written on one identity.

// Printer columns repeat their keys by design.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoStaticStr};

/// What this cluster's operators have written on one Azure user-assigned managed identity.
///
/// Cluster-scoped, made and kept by the operator alone, one for each identity that it ever wrote on.
/// It is written before the first credential is, and goes when none of this cluster's is left. Nobody
/// needs to write it: deleted by hand, it is made again from Azure and the bindings.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "workload-identity.io",
    version = "v1alpha1",
    kind = "ManagedIdentity",
    plural = "managedidentities",
    category = "azure",
    status = "ManagedIdentityStatus",
    derive = "PartialEq",
    doc = "The operator's record of the federated identity credentials that it has made on one managed identity.",
    printcolumn(name = "Identity", type_ = "string", json_path = ".status.name"),
    printcolumn(
        name = "Credentials",
        type_ = "string",
        description = "Credentials on the identity, whoever made them, of those that Azure allows.",
        json_path = ".status.held"
    ),
    printcolumn(name = "Ours", type_ = "integer", json_path = ".status.ours"),
    printcolumn(name = "Orphaned", type_ = "integer", json_path = ".status.orphaned"),
    printcolumn(name = "Client ID", type_ = "string", json_path = ".status.clientId"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Resource ID",
        type_ = "string",
        json_path = ".spec.resourceId",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ManagedIdentitySpec {
    /// ARM id of the identity, in lower case.
    pub resource_id: String,
}

/// What the operator knows and has made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedIdentityStatus {
    /// Name of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Client id (application id) that workloads log in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Object id of the service principal, the one that role assignments name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// Tenant of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Credentials that the identity holds or is about to hold, whoever made them, and how many Azure
    /// allows: `17/20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// How many of them this cluster's operators have made.
    #[serde(default)]
    pub ours: i64,
    /// How many of these no binding wants. They are removed after the operator's `--orphan-grace-period`.
    #[serde(default)]
    pub orphaned: i64,
    /// The credentials that this cluster's operators have made, or are about to make.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub credentials: Vec<RecordedCredential>,
    /// Issuers that this cluster had before, for as long as a credential of theirs is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["issuer"]
    ))]
    pub former_issuers: Vec<FormerIssuer>,
}

/// A credential that this cluster's operators have made, or are about to make.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct RecordedCredential {
    /// Name on the identity.
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
    /// The binding that it was last wanted by, in the namespace of the subject.
    #[serde(default)]
    pub binding: String,
    /// What is to become of it.
    #[serde(default)]
    pub state: CredentialState,
}

/// What is to become of a credential. Whatever its state, one whose grant is withdrawn is deleted.
#[derive(
    JsonSchema,
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    EnumIter,
    IntoStaticStr,
)]
pub enum CredentialState {
    /// A binding wants it.
    #[default]
    Wanted,
    /// Its binding was deleted with the policy `Retain`: it stays until its grant goes.
    Retained,
    /// Its binding was let go without touching Azure, by the release annotation or because the
    /// definition of bindings was deleted: it stays until its grant goes.
    Released,
    /// No binding wants it, and none has said what is to become of it. It is deleted after a grace period.
    Orphaned,
}

impl CredentialState {
    /// The name as it stands in records, metrics and the docs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// An issuer that this cluster had before.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FormerIssuer {
    /// The issuer, byte for byte.
    pub issuer: String,
    /// When the operator first saw that tokens have another one. Credentials of this issuer are
    /// deleted when the longest token of that moment has expired.
    pub retired_at: Time,
}
