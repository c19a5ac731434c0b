//! Tenants who patch an object of their own without end, as two controllers do that fight over a label.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde_json::Value;
use tokio::task::JoinSet;

use super::World;

/// Patches that go on until this is dropped.
pub struct Storm {
    landed: Arc<AtomicUsize>,
    _patchers: JoinSet<()>,
}

impl Storm {
    /// How many patches the API server has taken so far.
    pub fn landed(&self) -> usize {
        self.landed.load(Ordering::Relaxed)
    }
}

impl World {
    /// Lets that many patchers loose on a binding, and waits until they have changed it twenty times. Each patch is
    /// made of a number that counts up.
    pub async fn storm(
        &self,
        binding: &str,
        patchers: usize,
        patch: impl Fn(usize) -> Value + Clone + Send + Sync + 'static,
    ) -> Result<Storm> {
        let landed = Arc::new(AtomicUsize::new(0));
        let number = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..patchers {
            let (api, name, patch) = (self.bindings(), binding.to_owned(), patch.clone());
            let (landed, number) = (landed.clone(), number.clone());
            tasks.spawn(async move {
                loop {
                    let patch = Patch::Merge(patch(number.fetch_add(1, Ordering::Relaxed)));
                    // One that loses against the others is not tried again; the next one follows at once.
                    if api
                        .patch_metadata(&name, &PatchParams::default(), &patch)
                        .await
                        .is_ok()
                    {
                        landed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let storm = Storm {
            landed,
            _patchers: tasks,
        };
        self.until("the storm has begun", || storm.landed() >= 20).await?;
        Ok(storm)
    }
}
