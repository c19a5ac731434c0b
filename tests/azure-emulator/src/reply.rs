//! An answer before it is sent.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

/// Status, headers and body, and the error code for the journal.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) error_code: Option<String>,
}

impl Reply {
    /// No body; HTTP/1.1 clients see `Content-Length: 0`.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Vec::new(),
            error_code: None,
        }
    }

    pub(crate) fn json<T: Serialize>(status: u16, body: &T) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self {
            body,
            ..Self::empty(status)
        }
        .with("content-type", "application/json; charset=utf-8")
    }

    pub(crate) fn html(status: u16, body: &str) -> Self {
        let mut reply = Self::empty(status);
        reply
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        Self {
            body: body.as_bytes().to_vec(),
            ..reply
        }
    }

    /// Sets a header; a value that HTTP cannot carry is left out.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn error(mut self, code: impl Into<String>) -> Self {
        self.error_code = Some(code.into());
        self
    }
}
