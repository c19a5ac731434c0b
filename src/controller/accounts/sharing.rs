//! Many bindings may share a ServiceAccount: one of them writes on it, and none tells what has passed within a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::super::index::Key;

/// A ServiceAccount that is gone for no longer was made again, as Helm's hooks do it: all bindings that share it
/// would say that it is missing, and take that back.
pub const MADE_AGAIN_WITHIN: Duration = Duration::from_secs(1);

/// ServiceAccounts that have just been deleted, and when.
#[derive(Default)]
pub struct JustDeleted(Mutex<HashMap<Key, Instant>>);

impl JustDeleted {
    /// One has been deleted.
    pub fn begin(&self, key: Key) -> Instant {
        let at = Instant::now();
        self.lock().insert(key, at);
        at
    }

    /// That was so long ago that it is missed. It may have been made and deleted again.
    pub fn end(&self, key: &Key, deletion: Instant) {
        let mut all = self.lock();
        if all.get(key) == Some(&deletion) {
            all.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait until it is missed.
    pub fn left(&self, namespace: &str, name: &str) -> Option<Duration> {
        let at = self
            .lock()
            .get(&(namespace.to_owned(), name.to_owned()))
            .copied()?;
        let left = MADE_AGAIN_WITHIN.saturating_sub(at.elapsed());
        (!left.is_zero()).then_some(left)
    }
}

/// The ServiceAccounts that are being annotated, one binding at a time: of thirty that share one, the first
/// writes, and the others find it done.
#[derive(Default)]
pub struct Annotating(Mutex<HashMap<Key, Weak<Turn>>>);

/// Held by the binding whose turn it is.
type Turn = tokio::sync::Mutex<()>;

impl Annotating {
    pub fn of(&self, namespace: &str, name: &str) -> Arc<Turn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, lock| lock.strong_count() > 0);
        let key = (namespace.to_owned(), name.to_owned());
        let known = all.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let lock = Arc::new(Turn::new(()));
            all.insert(key, Arc::downgrade(&lock));
            lock
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("shop".to_owned(), "web".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_just_deleted_is_missed_after_a_moment() {
        let deleted = JustDeleted::default();
        assert_eq!(deleted.left("shop", "web"), None);
        let first = deleted.begin(key());
        tokio::time::advance(MADE_AGAIN_WITHIN / 2).await;
        assert_eq!(deleted.left("shop", "web"), Some(MADE_AGAIN_WITHIN / 2));
        assert_eq!(deleted.left("shop", "api"), None);
        let second = deleted.begin(key());
        deleted.end(&key(), first);
        assert_eq!(
            deleted.left("shop", "web"),
            Some(MADE_AGAIN_WITHIN),
            "deleted again"
        );
        deleted.end(&key(), second);
        assert_eq!(deleted.left("shop", "web"), None);
    }

    #[tokio::test]
    async fn those_who_share_one_take_turns_and_nothing_is_kept() {
        let annotating = Annotating::default();
        let turn = annotating.of("shop", "web");
        let held = turn.lock().await;
        assert!(annotating.of("shop", "web").try_lock().is_err());
        assert!(annotating.of("shop", "api").try_lock().is_ok());
        drop(held);
        drop(turn);
        drop(annotating.of("shop", "zoo"));
        assert_eq!(annotating.0.lock().unwrap().len(), 1);
    }
}
