//! The permit of a pass, which it gives back while it waits for Azure.

use std::sync::{Mutex, PoisonError};

use super::context::Context;
use super::metrics::{PassProgress, PassStage};
use crate::fairness::{Flow, Permit, Priority};

/// A pass that has a permit to work.
pub(super) struct Working<'a> {
    context: &'a Context,
    namespace: String,
    permit: Mutex<Option<Permit>>,
    progress: Mutex<PassProgress<'a>>,
}

impl<'a> Working<'a> {
    /// Begins to work.
    pub fn new(
        context: &'a Context,
        namespace: String,
        permit: Permit,
        mut progress: PassProgress<'a>,
    ) -> Self {
        progress.to(PassStage::Working);
        Self {
            context,
            namespace,
            permit: Mutex::new(Some(permit)),
            progress: Mutex::new(progress),
        }
    }

    /// Waits for Azure without holding a permit: passes that need only Kubernetes go on meanwhile.
    pub async fn without_permit<T>(&self, waiting: impl Future<Output = T>) -> T {
        self.now(PassStage::Azure);
        drop(self.swap(None));
        let result = waiting.await;
        self.now(PassStage::Queued);
        let again = self.context.permits.take(self.flow(Priority::Begun)).await;
        drop(self.swap(Some(again)));
        self.now(PassStage::Working);
        result
    }

    /// As whom it waits.
    pub fn flow(&self, priority: Priority) -> Flow<'_> {
        Flow {
            namespace: &self.namespace,
            priority,
        }
    }

    fn now(&self, stage: PassStage) {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .to(stage);
    }

    fn swap(&self, permit: Option<Permit>) -> Option<Permit> {
        let mut held = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, permit)
    }
}
