//! What one pass leaves for the next: our last writes, until the watch has caught up with them, and failures
//! in a row. Losing it (a restart) costs nothing but a repeated read.
//!
//! A write is believed for as long as the watch can still bring it. A list that began after it had been
//! answered holds it, or storage does not: then it was restored from a backup that is older.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use super::service_account::AccountMeta;
use crate::api::{WorkloadIdentityBinding, WorkloadIdentityBindingStatus};

/// How long our last write on a ServiceAccount is kept: a watch that is later than that is broken, and
/// lists anew.
const ACCOUNTS_KEPT: Duration = Duration::from_mins(5);

/// By uid of the binding, when Kubernetes was last in trouble, and what we last wrote on ServiceAccounts,
/// by uid.
#[derive(Default)]
pub(super) struct Expectations {
    bindings: Mutex<HashMap<String, Expected>>,
    /// When the list of bindings began that is under way.
    listing: Mutex<Option<Instant>>,
    trouble: Mutex<Option<Instant>>,
    accounts: Mutex<HashMap<String, (Instant, Arc<AccountMeta>)>>,
    /// When the list of ServiceAccounts began that is under way.
    listing_accounts: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Expected {
    written: Option<StatusWrite>,
    failures: u32,
    /// Seen before it had a status, and not ready since.
    new: bool,
}

/// Our last write of a status.
struct StatusWrite {
    /// The resourceVersion that it made.
    version: u64,
    at: Instant,
    status: WorkloadIdentityBindingStatus,
}

impl Expectations {
    /// A list of bindings begins.
    pub fn listing(&self) {
        *lock(&self.listing) = Some(Instant::now());
    }

    /// The watch has shown a binding. Only what it shows is kept account of, so that a pass which ends after
    /// its binding leaves nothing behind.
    pub fn seen(&self, uid: &str) {
        lock(&self.bindings).entry(uid.to_owned()).or_default();
    }

    /// The binding is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.bindings).remove(uid);
    }

    /// The list of bindings is complete, and only these are left. What was written before it began, it has
    /// shown if storage holds it.
    pub fn listed(&self, uids: &HashSet<String>) {
        let began = lock(&self.listing).take();
        let mut bindings = lock(&self.bindings);
        bindings.retain(|uid, _| uids.contains(uid));
        for entry in bindings.values_mut() {
            if entry
                .written
                .as_ref()
                .is_some_and(|written| began > Some(written.at))
            {
                entry.written = None;
            }
        }
    }

    /// How many bindings account is kept of.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        lock(&self.bindings).len()
    }

    /// Brings an object of the watch up to our own last write, if the watch has not got there yet.
    ///
    /// Without it a pass right after a write would decide on a status that lacks it. The order of
    /// resourceVersions is defined since Kubernetes 1.35 and has always held for one object.
    pub fn refresh(&self, binding: &mut WorkloadIdentityBinding) {
        let seen = binding.resource_version().and_then(|v| v.parse::<u64>().ok());
        let bindings = lock(&self.bindings);
        let written = bindings
            .get(&binding.uid().unwrap_or_default())
            .and_then(|e| e.written.as_ref());
        if let (Some(seen), Some(written)) = (seen, written)
            && seen < written.version
        {
            binding.status = Some(written.status.clone());
        }
    }

    /// Remembers a status write, which made this version.
    pub fn wrote(&self, uid: &str, version: Option<&str>, status: &WorkloadIdentityBindingStatus) {
        if let Some(version) = version.and_then(|v| v.parse().ok()) {
            let written = StatusWrite {
                version,
                at: Instant::now(),
                status: status.clone(),
            };
            self.with(uid, |entry| entry.written = Some(written));
        }
    }

    /// How often passes have failed in a row.
    pub fn failures(&self, uid: &str) -> u32 {
        lock(&self.bindings).get(uid).map_or(0, |e| e.failures)
    }

    /// Counts a failure.
    pub fn failed(&self, uid: &str) {
        self.with(uid, |entry| entry.failures = entry.failures.saturating_add(1));
    }

    /// The pass succeeded, or failed in a way that does not call for growing delays.
    pub fn settled(&self, uid: &str) {
        self.with(uid, |entry| entry.failures = 0);
    }

    /// The binding has no status: it is new, unless we have written one that somebody has wiped.
    pub fn is_new(&self, uid: &str) {
        self.with(uid, |entry| entry.new |= entry.written.is_none());
    }

    /// Whether a binding that is ready now was seen new, and is ready for the first time.
    pub fn ready_at_last(&self, uid: &str) -> bool {
        let mut bindings = lock(&self.bindings);
        bindings
            .get_mut(uid)
            .is_some_and(|entry| std::mem::take(&mut entry.new))
    }

    /// Remembers a write on a ServiceAccount.
    pub fn annotated(&self, account: AccountMeta) {
        let mut accounts = lock(&self.accounts);
        accounts.retain(|_, (at, _)| at.elapsed() < ACCOUNTS_KEPT);
        accounts.insert(
            account.uid().unwrap_or_default(),
            (Instant::now(), Arc::new(account)),
        );
    }

    /// A list of ServiceAccounts begins.
    pub fn listing_accounts(&self) {
        *lock(&self.listing_accounts) = Some(Instant::now());
    }

    /// It is complete, and has shown what was written before it began if storage holds it.
    pub fn listed_accounts(&self) {
        if let Some(began) = lock(&self.listing_accounts).take() {
            lock(&self.accounts).retain(|_, (at, _)| *at >= began);
        }
    }

    /// The later of what the watch has seen and what we have written.
    pub fn latest(&self, seen: Arc<AccountMeta>) -> Arc<AccountMeta> {
        let version = |account: &AccountMeta| account.resource_version()?.parse::<u64>().ok();
        let accounts = lock(&self.accounts);
        let written = accounts.get(&seen.uid().unwrap_or_default());
        written
            .filter(|(_, written)| version(written) > version(&seen))
            .map_or(seen, |(_, written)| written.clone())
    }

    /// Kubernetes failed a call, or took suspiciously long for one.
    pub fn trouble(&self) {
        *lock(&self.trouble) = Some(Instant::now());
    }

    /// Whether that is no longer ago than this.
    pub fn troubled_within(&self, time: Duration) -> bool {
        lock(&self.trouble).is_some_and(|at| at.elapsed() < time)
    }

    fn with(&self, uid: &str, change: impl FnOnce(&mut Expected)) {
        if let Some(entry) = lock(&self.bindings).get_mut(uid) {
            change(entry);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(version: &str) -> AccountMeta {
        let mut account = AccountMeta::default();
        account.metadata.uid = Some("u".to_owned());
        account.metadata.resource_version = Some(version.to_owned());
        account
    }

    #[test]
    fn a_binding_is_new_once_and_not_when_its_status_was_wiped() {
        let expectations = Expectations::default();
        expectations.seen("u");
        expectations.is_new("u");
        expectations.is_new("u");
        assert!(expectations.ready_at_last("u"));
        assert!(!expectations.ready_at_last("u"));
        expectations.wrote("u", Some("7"), &WorkloadIdentityBindingStatus::default());
        expectations.is_new("u");
        assert!(!expectations.ready_at_last("u"));
    }

    #[test]
    fn a_pass_that_ends_after_its_binding_leaves_nothing_behind() {
        let expectations = Expectations::default();
        for n in 0..3_000 {
            let uid = n.to_string();
            expectations.seen(&uid);
            expectations.failed(&uid);
            expectations.forget(&uid);
            // What a pass does at its end, which may come after the watch's last word.
            expectations.wrote(&uid, Some("9"), &WorkloadIdentityBindingStatus::default());
            expectations.failed(&uid);
            expectations.settled(&uid);
            expectations.is_new(&uid);
        }
        assert_eq!(expectations.len(), 0);
    }

    #[test]
    fn a_write_goes_before_what_the_watch_saw_earlier_and_not_later() {
        let expectations = Expectations::default();
        expectations.annotated(account("7"));
        let latest = |version| expectations.latest(Arc::new(account(version))).resource_version();
        assert_eq!(latest("5").as_deref(), Some("7"));
        assert_eq!(latest("9").as_deref(), Some("9"));
    }

    fn status_seen(expectations: &Expectations, version: &str) -> Option<WorkloadIdentityBindingStatus> {
        let mut binding = WorkloadIdentityBinding::new(
            "web",
            serde_json::from_value(json!({
                "identity": { "name": "web" }, "serviceAccount": { "name": "web" },
            }))
            .unwrap(),
        );
        binding.metadata.uid = Some("u".to_owned());
        binding.metadata.resource_version = Some(version.to_owned());
        expectations.refresh(&mut binding);
        binding.status
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_began_after_a_write_knows_better() {
        let expectations = Expectations::default();
        let uids = HashSet::from(["u".to_owned()]);
        let status = WorkloadIdentityBindingStatus::default();
        let tick = || tokio::time::advance(Duration::from_secs(1));
        expectations.seen("u");

        expectations.listing();
        tick().await;
        expectations.wrote("u", Some("9"), &status);
        expectations.annotated(account("9"));
        expectations.listed(&uids);
        assert_eq!(
            status_seen(&expectations, "5"),
            Some(status.clone()),
            "the list had begun before"
        );

        tick().await;
        expectations.listing();
        assert_eq!(
            status_seen(&expectations, "5"),
            Some(status),
            "the list is not complete"
        );
        expectations.listed(&uids);
        assert_eq!(status_seen(&expectations, "5"), None);

        let latest = || expectations.latest(Arc::new(account("5"))).resource_version();
        assert_eq!(latest().as_deref(), Some("9"), "another list");
        expectations.listing_accounts();
        expectations.listed_accounts();
        assert_eq!(latest().as_deref(), Some("5"));
    }
}
