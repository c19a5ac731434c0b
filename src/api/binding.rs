//! `WorkloadIdentityBinding.spec`.

// Printer columns repeat their keys by design.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WorkloadIdentityBindingStatus;

/// Makes an Azure user-assigned managed identity trust a Kubernetes ServiceAccount.
///
/// The controller creates the federated identity credential for this cluster's issuer and the
/// subject `system:serviceaccount:<namespace>:<name>`, and annotates the ServiceAccount with the
/// client id and the tenant id. Issuer, subject, audience and credential name never come from
/// the object.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "workload-identity.io",
    version = "v1alpha1",
    kind = "WorkloadIdentityBinding",
    plural = "workloadidentitybindings",
    shortname = "wib",
    category = "azure",
    namespaced,
    status = "WorkloadIdentityBindingStatus",
    derive = "PartialEq",
    doc = "Makes an Azure user-assigned managed identity trust a Kubernetes ServiceAccount, and writes the client and tenant id on it.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "ServiceAccount",
        type_ = "string",
        json_path = ".spec.serviceAccount.name"
    ),
    printcolumn(name = "Client ID", type_ = "string", json_path = ".status.identity.clientId"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Identity",
        type_ = "string",
        json_path = ".status.identity.resourceId",
        priority = 1
    ),
    printcolumn(
        name = "Credential",
        type_ = "string",
        json_path = ".status.credential.name",
        priority = 1
    ),
    printcolumn(
        name = "Issuer",
        type_ = "string",
        json_path = ".status.credential.issuer",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentityBindingSpec {
    /// The user-assigned managed identity: either `resourceId`, or `name` with the optional
    /// `resourceGroup` and `subscriptionId`.
    pub identity: IdentityReference,
    /// The ServiceAccount, in the namespace of this object.
    pub service_account: ServiceAccountReference,
    /// What to do with an equal credential that somebody else made. `IfEqual`: use it as it is; it
    /// is never changed and never deleted. `Never`: report `AdoptionRefused` until it is gone.
    #[serde(default)]
    pub adoption: Adoption,
    /// What happens to the credential when this object is deleted; by default what the operator's
    /// `--deletion-policy` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// While true nothing is written to Azure or to the ServiceAccount; drift is still reported. A
    /// withdrawn grant and a deletion are acted on all the same.
    #[serde(default)]
    pub suspend: bool,
}

/// Names a user-assigned managed identity in exactly one of two forms.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.resourceId) != has(self.name)")
    .message("set exactly one of resourceId and name"))]
#[x_kube(validation = Rule::new("!has(self.resourceId) || (!has(self.resourceGroup) && !has(self.subscriptionId))")
    .message("resourceGroup and subscriptionId go with name, not with resourceId"))]
pub struct IdentityReference {
    /// ARM id of the identity, as `az identity show --query id` prints it. Letter case does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    // Letter case is folded by Unicode's rules, in which ſ is an s: hence ASCII first.
    #[x_kube(validation = Rule::new("self.matches('^[!-~]*$') && self.matches('^/(?i:subscriptions)/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/(?i:resourceGroups)/[-a-zA-Z0-9_.()]{0,89}[-a-zA-Z0-9_()]/(?i:providers)/(?i:Microsoft[.]ManagedIdentity)/(?i:userAssignedIdentities)/[a-zA-Z0-9][-a-zA-Z0-9_]{2,127}$')")
        .message("must be /subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>"))]
    pub resource_id: Option<String>,
    /// Name of the identity: letters, digits, hyphens and underscores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 128),
        regex(pattern = r"^[a-zA-Z0-9][-a-zA-Z0-9_]{2,127}$")
    )]
    pub name: Option<String>,
    /// Resource group of the identity. Defaults to the operator's `--resource-group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 90),
        regex(pattern = r"^[-a-zA-Z0-9_.()]{0,89}[-a-zA-Z0-9_()]$")
    )]
    pub resource_group: Option<String>,
    /// Subscription of the identity. Defaults to the operator's `--subscription-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(equal = 36),
        regex(pattern = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
    )]
    pub subscription_id: Option<String>,
}

/// Names the ServiceAccount and says what to write on it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tokenExpirationSeconds) || !has(self.annotate) || self.annotate")
    .message("tokenExpirationSeconds is an annotation: it needs annotate: true"))]
pub struct ServiceAccountReference {
    /// Name of the ServiceAccount.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Create the ServiceAccount when it is missing. One that was created so is owned by this
    /// object and goes with it, unless the credential stays.
    #[serde(default)]
    pub create: bool,
    /// Write client id and tenant id on the ServiceAccount. False makes the trust only, for a second
    /// identity on the same ServiceAccount.
    #[serde(default = "yes")]
    pub annotate: bool,
    /// Lifetime in seconds of the tokens that the pod webhook projects, written as the annotation
    /// `azure.workload.identity/service-account-token-expiration`. Unset, the webhook takes 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3600, max = 86400))]
    pub token_expiration_seconds: Option<i64>,
}

fn yes() -> bool {
    true
}

/// What to do with a credential that already trusts this ServiceAccount under another name.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Adoption {
    /// Use it as it is. It is never changed and never deleted by the operator.
    #[default]
    IfEqual,
    /// Do not use it; report `AdoptionRefused` until it is gone.
    Never,
}

/// What happens to the credential when the binding is deleted; by default what the operator's
/// `--deletion-policy` says. `Delete`: the credential that the operator made is deleted and the
/// annotations are taken back. `Retain`: both stay, and the workload keeps its access.
// The definition shows this text and not the field's: of an optional enum kube keeps that of the type.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum,
)]
pub enum DeletionPolicy {
    /// Delete the credential that the operator created and take the annotations back.
    #[default]
    Delete,
    /// Leave credential and annotations as they are: the workload keeps its access.
    Retain,
}
