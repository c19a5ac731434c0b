//! What is known of records, by what passes ask of them.
//!
//! A pass never looks through all records: with a thousand identities, each of which is looked at again when
//! a grant changes, that would be a million looks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::super::index::Key;
use crate::api::{ManagedIdentity, RecordedCredential};
use crate::core::{IdentityId, grant, record};

/// All records, as the watch and our own writes have shown them.
#[derive(Default)]
pub struct KnownRecords {
    records: HashMap<String, KnownRecord>,
    /// Keys of the identities on which a binding has entries, by its namespace and name.
    by_binding: HashMap<Key, BTreeSet<String>>,
    /// On how many records a former issuer stands.
    former_issuers: BTreeMap<String, usize>,
    /// While a list runs.
    listing: Option<Listing>,
    /// Uids of records that we have deleted, and when storage had said so, until the watch has shown that too:
    /// it may be behind, and what it shows of them is no longer so.
    removed: HashMap<String, Option<Instant>>,
    /// How many passes are writing a credential in Azure, by identity and name.
    writing: HashMap<Name, usize>,
    /// How many passes are deleting a credential in Azure and taking it off the record.
    leaving: HashMap<Name, usize>,
}

/// Key of an identity, and name of a credential on it.
pub type Name = (String, String);

/// What a list has shown so far, and what we have written meanwhile: the list may have been made before.
struct Listing {
    /// What was known before this is in the list, or storage does not hold it any more.
    began: Instant,
    keys: HashSet<String>,
    uids: HashSet<String>,
    /// What was on record before, and is not on the records that the list shows.
    lost: Vec<Arc<ManagedIdentity>>,
}

impl Listing {
    fn begin(lost: Vec<Arc<ManagedIdentity>>) -> Self {
        Self {
            began: Instant::now(),
            keys: HashSet::new(),
            uids: HashSet::new(),
            lost,
        }
    }
}

/// The record of one identity.
struct KnownRecord {
    identity: IdentityId,
    object: Arc<ManagedIdentity>,
    /// Since when it is known in this version.
    at: Instant,
    /// resourceVersion of our last write on it.
    own: Option<u64>,
}

impl KnownRecords {
    /// Takes a watch event in. Answers what is no longer on record though nobody here has taken it off:
    /// somebody has edited or deleted a record, or storage was restored from a backup.
    pub fn update(&mut self, event: &Event<ManagedIdentity>) -> Vec<Arc<ManagedIdentity>> {
        match event {
            Event::Init => {
                // A list that broke off had shown what it had shown.
                let lost = self.listing.take().map(|listing| listing.lost);
                self.listing = Some(Listing::begin(lost.unwrap_or_default()));
                Vec::new()
            }
            Event::InitApply(object) => {
                let lost = self.learn(object.clone());
                if let Some(listing) = &mut self.listing {
                    listing.uids.extend(object.uid());
                    listing.lost.extend(lost);
                }
                Vec::new()
            }
            Event::InitDone => self.listed(),
            Event::Apply(object) => self.learn(object.clone()).into_iter().collect(),
            Event::Delete(object) => {
                let uid = object.uid().unwrap_or_default();
                if self.removed.remove(&uid).is_some() {
                    return Vec::new();
                }
                // One that has been made again meanwhile is another one.
                let known = self.same(object).map(|known| known.identity.key().to_owned());
                known.and_then(|key| self.take(&key)).into_iter().collect()
            }
        }
    }

    fn listed(&mut self) -> Vec<Arc<ManagedIdentity>> {
        let Some(listed) = self.listing.take() else {
            return Vec::new();
        };
        // Of those that the list did not show any more, no watch will.
        self.removed.retain(|uid, _| listed.uids.contains(uid));
        let keys = self.records.keys();
        let gone: Vec<String> = keys.filter(|key| !listed.keys.contains(*key)).cloned().collect();
        let gone = gone.iter().filter_map(|key| self.take(key));
        listed.lost.into_iter().chain(gone).collect()
    }

    /// Keeps the later of what is known and what was seen. Answers what was on record and is not any more,
    /// except what is being taken off: entries of ours leave by our own writes alone.
    ///
    /// A list that began after something was known has it, or storage holds it no more, whatever the
    /// versions say.
    pub fn learn(&mut self, object: ManagedIdentity) -> Option<Arc<ManagedIdentity>> {
        let began = self.listing.as_ref().map(|listing| listing.began);
        let is_before = |at: Instant| began.is_some_and(|began| at < began);
        if let Some(uid) = object.uid()
            && let Some(at) = self.removed.get(&uid)
        {
            if !at.is_some_and(is_before) {
                return None;
            }
            self.removed.remove(&uid);
        }
        let same = self.same(&object);
        let is_older = same.is_some_and(|known| version(&known.object) > version(&object));
        let own = same.filter(|_| !is_older).and_then(|known| known.own);
        let is_outdated = is_older && same.is_some_and(|known| !is_before(known.at));
        let identity = same.map(|known| known.identity.clone()).or_else(|| of(&object))?;
        if let Some(listing) = &mut self.listing {
            listing.keys.insert(identity.key().to_owned());
        }
        if is_outdated {
            return None;
        }
        let lost = self.missing(&identity, Some(&object));
        self.take(identity.key());
        self.put(KnownRecord {
            identity,
            object: Arc::new(object),
            at: Instant::now(),
            own,
        });
        lost
    }

    /// What is known to be on record and is not in what storage holds, except what is being taken off.
    pub fn missing(
        &self,
        identity: &IdentityId,
        stored: Option<&ManagedIdentity>,
    ) -> Option<Arc<ManagedIdentity>> {
        let mut lost = self.get(identity)?;
        let kept = stored.map(entries).unwrap_or_default();
        let is_missing = |entry: &RecordedCredential| {
            let name = (identity.key().to_owned(), entry.name.clone());
            // A pass that writes one keeps it from leaving, too.
            let leaves = self.leaving.contains_key(&name) && !self.writing.contains_key(&name);
            !kept.iter().any(|kept| kept.name == entry.name) && !leaves
        };
        if !entries(&lost).iter().any(is_missing) {
            return None;
        }
        if let Some(status) = &mut Arc::make_mut(&mut lost).status {
            status.credentials.retain(is_missing);
        }
        Some(lost)
    }

    /// Takes in what we have written.
    pub fn wrote(&mut self, object: ManagedIdentity) {
        let (key, own) = (object.spec.resource_id.clone(), version(&object));
        self.learn(object);
        if let Some(known) = self.records.get_mut(&key) {
            known.own = known.own.max(own);
        }
    }

    /// We are about to delete this record: what a watch may still show of it is no longer so.
    pub fn remove(&mut self, record: &ManagedIdentity) {
        self.removed.extend(record.uid().map(|uid| (uid, None)));
        if let Some(listing) = &mut self.listing {
            listing.uids.extend(record.uid());
        }
        self.take(&record.spec.resource_id);
    }

    /// Storage has deleted it.
    pub fn was_removed(&mut self, record: &ManagedIdentity) {
        let removed = record.uid().and_then(|uid| self.removed.get_mut(&uid));
        if let Some(at) = removed {
            *at = Some(Instant::now());
        }
    }

    /// It was not deleted after all.
    pub fn removal_failed(&mut self, record: ManagedIdentity) {
        if let Some(uid) = record.uid() {
            self.removed.remove(&uid);
        }
        self.learn(record);
    }

    /// Our last write on it is to be looked at as if it were somebody else's.
    pub fn disown(&mut self, identity: &IdentityId) {
        if let Some(known) = self.records.get_mut(identity.key()) {
            known.own = None;
        }
    }

    /// There is no such record, storage says.
    pub fn forget(&mut self, identity: &IdentityId) {
        self.take(identity.key());
    }

    /// Whether an object that the watch shows is newer than our last write on it: somebody else has written.
    pub fn is_news(&self, object: &ManagedIdentity) -> bool {
        version(object) > self.same(object).and_then(|known| known.own)
    }

    /// A pass is about to write this credential in Azure. `false` if it must not: the credential is not on
    /// record, or not for much longer.
    ///
    /// A pass of a binding and one over the record of its identity go on at the same time. The one may have
    /// seen the entry, and the grant, before the other takes both back; what it writes after that would stand
    /// without anybody knowing of it. So an entry leaves the record only if no write has begun before its
    /// credential was deleted, and none begins until it has left.
    pub fn begin_write(&mut self, name: &Name) -> bool {
        let record = self.records.get(&name.0);
        let mut recorded = record.into_iter().flat_map(|record| entries(&record.object));
        let may_write = recorded.any(|entry| entry.name == name.1) && !self.leaving.contains_key(name);
        if may_write {
            *self.writing.entry(name.clone()).or_default() += 1;
        }
        may_write
    }

    /// The write has ended, whatever came of it.
    pub fn end_write(&mut self, name: &Name) {
        count_down(&mut self.writing, name);
    }

    /// A pass is about to delete these credentials in Azure, or may have to; `own` it is writing itself.
    /// Answers those whose entries may leave the record after that; nobody begins to write them until
    /// [`Self::end_leave`].
    pub fn begin_leave(
        &mut self,
        names: impl IntoIterator<Item = Name>,
        own: Option<&Name>,
    ) -> HashSet<Name> {
        let is_free = |name: &Name| {
            let writing = self.writing.get(name).copied().unwrap_or_default();
            writing == usize::from(own == Some(name))
        };
        let free: HashSet<Name> = names.into_iter().filter(is_free).collect();
        for name in &free {
            *self.leaving.entry(name.clone()).or_default() += 1;
        }
        free
    }

    /// They are off the record, or stay on it.
    pub fn end_leave(&mut self, names: &HashSet<Name>) {
        for name in names {
            count_down(&mut self.leaving, name);
        }
    }

    /// The same object as it is known, by its uid. Ours name an identity as its key does.
    fn same(&self, object: &ManagedIdentity) -> Option<&KnownRecord> {
        let known = self.records.get(&object.spec.resource_id)?;
        (known.object.metadata.uid == object.metadata.uid).then_some(known)
    }

    pub fn get(&self, identity: &IdentityId) -> Option<Arc<ManagedIdentity>> {
        self.records
            .get(identity.key())
            .map(|record| record.object.clone())
    }

    /// Every entry of every record, and where it is.
    pub fn all(&self) -> impl Iterator<Item = (&IdentityId, &RecordedCredential)> {
        self.records.values().flat_map(|record| {
            let entries = entries(&record.object).iter();
            entries.map(|entry| (&record.identity, entry))
        })
    }

    /// The entries whose credentials were last wanted by this binding.
    pub fn of_binding(&self, namespace: &str, name: &str) -> Vec<(&IdentityId, &RecordedCredential)> {
        let binding = (namespace.to_owned(), name.to_owned());
        let keys = self.by_binding.get(&binding).into_iter().flatten();
        let mut found = Vec::new();
        for record in keys.filter_map(|key| self.records.get(key)) {
            let own = entries(&record.object).iter();
            let own = own.filter(|entry| owner(entry).as_ref() == Some(&binding));
            found.extend(own.map(|entry| (&record.identity, entry)));
        }
        found
    }

    /// Former issuers on any record, in order.
    pub fn former_issuers(&self) -> Vec<String> {
        self.former_issuers.keys().cloned().collect()
    }

    fn put(&mut self, record: KnownRecord) {
        let key = record.identity.key();
        for binding in entries(&record.object).iter().filter_map(owner) {
            self.by_binding.entry(binding).or_default().insert(key.to_owned());
        }
        for issuer in former_issuers(&record.object) {
            *self.former_issuers.entry(issuer.to_owned()).or_default() += 1;
        }
        self.records.insert(key.to_owned(), record);
    }

    fn take(&mut self, key: &str) -> Option<Arc<ManagedIdentity>> {
        let record = self.records.remove(key)?;
        for binding in entries(&record.object).iter().filter_map(owner) {
            if let Some(keys) = self.by_binding.get_mut(&binding) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_binding.remove(&binding);
                }
            }
        }
        for issuer in former_issuers(&record.object) {
            if let Some(count) = self.former_issuers.get_mut(issuer) {
                *count -= 1;
                if *count == 0 {
                    self.former_issuers.remove(issuer);
                }
            }
        }
        Some(record.object)
    }
}

fn count_down(counts: &mut HashMap<Name, usize>, name: &Name) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

/// The identity that an object is the record of. One that is not named as ours are was made by hand, and is
/// none: it would stand in for that of the identity.
fn of(object: &ManagedIdentity) -> Option<IdentityId> {
    let identity: IdentityId = object.spec.resource_id.parse().ok()?;
    let is_ours = identity.key() == object.spec.resource_id
        && object.metadata.name.as_deref() == Some(grant::object_name(&identity).as_str());
    is_ours.then_some(identity)
}

fn entries(object: &ManagedIdentity) -> &[RecordedCredential] {
    let status = object.status.as_ref();
    status
        .map(|status| status.credentials.as_slice())
        .unwrap_or_default()
}

fn former_issuers(object: &ManagedIdentity) -> impl Iterator<Item = &str> {
    let formers = object.status.iter().flat_map(|status| &status.former_issuers);
    let issuers: BTreeSet<&str> = formers.map(|former| former.issuer.as_str()).collect();
    issuers.into_iter()
}

/// The binding that an entry names: it is in the namespace of the subject.
fn owner(entry: &RecordedCredential) -> Option<Key> {
    let (namespace, _) = record::service_account(entry)?;
    Some((namespace.to_owned(), entry.binding.clone()))
}

/// The order of resourceVersions is defined since Kubernetes 1.35 and has always held for one object.
fn version(object: &ManagedIdentity) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

#[cfg(test)]
mod tests;
