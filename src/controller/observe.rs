//! What the controller tells of itself.

use std::time::Duration;

use super::census::Census;
use crate::api::Reason;

/// Where a visit is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Queued,
    /// It has a turn, and works.
    Working,
    /// It waits for Azure, without a turn.
    Azure,
}

/// How a visit has ended, whatever it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing to come back for until something changes.
    AwaitsChange,
    /// The next visit has its time.
    ComesBack,
    /// Another change came in between: it is repeated.
    Outdated,
    /// It took too long.
    TimedOut,
}

/// Told of what the controller does: metrics, and nothing else, hang here.
pub trait Observer: Send + Sync {
    /// All bindings are known, and can be counted from now on.
    fn listed(&self, census: Census);
    /// How many visits may work at the same time.
    fn limited(&self, visits: u16);
    /// A visit is wanted.
    fn added(&self);
    /// One visit more is at this stage.
    fn entered(&self, stage: Stage);
    /// One visit less is at this stage.
    fn left(&self, stage: Stage);
    /// A visit begins, after it has waited for so long.
    fn began(&self, waited: Duration);
    /// A visit has ended, with this reason under `Ready`; `None` when it failed before it had one.
    fn visited(&self, took: Duration, reason: Option<Reason>, ended: Ended);
    /// A new binding is ready for the first time, so long after its creation.
    fn ready_after(&self, time: Duration);
    /// A credential that we had made was missing or changed, and was put right.
    fn repaired(&self);
}

/// The stage of one visit. Dropped, the visit is at none any more.
pub(super) struct Progress<'a> {
    observer: &'a dyn Observer,
    stage: Stage,
}

impl<'a> Progress<'a> {
    /// Begins at a stage.
    pub fn new(observer: &'a dyn Observer, stage: Stage) -> Self {
        observer.entered(stage);
        Self { observer, stage }
    }

    /// Goes on to another.
    pub fn to(&mut self, stage: Stage) {
        self.observer.entered(stage);
        self.observer.left(self.stage);
        self.stage = stage;
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.observer.left(self.stage);
    }
}
