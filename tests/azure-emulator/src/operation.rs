//! What a request asks for, named once and used by the journal, the latency table and fault predicates.

/// The operation of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `GET` of one identity.
    GetIdentity,
    /// `PUT` of an identity.
    PutIdentity,
    /// `PATCH` of an identity.
    PatchIdentity,
    /// `DELETE` of an identity.
    DeleteIdentity,
    /// `GET` of the identities of a resource group or of the subscription.
    ListIdentities,
    /// `GET` of all credentials of an identity.
    ListCredentials,
    /// `GET` of one credential.
    GetCredential,
    /// `PUT` of a credential.
    PutCredential,
    /// `DELETE` of a credential.
    DeleteCredential,
    /// `POST .../revokeTokens`.
    RevokeTokens,
    /// Anything on a resource group itself.
    ResourceGroup,
    /// `GET /subscriptions`, `GET /subscriptions/{id}` and `GET /tenants`.
    Subscriptions,
    /// `GET /metadata/endpoints`.
    Metadata,
    /// Entra's token endpoint.
    Token,
    /// Entra's discovery documents.
    Discovery,
    /// Entra's signing keys.
    Keys,
    /// Anything else.
    Other,
}

impl Operation {
    /// Whether Azure Resource Manager answers it (and not Entra).
    pub const fn is_arm(self) -> bool {
        !matches!(self, Self::Token | Self::Discovery | Self::Keys | Self::Other)
    }

    /// Whether it changes an identity or a credential.
    pub const fn is_write(self) -> bool {
        self.is_credential_write()
            || matches!(
                self,
                Self::PutIdentity | Self::PatchIdentity | Self::DeleteIdentity | Self::RevokeTokens
            )
    }

    /// Whether it writes a federated identity credential: Azure allows one at a time per identity.
    pub const fn is_credential_write(self) -> bool {
        matches!(self, Self::PutCredential | Self::DeleteCredential)
    }

    /// The RBAC action a caller needs (documented: Microsoft.ManagedIdentity resource provider operations,
    /// <https://learn.microsoft.com/azure/role-based-access-control/permissions/identity>).
    pub const fn action(self) -> &'static str {
        match self {
            Self::GetIdentity | Self::ListIdentities => {
                "Microsoft.ManagedIdentity/userAssignedIdentities/read"
            }
            Self::PutIdentity | Self::PatchIdentity => {
                "Microsoft.ManagedIdentity/userAssignedIdentities/write"
            }
            Self::DeleteIdentity => "Microsoft.ManagedIdentity/userAssignedIdentities/delete",
            Self::ListCredentials | Self::GetCredential => {
                "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/read"
            }
            Self::PutCredential => {
                "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write"
            }
            Self::DeleteCredential => {
                "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/delete"
            }
            Self::RevokeTokens => "Microsoft.ManagedIdentity/userAssignedIdentities/revokeTokens/action",
            _ => "Microsoft.Resources/subscriptions/resourceGroups/read",
        }
    }
}
