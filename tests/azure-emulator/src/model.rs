//! What tests see of the emulator's contents.

use serde::{Deserialize, Serialize};

/// A user-assigned managed identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// ARM resource id, in the form Azure answers (`resourcegroups` in lower case).
    pub resource_id: String,
    /// Name of the resource.
    pub name: String,
    /// The application id that workloads log in with.
    pub client_id: String,
    /// The object id that role assignments name.
    pub principal_id: String,
    /// The tenant it lives in.
    pub tenant_id: String,
}

/// A federated identity credential: tokens with this issuer, subject and audience may act as the identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Name of the resource, 3 to 120 characters.
    pub name: String,
    /// Must equal the token's `iss`, byte for byte.
    pub issuer: String,
    /// Must equal the token's `sub`, byte for byte.
    pub subject: String,
    /// Exactly one, unless somebody bypassed validation.
    pub audiences: Vec<String>,
}

impl Credential {
    /// A credential with one audience.
    pub fn new(name: &str, issuer: &str, subject: &str, audience: &str) -> Self {
        Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audiences: vec![audience.to_owned()],
        }
    }

    /// Whether both say the same about issuer, subject and audiences.
    pub fn same_trust(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject && self.audiences == other.audiences
    }
}
