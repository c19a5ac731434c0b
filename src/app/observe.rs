//! Where the controller's and Azure's observers meet the metrics.

use std::time::Duration;

use crate::api::{Disposition, Reason};
use crate::azure::{self, AzureError, Operation};
use crate::controller;
use crate::runtime::metrics::Metrics;

/// Counts what it is told.
pub struct MetricsObserver(pub Metrics);

impl azure::Observer for MetricsObserver {
    fn called(&self, operation: Operation, took: Duration, error: Option<&AzureError>) {
        self.0.called(
            operation.as_str(),
            took,
            error.map_or("success", |e| e.fault.as_str()),
        );
        if let Some(error) = error {
            tracing::debug!(
                operation = operation.as_str(),
                fault = error.fault.as_str(),
                status = error.status,
                code = error.code,
                request_id = error.request_id,
                "call to Azure failed"
            );
        }
    }
}

impl controller::Observer for MetricsObserver {
    fn visited(&self, took: Duration, reason: Option<Reason>) {
        let failed = reason.is_some_and(|r| {
            matches!(
                r.disposition(),
                Disposition::RetrySoon | Disposition::RetrySlowly | Disposition::Stalled
            )
        });
        self.0.visited(took, reason.map(Reason::as_str), failed);
    }

    fn repaired(&self) {
        self.0.repaired();
    }
}
