//! Scripted faults: a predicate, an occurrence and an action.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::emulator::Emulator;
use crate::operation::Operation;

/// A fault for some requests. Build it with [`Fault::on`] or [`Fault::any`], narrow it, and end with an action:
///
/// ```
/// use azure_emulator::{Fault, Operation};
///
/// // The second credential write of this identity is committed, but nobody hears of it.
/// let fault = Fault::on(Operation::PutCredential).path("/checkout/").nth(2).reset_after_commit();
/// ```
///
/// Without [`nth`](Self::nth), [`times`](Self::times) or [`always`](Self::always) the first matching request
/// is hit, once. A request meets the first fault that matches and is not used up.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Only this operation.
    pub operation: Option<Operation>,
    /// Only this HTTP method.
    pub method: Option<String>,
    /// Only paths that contain this, without letter case.
    pub path_contains: Option<String>,
    /// Matching requests to let pass first.
    pub skip: u32,
    /// Matching requests to hit then; `None` is all of them.
    pub times: Option<u32>,
    /// What happens.
    pub action: FaultAction,
}

/// What a [`Fault`] does to a request.
#[derive(Clone, Debug)]
pub enum FaultAction {
    /// The gateway answers this instead; nothing is processed.
    Status {
        /// HTTP status.
        status: u16,
        /// `error.code`.
        code: String,
        /// `error.message`.
        message: String,
        /// More headers, such as `Retry-After`.
        headers: Vec<(String, String)>,
    },
    /// The request is processed and committed, but the answer is this.
    StatusAfterCommit {
        /// HTTP status.
        status: u16,
        /// `error.code`.
        code: String,
        /// `error.message`.
        message: String,
    },
    /// The connection (HTTP/2: the stream) is reset, and nothing happens.
    ResetBeforeCommit,
    /// The connection is reset after the request took effect.
    ResetAfterCommit,
    /// No answer, and nothing happens.
    HangForever,
    /// No answer, but the request took effect.
    HangAfterCommit,
    /// The request is processed later.
    Delay(Duration),
    /// The answer comes later than the effect.
    DelayAfterCommit(Duration),
    /// The answer breaks off in the middle of its body.
    HalfBody,
    /// The second half of the body comes later.
    SlowBody(Duration),
    /// A proxy answers 502 with a page of HTML; nothing is processed.
    Html502,
    /// The right status, with a body that is not JSON.
    Garbage,
    /// The right status, with this JSON for a body; writes take effect.
    Body(Value),
    /// Somebody else does something before the request is processed.
    ExternallyBefore(External),
    /// Somebody else does something after the request took effect, before the answer.
    ExternallyAfter(External),
}

/// Something another person or tool does in Azure.
#[derive(Clone)]
pub struct External(Arc<dyn Fn(&Emulator) + Send + Sync>);

impl External {
    /// Wraps the deed.
    pub fn new(deed: impl Fn(&Emulator) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deed))
    }

    pub(crate) fn act(&self, emulator: &Emulator) {
        (self.0)(emulator);
    }
}

impl fmt::Debug for External {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("External")
    }
}

impl Fault {
    /// Hits one operation.
    pub fn on(operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..Self::any()
        }
    }

    /// Hits any request. The action is a reset until another is set.
    pub fn any() -> Self {
        Self {
            operation: None,
            method: None,
            path_contains: None,
            skip: 0,
            times: Some(1),
            action: FaultAction::ResetBeforeCommit,
        }
    }

    /// Only this HTTP method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only paths that contain this, without letter case.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path_contains = Some(part.to_owned());
        self
    }

    /// The n-th matching request, counted from 1.
    #[must_use]
    pub const fn nth(mut self, n: u32) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// That many requests.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Every request.
    #[must_use]
    pub const fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// With this action.
    #[must_use]
    pub fn action(mut self, action: FaultAction) -> Self {
        self.action = action;
        self
    }

    /// [`FaultAction::Status`] without more headers.
    #[must_use]
    pub fn status(self, status: u16, code: &str, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        self.action(FaultAction::Status {
            status,
            code,
            message,
            headers: Vec::new(),
        })
    }

    /// [`FaultAction::ResetBeforeCommit`].
    #[must_use]
    pub fn reset_before_commit(self) -> Self {
        self.action(FaultAction::ResetBeforeCommit)
    }

    /// [`FaultAction::ResetAfterCommit`].
    #[must_use]
    pub fn reset_after_commit(self) -> Self {
        self.action(FaultAction::ResetAfterCommit)
    }

    pub(crate) fn matches(&self, operation: Operation, method: &str, path: &str) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation)
            && self
                .method
                .as_deref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self
                .path_contains
                .as_deref()
                .is_none_or(|part| path.to_ascii_lowercase().contains(&part.to_ascii_lowercase()))
    }
}
