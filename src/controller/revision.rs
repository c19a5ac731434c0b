//! Whether storage goes back.
//!
//! etcd that is restored from a backup holds older objects under versions that were given before. An API
//! server takes a watch that begins at a version which storage has not reached yet without a word: nothing
//! comes until it has, and what happened meanwhile never does. So the newest version that storage is known
//! to have reached is kept, and whatever is answered from storage is compared with it.
//!
//! Versions of bindings and records alone are compared: they are custom resources, which lie in one storage.
//! `--etcd-servers-overrides` of the API server can put others elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::context::Context;
use crate::api::WorkloadIdentityBinding;
use crate::core::text;

/// How often storage is asked for its version.
const PROBE: Duration = Duration::from_secs(15);

/// For so long after storage has gone back, an object that was seen in a newer version says nothing more: all
/// passes that had begun before have ended by then.
const TOLD_FOR: Duration = Duration::from_mins(5);

/// The newest version that storage is known to have reached.
pub(super) struct StorageRevision {
    known: Mutex<Known>,
    restores: watch::Sender<u64>,
    count: Box<dyn Fn() + Send + Sync>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    newest: u64,
    /// How often storage has gone back.
    restores: u64,
    /// When that was noticed last.
    noticed: Option<Instant>,
}

/// What was known when a call began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before(Known);

impl StorageRevision {
    /// Nothing is known yet. `count` is called whenever storage has gone back.
    pub fn new(count: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            known: Mutex::default(),
            restores: watch::Sender::default(),
            count: Box::new(count),
        }
    }

    /// A call begins that is answered from storage.
    pub fn begin(&self) -> Before {
        Before(*self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A write has made this version. It tells nothing of its own: one that changes nothing is answered with
    /// the version that the object had before.
    pub fn wrote(&self, before: Before, version: Option<&str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = number(version)
            && known.restores == before.0.restores
        {
            known.newest = known.newest.max(version);
        }
    }

    /// The version that a list from storage carries. Answers whether storage has gone back since the call
    /// began.
    pub fn listed(&self, before: Before, version: Option<&str>) -> bool {
        let Some(version) = number(version) else {
            return false;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Of the calls that were under way then, the first one tells.
        if known.restores != before.0.restores {
            return false;
        }
        if version >= before.0.newest {
            known.newest = known.newest.max(version);
            return false;
        }
        let newest = known.newest;
        self.went_back(&mut known, version);
        drop(known);
        warn!(
            version,
            newest,
            "the storage of Kubernetes has gone back to an older version, as when etcd is restored from a backup: everything is listed anew"
        );
        true
    }

    /// Storage holds an object in an older version than one that was seen of the same object.
    pub fn is_older(&self, seen: Option<&str>, stored: Option<&str>) -> bool {
        let (Some(seen), Some(stored)) = (number(seen), number(stored)) else {
            return false;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // What was seen before the last time may still be on its way.
        let is_told = known.noticed.is_some_and(|at| at.elapsed() < TOLD_FOR);
        if stored >= seen || is_told {
            return false;
        }
        self.went_back(&mut known, stored);
        drop(known);
        warn!(
            seen,
            stored,
            "the storage of Kubernetes holds an older version of an object than it did before, as when etcd is restored from a backup: everything is listed anew"
        );
        true
    }

    fn went_back(&self, known: &mut Known, version: u64) {
        known.newest = version;
        known.restores += 1;
        known.noticed = Some(Instant::now());
        (self.count)();
        self.restores.send_replace(known.restores);
    }

    /// Changes whenever storage has gone back: what was read before is no longer so.
    pub fn restores(&self) -> watch::Receiver<u64> {
        self.restores.subscribe()
    }
}

/// Asks storage for its version, again and again. Never ends.
pub(super) async fn probe(context: Arc<Context>) {
    let api: Api<WorkloadIdentityBinding> = match &context.parts.namespace {
        Some(namespace) => Api::namespaced(context.parts.client.clone(), namespace),
        None => Api::all(context.parts.client.clone()),
    };
    let params = ListParams::default().limit(1);
    loop {
        tokio::time::sleep(PROBE).await;
        context.records.put_back().await;
        let before = context.revision.begin();
        match api.list_metadata(&params).await {
            Ok(list) => {
                context
                    .revision
                    .listed(before, list.metadata.resource_version.as_deref());
            }
            // Whoever needs Kubernetes says that it is not there.
            Err(error) => debug!("the version of storage is not known: {}", text::cause(&error)),
        }
    }
}

/// Versions are numbers that grow since Kubernetes 1.35, and have always been with etcd.
fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restores(revision: &StorageRevision) -> u64 {
        *revision.restores().borrow()
    }

    #[test]
    fn an_answer_older_than_what_was_known_when_the_call_began_tells() {
        let revision = StorageRevision::new(|| {});
        assert!(!revision.listed(revision.begin(), Some("900")));
        assert!(
            !revision.listed(revision.begin(), Some("900")),
            "nothing was written"
        );
        assert!(!revision.listed(revision.begin(), Some("1000")), "as a number");
        assert!(revision.listed(revision.begin(), Some("930")));
        assert_eq!(restores(&revision), 1);
        assert!(
            !revision.listed(revision.begin(), Some("931")),
            "that is the way it is now"
        );
        assert_eq!(restores(&revision), 1);
    }

    #[test]
    fn a_write_that_changes_nothing_tells_nothing() {
        let revision = StorageRevision::new(|| {});
        revision.wrote(revision.begin(), Some("900"));
        revision.wrote(revision.begin(), Some("100"));
        assert_eq!(restores(&revision), 0);
        assert!(revision.listed(revision.begin(), Some("899")));
        assert_eq!(restores(&revision), 1);
    }

    #[test]
    fn an_answer_that_was_long_on_its_way_tells_nothing() {
        let revision = StorageRevision::new(|| {});
        let before = revision.begin();
        assert!(!revision.listed(revision.begin(), Some("20")));
        assert!(!revision.listed(before, Some("10")), "written before the other");
        assert!(!revision.listed(revision.begin(), Some("20")));
        assert_eq!(restores(&revision), 0);
    }

    #[test]
    fn all_calls_that_were_under_way_tell_it_once() {
        let revision = StorageRevision::new(|| {});
        revision.listed(revision.begin(), Some("900"));
        let (one, two) = (revision.begin(), revision.begin());
        assert!(revision.listed(one, Some("100")));
        assert!(!revision.listed(two, Some("101")));
        assert!(revision.listed(revision.begin(), Some("90")), "once more");
        assert_eq!(restores(&revision), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_older_in_storage_than_it_was_tells() {
        let revision = StorageRevision::new(|| {});
        assert!(!revision.is_older(Some("7"), Some("7")));
        assert!(!revision.is_older(Some("7"), Some("10")));
        assert!(revision.is_older(Some("10"), Some("7")));
        assert!(!revision.is_older(Some("12"), Some("8")), "seen before that");
        assert_eq!(restores(&revision), 1);
        tokio::time::advance(TOLD_FOR).await;
        assert!(revision.is_older(Some("12"), Some("8")));
    }

    #[test]
    fn versions_that_are_no_numbers_tell_nothing() {
        let revision = StorageRevision::new(|| {});
        for version in [None, Some(""), Some("a7")] {
            assert!(!revision.listed(revision.begin(), version));
            assert!(!revision.is_older(Some("9"), version) && !revision.is_older(version, Some("9")));
        }
        assert_eq!(restores(&revision), 0);
    }
}
