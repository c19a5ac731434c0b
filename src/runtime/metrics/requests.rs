//! Calls to Kubernetes, by the name that client-go uses.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

/// Method, status and host, each from a small set: the client knows five methods and one host.
type RequestLabels = [(&'static str, String); 3];

/// What there is to say of calls to Kubernetes.
#[derive(Clone, Debug)]
pub struct Requests(Family<RequestLabels, Counter>);

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Self(Family::default());
        registry.register(
            "rest_client_requests",
            "Calls to the Kubernetes API that have an answer or have failed; the client's own retries are one call",
            requests.0.clone(),
        );
        requests
    }

    /// A call has ended. `None`: without an answer.
    fn ended(&self, method: &http::Method, host: &str, code: Option<http::StatusCode>) {
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.as_str().to_owned());
        let labels = [
            ("code", code),
            ("method", method.to_string()),
            ("host", host.to_owned()),
        ];
        self.0.get_or_create(&labels).inc();
    }
}

/// Counts the calls of a client.
#[derive(Clone, Debug)]
pub struct RequestLayer {
    requests: Requests,
    host: String,
}

impl RequestLayer {
    /// For a client of this host.
    pub fn new(requests: Requests, host: String) -> Self {
        Self { requests, host }
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            layer: self.clone(),
        }
    }
}

/// A client whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    layer: RequestLayer,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, layer) = (request.method().clone(), self.layer.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(Response::status);
            layer.requests.ended(&method, &layer.host, code);
            answer
        })
    }
}
