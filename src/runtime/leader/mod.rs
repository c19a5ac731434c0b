//! Leader election: one replica works, the others stand by.
//!
//! Leadership is a [`Claim`] with an end, renewed by writes to a Lease object, and asked for at the
//! moment of every write ([`fence`]). Without news it ends by itself: a leader that is cut off,
//! paused or slow stops writing before anybody else may begin.
//!
//! # Guarantees
//! - The end of an own claim is counted on the monotonic clock, from before the request was sent,
//!   and comes a tenth of the lease's duration before others may take the lease.
//! - Another's claim has run out only when its lease was not changed for its whole duration, as
//!   seen here. Clocks of different machines are never compared.
//! - Every write of the lease carries the version that was read, so it changes nothing that was
//!   not seen; another holder is never cleared.
//! - A process that has lost its claim never gets it back: it ends, and starts anew as a standby.

mod claim;
mod election;
pub mod fence;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use claim::{Claim, Leadership};
pub use election::{Election, Lost};
pub use record::LONGEST;

/// How to take part in the election.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who asks, unique to this process: a container that was started again under the same name
    /// must not take the claim of its predecessor, whose last write may be under way, for its own.
    pub identity: String,
    /// How long others keep off the lease after each renewal. Whole seconds.
    pub duration: Duration,
}

impl Settings {
    /// Time between two renewals: a claim outlives two that fail.
    pub fn renew_interval(&self) -> Duration {
        self.duration / 3
    }

    /// Deadline of one call: short, so that several fit into a claim.
    pub fn call_deadline(&self) -> Duration {
        self.duration / 5
    }

    /// How long an own claim lasts: a tenth less than others keep off. The rest is for clocks that
    /// run at different speeds, and for a last write that is still on its way.
    pub fn claim(&self) -> Duration {
        self.duration / 10 * 9
    }
}
