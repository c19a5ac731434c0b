//! No write at Azure without a claim to lead.
//!
//! Azure has no fencing token: it cannot tell a leader from a predecessor. So the writer itself has
//! to know that it still leads, at the moment at which it writes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::{AzureError, Identity, ManagedIdentities, Operation};
use crate::domain::{Credential, Fault, IdentityId};

/// How much of the claim must be left to begin a write. An ordinary write takes less, so few are
/// cut; and a claim that is renewed in time never has so little left.
const NEEDED: Duration = Duration::from_secs(1);

/// The claim to lead, asked at every write.
#[async_trait]
pub trait Claim: Send + Sync {
    /// Makes the call if at least `needed` is left of the claim, and drops it when the claim ends.
    ///
    /// `None` when it was not made, or dropped: then it may have had its effect.
    async fn cover(
        &self,
        needed: Duration,
        call: BoxFuture<'_, Result<(), AzureError>>,
    ) -> Option<Result<(), AzureError>>;
}

/// Identities whose credentials are written only under a claim, and for no longer than it lasts.
/// Reads pass.
pub struct Fenced<A> {
    azure: Arc<A>,
    claim: Arc<dyn Claim>,
}

impl<A: ManagedIdentities> Fenced<A> {
    /// Puts the fence before the writes of `azure`.
    pub fn new(azure: Arc<A>, claim: Arc<dyn Claim>) -> Self {
        Self { azure, claim }
    }

    async fn cover(
        &self,
        operation: Operation,
        write: BoxFuture<'_, Result<(), AzureError>>,
    ) -> Result<(), AzureError> {
        self.claim.cover(NEEDED, write).await.unwrap_or_else(|| {
            Err(AzureError {
                operation,
                // Perhaps carried out: the list is read before the next write.
                fault: Fault::Unavailable,
                status: None,
                code: None,
                message: "this operator leads no longer; its successor goes on".to_owned(),
                request_id: None,
                retry_after: None,
            })
        })
    }
}

#[async_trait]
impl<A: ManagedIdentities> ManagedIdentities for Fenced<A> {
    async fn identity(&self, id: &IdentityId) -> Result<Identity, AzureError> {
        self.azure.identity(id).await
    }

    async fn credentials(&self, id: &IdentityId) -> Result<Vec<Credential>, AzureError> {
        self.azure.credentials(id).await
    }

    async fn put(&self, id: &IdentityId, credential: &Credential) -> Result<(), AzureError> {
        let write = self.azure.put(id, credential);
        self.cover(Operation::PutCredential, write).await
    }

    async fn delete(&self, id: &IdentityId, name: &str) -> Result<(), AzureError> {
        let write = self.azure.delete(id, name);
        self.cover(Operation::DeleteCredential, write).await
    }
}
