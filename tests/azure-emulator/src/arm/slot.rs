//! One credential write at a time per identity (documented:
//! <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations#concurrent-updates-arent-supported-user-assigned-managed-identities>).

use std::sync::Arc;

use crate::shared::{Shared, lock};
use crate::state::IdentityKey;

/// The right to write, until dropped.
pub(crate) struct WriteSlot {
    shared: Arc<Shared>,
    key: IdentityKey,
    principal_id: String,
}

impl WriteSlot {
    /// `None` while another write is in flight, or without such an identity.
    pub(crate) fn take(shared: &Arc<Shared>, key: IdentityKey) -> Option<Self> {
        let mut world = lock(&shared.world);
        let identity = world.identity_mut(&key).filter(|identity| !identity.writing)?;
        identity.writing = true;
        let principal_id = identity.principal_id.clone();
        drop(world);
        Some(Self {
            shared: Arc::clone(shared),
            key,
            principal_id,
        })
    }

    /// The identity that the write began on; another one of the same name may have taken its place.
    pub(crate) fn principal_id(&self) -> &str {
        &self.principal_id
    }
}

impl Drop for WriteSlot {
    fn drop(&mut self) {
        let mut world = lock(&self.shared.world);
        if let Some(identity) = world.identity_mut(&self.key)
            && identity.principal_id == self.principal_id
        {
            identity.writing = false;
        }
    }
}
