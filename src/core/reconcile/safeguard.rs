//! The two rules of a pass that no step is trusted with.

use std::collections::BTreeSet;

use super::{Answer, Effect, Known, Subject};
use crate::api::RecordedCredential;
use crate::core::IdentityId;
use crate::core::record::Change;

/// Watches over the effects of one pass and refuses a write in Azure that came too early.
///
/// - **A consistent read comes before the first write.** Watches and reviews are answered from memory,
///   also by an API server that is cut off from its storage and has missed a deletion or a revocation.
/// - **The record comes before the credential.** A crash right after the write then leaves something that
///   the next leader finds.
///
/// Whoever carries effects out (the driver, and the explorer of the tests) asks here before each effect
/// and tells what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Safeguard {
    confirmed: bool,
    recorded: BTreeSet<(String, String)>,
    pending: Vec<(String, String)>,
}

/// A write that came too early. It is a defect of the operator, and the write is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// Nothing was read from storage in this pass.
    #[error("a write in Azure before a consistent read of Kubernetes")]
    NotConfirmed,
    /// The credential is not on record.
    #[error("credential {0} was about to be written or deleted without being on record")]
    NotRecorded(String),
}

impl Safeguard {
    /// For a pass that begins with these entries on record on this identity.
    pub fn new<'a>(recorded: impl IntoIterator<Item = (&'a IdentityId, &'a RecordedCredential)>) -> Self {
        let recorded = recorded.into_iter();
        Self {
            recorded: recorded
                .map(|(identity, entry)| (identity.key().to_owned(), entry.name.clone()))
                .collect(),
            ..Self::default()
        }
    }

    /// For the pass of a binding. It writes on the identity of its spec; what it has taken back anywhere is
    /// taken back by a [`RevocationPass`](super::RevocationPass) with a safeguard of its own.
    pub fn of_binding(subject: &Subject, known: &Known) -> Self {
        let desired = subject.desired.iter();
        let recorded = desired.flat_map(|desired| {
            let entries = known.recorded.iter();
            entries.map(|entry| (&desired.identity, entry))
        });
        Self::new(recorded)
    }

    /// Whether an effect may be carried out.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn check(&mut self, effect: &Effect) -> Result<(), Unsafe> {
        self.pending.clear();
        let on_record = |identity: &IdentityId, name: &String| {
            self.recorded.contains(&(identity.key().to_owned(), name.clone()))
        };
        match effect {
            Effect::Write(identity, input, _) => {
                let name = &input.credential.name;
                // What is adopted needs no record: a plan that writes nothing is no danger, and one that
                // writes puts exactly this credential.
                if !on_record(identity, name) {
                    return Err(Unsafe::NotRecorded(name.clone()));
                }
                self.is_confirmed()
            }
            Effect::Delete(identity, names) => {
                if let Some(name) = names.iter().find(|name| !on_record(identity, name)) {
                    return Err(Unsafe::NotRecorded((*name).clone()));
                }
                self.is_confirmed()
            }
            Effect::Record(identity, changes) => {
                let written = changes.iter().filter_map(|change| match change {
                    Change::Want { credential, .. } | Change::Found(credential) => {
                        Some((identity.key().to_owned(), credential.name.clone()))
                    }
                    _ => None,
                });
                self.pending.extend(written);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes in what came of the last effect that was checked.
    pub fn learn(&mut self, answer: &Answer) {
        match answer {
            Answer::Confirmed { .. } => self.confirmed = true,
            Answer::Done => self.recorded.extend(self.pending.drain(..)),
            _ => self.pending.clear(),
        }
    }

    fn is_confirmed(&self) -> Result<(), Unsafe> {
        if self.confirmed {
            Ok(())
        } else {
            Err(Unsafe::NotConfirmed)
        }
    }
}
