//! The rules of the domain, free of I/O: what a binding asks for, what is to be done about it, and
//! what is to be said of it.
//!
//! Data flows one way: [`desired`] → (observe) → [`plan`] → (act) → [`outcome`] → [`conditions`]. The order
//! of the calls in between is a pure function as well: [`reconcile`].
//! Nothing here takes a client or reads a clock.

pub mod annotations;
pub mod arm_id;
pub mod backoff;
pub mod conditions;
pub mod credential;
pub mod desired;
#[cfg(test)]
mod explorer;
pub mod fault;
pub mod grant;
pub mod holdings;
pub mod identity;
pub mod issuers;
pub mod outcome;
pub mod ownership;
pub mod plan;
pub mod reconcile;
pub mod record;
pub mod text;

pub use arm_id::IdentityId;
pub use credential::{Credential, Tuple};
pub use desired::{Defaults, Desired};
pub use fault::Fault;
pub use holdings::Holdings;
pub use identity::{Identity, Snapshot};
pub use outcome::{ConditionState, Outcome};

#[cfg(test)]
mod properties;
