//! What a pass holds while it writes or deletes credentials in Azure: see [`KnownRecords::begin_write`].

use std::collections::HashSet;
use std::sync::Mutex;

use super::known::{KnownRecords, Name};
use super::lock;
use crate::core::IdentityId;

/// A write in Azure. Its entry stays on record as long as this lasts.
pub struct Writing<'a> {
    known: &'a Mutex<KnownRecords>,
    name: Name,
}

impl<'a> Writing<'a> {
    /// `None` if the credential must not be written now.
    pub fn begin(known: &'a Mutex<KnownRecords>, name: Name) -> Option<Self> {
        let may_write = lock(known).begin_write(&name);
        may_write.then_some(Self { known, name })
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        lock(self.known).end_write(&self.name);
    }
}

/// Credentials that are being deleted, and whose entries may leave the record after that: nobody writes them
/// meanwhile.
pub struct Leaving<'a> {
    known: &'a Mutex<KnownRecords>,
    names: HashSet<Name>,
}

impl<'a> Leaving<'a> {
    /// `own` is written by the same pass.
    pub fn begin(
        known: &'a Mutex<KnownRecords>,
        names: impl IntoIterator<Item = Name>,
        own: Option<&Writing<'_>>,
    ) -> Self {
        let own = own.map(|writing| &writing.name);
        let names = lock(known).begin_leave(names, own);
        Self { known, names }
    }

    /// Whether the entry of this credential may leave the record.
    pub fn may_leave(&self, identity: &IdentityId, credential: &str) -> bool {
        self.names
            .contains(&(identity.key().to_owned(), credential.to_owned()))
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        lock(self.known).end_leave(&self.names);
    }
}
