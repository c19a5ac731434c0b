//! Where reconciles are on their way.

use super::ControllerMetrics;

/// Where a reconcile is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassStage {
    /// It waits for a permit.
    Queued,
    /// It has a permit, and works.
    Working,
    /// It waits for Azure, without a permit.
    Azure,
}

/// The stage of one reconcile. Dropped, the reconcile is at none any more.
pub struct PassProgress<'a> {
    metrics: &'a ControllerMetrics,
    stage: PassStage,
}

impl<'a> PassProgress<'a> {
    /// Begins at a stage.
    pub fn new(metrics: &'a ControllerMetrics, stage: PassStage) -> Self {
        metrics.entered(stage);
        Self { metrics, stage }
    }

    /// Goes on to another.
    pub fn to(&mut self, stage: PassStage) {
        self.metrics.entered(stage);
        self.metrics.left(self.stage);
        self.stage = stage;
    }
}

impl Drop for PassProgress<'_> {
    fn drop(&mut self) {
        self.metrics.left(self.stage);
    }
}
