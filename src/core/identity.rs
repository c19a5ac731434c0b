//! What Azure answers for an identity.

use std::time::Duration;

use super::Holdings;

/// A user-assigned managed identity as Azure answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Application id: what workloads log in with.
    pub client_id: String,
    /// Object id of the service principal: what role assignments name.
    pub principal_id: String,
    /// Tenant.
    pub tenant_id: String,
}

/// What an identity is and holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The identity.
    pub identity: Identity,
    /// Its credentials, whoever made them.
    pub holdings: Holdings,
    /// How long ago the older of the two was read.
    pub age: Duration,
}
