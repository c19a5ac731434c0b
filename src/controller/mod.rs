//! The controller: watches bindings, records, ServiceAccounts and grants, and keeps Azure in step.
//!
//! One direction: `controller` (watches) → `reconcile` and `identities` (a pass each, of a binding and
//! of a record) → `driver` (carries out what the pure core asks for) → status, events, requeue.

mod accounts;
mod authorize;
mod capacity;
mod confirm;
mod context;
#[allow(clippy::module_inception)]
mod controller;
mod driver;
mod events;
mod expectations;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identities;
mod index;
mod invalid;
mod issuers;
mod metrics;
mod object;
mod permit;
mod reconcile;
mod records;
mod revision;
mod service_account;
mod state_snapshot;
mod status;
mod subject;
mod watches;

pub use authorize::Authorization;
pub use context::{Clock, Parts, Retention, SystemClock, ThreadJitter};
pub use controller::run;
pub use issuers::IssuerFeed;
pub use metrics::{ControllerMetrics, Ended, PassStage};
pub use state_snapshot::{BindingState, StateSnapshot};
