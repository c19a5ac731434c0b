//! Why a visit of a binding ended before its end.

use std::time::Duration;

use crate::api::Reason;

/// Longest visit. It is no measure of Azure's pace, whose waits have bounds of their own, but keeps
/// one that hangs from hanging for ever.
pub(super) const DEADLINE: Duration = Duration::from_mins(5);

/// Why a visit ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kubernetes refused or failed a call.
    #[error("cannot {what}: {source}")]
    Kube {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The object changed while we worked on it. The watch brings the new one.
    #[error("the object has changed meanwhile")]
    Outdated,
    /// Trust could not be taken back yet; the object stays until it is.
    #[error("not cleaned up yet: {message}")]
    Remains {
        /// Why.
        reason: Reason,
        /// In words.
        message: String,
        /// How long the other side wants to be left alone.
        wait: Option<Duration>,
    },
    /// The finalizer could not be set or removed.
    #[error("cannot {0} the finalizer")]
    Finalizer(&'static str, #[source] Option<Box<kube::Error>>),
    /// The visit took too long.
    #[error("the visit took longer than {}s", DEADLINE.as_secs())]
    Deadline,
}

impl Error {
    /// A failed call of Kubernetes.
    pub(super) fn kube(what: &'static str, source: kube::Error) -> Self {
        Self::Kube {
            what,
            source: Box::new(source),
        }
    }

    /// The reason that reports it; none for what the watch mends by itself.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Outdated => None,
            Self::Remains { reason, .. } => Some(*reason),
            Self::Kube { .. } | Self::Finalizer(..) | Self::Deadline => Some(Reason::KubernetesUnavailable),
        }
    }
}
