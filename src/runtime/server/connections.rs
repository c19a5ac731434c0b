//! The open connections, of which there is a limited number.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

/// Open connections, the oldest first.
///
/// At the limit a new connection replaces the oldest one. To refuse the new one instead would let
/// whoever holds all of them keep the kubelet out, which then restarts a healthy pod. A probe is
/// answered within milliseconds: to push it out, an attacker has to open as many connections as the
/// limit in that time. The oldest is the one to close, since whoever waits longest is the least
/// likely to ever complete its request.
pub(super) struct Connections {
    open: VecDeque<JoinHandle<()>>,
    limit: usize,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            open: VecDeque::with_capacity(limit),
            limit,
        }
    }

    /// Runs a connection, in place of the oldest one where the limit is reached.
    pub(super) async fn admit(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.open.retain(|task| !task.is_finished());
        let excess = (self.open.len() + 1).saturating_sub(self.limit);
        self.close_oldest(excess).await;
        self.open.push_back(tokio::spawn(connection));
    }

    /// Closes one, or the older half of them.
    pub(super) async fn close_older_half(&mut self) {
        self.open.retain(|task| !task.is_finished());
        self.close_oldest(self.open.len().div_ceil(2)).await;
    }

    /// Returns when they are closed, not merely told to: only then are their file descriptors and
    /// buffers free, so the limit holds however fast new connections come.
    async fn close_oldest(&mut self, count: usize) {
        let closing: Vec<_> = self.open.drain(..count).collect();
        closing.iter().for_each(JoinHandle::abort);
        for task in closing {
            // An error says that it was aborted.
            let _ = task.await;
        }
    }
}
