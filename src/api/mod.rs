//! The `workload-identity.io/v1alpha1` API: what users write and what they read back.
//!
//! This module holds types only. It imports nothing of the rest of the crate, so that it can be
//! read, and depended on, alone.

mod binding;
mod conditions;
mod crd;
mod managed_identity;
mod status;

pub use binding::{
    Adoption, DeletionPolicy, IdentityReference, ServiceAccountReference, WorkloadIdentityBinding,
    WorkloadIdentityBindingSpec,
};
pub use conditions::{ConditionType, Disposition, Reason};
pub use crd::{crds, crds_yaml, definition_of_bindings, definition_of_identities};
pub use managed_identity::{
    CredentialState, FormerIssuer, ManagedIdentity, ManagedIdentitySpec, ManagedIdentityStatus,
    RecordedCredential,
};
pub use status::{
    CredentialOrigin, CredentialStatus, IdentityStatus, ServiceAccountOrigin, ServiceAccountStatus,
    WorkloadIdentityBindingStatus,
};

/// API group of every type of this operator.
pub const GROUP: &str = "workload-identity.io";

/// Finalizer that keeps a binding until its trust in Azure is taken back.
pub const FINALIZER: &str = "workload-identity.io/credential";

/// Annotation on a binding that is being deleted: `"true"` lets it go without touching Azure.
pub const RELEASE_ANNOTATION: &str = "workload-identity.io/release";

/// Annotation on a `ManagedIdentity`: `"true"` has the credentials deleted that no binding wants, at once and
/// however many there are.
pub const REMOVE_ORPHANS_ANNOTATION: &str = "workload-identity.io/remove-orphans";

/// Name under which every write of this operator is recorded in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "workload-identity-binding";

/// Resource that a ServiceAccount must be allowed to `use`, named by the lower-cased ARM id. The objects of
/// this resource have other names: the grant is about the identity in Azure and not about its record.
pub const GRANT_RESOURCE: &str = "managedidentities";

/// Verb that a grant carries on [`GRANT_RESOURCE`].
pub const GRANT_VERB: &str = "use";
