//! No write at Azure without a claim to lead.
//!
//! Azure has no fencing token: it cannot tell a leader from a predecessor. So the writer itself has
//! to know that it still leads, at the moment at which it writes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::{AzureError, ManagedIdentities, Operation};
use crate::core::{Credential, Fault, Holdings, Identity, IdentityId};

/// How much of the claim must be left to begin a write. An ordinary write takes less, so few are
/// cut; and a claim that is renewed in time never has so little left.
const NEEDED: Duration = Duration::from_secs(1);

/// The claim to lead, asked at every write.
#[async_trait]
pub trait WriteClaim: Send + Sync {
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
pub struct FencedIdentities<A> {
    azure: Arc<A>,
    claim: Arc<dyn WriteClaim>,
}

impl<A: ManagedIdentities> FencedIdentities<A> {
    /// Puts the fence before the writes of `azure`.
    pub fn new(azure: Arc<A>, claim: Arc<dyn WriteClaim>) -> Self {
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
impl<A: ManagedIdentities> ManagedIdentities for FencedIdentities<A> {
    async fn identity(&self, id: &IdentityId) -> Result<Identity, AzureError> {
        self.azure.identity(id).await
    }

    async fn credentials(&self, id: &IdentityId) -> Result<Holdings, AzureError> {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::core::Tuple;

    /// Notes writes; reads answer nothing.
    #[derive(Default)]
    struct Azure(Mutex<Vec<&'static str>>);

    #[async_trait]
    impl ManagedIdentities for Azure {
        async fn identity(&self, _: &IdentityId) -> Result<Identity, AzureError> {
            self.0.lock().unwrap().push("identity");
            Ok(Identity {
                client_id: String::new(),
                principal_id: String::new(),
                tenant_id: String::new(),
            })
        }
        async fn credentials(&self, _: &IdentityId) -> Result<Holdings, AzureError> {
            self.0.lock().unwrap().push("credentials");
            Ok(Holdings::default())
        }
        async fn put(&self, _: &IdentityId, _: &Credential) -> Result<(), AzureError> {
            self.0.lock().unwrap().push("put");
            Ok(())
        }
        async fn delete(&self, _: &IdentityId, _: &str) -> Result<(), AzureError> {
            self.0.lock().unwrap().push("delete");
            Ok(())
        }
    }

    /// A claim with so much left.
    struct Left(Duration);

    #[async_trait]
    impl WriteClaim for Left {
        async fn cover(
            &self,
            needed: Duration,
            call: BoxFuture<'_, Result<(), AzureError>>,
        ) -> Option<Result<(), AzureError>> {
            if self.0 < needed { None } else { Some(call.await) }
        }
    }

    async fn calls(left: Duration) -> (Vec<&'static str>, [Result<(), AzureError>; 2]) {
        let azure = Arc::new(Azure::default());
        let fenced = FencedIdentities::new(azure.clone(), Arc::new(Left(left)));
        let id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web";
        let id: IdentityId = id.parse().unwrap();
        let credential = Credential {
            name: "wib-web".to_owned(),
            tuple: Tuple {
                issuer: "https://issuer.example".to_owned(),
                subject: "system:serviceaccount:shop:web".to_owned(),
                audience: "api://AzureADTokenExchange".to_owned(),
            },
        };
        fenced.identity(&id).await.unwrap();
        fenced.credentials(&id).await.unwrap();
        let results = [
            fenced.put(&id, &credential).await,
            fenced.delete(&id, "wib-web").await,
        ];
        let made = azure.0.lock().unwrap().clone();
        (made, results)
    }

    #[tokio::test]
    async fn reads_pass_and_writes_need_a_second_of_the_claim() {
        for left in [Duration::ZERO, Duration::from_millis(999)] {
            let (made, results) = calls(left).await;
            assert_eq!(made, ["identity", "credentials"]);
            let operations = [Operation::PutCredential, Operation::DeleteCredential];
            for (result, operation) in results.into_iter().zip(operations) {
                let error = result.unwrap_err();
                assert_eq!((error.operation, error.fault), (operation, Fault::Unavailable));
                assert!(
                    error.fault.leaves_write_open(),
                    "the next write must not trust an old list"
                );
            }
        }
        let (made, results) = calls(Duration::from_secs(1)).await;
        assert_eq!(made, ["identity", "credentials", "put", "delete"]);
        assert!(results.iter().all(Result::is_ok));
    }
}
