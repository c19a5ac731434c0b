//! The records of identities: [`ManagedIdentity`] objects, as the watch knows them and as we left them.
//!
//! A change is on record when [`Records::commit`] returns. Changes of one identity that come while a write
//! is under way go into the next one together, so twenty bindings of an identity make few writes. Writes
//! carry the resourceVersion: another operator of this cluster, which looks after other namespaces, may
//! share the object, and neither undoes what the other has written.

mod guards;
mod known;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt};
use tokio::sync::oneshot;
use tracing::warn;

use super::revision::StorageRevision;
use crate::api::{CredentialState, ManagedIdentity, ManagedIdentityStatus, RecordedCredential};
use crate::core::reconcile::Held;
use crate::core::record::{self, Change};
use crate::core::{IdentityId, grant};

pub(super) use guards::{Leaving, Writing};
use known::KnownRecords;

/// All records.
pub(super) struct Records {
    api: Api<ManagedIdentity>,
    namespace: Option<String>,
    revision: Arc<StorageRevision>,
    known: Mutex<KnownRecords>,
    /// What is no longer on record, and was not taken off.
    lost: Mutex<Vec<Arc<ManagedIdentity>>>,
    writers: Mutex<HashMap<String, Arc<Writer>>>,
}

/// Who writes on one record, and what is to be written next.
#[derive(Default)]
struct Writer {
    writing: tokio::sync::Mutex<()>,
    pending: Mutex<Vec<Pending>>,
}

/// Changes, and who waits for them to be on record.
type Pending = (Vec<Change>, oneshot::Sender<Result<(), Failed>>);

/// What of a record is this operator's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Nothing, or there is no such record.
    None,
    /// At least one entry.
    Some,
    /// The record has no entry at all.
    Empty,
}

/// Why a record could not be written; shared by all whose changes were in the same write.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot write the record of the identity (ManagedIdentity {name}): {source}")]
pub(super) struct Failed {
    name: String,
    pub source: Arc<kube::Error>,
}

impl Records {
    pub fn new(client: Client, namespace: Option<String>, revision: Arc<StorageRevision>) -> Self {
        Self {
            api: Api::all(client),
            namespace,
            revision,
            known: Mutex::default(),
            lost: Mutex::default(),
            writers: Mutex::default(),
        }
    }

    /// Takes a watch event in. Answers what is no longer on record though nobody here has taken it off, and
    /// has to be put back: somebody has deleted the record, or storage has gone back.
    pub fn update(&self, event: &Event<ManagedIdentity>) -> Vec<Arc<ManagedIdentity>> {
        let mut lost = lock(&self.known).update(event);
        lost.retain(|lost| self.in_scope(lost).next().is_some());
        lost
    }

    /// Puts back what was lost of a record, now or when it can be written again.
    pub async fn restore(&self, lost: Arc<ManagedIdentity>) {
        if self.in_scope(&lost).next().is_none() {
            return;
        }
        warn!(
            name = lost.name_any(),
            "credentials of ours are no longer on the record of an identity, though the operator has not taken them off; they are put back"
        );
        self.keep(lost);
        self.put_back().await;
    }

    /// Remembers what was lost until it is on record again.
    fn keep(&self, lost: Arc<ManagedIdentity>) {
        lock(&self.lost).push(lost);
    }

    /// Puts back what could not be put back before.
    pub async fn put_back(&self) {
        let all = std::mem::take(&mut *lock(&self.lost));
        for lost in all {
            let Ok(identity) = lost.spec.resource_id.parse::<IdentityId>() else {
                continue;
            };
            // Some of it may be there again, or be wanted by a binding meanwhile.
            let known = self.entries(&identity);
            let missing = self
                .in_scope(&lost)
                .filter(|entry| !known.iter().any(|known| known.name == entry.name));
            let missing: Vec<&RecordedCredential> = missing.collect();
            if missing.is_empty() {
                continue;
            }
            let changes = record::restored(&status(&lost), missing.into_iter());
            match self.commit(&identity, changes).await {
                // A pass over the record has to look at it.
                Ok(()) => lock(&self.known).disown(&identity),
                Err(error) => {
                    warn!("{error}");
                    self.keep(lost);
                }
            }
        }
    }

    /// The record of an identity.
    pub fn get(&self, identity: &IdentityId) -> Option<Arc<ManagedIdentity>> {
        lock(&self.known).get(identity)
    }

    /// The entries of an identity, also those that other operators of this cluster look after.
    pub fn entries(&self, identity: &IdentityId) -> Vec<RecordedCredential> {
        let record = self.get(identity);
        let status = record.and_then(|record| record.status.clone());
        status.map(|status| status.credentials).unwrap_or_default()
    }

    /// What of the record of an identity is this operator's business.
    pub fn share(&self, identity: &IdentityId) -> Share {
        let Some(record) = self.get(identity) else {
            return Share::None;
        };
        let is_empty = record
            .status
            .as_ref()
            .is_none_or(|status| status.credentials.is_empty());
        if is_empty {
            Share::Empty
        } else if self.in_scope(&record).next().is_some() {
            Share::Some
        } else {
            Share::None
        }
    }

    /// How many entries this operator looks after in all, and of how many of them that is so.
    pub fn count(&self, is_so: impl Fn(&IdentityId, &RecordedCredential) -> bool) -> (usize, usize) {
        let known = lock(&self.known);
        let entries = known.all().filter(|(_, entry)| self.looks_after(entry));
        entries.fold((0, 0), |(all, so), (identity, entry)| {
            (all + 1, so + usize::from(is_so(identity, entry)))
        })
    }

    /// The entries whose credentials were last wanted by a binding, by its namespace and name. What a person
    /// has let stay is no longer its business.
    pub fn of_binding(&self, namespace: &str, name: &str) -> Vec<Held> {
        let known = lock(&self.known);
        let own = known
            .of_binding(namespace, name)
            .into_iter()
            .filter(|(_, entry)| {
                let stays = matches!(entry.state, CredentialState::Retained | CredentialState::Released);
                !stays && self.looks_after(entry)
            });
        own.map(|(identity, entry)| Held {
            identity: identity.clone(),
            entry: entry.clone(),
            heir: None,
        })
        .collect()
    }

    /// Former issuers on any record.
    pub fn former_issuers(&self) -> Vec<String> {
        lock(&self.known).former_issuers()
    }

    /// How many credentials there are in each state.
    pub fn states(&self) -> Vec<(CredentialState, usize)> {
        let mut states = BTreeMap::new();
        let known = lock(&self.known);
        for (_, entry) in known.all().filter(|(_, entry)| self.looks_after(entry)) {
            *states.entry(entry.state).or_default() += 1;
        }
        states.into_iter().collect()
    }

    /// Whether an entry is this operator's business: its namespace is.
    pub fn looks_after(&self, entry: &RecordedCredential) -> bool {
        let namespace = record::service_account(entry).map(|(namespace, _)| namespace);
        self.namespace.is_none() || self.namespace.as_deref() == namespace
    }

    fn in_scope<'a>(&'a self, record: &'a ManagedIdentity) -> impl Iterator<Item = &'a RecordedCredential> {
        let status = record.status.as_ref();
        let entries = status.into_iter().flat_map(|status| &status.credentials);
        entries.filter(|entry| self.looks_after(entry))
    }

    /// A write of this credential in Azure begins, and lasts as long as what is answered. `None` if it must
    /// not: the credential is not on record, or is about to be taken off.
    pub fn begin_write(&self, identity: &IdentityId, credential: &str) -> Option<Writing<'_>> {
        Writing::begin(&self.known, (identity.key().to_owned(), credential.to_owned()))
    }

    /// These credentials are about to be deleted in Azure, or may have to be; `own` is one that is written
    /// meanwhile. What is answered is kept until their entries are off the record.
    pub fn begin_leave<'n>(
        &self,
        identity: &IdentityId,
        credentials: impl IntoIterator<Item = &'n str>,
        own: Option<&Writing<'_>>,
    ) -> Leaving<'_> {
        let key = identity.key();
        let names = credentials
            .into_iter()
            .map(|name| (key.to_owned(), name.to_owned()));
        Leaving::begin(&self.known, names, own)
    }

    /// Whether an object that the watch shows is newer than our last write on it: somebody else has written.
    pub fn is_news(&self, object: &ManagedIdentity) -> bool {
        lock(&self.known).is_news(object)
    }

    /// Reads the record of an identity from storage, and takes it in.
    pub async fn confirm(&self, identity: &IdentityId) -> kube::Result<()> {
        let known = self.get(identity);
        if let Some(live) = self.api.get_opt(&grant::object_name(identity)).await? {
            self.compare(known.as_deref(), Some(&live));
            let lost = lock(&self.known).learn(live);
            if let Some(lost) = lost {
                Box::pin(self.restore(lost)).await;
            }
        }
        Ok(())
    }

    /// Compares what storage holds with what was known of it before it was asked.
    fn compare(&self, known: Option<&ManagedIdentity>, stored: Option<&ManagedIdentity>) {
        if let (Some(known), Some(stored)) = (known, stored)
            && known.metadata.uid == stored.metadata.uid
        {
            let version = |record: &ManagedIdentity| record.resource_version();
            let (known, stored) = (version(known), version(stored));
            self.revision.is_older(known.as_deref(), stored.as_deref());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops what nobody reads, as it arrives.
pub(super) fn prune(object: &mut ManagedIdentity) {
    object.metadata.managed_fields = None;
}

/// The status of a record, or an empty one.
pub(super) fn status(record: &ManagedIdentity) -> ManagedIdentityStatus {
    record.status.clone().unwrap_or_default()
}
