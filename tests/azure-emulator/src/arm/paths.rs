//! ARM paths. They are matched without letter case (observed: both `resourceGroups` and `resourcegroups`).

use crate::operation::Operation;
use crate::state::{IdentityKey, key};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Metadata,
    Tenants,
    Subscriptions,
    Subscription(String),
    Group {
        subscription: String,
        name: String,
    },
    OperationResult(String),
    Identities {
        subscription: String,
        group: Option<String>,
    },
    Identity(IdentityPath),
    RevokeTokens(IdentityPath),
    Credentials(IdentityPath),
    Credential(IdentityPath, String),
    Unknown,
}

/// The part of a path that names an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityPath {
    pub(crate) subscription: String,
    pub(crate) group: String,
    pub(crate) name: String,
    /// As in the request.
    pub(crate) id: String,
}

impl IdentityPath {
    pub(crate) fn key(&self) -> IdentityKey {
        key(&self.group, &self.name)
    }
}

impl Target {
    pub(crate) fn parse(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let lower: Vec<String> = segments
            .iter()
            .map(|segment| segment.to_ascii_lowercase())
            .collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        let text = |index: usize| segments[index].to_owned();
        let identity = || IdentityPath {
            subscription: text(1),
            group: text(3),
            name: text(7),
            id: format!("/{}", segments[..8].join("/")),
        };
        match lower.as_slice() {
            ["metadata", "endpoints"] => Self::Metadata,
            ["tenants"] => Self::Tenants,
            ["subscriptions"] => Self::Subscriptions,
            ["subscriptions", _] => Self::Subscription(text(1)),
            ["subscriptions", _, "operationresults", _] => Self::OperationResult(text(1)),
            ["subscriptions", _, "resourcegroups", _] => Self::Group {
                subscription: text(1),
                name: text(3),
            },
            ["subscriptions", _, "providers", PROVIDER, IDENTITIES] => Self::Identities {
                subscription: text(1),
                group: None,
            },
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                PROVIDER,
                IDENTITIES,
            ] => Self::Identities {
                subscription: text(1),
                group: Some(text(3)),
            },
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                PROVIDER,
                IDENTITIES,
                _,
            ] => Self::Identity(identity()),
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                PROVIDER,
                IDENTITIES,
                _,
                "revoketokens",
            ] => Self::RevokeTokens(identity()),
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                PROVIDER,
                IDENTITIES,
                _,
                CREDENTIALS,
            ] => Self::Credentials(identity()),
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                PROVIDER,
                IDENTITIES,
                _,
                CREDENTIALS,
                _,
            ] => Self::Credential(identity(), text(9)),
            _ => Self::Unknown,
        }
    }

    pub(crate) fn operation(&self, method: &str) -> Operation {
        match (self, method) {
            (Self::Metadata, _) => Operation::Metadata,
            (Self::Tenants | Self::Subscriptions | Self::Subscription(_), _) => Operation::Subscriptions,
            (Self::Group { .. } | Self::OperationResult(_), _) => Operation::ResourceGroup,
            (Self::Identities { .. }, "GET") => Operation::ListIdentities,
            (Self::Identity(_), "GET") => Operation::GetIdentity,
            (Self::Identity(_), "PUT") => Operation::PutIdentity,
            (Self::Identity(_), "PATCH") => Operation::PatchIdentity,
            (Self::Identity(_), "DELETE") => Operation::DeleteIdentity,
            (Self::RevokeTokens(_), "POST") => Operation::RevokeTokens,
            (Self::Credentials(_), "GET") => Operation::ListCredentials,
            (Self::Credential(..), "GET") => Operation::GetCredential,
            (Self::Credential(..), "PUT") => Operation::PutCredential,
            (Self::Credential(..), "DELETE") => Operation::DeleteCredential,
            _ => Operation::Other,
        }
    }

    pub(crate) fn subscription(&self) -> Option<&str> {
        match self {
            Self::Subscription(id) | Self::OperationResult(id) => Some(id),
            Self::Group { subscription, .. } | Self::Identities { subscription, .. } => Some(subscription),
            _ => self.identity().map(|path| path.subscription.as_str()),
        }
    }

    pub(crate) fn identity(&self) -> Option<&IdentityPath> {
        match self {
            Self::Identity(path)
            | Self::RevokeTokens(path)
            | Self::Credentials(path)
            | Self::Credential(path, _) => Some(path),
            _ => None,
        }
    }
}

const PROVIDER: &str = "microsoft.managedidentity";
const IDENTITIES: &str = "userassignedidentities";
const CREDENTIALS: &str = "federatedidentitycredentials";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_without_letter_case_and_names_are_kept() {
        let path = "/Subscriptions/S1/resourcegroups/Rg-A/Providers/microsoft.managedidentity/\
                    UserAssignedIdentities/Id-A/federatedidentitycredentials/Fic-A";
        let Target::Credential(identity, name) = Target::parse(path) else {
            panic!("not a credential")
        };
        assert_eq!(
            (identity.group.as_str(), identity.name.as_str(), name.as_str()),
            ("Rg-A", "Id-A", "Fic-A")
        );
        assert_eq!(identity.key(), ("rg-a".to_owned(), "id-a".to_owned()));
        assert!(path.starts_with(&identity.id));
    }

    #[test]
    fn anything_else_is_unknown() {
        for path in [
            "/",
            "/subscriptions/s/foo",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/x",
        ] {
            assert_eq!(Target::parse(path), Target::Unknown, "{path}");
        }
    }
}
