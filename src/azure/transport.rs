//! The bridge between the two generations of `azure_core`.
//!
//! `azure_mgmt_msi` speaks `azure_core` 0.21, which hides the headers of an error and follows any
//! `nextLink` with the token attached. This transport keeps the headers, and sends a token to the
//! configured endpoint only.

use async_trait::async_trait;
use azure_core_mgmt as legacy;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use legacy::error::{ErrorKind, ResultExt};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

use super::metrics::AzureMetrics;
use super::rate_limit::{Counter, RateLimiter};

/// Largest answer that is read. A list of 20 credentials has about 20 KB.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// An HTTP client for `azure_core` 0.21.
pub struct Transport {
    pub client: reqwest::Client,
    pub endpoint: Url,
    /// Told how many calls Azure has left for us.
    pub limiter: Arc<RateLimiter>,
    /// Told the same.
    pub metrics: AzureMetrics,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// An answer that is no success, carried through `azure_core` as the source of its error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("HTTP {status} {code}: {message}")]
pub struct ArmRefusal {
    pub status: u16,
    pub code: String,
    pub message: String,
    pub request_id: Option<String>,
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize, Default)]
struct ErrorBody {
    #[serde(default)]
    error: ErrorDetail,
}

#[derive(Deserialize, Default)]
struct ErrorDetail {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[async_trait]
impl legacy::HttpClient for Transport {
    async fn execute_request(&self, request: &legacy::Request) -> legacy::Result<legacy::Response> {
        let url = request.url().clone();
        if url.origin() != self.endpoint.origin() {
            return Err(legacy::Error::message(
                ErrorKind::Other,
                "Azure referred to another host; a token is sent to the configured endpoint only",
            ));
        }
        let method =
            reqwest::Method::from_bytes(request.method().as_ref().as_bytes()).map_kind(ErrorKind::Other)?;
        let mut outgoing = self.client.request(method, url);
        for (name, value) in request.headers().iter() {
            let mut value =
                reqwest::header::HeaderValue::from_str(value.as_str()).map_kind(ErrorKind::Other)?;
            // No layer below prints a sensitive value.
            value.set_sensitive(name.as_str().eq_ignore_ascii_case("authorization"));
            outgoing = outgoing.header(name.as_str(), value);
        }
        if let legacy::Body::Bytes(bytes) = request.body() {
            outgoing = outgoing.body(bytes.clone());
        }
        let answer = outgoing.send().await.map_kind(ErrorKind::Io)?;

        let status = answer.status();
        let headers = answer.headers().clone();
        if let Some(subscription) = subscription(request.url()) {
            for (counter, left) in left(&headers) {
                self.limiter.left(subscription, counter, left);
                self.metrics.left(counter, left);
            }
        }
        let body = read(answer).await?;
        if !status.is_success() {
            let refusal = refusal(status.as_u16(), &headers, &body);
            let kind = ErrorKind::http_response(legacy::StatusCode::InternalServerError, None);
            return Err(legacy::Error::new(kind, refusal));
        }
        let mut legacy_headers = legacy::headers::Headers::new();
        for (name, value) in &headers {
            if let Ok(value) = value.to_str() {
                legacy_headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let status = legacy::StatusCode::try_from(status.as_u16())
            .map_err(|_| legacy::Error::message(ErrorKind::DataConversion, "unknown HTTP status"))?;
        let body = Box::pin(stream::once(async move { Ok(body.into()) }));
        Ok(legacy::Response::new(status, legacy_headers, body))
    }
}

async fn read(answer: reqwest::Response) -> legacy::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_kind(ErrorKind::Io)?);
        if body.len() > MAX_BODY {
            return Err(legacy::Error::message(
                ErrorKind::Io,
                "the answer is longer than 4 MiB",
            ));
        }
    }
    Ok(body)
}

fn subscription(url: &Url) -> Option<&str> {
    let mut segments = url.path_segments()?;
    let first = segments.next()?;
    first
        .eq_ignore_ascii_case("subscriptions")
        .then(|| segments.next())
        .flatten()
}

/// What Azure says is left: for this caller, and for all callers of the subscription together.
fn left(headers: &reqwest::header::HeaderMap) -> impl Iterator<Item = (Counter, u32)> {
    let counters = [
        ("reads", Counter::Reads),
        ("writes", Counter::Writes),
        ("deletes", Counter::Deletes),
    ];
    let all = [
        "x-ms-ratelimit-remaining-subscription",
        "x-ms-ratelimit-remaining-subscription-global",
    ];
    let names = all
        .into_iter()
        .flat_map(move |prefix| counters.map(|(name, counter)| (format!("{prefix}-{name}"), counter)));
    names.filter_map(|(name, counter)| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((counter, value.trim().parse().ok()?))
    })
}

pub(super) fn refusal(status: u16, headers: &reqwest::header::HeaderMap, body: &[u8]) -> ArmRefusal {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let detail = serde_json::from_slice::<ErrorBody>(body)
        .unwrap_or_default()
        .error;
    ArmRefusal {
        status,
        code: detail.code,
        message: detail.message,
        request_id: text("x-ms-request-id").map(str::to_owned),
        retry_after: text("retry-after").and_then(|after| wait(after, text("date"))),
    }
}

/// `Retry-After` in seconds or as a date. A date is measured against the answer's own `Date`, so
/// that our clock has no say in it.
fn wait(after: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(seconds) = after.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let parse = |text: &str| {
        jiff::fmt::rfc2822::parse(text)
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    let until: Timestamp = parse(after)?;
    let from = parse(date?)?;
    Some(Duration::try_from(until.duration_since(from)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_in_seconds_or_as_a_date() {
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(wait("17", None), Some(Duration::from_secs(17)));
        assert_eq!(
            wait("Wed, 21 Oct 2026 07:28:30 GMT", date),
            Some(Duration::from_secs(30))
        );
        assert_eq!(wait("Wed, 21 Oct 2026 07:27:00 GMT", date), Some(Duration::ZERO));
        assert_eq!(wait("soon", date), None);
    }

    #[test]
    fn counters_of_remaining_calls_are_read() {
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in [
            ("x-ms-ratelimit-remaining-subscription-writes", "199"),
            ("x-ms-ratelimit-remaining-subscription-global-deletes", "2999"),
            ("x-ms-ratelimit-remaining-subscription-reads", "many"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let found: Vec<_> = left(&headers).collect();
        assert_eq!(found, [(Counter::Writes, 199), (Counter::Deletes, 2999)]);
        let url = Url::parse("https://arm/subscriptions/S/resourceGroups/g").unwrap();
        assert_eq!(subscription(&url), Some("S"));
    }

    #[test]
    fn a_body_that_is_not_arms_leaves_code_and_message_empty() {
        let refusal = refusal(
            502,
            &reqwest::header::HeaderMap::new(),
            b"<html>bad gateway</html>",
        );
        assert_eq!((refusal.status, refusal.code.as_str()), (502, ""));
    }
}
