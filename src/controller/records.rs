//! The records of identities: [`ManagedIdentity`] objects, as the watch knows them and as we left them.
//!
//! A change is on record when [`Records::commit`] returns. Changes of one identity that come while a write
//! is under way go into the next one together, so twenty bindings of an identity make few writes. Writes
//! carry the resourceVersion: another operator of this cluster, which looks after other namespaces, may
//! share the object, and neither undoes what the other has written.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt};
use tokio::sync::oneshot;

use crate::api::{
    CredentialState, FIELD_MANAGER, ManagedIdentity, ManagedIdentitySpec, ManagedIdentityStatus,
    RecordedCredential,
};
use crate::core::reconcile::Held;
use crate::core::record::{self, Change};
use crate::core::{IdentityId, grant};

/// How often a write is tried again that met another one.
const TRIES: usize = 8;

/// All records.
pub(super) struct Records {
    api: Api<ManagedIdentity>,
    namespace: Option<String>,
    known: Mutex<HashMap<String, Arc<ManagedIdentity>>>,
    writers: Mutex<HashMap<String, Arc<Writer>>>,
    /// Keys seen while a list runs.
    listing: Mutex<Option<Vec<String>>>,
    /// resourceVersion of our last write, by key.
    own: Mutex<HashMap<String, u64>>,
}

/// Who writes on one record, and what is to be written next.
#[derive(Default)]
struct Writer {
    writing: tokio::sync::Mutex<()>,
    pending: Mutex<Vec<Pending>>,
}

/// Changes, and who waits for them to be on record.
type Pending = (Vec<Change>, oneshot::Sender<Result<(), Failed>>);

/// Why a record could not be written; shared by all whose changes were in the same write.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot write the record of the identity (ManagedIdentity {name}): {source}")]
pub(super) struct Failed {
    name: String,
    pub source: Arc<kube::Error>,
}

impl Records {
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        Self {
            api: Api::all(client),
            namespace,
            known: Mutex::default(),
            writers: Mutex::default(),
            listing: Mutex::default(),
            own: Mutex::default(),
        }
    }

    /// Takes a watch event in. Answers a record that somebody has deleted though it still names
    /// credentials: it has to be made again.
    pub fn update(&self, event: &Event<ManagedIdentity>) -> Option<Arc<ManagedIdentity>> {
        match event {
            Event::Init => {
                *lock(&self.listing) = Some(Vec::new());
                None
            }
            Event::InitApply(object) => {
                if let Some(listing) = &mut *lock(&self.listing) {
                    listing.push(object.spec.resource_id.clone());
                }
                self.learn(object.clone());
                None
            }
            Event::InitDone => {
                let listed = lock(&self.listing).take().unwrap_or_default();
                lock(&self.known).retain(|key, _| listed.contains(key));
                None
            }
            Event::Apply(object) => {
                self.learn(object.clone());
                None
            }
            Event::Delete(object) => {
                let mut known = lock(&self.known);
                let ours = known.get(&object.spec.resource_id)?;
                // Our own delete, or one of a record that has been made again meanwhile.
                if ours.uid() != object.uid() {
                    return None;
                }
                let lost = known.remove(&object.spec.resource_id)?;
                let names_ours = self.in_scope(&lost).next().is_some();
                names_ours.then_some(lost)
            }
        }
    }

    /// Makes a record again that was deleted by hand.
    pub async fn restore(&self, lost: &ManagedIdentity) -> Result<(), Failed> {
        let Ok(identity) = lost.spec.resource_id.parse::<IdentityId>() else {
            return Ok(());
        };
        let changes = record::restored(&status(lost), self.in_scope(lost));
        self.commit(&identity, changes).await
    }

    /// The record of an identity.
    pub fn get(&self, identity: &IdentityId) -> Option<Arc<ManagedIdentity>> {
        lock(&self.known).get(identity.key()).cloned()
    }

    /// The entries of an identity, also those that other operators of this cluster look after.
    pub fn entries(&self, identity: &IdentityId) -> Vec<RecordedCredential> {
        let record = self.get(identity);
        let status = record.and_then(|record| record.status.clone());
        status.map(|status| status.credentials).unwrap_or_default()
    }

    /// Every entry of every record that this operator looks after, and where it is.
    pub fn all(&self) -> Vec<(IdentityId, RecordedCredential)> {
        let records: Vec<_> = lock(&self.known).values().cloned().collect();
        let mut all = Vec::new();
        for record in records {
            if let Ok(identity) = record.spec.resource_id.parse::<IdentityId>() {
                all.extend(
                    self.in_scope(&record)
                        .map(|entry| (identity.clone(), entry.clone())),
                );
            }
        }
        all
    }

    /// The entries whose credentials were last wanted by a binding, by its namespace and name. What a person
    /// has let stay is no longer its business.
    pub fn of_binding(&self, namespace: &str, name: &str) -> Vec<Held> {
        let all = self.all().into_iter();
        all.filter(|(_, entry)| {
            let tuple = record::tuple(entry);
            let stays = matches!(entry.state, CredentialState::Retained | CredentialState::Released);
            !stays && entry.binding == name && tuple.service_account().is_some_and(|(ns, _)| ns == namespace)
        })
        .map(|(identity, entry)| Held {
            identity,
            entry,
            heir: None,
        })
        .collect()
    }

    /// Former issuers on any record.
    pub fn former_issuers(&self) -> Vec<String> {
        let known = lock(&self.known);
        let statuses = known.values().filter_map(|record| record.status.as_ref());
        let mut issuers: Vec<String> = statuses
            .flat_map(|status| status.former_issuers.iter().map(|f| f.issuer.clone()))
            .collect();
        issuers.sort();
        issuers.dedup();
        issuers
    }

    /// How many credentials there are in each state.
    pub fn states(&self) -> Vec<(CredentialState, usize)> {
        let mut states = BTreeMap::new();
        for (_, entry) in self.all() {
            *states.entry(entry.state).or_default() += 1;
        }
        states.into_iter().collect()
    }

    /// Whether an entry is this operator's business: its namespace is.
    pub fn looks_after(&self, entry: &RecordedCredential) -> bool {
        let tuple = record::tuple(entry);
        let only = self.namespace.as_deref();
        only.is_none_or(|only| {
            tuple
                .service_account()
                .is_some_and(|(namespace, _)| namespace == only)
        })
    }

    fn in_scope<'a>(&'a self, record: &'a ManagedIdentity) -> impl Iterator<Item = &'a RecordedCredential> {
        let status = record.status.as_ref();
        let entries = status.into_iter().flat_map(|status| &status.credentials);
        entries.filter(|entry| self.looks_after(entry))
    }

    /// Puts changes on record. When this returns, storage holds them.
    ///
    /// # Errors
    /// When Kubernetes refuses or fails the write. Then nothing of it can be relied on.
    pub async fn commit(&self, identity: &IdentityId, changes: Vec<Change>) -> Result<(), Failed> {
        let writer = lock(&self.writers)
            .entry(identity.key().to_owned())
            .or_default()
            .clone();
        let (done, mut committed) = oneshot::channel();
        lock(&writer.pending).push((changes, done));
        let result = {
            let _writing = writer.writing.lock().await;
            // Whoever wrote before us may have taken ours along.
            if let Ok(result) = committed.try_recv() {
                result
            } else {
                let pending = std::mem::take(&mut *lock(&writer.pending));
                let (changes, waiting): (Vec<_>, Vec<_>) = pending.into_iter().unzip();
                let result = self.write(identity, &changes.concat()).await;
                for waiting in waiting {
                    // Nobody waits any more for what a pass had asked that is gone.
                    let _ = waiting.send(result.clone());
                }
                result
            }
        };
        let mut writers = lock(&self.writers);
        if Arc::strong_count(&writer) == 2 && lock(&writer.pending).is_empty() {
            writers.remove(identity.key());
        }
        result
    }

    async fn write(&self, identity: &IdentityId, changes: &[Change]) -> Result<(), Failed> {
        let name = grant::object_name(identity);
        let failed = |source: kube::Error| Failed {
            name: name.clone(),
            source: Arc::new(source),
        };
        let mut base = self.get(identity).map(|known| (*known).clone());
        for attempt in 1.. {
            let result = self.try_write(identity, &name, base, changes).await;
            match result {
                Err(kube::Error::Api(status))
                    if (status.is_conflict() || status.is_not_found() || status.is_already_exists())
                        && attempt < TRIES =>
                {
                    base = self.api.get_opt(&name).await.map_err(failed)?;
                    if base.is_none() {
                        lock(&self.known).remove(identity.key());
                    }
                }
                Err(error) => return Err(failed(error)),
                Ok(()) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn try_write(
        &self,
        identity: &IdentityId,
        name: &str,
        base: Option<ManagedIdentity>,
        changes: &[Change],
    ) -> kube::Result<()> {
        let before = base
            .as_ref()
            .and_then(|base| base.status.clone())
            .unwrap_or_default();
        let mut status = before.clone();
        record::apply(&mut status, changes);
        status.name = Some(identity.name().to_owned());
        if status.credentials.is_empty() {
            return match base {
                Some(base) => self.remove(&base).await,
                None => Ok(()),
            };
        }
        let mut object = match base {
            Some(base) if before == status => return self.is_stored(identity, name, base, changes).await,
            Some(base) => base,
            None => self.create(identity, name).await?,
        };
        object.status = Some(status.clone());
        object.metadata.managed_fields = None;
        let written = self.api.replace_status(name, &params(), &object).await?;
        if written.status.as_ref() != Some(&status) {
            // A definition of another version prunes what it does not know, without a word.
            let message = "the API server did not keep what was written: apply the CustomResourceDefinition managedidentities.workload-identity.io of this version";
            return Err(kube::Error::Service(message.into()));
        }
        if let Some(version) = version(&written) {
            lock(&self.own).insert(identity.key().to_owned(), version);
        }
        self.learn(written);
        Ok(())
    }

    /// Nothing differs from what is known; whether storage holds it, only storage can say.
    async fn is_stored(
        &self,
        identity: &IdentityId,
        name: &str,
        known: ManagedIdentity,
        changes: &[Change],
    ) -> kube::Result<()> {
        let live = self.api.get_opt(name).await?;
        match live {
            Some(live) if live.status == known.status => {
                self.learn(live);
                Ok(())
            }
            live => Box::pin(self.try_write(identity, name, live, changes)).await,
        }
    }

    async fn create(&self, identity: &IdentityId, name: &str) -> kube::Result<ManagedIdentity> {
        let spec = ManagedIdentitySpec {
            resource_id: identity.key().to_owned(),
        };
        let mut object = ManagedIdentity::new(name, spec);
        object.labels_mut().insert(
            "app.kubernetes.io/managed-by".to_owned(),
            FIELD_MANAGER.to_owned(),
        );
        self.api.create(&params(), &object).await
    }

    /// Nothing of ours is left: the record goes, unless it has changed meanwhile.
    async fn remove(&self, record: &ManagedIdentity) -> kube::Result<()> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: record.resource_version(),
                uid: record.uid(),
            }),
            ..DeleteParams::default()
        };
        // Before the watch tells: a delete of our own is nothing to make good for.
        let known = lock(&self.known).remove(&record.spec.resource_id);
        lock(&self.own).remove(&record.spec.resource_id);
        match self.api.delete(&record.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => {
                if let Some(known) = known {
                    self.learn((*known).clone());
                }
                Err(error)
            }
        }
    }

    /// Keeps the later of what is known and what was seen.
    fn learn(&self, object: ManagedIdentity) {
        let mut known = lock(&self.known);
        let later = known
            .get(&object.spec.resource_id)
            .is_some_and(|known| known.uid() == object.uid() && version(known) > version(&object));
        if !later {
            known.insert(object.spec.resource_id.clone(), Arc::new(object));
        }
    }

    /// Whether an object that the watch shows is newer than our last write on it: somebody else has written.
    pub fn is_news(&self, object: &ManagedIdentity) -> bool {
        let own = lock(&self.own).get(&object.spec.resource_id).copied();
        version(object) > own
    }

    /// Reads the record of an identity from storage, and takes it in.
    pub async fn confirm(&self, identity: &IdentityId) -> kube::Result<()> {
        if let Some(live) = self.api.get_opt(&grant::object_name(identity)).await? {
            self.learn(live);
        }
        Ok(())
    }
}

/// The order of resourceVersions is defined since Kubernetes 1.35 and has always held for one object.
fn version(object: &ManagedIdentity) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
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
