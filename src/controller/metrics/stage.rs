//! Where reconciles are on their way.

use super::ControllerMetrics;

/// Where a reconcile is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a permit.
    Queued,
    /// It has a permit, and works.
    Working,
    /// It waits for Azure, without a permit.
    Azure,
}

/// The stage of one reconcile. Dropped, the reconcile is at none any more.
pub struct Progress<'a> {
    metrics: &'a ControllerMetrics,
    stage: Stage,
}

impl<'a> Progress<'a> {
    /// Begins at a stage.
    pub fn new(metrics: &'a ControllerMetrics, stage: Stage) -> Self {
        metrics.entered(stage);
        Self { metrics, stage }
    }

    /// Goes on to another.
    pub fn to(&mut self, stage: Stage) {
        self.metrics.entered(stage);
        self.metrics.left(self.stage);
        self.stage = stage;
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.metrics.left(self.stage);
    }
}
