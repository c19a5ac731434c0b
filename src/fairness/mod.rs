//! Taking turns, fairly between namespaces: one tenant's thousands must not starve another's one.
//!
//! Used wherever many wait for little: visits of bindings, the writer of an identity, and Azure's
//! requests per second.

mod queue;
mod semaphore;

pub use queue::Queue;
pub use semaphore::{FairSemaphore, Permit};

/// Who waits.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// Namespaces take turns.
    pub namespace: &'a str,
    /// Who goes first.
    pub priority: Priority,
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// What takes trust back: before everything else, whatever the namespace.
    First,
    /// What has begun already: before the rest of its namespace.
    Begun,
    /// Everything else.
    Usual,
}
