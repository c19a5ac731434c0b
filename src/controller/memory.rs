//! What one visit leaves for the next: our last status write, and failures in a row. Losing it
//! (a restart) costs nothing but a repeated read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use super::service_account::Account;
use crate::api::{WorkloadIdentityBinding, WorkloadIdentityBindingStatus};
use crate::domain::ownership;

/// How long our last write on a ServiceAccount is kept: a watch that is later than that is broken, and
/// lists anew.
const ACCOUNTS_KEPT: Duration = Duration::from_mins(5);

/// Memory by uid of the binding, when Kubernetes was last in trouble, and what we last wrote on
/// ServiceAccounts, by uid.
#[derive(Default)]
pub(super) struct Memory(
    Mutex<HashMap<String, Entry>>,
    Mutex<Option<Instant>>,
    Mutex<HashMap<String, (Instant, Arc<Account>)>>,
);

#[derive(Default)]
struct Entry {
    /// resourceVersion and status of our last write.
    written: Option<(u64, WorkloadIdentityBindingStatus)>,
    failures: u32,
    /// Seen before it had a status, and not ready since.
    new: bool,
}

impl Memory {
    /// Brings an object of the watch up to our own last write, if the watch has not got there yet.
    ///
    /// Without it a visit right after a write would decide on a status that lacks it. The order of
    /// resourceVersions is defined since Kubernetes 1.35 and has always held for one object.
    ///
    /// A later status that no longer holds what we had on record was written by somebody else. What
    /// it lacks is put back, as something to take back unless it is wanted: otherwise whoever can
    /// write a status could keep, by wiping it, what an administrator revokes.
    pub fn refresh(&self, binding: &mut WorkloadIdentityBinding) {
        let seen = binding.resource_version().and_then(|v| v.parse::<u64>().ok());
        let uid = binding.uid().unwrap_or_default();
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(seen), Some((version, status))) =
            (seen, memory.get(&uid).and_then(|e| e.written.as_ref()))
            && seen < *version
        {
            binding.metadata.resource_version = Some(version.to_string());
            binding.status = Some(status.clone());
        } else if let Some((_, written)) = memory.get(&uid).and_then(|e| e.written.as_ref()) {
            let found = binding.status.get_or_insert_default();
            let known = ownership::remembered(found);
            let wiped = ownership::remembered(written);
            found
                .superseded
                .extend(wiped.into_iter().filter(|made| !known.contains(made)));
        }
    }

    /// Remembers a status write.
    pub fn wrote(&self, binding: &WorkloadIdentityBinding) {
        let version = binding.resource_version().and_then(|v| v.parse().ok());
        let (Some(version), Some(status), Some(uid)) = (version, binding.status.clone(), binding.uid())
        else {
            return;
        };
        self.with(uid, |entry| entry.written = Some((version, status)));
    }

    /// How often visits have failed in a row.
    pub fn failures(&self, uid: &str) -> u32 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .map_or(0, |e| e.failures)
    }

    /// Counts a failure.
    pub fn failed(&self, uid: &str) {
        self.with(uid.to_owned(), |entry| {
            entry.failures = entry.failures.saturating_add(1);
        });
    }

    /// The visit succeeded, or failed in a way that does not call for growing delays.
    pub fn settled(&self, uid: &str) {
        self.with(uid.to_owned(), |entry| entry.failures = 0);
    }

    /// The binding has no status: it is new, unless we have written one that somebody has wiped.
    pub fn is_new(&self, uid: &str) {
        self.with(uid.to_owned(), |entry| entry.new |= entry.written.is_none());
    }

    /// Whether a binding that is ready now was seen new, and is ready for the first time.
    pub fn ready_at_last(&self, uid: &str) -> bool {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory
            .get_mut(uid)
            .is_some_and(|entry| std::mem::take(&mut entry.new))
    }

    /// Remembers a write on a ServiceAccount.
    pub fn annotated(&self, account: Account) {
        let mut accounts = self.2.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|_, (at, _)| at.elapsed() < ACCOUNTS_KEPT);
        accounts.insert(
            account.uid().unwrap_or_default(),
            (Instant::now(), Arc::new(account)),
        );
    }

    /// The later of what the watch has seen and what we have written.
    pub fn latest(&self, seen: Arc<Account>) -> Arc<Account> {
        let version = |account: &Account| account.resource_version()?.parse::<u64>().ok();
        let accounts = self.2.lock().unwrap_or_else(PoisonError::into_inner);
        let written = accounts.get(&seen.uid().unwrap_or_default());
        written
            .filter(|(_, written)| version(written) > version(&seen))
            .map_or(seen, |(_, written)| written.clone())
    }

    /// Kubernetes failed a call, or took suspiciously long for one.
    pub fn trouble(&self) {
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether that is no longer ago than this.
    pub fn troubled_within(&self, time: Duration) -> bool {
        let trouble = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.is_some_and(|at| at.elapsed() < time)
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn with(&self, uid: String, change: impl FnOnce(&mut Entry)) {
        change(
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(uid)
                .or_default(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"identity":{"name":"web"},"serviceAccount":{"name":"web"}}"#;

    fn account(version: &str) -> Account {
        let mut account = Account::default();
        account.metadata.uid = Some("u".to_owned());
        account.metadata.resource_version = Some(version.to_owned());
        account
    }

    #[test]
    fn a_binding_is_new_once_and_not_when_its_status_was_wiped() {
        let memory = Memory::default();
        memory.is_new("u");
        memory.is_new("u");
        assert!(memory.ready_at_last("u"));
        assert!(!memory.ready_at_last("u"));
        let mut binding = WorkloadIdentityBinding::new("web", serde_json::from_str(SPEC).unwrap());
        binding.metadata.uid = Some("u".to_owned());
        binding.metadata.resource_version = Some("7".to_owned());
        binding.status = Some(WorkloadIdentityBindingStatus::default());
        memory.wrote(&binding);
        memory.is_new("u");
        assert!(!memory.ready_at_last("u"));
    }

    #[test]
    fn a_write_goes_before_what_the_watch_saw_earlier_and_not_later() {
        let memory = Memory::default();
        memory.annotated(account("7"));
        let latest = |version| memory.latest(Arc::new(account(version))).resource_version();
        assert_eq!(latest("5").as_deref(), Some("7"));
        assert_eq!(latest("9").as_deref(), Some("9"));
    }
}
