//! The controller: watches bindings, ServiceAccounts and grants, and keeps Azure in step.
//!
//! One direction, and each step a file:
//! `watch` → desired (pure) → `authorize` → observe (lane) → plan (pure) → act (lane) → outcome
//! (pure) → `status`, `events`, requeue.

mod annotate;
mod authorize;
mod census;
mod cleanup;
mod confirm;
mod context;
mod error;
mod events;
mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod index;
mod memory;
mod observe;
mod reconcile;
mod revoke;
mod service_account;
mod slots;
mod status;
mod triggers;
mod trust;
mod undecodable;
mod visit;
mod watches;

pub use authorize::Authorization;
pub use census::{Census, Standing};
pub use context::{Clock, Parts, SystemClock, ThreadJitter};
pub use observe::{Ended, Observer, Stage};
pub use triggers::run;
