//! What a lane knows of its identity. No I/O.

use std::time::Duration;

use tokio::time::Instant;

use crate::azure::AzureError;
use crate::core::plan::{self, Step};
use crate::core::{Fault, Holdings, Identity};

/// An answer of Azure, or its refusal, and when it came.
type LastAnswer<T> = Option<(Instant, Result<T, AzureError>)>;

/// How old an answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// One that says something.
    pub answer: Duration,
    /// A failure: it is the answer for everybody who asks within this time.
    pub failure: Duration,
}

/// How long a delete is remembered: longer than a clean-up is repeated at short intervals.
const DELETES_KEPT: Duration = Duration::from_hours(1);

#[derive(Default)]
pub struct LaneView {
    identity: LastAnswer<Identity>,
    credentials: LastAnswer<Holdings>,
    /// How many there were when that was last known.
    held: Option<usize>,
    /// How many entries could not be read when that was last told.
    told_unreadable: usize,
    /// Our own writes, for as long as a list may not show them.
    recent: Vec<(Instant, Step)>,
    /// Names of our deletes that are done as soon as no list shows them: Azure has confirmed them, or
    /// a list had shown the credential before.
    deletes: Vec<(Instant, String)>,
}

impl LaneView {
    /// The identity, if it was read recently enough.
    pub fn identity(&self, fresh: Freshness) -> Option<Result<Identity, AzureError>> {
        known(self.identity.as_ref(), fresh)
    }

    /// Its credentials, if they were read recently enough.
    pub fn credentials(&self, fresh: Freshness) -> Option<Result<Holdings, AzureError>> {
        known(self.credentials.as_ref(), fresh)
    }

    /// How many credentials there are, as far as is known.
    pub fn held(&self) -> Option<usize> {
        self.held
    }

    /// How many entries of the last list could not be read, if that has changed since it was last asked.
    pub fn newly_unreadable(&mut self) -> Option<usize> {
        let (_, answer) = self.credentials.as_ref()?;
        let now = answer.as_ref().ok()?.unreadable.len();
        (std::mem::replace(&mut self.told_unreadable, now) != now).then_some(now)
    }

    /// How many entries could not be read when that was last told.
    #[cfg(test)]
    pub fn told_unreadable(&self) -> usize {
        self.told_unreadable
    }

    /// The time since the older of the two was read.
    pub fn age(&self) -> Duration {
        let read = [at(self.identity.as_ref()), at(self.credentials.as_ref())];
        let age = read.into_iter().flatten().map(|at| at.elapsed()).max();
        age.unwrap_or_default()
    }

    /// Takes in how a GET ended, and answers what those are told who ask within `share`.
    pub fn read_identity(
        &mut self,
        answer: Result<Identity, AzureError>,
        share: Duration,
    ) -> Result<Identity, AzureError> {
        let before = self.identity.as_ref().and_then(|(_, known)| known.as_ref().ok());
        if let (Some(before), Ok(now)) = (before, &answer)
            && before != now
        {
            // Deleted and made again: it holds none of what the old one held.
            self.credentials = None;
            self.recent.clear();
        }
        if let Err(error) = &answer {
            self.note(error);
        }
        self.identity = Some((Instant::now(), answer.clone()));
        answer.map_err(|error| shared(&error, Duration::ZERO, share))
    }

    /// Takes in how a LIST ended, and answers what those are told who ask within `share`: with our
    /// own last writes over it, since the list may be older than they are.
    pub fn read_credentials(
        &mut self,
        mut answer: Result<Holdings, AzureError>,
        grace: Duration,
        share: Duration,
    ) -> Result<Holdings, AzureError> {
        match &mut answer {
            Ok(found) => {
                self.recent.retain(|(at, _)| at.elapsed() < grace);
                for (_, step) in &self.recent {
                    plan::apply(found, step);
                }
                self.held = Some(found.len());
            }
            Err(error) => self.note(error),
        }
        self.credentials = Some((Instant::now(), answer.clone()));
        answer.map_err(|error| shared(&error, Duration::ZERO, share))
    }

    /// Whether the step deletes what we have deleted already. A clean-up that is repeated, because
    /// Kubernetes failed its end or an answer of Azure was lost, writes nothing more.
    ///
    /// What no list ever showed may be a write that is still on its way: only an answer ends that.
    pub fn has_deleted(&self, step: &Step, held: &Holdings) -> bool {
        let Step::Delete(name) = step else { return false };
        self.deletes.iter().any(|(_, sent)| sent == name) && held.named(name).is_none()
    }

    /// A write begins. Until it ends, and if nobody ever hears how, nothing is known.
    pub fn begin_write(&mut self, step: &Step, held: &Holdings) -> Option<Instant> {
        let name = match step {
            Step::Put(credential) => &credential.name,
            Step::Delete(name) => name,
        };
        self.deletes
            .retain(|(at, sent)| sent != name && at.elapsed() < DELETES_KEPT);
        if matches!(step, Step::Delete(_)) && held.named(name).is_some() {
            self.deletes.push((Instant::now(), name.clone()));
        }
        let read_at = at(self.credentials.as_ref());
        self.credentials = None;
        read_at
    }

    /// A write has ended. `held` is what the identity held before it.
    pub fn end_write(
        &mut self,
        step: &Step,
        held: &mut Holdings,
        read_at: Option<Instant>,
        result: Result<(), &AzureError>,
        grace: Duration,
    ) {
        match result {
            Ok(()) => {
                plan::apply(held, step);
                self.held = Some(held.len());
                self.recent.retain(|(at, _)| at.elapsed() < grace);
                self.recent.push((Instant::now(), step.clone()));
                if let Step::Delete(name) = step {
                    self.deletes.push((Instant::now(), name.clone()));
                }
            }
            // The answer says that what was known is wrong, or leaves it open.
            Err(error) if error.fault.leaves_write_open() => return,
            Err(error) => {
                self.note(error);
                // Refused: nothing was deleted.
                let refused = |sent: &String| *step == Step::Delete(sent.clone());
                self.deletes.retain(|(_, sent)| !refused(sent));
            }
        }
        self.credentials = Some((read_at.unwrap_or_else(Instant::now), Ok(held.clone())));
    }

    fn note(&mut self, error: &AzureError) {
        if matches!(error.fault, Fault::IdentityGone | Fault::ResourceGroupGone) {
            self.recent.clear();
            self.held = None;
        }
    }
}

fn at<T>(answer: Option<&(Instant, Result<T, AzureError>)>) -> Option<Instant> {
    answer.map(|(at, _)| *at)
}

fn known<T: Clone>(
    answer: Option<&(Instant, Result<T, AzureError>)>,
    fresh: Freshness,
) -> Option<Result<T, AzureError>> {
    let (at, result) = answer?;
    let age = at.elapsed();
    match result {
        Ok(answer) => (age <= fresh.answer).then(|| Ok(answer.clone())),
        Err(error) => (age <= fresh.failure).then(|| Err(shared(error, age, fresh.failure))),
    }
}

/// Whoever meets a failure comes back when Azure is asked again: one failure must not count twice.
fn shared(error: &AzureError, age: Duration, share: Duration) -> AzureError {
    let asked = error.retry_after.unwrap_or_default().saturating_sub(age);
    AzureError {
        retry_after: Some(asked.max(share.saturating_sub(age))),
        ..error.clone()
    }
}
