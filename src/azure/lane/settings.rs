//! How a lane treats what it has read and written.

use std::time::Duration;

/// How a lane treats what it has read and written.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// How long a list that lacks our own write is taken for stale rather than for drift: Azure
    /// may answer a read right after a write with the state before it.
    pub grace: Duration,
    /// How long a failed read is the answer for everybody who asks.
    pub share_failure: Duration,
    /// After how long without use a lane is forgotten.
    pub idle: Duration,
    /// Longest rest of the writer after another client was writing at the same moment. The first
    /// rest is up to a 60th of it.
    pub longest_rest: Duration,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            grace: Duration::from_mins(2),
            share_failure: Duration::from_secs(1),
            idle: Duration::from_hours(1),
            longest_rest: Duration::from_mins(1),
        }
    }
}
