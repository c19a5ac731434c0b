//! The rules of the domain, free of I/O: what a binding asks for, what is to be done about it, and
//! what is to be said of it.
//!
//! Data flows one way: [`desired`] → (observe) → [`plan`] → (act) → [`outcome`] → [`conditions`].
//! Nothing here takes a client or reads a clock.

pub mod annotations;
pub mod arm_id;
pub mod backoff;
pub mod conditions;
pub mod credential;
pub mod desired;
pub mod fault;
pub mod grant;
pub mod outcome;
pub mod ownership;
pub mod plan;
pub mod text;

pub use arm_id::IdentityId;
pub use credential::{Credential, Tuple};
pub use desired::{Defaults, Desired};
pub use fault::Fault;
pub use outcome::{Outcome, Verdict};

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
