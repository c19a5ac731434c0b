//! What people and other tools do in Azure: out of band, not over HTTP, not in the journal.

use jiff::Timestamp;
use serde_json::Map;
use uuid::Uuid;

use crate::arm::{IdentityPath, Target, WriteSlot};
use crate::emulator::Emulator;
use crate::entra::certificate_from_pem;
use crate::knobs::Knobs;
use crate::model::{Credential, Identity};
use crate::shared::lock;
use crate::state::{App, ManagedIdentity};

/// Where new groups and identities are.
const LOCATION: &str = "westeurope";

/// Another client's credential write in flight on an identity; ends when dropped.
pub struct ExternalWrite {
    _slot: WriteSlot,
}

impl Emulator {
    /// Makes a resource group, if it is missing.
    pub fn create_resource_group(&self, rg: &str) {
        let mut world = lock(&self.shared.world);
        if world.group(rg).is_none() {
            world.put_group(rg, LOCATION, Map::new());
        }
    }

    /// Deletes a resource group with everything in it.
    pub fn delete_resource_group(&self, rg: &str) {
        lock(&self.shared.world).delete_group(rg);
    }

    /// Makes an identity, and its resource group when missing. One of the same name is replaced: new guids,
    /// no credentials.
    pub fn create_identity(&self, rg: &str, name: &str) -> Identity {
        self.create_identity_in(rg, name, LOCATION)
    }

    /// [`create_identity`](Self::create_identity) in a region.
    pub fn create_identity_in(&self, rg: &str, name: &str, location: &str) -> Identity {
        self.create_resource_group(rg);
        let now = self.shared.now();
        let mut world = lock(&self.shared.world);
        let identity = world.create_identity(rg, name, location, now);
        self.describe(identity)
    }

    /// Deletes an identity, if it is there.
    pub fn delete_identity(&self, resource_id: &str) {
        if let Some(path) = identity_path(resource_id) {
            lock(&self.shared.world).delete_identity(&path.key());
        }
    }

    /// The identity with this id.
    pub fn identity(&self, resource_id: &str) -> Option<Identity> {
        let world = lock(&self.shared.world);
        world
            .identity(&identity_path(resource_id)?.key())
            .map(|identity| self.describe(identity))
    }

    /// All identities.
    pub fn identities(&self) -> Vec<Identity> {
        let world = lock(&self.shared.world);
        world
            .identities(None)
            .into_iter()
            .map(|identity| self.describe(identity))
            .collect()
    }

    /// The credentials that are really there, in order of creation.
    pub fn credentials(&self, resource_id: &str) -> Vec<Credential> {
        let world = lock(&self.shared.world);
        identity_path(resource_id)
            .and_then(|path| world.identity(&path.key()))
            .map(|identity| identity.credentials.current())
            .unwrap_or_default()
    }

    /// Somebody else writes a credential. Nothing is validated; without the identity nothing happens.
    pub fn put_credential(&self, resource_id: &str, credential: Credential) {
        self.edit(resource_id, |identity, now, knobs| {
            identity.credentials.put(credential, now, knobs.read_lag);
        });
    }

    /// Somebody else deletes a credential.
    pub fn delete_credential(&self, resource_id: &str, name: &str) {
        self.edit(resource_id, |identity, now, knobs| {
            identity.credentials.remove(name, now, knobs.read_lag);
        });
    }

    /// Somebody revokes all tokens of an identity: those that it has are no longer accepted.
    pub fn revoke_tokens(&self, resource_id: &str) {
        self.edit(resource_id, |identity, _, _| identity.revocations += 1);
    }

    /// Somebody else's credential write begins and lasts until the value is dropped. `None`: there is no such
    /// identity, or a write is in flight already.
    pub fn external_write(&self, resource_id: &str) -> Option<ExternalWrite> {
        let path = identity_path(resource_id)?;
        Some(ExternalWrite {
            _slot: WriteSlot::take(&self.shared, path.key())?,
        })
    }

    /// Registers an app that logs in with a secret, a certificate, or both. A certificate that cannot be read
    /// is left out and logged.
    pub fn add_app(&self, client_id: &str, secret: Option<&str>, certificate_pem: Option<&str>) {
        let certificate = certificate_pem.map(certificate_from_pem).and_then(|read| {
            read.inspect_err(|error| tracing::error!(error = format!("{error:#}"), "certificate ignored"))
                .ok()
        });
        let app = App {
            client_id: client_id.to_owned(),
            object_id: Uuid::new_v4().to_string(),
            secret: secret.map(str::to_owned),
            certificate,
        };
        lock(&self.shared.world)
            .apps
            .insert(client_id.to_ascii_lowercase(), app);
    }

    fn describe(&self, identity: &ManagedIdentity) -> Identity {
        Identity {
            resource_id: identity.resource_id(&self.shared.subscription_id),
            name: identity.name.clone(),
            client_id: identity.client_id.clone(),
            principal_id: identity.principal_id.clone(),
            tenant_id: self.shared.tenant_id.clone(),
        }
    }

    fn edit(&self, resource_id: &str, change: impl FnOnce(&mut ManagedIdentity, Timestamp, &Knobs)) {
        let (knobs, now) = (self.shared.knobs(), self.shared.now());
        let mut world = lock(&self.shared.world);
        let path = identity_path(resource_id);
        if let Some(identity) = path.and_then(|path| world.identity_mut(&path.key())) {
            change(identity, now, &knobs);
        }
    }
}

/// Reads a resource id without letter case.
fn identity_path(resource_id: &str) -> Option<IdentityPath> {
    match Target::parse(resource_id) {
        Target::Identity(path) => Some(path),
        _ => None,
    }
}
