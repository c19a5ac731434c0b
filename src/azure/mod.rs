//! Azure, as far as the operator knows it. The only place that names `azure_*` and `reqwest`.
//!
//! The rest of the crate sees the trait [`ManagedIdentities`] in types of its own, the classified
//! [`AzureError`], and the [`Lane`] that shares reads and orders writes per identity. Leaving
//! `azure_mgmt_msi` is a matter of another implementation of the trait.

mod arm;
mod certificate;
mod classify;
mod cloud;
mod credentials;
mod error;
mod failed;
mod fence;
mod http;
mod lane;
mod login;
mod metrics;
mod rate_limit;
mod transport;

use std::time::Duration;

use async_trait::async_trait;

pub use arm::Arm;
#[cfg(any(test, fuzzing))]
pub use arm::fuzzing;
pub use cloud::{Cloud, Endpoints};
pub use credentials::{CredentialKind, CredentialSettings};
pub use error::{AzureError, Operation};
pub use fence::{FencedIdentities, WriteClaim};
pub use lane::{Lane, LaneSettings, Lanes};
pub use metrics::AzureMetrics;
pub use rate_limit::{Counter, Pacing, RateLimiter};

use crate::core::{Credential, Holdings, Identity, IdentityId};

/// The four calls that the operator makes, and the only four it needs rights for.
///
/// Implementations hold no policy: no retries, no cache, one request a call (a list follows its
/// pages). Every call ends within a deadline.
#[async_trait]
pub trait ManagedIdentities: Send + Sync {
    /// Reads the identity.
    async fn identity(&self, id: &IdentityId) -> Result<Identity, AzureError>;
    /// Lists its credentials, whoever made them, and those that cannot be read by name.
    async fn credentials(&self, id: &IdentityId) -> Result<Holdings, AzureError>;
    /// Creates the credential, or overwrites the one of its name: Azure knows no condition here.
    async fn put(&self, id: &IdentityId, credential: &Credential) -> Result<(), AzureError>;
    /// Deletes a credential. One that is gone already is no error.
    async fn delete(&self, id: &IdentityId, name: &str) -> Result<(), AzureError>;
}

/// How the operator reaches Azure.
#[derive(Clone, Debug)]
pub struct AzureSettings {
    /// Where.
    pub endpoints: Endpoints,
    /// As whom.
    pub credential: CredentialSettings,
    /// PEM file with certificates to trust beside the system's.
    pub ca_bundle: Option<std::path::PathBuf>,
    /// Deadline of one call, connection and body included.
    pub timeout: Duration,
}

/// What makes Azure unreachable before the first call.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A setting is missing or wrong.
    #[error("{0}")]
    Setting(String),
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {source}")]
    File {
        /// What the file is for.
        what: &'static str,
        /// Where it should be.
        path: std::path::PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
}
