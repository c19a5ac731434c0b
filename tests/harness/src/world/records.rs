//! The operator's own record of an identity, and what it says about it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_emulator::Identity;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use tokio::time::Instant;
use workload_identity_binding::api::{CredentialState, ManagedIdentity, RecordedCredential};
use workload_identity_binding::core::{IdentityId, grant};

use super::World;
use crate::Write;

/// Longest wait for a record or an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long nothing may be written before all counts as quiet.
const QUIET: Duration = Duration::from_secs(3);

/// What a record says about the credential of a ServiceAccount; the first, if there are several.
pub fn entry<'a>(record: &'a ManagedIdentity, service_account: &str) -> Option<&'a RecordedCredential> {
    let credentials = &record.status.as_ref()?.credentials;
    let of = format!(":{service_account}");
    credentials.iter().find(|c| c.subject.ends_with(&of))
}

/// What is to become of the credential of a ServiceAccount, as the record has it.
pub fn state(record: &ManagedIdentity, service_account: &str) -> Option<CredentialState> {
    entry(record, service_account).map(|c| c.state)
}

fn record_name(identity: &Identity) -> Result<String> {
    let id: IdentityId = identity.resource_id.parse()?;
    Ok(grant::object_name(&id))
}

impl World {
    /// The records of the cluster.
    pub fn records(&self) -> Api<ManagedIdentity> {
        Api::all(self.admin())
    }

    /// The record of an identity, if there is one.
    pub async fn record(&self, identity: &Identity) -> Result<Option<ManagedIdentity>> {
        match self.records().get_opt(&record_name(identity)?).await {
            Ok(record) => Ok(record),
            // Nothing is recorded where the definition is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The operator's writes to the records of this world's identities, from the API server's audit log.
    pub fn record_writes(&self) -> Result<Vec<Write>> {
        let identities = self.azure.identities();
        let names: Result<_> = identities.iter().map(record_name).collect();
        self.cluster.record_writes(&names?)
    }

    /// Waits until the record of an identity is as the predicate wants it; the failure shows how it was.
    pub async fn recorded(
        &self,
        identity: &Identity,
        what: &str,
        wanted: impl Fn(&ManagedIdentity) -> bool,
    ) -> Result<ManagedIdentity> {
        let end = Instant::now() + PATIENCE;
        loop {
            let record = self.record(identity).await?;
            if let Some(record) = record.as_ref().filter(|record| wanted(record)) {
                return Ok(record.clone());
            }
            let shown = || serde_yaml::to_string(&record).unwrap_or_default();
            anyhow::ensure!(
                Instant::now() < end,
                "the ManagedIdentity of {} is not {what} after {PATIENCE:?}:\n{}",
                identity.name,
                shown()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the record says that this is to become of the credential of a ServiceAccount.
    pub async fn in_state(
        &self,
        identity: &Identity,
        service_account: &str,
        wanted: CredentialState,
    ) -> Result<ManagedIdentity> {
        let what = format!("one that says {wanted:?} of {service_account}");
        self.recorded(identity, &what, |r| state(r, service_account) == Some(wanted))
            .await
    }

    /// Waits until an identity has no record.
    pub async fn unrecorded(&self, identity: &Identity) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while let Some(record) = self.record(identity).await? {
            anyhow::ensure!(
                Instant::now() < end,
                "there is a ManagedIdentity after {PATIENCE:?}:\n{}",
                serde_yaml::to_string(&record).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until nobody has written the record of an identity for 3 s.
    pub async fn quiet(&self, identity: &Identity) -> Result<ManagedIdentity> {
        let end = Instant::now() + PATIENCE;
        let (mut last, mut since) = (None, Instant::now());
        loop {
            let record = self.record(identity).await?;
            let version = record.as_ref().map(|r| r.metadata.resource_version.clone());
            if version != last {
                anyhow::ensure!(
                    Instant::now() < end,
                    "the ManagedIdentity of {} is still written after {PATIENCE:?}",
                    identity.name
                );
                (last, since) = (version, Instant::now());
            }
            if since.elapsed() > QUIET {
                return record.with_context(|| format!("no ManagedIdentity of {}", identity.name));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for a warning about an object, for this reason or for any. Answers reason and text.
    pub async fn warned(&self, uid: Option<&str>, reason: Option<&str>) -> Result<(String, String)> {
        let uid = uid.context("the object has no uid")?;
        let about = ListParams::default().fields(&format!("involvedObject.uid={uid},type=Warning"));
        let end = Instant::now() + PATIENCE;
        loop {
            let events = Api::<Event>::all(self.admin()).list(&about).await?.items;
            let told = events.iter().map(|e| {
                (
                    e.reason.clone().unwrap_or_default(),
                    e.message.clone().unwrap_or_default(),
                )
            });
            let told: Vec<_> = told.collect();
            if let Some(found) = told.iter().find(|(why, _)| reason.is_none_or(|r| r == why)) {
                return Ok(found.clone());
            }
            anyhow::ensure!(
                Instant::now() < end,
                "no warning {} after {PATIENCE:?}, only {told:#?}",
                reason.unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
