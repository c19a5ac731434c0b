//! No change in Kubernetes without a claim: a layer of the client, so that no call can forget it.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::Leadership;

/// Least time that must be left to begin a change: a healthy API server answers in far less.
const NEEDED: Duration = Duration::from_millis(500);

/// The call was not made, or given up when the claim ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "this operator does not lead, or its claim has run out: nothing is changed without a claim on the lease"
)]
pub struct NotLeading;

/// Lets everything but reads through only under a claim, and for no longer than it lasts.
///
/// Reviews, which change nothing, are stopped too: a rule without exceptions cannot be got wrong,
/// and who does not lead has nothing to review.
#[derive(Clone, Debug)]
pub struct FenceLayer(pub Leadership);

impl<S> Layer<S> for FenceLayer {
    type Service = FencedService<S>;

    fn layer(&self, inner: S) -> FencedService<S> {
        FencedService {
            inner,
            leadership: self.0.clone(),
        }
    }
}

/// A client's service behind the fence.
#[derive(Clone, Debug)]
pub struct FencedService<S> {
    inner: S,
    leadership: Leadership,
}

impl<S> Service<Request<Body>> for FencedService<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET {
            let call = self.inner.call(request);
            return Box::pin(async { call.await.map_err(Into::into) });
        }
        let leadership = self.leadership.clone();
        // Before the inner service sees it: some begin their work in `call`.
        if leadership.left() < NEEDED {
            return Box::pin(async { Err(NotLeading.into()) });
        }
        let call = self.inner.call(request);
        Box::pin(async move {
            match leadership.cover(Duration::ZERO, call).await {
                Some(answer) => answer.map_err(Into::into),
                None => Err(NotLeading.into()),
            }
        })
    }
}
