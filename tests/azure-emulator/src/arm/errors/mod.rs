//! Every error of ARM and of the Microsoft.ManagedIdentity provider, with Azure's texts: one table, by what went wrong.
//!
//! The gateway marks its errors with `x-ms-failure-cause: gateway`; the provider's own carry no such header
//! (observed on 404s).

mod busy;
mod callers;
mod missing;
mod requests;

use serde::Serialize;

use crate::knobs::ThrottleAnswer;
use crate::reply::Reply;

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct ArmError {
    status: u16,
    code: String,
    message: String,
    target: Option<String>,
    gateway: bool,
    headers: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    message: &'a str,
}

impl ArmError {
    pub(crate) fn into_reply(self) -> Reply {
        let body = Body {
            code: &self.code,
            target: self.target.as_deref(),
            message: &self.message,
        };
        let mut reply = Reply::json(self.status, &Envelope { error: body }).error(self.code.clone());
        if self.gateway {
            reply = reply.with("x-ms-failure-cause", "gateway");
        }
        for (name, value) in &self.headers {
            reply = reply.with(name, value);
        }
        reply
    }

    /// An error of the gateway.
    pub(crate) fn gateway(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            gateway: true,
            ..Self::provider(status, code, message)
        }
    }

    /// An error of the resource provider.
    pub(crate) fn provider(status: u16, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self {
            status,
            code,
            message,
            target: None,
            gateway: false,
            headers: Vec::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn with_target(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }
}

/// The time to wait and how to tell it.
#[derive(Clone, Copy, Debug)]
pub(in crate::arm) struct Wait {
    pub(in crate::arm) seconds: u64,
    pub(in crate::arm) answer: ThrottleAnswer,
    pub(in crate::arm) now: jiff::Timestamp,
}

impl Wait {
    fn add_to(self, error: ArmError) -> ArmError {
        if !self.answer.header {
            return error;
        }
        let value = if self.answer.as_date {
            let at = self.now + std::time::Duration::from_secs(self.seconds);
            at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
        } else {
            self.seconds.to_string()
        };
        error.header("retry-after", value)
    }
}
