//! Writing records: one write at a time on each, which takes along whatever has come meanwhile.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, Preconditions};
use tokio::sync::oneshot;

use super::{Failed, Records, lock, status};
use crate::api::{FIELD_MANAGER, ManagedIdentity, ManagedIdentitySpec};
use crate::core::record::{self, Change};
use crate::core::{IdentityId, grant};

/// How often a write is tried again that met another one.
const TRIES: usize = 8;

impl Records {
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
                let mut pending = std::mem::take(&mut *lock(&writer.pending));
                // What a pass had asked for that was given up meanwhile, nobody answers for.
                pending.retain(|(_, waiting)| !waiting.is_closed());
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
        let mut changes = changes.to_vec();
        for attempt in 1.. {
            let result = self.try_write(identity, &name, base, &changes).await;
            match result {
                Err(kube::Error::Api(refused))
                    if (refused.is_conflict() || refused.is_not_found() || refused.is_already_exists())
                        && attempt < TRIES =>
                {
                    let known = self.get(identity);
                    base = self.api.get_opt(&name).await.map_err(failed)?;
                    self.compare(known.as_deref(), base.as_ref());
                    let missing = lock(&self.known).missing(identity, base.as_ref());
                    if let Some(lost) = missing {
                        let again = record::restored(&status(&lost), self.in_scope(&lost));
                        changes.splice(0..0, again);
                        self.keep(lost);
                    }
                    if base.is_none() {
                        lock(&self.known).forget(identity);
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
        let before = self.revision.begin();
        let written = self.api.replace_status(name, &params(), &object).await?;
        self.revision
            .wrote(before, written.metadata.resource_version.as_deref());
        if written.status.as_ref() != Some(&status) {
            // A definition of another version prunes what it does not know, without a word.
            let message = "the API server did not keep what was written: apply the CustomResourceDefinition managedidentities.workload-identity.io of this version";
            return Err(kube::Error::Service(message.into()));
        }
        lock(&self.known).wrote(written);
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
                lock(&self.known).learn(live);
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
        lock(&self.known).remove(record);
        match self.api.delete(&record.name_any(), &params).await {
            Ok(_) => {
                lock(&self.known).was_removed(record);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                lock(&self.known).was_removed(record);
                Ok(())
            }
            Err(error) => {
                lock(&self.known).removal_failed(record.clone());
                Err(error)
            }
        }
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}
