//! What exists in the emulated subscription: resource groups, identities with their credentials, and apps.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::history::History;

/// The contents. Names are compared without letter case and kept as created.
#[derive(Debug, Default)]
pub(crate) struct World {
    groups: BTreeMap<String, Group>,
    identities: BTreeMap<IdentityKey, ManagedIdentity>,
    pub(crate) apps: BTreeMap<String, App>,
}

/// Lower-case resource group and name.
pub(crate) type IdentityKey = (String, String);

pub(crate) fn key(group: &str, name: &str) -> IdentityKey {
    (group.to_ascii_lowercase(), name.to_ascii_lowercase())
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) tags: Map<String, Value>,
}

/// An app registration with a secret or a certificate.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) client_id: String,
    pub(crate) object_id: String,
    pub(crate) secret: Option<String>,
    pub(crate) certificate: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct ManagedIdentity {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) tags: Map<String, Value>,
    pub(crate) isolation_scope: Option<String>,
    pub(crate) client_id: String,
    pub(crate) principal_id: String,
    pub(crate) created: Timestamp,
    /// How often its tokens were revoked; a token carries the number it was made with.
    pub(crate) revocations: u64,
    /// Whether a credential write is in flight.
    pub(crate) writing: bool,
    pub(crate) credentials: History,
}

impl World {
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(&name.to_ascii_lowercase())
    }

    /// Creates the group, or changes location and tags of an existing one; answers whether it is new.
    pub(crate) fn put_group(&mut self, name: &str, location: &str, tags: Map<String, Value>) -> bool {
        let existing = self.group(name).map(|group| group.name.clone());
        let new = existing.is_none();
        let name = existing.unwrap_or_else(|| name.to_owned());
        let group = Group {
            name: name.clone(),
            location: location.to_owned(),
            tags,
        };
        self.groups.insert(name.to_ascii_lowercase(), group);
        new
    }

    /// Deletes the group and all identities in it.
    pub(crate) fn delete_group(&mut self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.identities.retain(|(group, _), _| *group != name);
        self.groups.remove(&name).is_some()
    }

    pub(crate) fn identity(&self, key: &IdentityKey) -> Option<&ManagedIdentity> {
        self.identities.get(key)
    }

    pub(crate) fn identity_mut(&mut self, key: &IdentityKey) -> Option<&mut ManagedIdentity> {
        self.identities.get_mut(key)
    }

    /// All identities, or those of one group, by name.
    pub(crate) fn identities(&self, group: Option<&str>) -> Vec<&ManagedIdentity> {
        let group = group.map(str::to_ascii_lowercase);
        self.identities
            .iter()
            .filter(|((of, _), _)| group.as_ref().is_none_or(|group| group == of))
            .map(|(_, identity)| identity)
            .collect()
    }

    /// A new identity with new guids and no credentials, in a group that exists.
    pub(crate) fn create_identity(
        &mut self,
        group: &str,
        name: &str,
        location: &str,
        now: Timestamp,
    ) -> &mut ManagedIdentity {
        let group = self
            .group(group)
            .map_or_else(|| group.to_owned(), |known| known.name.clone());
        let key = key(&group, name);
        let identity = ManagedIdentity {
            group,
            name: name.to_owned(),
            location: location.to_owned(),
            tags: Map::new(),
            isolation_scope: None,
            client_id: Uuid::new_v4().to_string(),
            principal_id: Uuid::new_v4().to_string(),
            created: now,
            revocations: 0,
            writing: false,
            credentials: History::default(),
        };
        let slot = self.identities.entry(key);
        match slot {
            Entry::Vacant(slot) => slot.insert(identity),
            Entry::Occupied(slot) => {
                let place = slot.into_mut();
                *place = identity;
                place
            }
        }
    }

    pub(crate) fn delete_identity(&mut self, key: &IdentityKey) -> bool {
        self.identities.remove(key).is_some()
    }

    pub(crate) fn identity_of_client(&self, client_id: &str) -> Option<&ManagedIdentity> {
        self.identities
            .values()
            .find(|identity| identity.client_id.eq_ignore_ascii_case(client_id))
    }

    pub(crate) fn app(&self, client_id: &str) -> Option<&App> {
        self.apps.get(&client_id.to_ascii_lowercase())
    }

    /// Whether a principal with this object id still exists.
    pub(crate) fn knows(&self, object_id: &str) -> bool {
        self.apps.values().any(|app| app.object_id == object_id)
            || self
                .identities
                .values()
                .any(|identity| identity.principal_id == object_id)
    }

    /// How often the principal's tokens were revoked; `None` unless it is an identity.
    pub(crate) fn revocations(&self, object_id: &str) -> Option<u64> {
        let identity = self
            .identities
            .values()
            .find(|identity| identity.principal_id == object_id)?;
        Some(identity.revocations)
    }
}

impl ManagedIdentity {
    /// The id as Azure answers it, with names as created.
    pub(crate) fn resource_id(&self, subscription: &str) -> String {
        identity_id(subscription, &self.group, &self.name)
    }
}

/// Answers have `resourcegroups` in lower case (observed).
pub(crate) fn identity_id(subscription: &str, group: &str, name: &str) -> String {
    format!(
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/Microsoft.ManagedIdentity/\
         userAssignedIdentities/{name}"
    )
}
