//! One request on its way through the emulator.

use std::sync::Arc;

use hyper::header::HeaderMap;
use jiff::Timestamp;

use crate::arm::{ArmError, Target};
use crate::entra::EntraTarget;
use crate::journal::Entry;
use crate::knobs::Knobs;
use crate::operation::Operation;
use crate::rbac::Caller;
use crate::shared::Shared;

/// One request, ready to be answered.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) operation: Operation,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) caller: Result<Caller, ArmError>,
    pub(crate) knobs: Knobs,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) entry: u64,
}

impl Call {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.now()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Entry)) {
        self.shared.journal.update(self.entry, change);
    }

    /// Spends the operation's latency.
    pub(crate) async fn take_time(&self) {
        let latency = self.knobs.latency.for_operation(self.operation);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }
}

/// Who answers.
pub(crate) enum Route {
    Arm(Target),
    Entra(EntraTarget),
}

impl Route {
    pub(crate) fn parse(path: &str) -> Self {
        let first = path
            .split('/')
            .find(|segment| !segment.is_empty())
            .unwrap_or_default();
        let arm = ["subscriptions", "tenants", "metadata", "providers"];
        if arm.iter().any(|known| known.eq_ignore_ascii_case(first)) {
            Self::Arm(Target::parse(path))
        } else {
            Self::Entra(EntraTarget::parse(path))
        }
    }
}
