//! 404: six different things.

use super::ArmError;

impl ArmError {
    /// Reported.
    pub(in crate::arm) fn subscription_not_found(subscription: &str) -> Self {
        let text = format!("The subscription '{subscription}' could not be found.");
        Self::gateway(404, "SubscriptionNotFound", text)
    }

    /// Observed.
    pub(in crate::arm) fn group_not_found(group: &str) -> Self {
        Self::gateway(
            404,
            "ResourceGroupNotFound",
            format!("Resource group '{group}' could not be found."),
        )
    }

    /// Observed.
    pub(in crate::arm) fn identity_not_found(name: &str, group: &str) -> Self {
        let text = format!(
            "The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/{name}' under resource group \
             '{group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
        );
        Self::gateway(404, "ResourceNotFound", text)
    }

    /// Observed for `delete`, reported for `write`; `read` is assumed. The id is the one of the request.
    pub(in crate::arm) fn parent_not_found(verb: &str, identity: &str) -> Self {
        let text = format!(
            "Failed to perform '{verb}' on resource(s) of type \
             'userAssignedIdentities/federatedIdentityCredentials', because the parent resource '{identity}' \
             could not be found."
        );
        Self::gateway(404, "ParentResourceNotFound", text)
    }

    /// Observed; the provider's own 404.
    pub(in crate::arm) fn credential_not_found(id: &str) -> Self {
        Self::provider(404, "NotFound", format!("Resource '{id}' was not found."))
    }

    /// Reported for new identities.
    pub(in crate::arm) fn graph_object_not_found() -> Self {
        let text = "MS Graph resource not found during Federated Identity Credential creation.";
        Self::provider(404, "NotFound", text)
    }
}
