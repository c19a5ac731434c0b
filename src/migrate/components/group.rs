//! Changes that are made together or not at all.

use crate::migrate::edit::Change;
use crate::migrate::model::Reference;
use crate::migrate::yaml::Mark;

/// Changes that are made together or not at all.
#[derive(Clone, Debug)]
pub struct Group {
    /// What they are about.
    pub subject: Reference,
    /// Kustomization that it was seen through.
    pub environment: Option<String>,
    /// Places and what is done there: the node of a value, the key of an entry, or the mapping or list to add to.
    pub edits: Vec<(Mark, Change)>,
    /// Workloads that have to switch together with it, in the same environment.
    pub with: Vec<Reference>,
    /// Why it cannot be done, and what a person is to do.
    pub blocked: Option<String>,
}

impl Group {
    /// Changes of something, or why there are none.
    pub fn of(
        subject: &Reference,
        environment: Option<String>,
        edits: Result<Vec<(Mark, Change)>, String>,
    ) -> Self {
        let (edits, blocked) = match edits {
            Ok(edits) => (edits, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        Self {
            subject: subject.clone(),
            environment,
            edits,
            with: Vec::new(),
            blocked,
        }
    }
}
