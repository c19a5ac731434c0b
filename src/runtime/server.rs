//! `/healthz`, `/readyz` and `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::readiness::Readiness;

/// Serves until the process ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, readiness: Readiness, metrics: Metrics) -> std::io::Result<()> {
    let app = Router::new()
        // Alive is whoever answers: a restart mends nothing that this process waits for.
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(exposition).with_state(metrics));
    axum::serve(listener, app).await
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.report() {
        Ok(does) => (StatusCode::OK, does.to_owned()),
        Err(pending) => (StatusCode::SERVICE_UNAVAILABLE, pending),
    }
}

async fn exposition(State(metrics): State<Metrics>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.exposition() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}
