//! The ARM id of an identity, as far as it is known.

use std::fmt;

use crate::core::IdentityId;

/// The ARM id of an identity of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedId {
    /// It is known.
    Known(IdentityId),
    /// It is filled in later.
    Later {
        /// What stands for it.
        text: String,
        /// Name of the AzureIdentity.
        name: String,
    },
}

impl PlannedId {
    /// The id, if it is known.
    pub fn known(&self) -> Option<&IdentityId> {
        match self {
            Self::Known(id) => Some(id),
            Self::Later { .. } => None,
        }
    }

    /// What makes it the same as another one.
    pub fn key(&self) -> &str {
        match self {
            Self::Known(id) => id.key(),
            Self::Later { text, .. } => text,
        }
    }

    /// Name of the identity, or else of the AzureIdentity.
    pub fn name(&self) -> &str {
        match self {
            Self::Known(id) => id.name(),
            Self::Later { name, .. } => name,
        }
    }
}

impl fmt::Display for PlannedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(id) => id.fmt(f),
            Self::Later { text, .. } => text.fmt(f),
        }
    }
}
