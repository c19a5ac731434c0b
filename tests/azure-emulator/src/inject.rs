//! Faults at work: before a request takes effect, after it did, and in its answer.

use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::CONTENT_LENGTH;
use hyper::{Response, StatusCode};

use crate::arm::ArmError;
use crate::call::Call;
use crate::emulator::Emulator;
use crate::faults::FaultAction;
use crate::reply::Reply;
use crate::shared::Shared;

pub(crate) type Body = UnsyncBoxBody<Bytes, Cut>;

/// Ends a connection (HTTP/2: a stream) without an answer, or in the middle of one.
#[derive(Debug, thiserror::Error)]
#[error("cut by a fault")]
pub(crate) struct Cut;

/// Faults that come before the request takes effect; may replace the answer.
pub(crate) async fn before(call: &Call, fault: Option<&FaultAction>) -> Result<Option<Reply>, Cut> {
    match fault {
        Some(FaultAction::Status {
            status,
            code,
            message,
            headers,
        }) => {
            let mut reply = ArmError::gateway(*status, code, message.as_str()).into_reply();
            for (name, value) in headers {
                reply = reply.with(name, value);
            }
            return Ok(Some(reply));
        }
        Some(FaultAction::ResetBeforeCommit) => return Err(Cut),
        Some(FaultAction::HangForever) => std::future::pending().await,
        Some(FaultAction::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(FaultAction::Html502) => {
            let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
            return Ok(Some(Reply::html(502, page).error("BadGateway")));
        }
        Some(FaultAction::ExternallyBefore(external)) => external.act(&Emulator::view(&call.shared)),
        _ => {}
    }
    Ok(None)
}

/// Faults that come after the request took effect.
pub(crate) async fn after(
    shared: &Arc<Shared>,
    reply: Reply,
    fault: Option<&FaultAction>,
) -> Result<Reply, Cut> {
    match fault {
        Some(FaultAction::ResetAfterCommit) => return Err(Cut),
        Some(FaultAction::HangAfterCommit) => std::future::pending().await,
        Some(FaultAction::DelayAfterCommit(delay)) => tokio::time::sleep(*delay).await,
        Some(FaultAction::StatusAfterCommit {
            status,
            code,
            message,
        }) => {
            return Ok(ArmError::gateway(*status, code, message.as_str()).into_reply());
        }
        Some(FaultAction::Garbage) => {
            return Ok(Reply {
                body: b"<!-- not JSON".to_vec(),
                ..reply
            });
        }
        Some(FaultAction::Body(body)) => {
            return Ok(Reply {
                body: body.to_string().into_bytes(),
                ..reply
            });
        }
        Some(FaultAction::ExternallyAfter(external)) => external.act(&Emulator::view(shared)),
        _ => {}
    }
    Ok(reply)
}

pub(crate) fn respond(reply: &Reply, fault: Option<&FaultAction>) -> Response<Body> {
    let whole = Bytes::from(reply.body.clone());
    let (first, second) = (whole.slice(..whole.len() / 2), whole.slice(whole.len() / 2..));
    let body = match fault {
        Some(FaultAction::HalfBody) => halves(first, Err(Cut), Duration::from_millis(20)),
        Some(FaultAction::SlowBody(pause)) => halves(first, Ok(second), *pause),
        _ => Full::new(whole.clone())
            .map_err(|never| match never {})
            .boxed_unsync(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = reply.headers.clone();
    if reply.status != 204 {
        response.headers_mut().insert(CONTENT_LENGTH, whole.len().into());
    }
    response
}

fn halves(first: Bytes, second: Result<Bytes, Cut>, pause: Duration) -> Body {
    let parts = stream::unfold((Some(first), Some(second)), move |state| async move {
        match state {
            (Some(first), second) => Some((Ok(Frame::data(first)), (None, second))),
            (None, Some(second)) => {
                tokio::time::sleep(pause).await;
                Some((second.map(Frame::data), (None, None)))
            }
            (None, None) => None,
        }
    });
    StreamBody::new(parts).boxed_unsync()
}
