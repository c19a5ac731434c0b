//! One call at a gate: noted, faulted, sent on, answered.

use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::body::{Body, faulty_watch, half, sifted_watch, streamed, whole};
use super::journal::Call;
use super::rules::{Action, Canned, Occasion};
use super::upstream::{Answer, Content, parts};
use super::{Cut, Shared};

pub(super) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let call = shared.journal.begin(shared.transport, &head, &body);
    let occasion = shared.script.meet(&call);
    let action = occasion.as_ref().map(|occasion| occasion.action());

    let answer = if let Some(canned) = before(occasion.as_deref(), &call).await? {
        canned
    } else {
        shared.thawed().await;
        if matches!(action, Some(Action::Twice)) {
            shared.forward(&call, &head, &body).await?;
        }
        shared.forward(&call, &head, &body).await?
    };
    after(occasion.as_deref(), &call).await?;
    shared.thawed().await;
    shared.journal.update(call.id, |call| {
        call.status = Some(answer.status);
        call.answered = Some(Instant::now());
    });
    Ok(respond(answer, action))
}

/// Faults that come before the call is sent on; may replace the answer.
async fn before(occasion: Option<&Occasion>, call: &Call) -> Result<Option<Answer>, Cut> {
    let Some(occasion) = occasion else { return Ok(None) };
    match occasion.action() {
        Action::ParkBeforeSend => occasion.park(call).await?,
        Action::ParkAfterCommit | Action::ResetAfterCommit => {}
        action => {
            occasion.reach(call);
            match action {
                Action::ResetBeforeSend => return Err(Cut),
                Action::Answer(canned) => return Ok(Some(given(canned))),
                Action::DelayBefore(delay) => tokio::time::sleep(*delay).await,
                _ => {}
            }
        }
    }
    Ok(None)
}

/// Faults that come once the answer is there.
async fn after(occasion: Option<&Occasion>, call: &Call) -> Result<(), Cut> {
    let Some(occasion) = occasion else { return Ok(()) };
    match occasion.action() {
        Action::ParkAfterCommit => occasion.park(call).await?,
        Action::ResetAfterCommit => {
            occasion.reach(call);
            return Err(Cut);
        }
        Action::DelayAfter(delay) => tokio::time::sleep(*delay).await,
        _ => {}
    }
    Ok(())
}

fn given(canned: &Canned) -> Answer {
    let mut headers = HeaderMap::new();
    for (name, value) in &canned.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
    Answer {
        status: canned.status,
        headers,
        body: Content::Whole(Bytes::from(canned.body.clone())),
    }
}

fn respond(answer: Answer, action: Option<&Action>) -> Response<Body> {
    let mut headers = answer.headers;
    let body = match answer.body {
        Content::Endless(response) => match action {
            Some(Action::Watch(after, fault)) => faulty_watch(parts(response), *after, *fault),
            Some(Action::Events(predicate)) => sifted_watch(parts(response), predicate.clone()),
            _ => streamed(parts(response)),
        },
        Content::Whole(bytes) => {
            if answer.status != 204 {
                headers.insert(CONTENT_LENGTH, bytes.len().into());
            }
            match action {
                Some(Action::HalfBody) => half(&bytes),
                _ => whole(bytes),
            }
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}
