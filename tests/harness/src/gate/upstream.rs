//! The other side of a gate: sending a call on, and what comes back.

use std::time::Instant;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use hyper::body::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::journal::Call;
use super::{Cut, Shared};

/// Headers that concern one connection only, or that the next one makes anew.
const OF_THE_CONNECTION: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE];

/// Where a gate leads.
pub(super) struct Upstream {
    /// Scheme, host and port.
    pub url: String,
    client: Client,
}

/// What came back.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Content,
}

/// The body of an answer.
pub(super) enum Content {
    Whole(Bytes),
    /// Of a watch that the API server has accepted.
    Endless(reqwest::Response),
}

impl Upstream {
    pub fn new(url: &str, ca_pem: &str) -> Result<Self> {
        let ca = Certificate::from_pem(ca_pem.as_bytes()).context("the authority behind the gate")?;
        let client = Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .redirect(Policy::none())
            .build()?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            client,
        })
    }
}

impl Shared {
    /// Sends a call on and reads the answer, also when the caller goes away meanwhile: what has been sent
    /// arrives.
    pub async fn forward(
        self: &std::sync::Arc<Self>,
        call: &Call,
        head: &Parts,
        body: &Bytes,
    ) -> Result<Answer, Cut> {
        // Whoever closes the gate waits for what is under way, and nothing begins after that.
        let _under_way = self.sent.token();
        if self.sent.is_closed() {
            return Err(Cut);
        }
        let translate = self.translates();
        let body = if translate {
            replaced(body, &self.url, &self.upstream.url)
        } else {
            body.clone()
        };
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let request = self
            .upstream
            .client
            .request(head.method.clone(), format!("{}{target}", self.upstream.url))
            .headers(end_to_end(&head.headers))
            .body(body);
        let (shared, id, watch) = (self.clone(), call.id, call.watch);
        let sending = async move {
            shared
                .journal
                .update(id, |call| call.forwarded = Some(Instant::now()));
            let response = request.send().await.map_err(|_| Cut)?;
            let status = response.status().as_u16();
            shared.journal.update(id, |call| call.status = Some(status));
            let headers = end_to_end(response.headers());
            let body = if watch && status == 200 {
                Content::Endless(response)
            } else {
                let body = response.bytes().await.map_err(|_| Cut)?;
                let translated = || replaced(&body, &shared.upstream.url, &shared.url);
                Content::Whole(if translate { translated() } else { body.clone() })
            };
            Ok(Answer {
                status,
                headers,
                body,
            })
        };
        self.sent.spawn(sending).await.unwrap_or(Err(Cut))
    }
}

/// The parts of an endless answer as they come.
pub(super) fn parts(response: reqwest::Response) -> impl futures::Stream<Item = Result<Bytes, Cut>> + Send {
    response.bytes_stream().map_err(|_| Cut)
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    headers
}

/// Azure names its own address in scopes of tokens and in links to the next page.
fn replaced(body: &Bytes, from: &str, to: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(body) else {
        return body.clone();
    };
    let encoded = |url: &str| url.replace(':', "%3A").replace('/', "%2F");
    Bytes::from(text.replace(from, to).replace(&encoded(from), &encoded(to)))
}
