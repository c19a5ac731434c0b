//! What is answered at which path.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::runtime::metrics::{Metrics, TextFormat};
use crate::runtime::readiness::Readiness;

const TEXT: &str = "text/plain; charset=utf-8";

/// `/healthz`, `/readyz` and `/metrics`.
#[derive(Clone)]
pub(super) struct HttpEndpoints {
    readiness: Readiness,
    metrics: Metrics,
}

impl HttpEndpoints {
    pub(super) fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self { readiness, metrics }
    }

    /// The body of a request is never read, and hyper leaves out that of the answer to HEAD.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" | "/readyz" | "/metrics" if !reads => not_allowed(),
            // Liveness only proves that the process answers: a restart mends nothing that it waits for.
            "/healthz" => respond(StatusCode::OK, TEXT, "ok".to_owned()),
            "/readyz" => self.readyz(),
            "/metrics" => self.exposition(request.headers()),
            _ => respond(StatusCode::NOT_FOUND, TEXT, String::new()),
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        match self.readiness.report() {
            Ok(does) => respond(StatusCode::OK, TEXT, does.to_owned()),
            Err(pending) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, pending),
        }
    }

    fn exposition(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let format = TextFormat::accepted(accept.unwrap_or_default());
        match self.metrics.exposition(format) {
            Ok(text) => respond(StatusCode::OK, format.content_type(), text),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        }
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_allowed() -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, String::new());
    let allowed = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(ALLOW, allowed);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: &str, path: &str, accept: &str) -> Response<Full<Bytes>> {
        let request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
        let endpoints = HttpEndpoints::new(Readiness::default(), Metrics::default());
        endpoints.answer(&request.body(()).unwrap())
    }

    #[test]
    fn each_path_has_its_answer() {
        for (method, path, status) in [
            ("GET", "/healthz", 200),
            ("HEAD", "/healthz", 200),
            ("GET", "/readyz", 503),
            ("GET", "/metrics", 200),
            ("GET", "/metrics?name[]=up", 200),
            ("POST", "/metrics", 405),
            ("DELETE", "/healthz", 405),
            ("GET", "/", 404),
            ("GET", "/metrics/", 404),
            ("POST", "/nothing", 404),
        ] {
            assert_eq!(answer(method, path, "*/*").status(), status, "{method} {path}");
        }
        assert_eq!(answer("PUT", "/readyz", "*/*").headers()[ALLOW], "GET, HEAD");
    }

    #[test]
    fn metrics_come_in_the_format_that_is_asked_for() {
        for (accept, wanted) in [
            (
                "application/openmetrics-text;version=1.0.0",
                "application/openmetrics-text",
            ),
            ("text/plain", "text/plain; version=0.0.4"),
        ] {
            let response = answer("GET", "/metrics", accept);
            let found = response.headers()[CONTENT_TYPE].to_str().unwrap();
            assert!(found.starts_with(wanted), "{accept}: {found}");
        }
    }
}
