//! Bodies of answers: whole, broken off, and the events of a watch.

use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::Cut;
use super::rules::{EventPredicate, WatchFault, kubernetes_status};

pub(super) type Body = UnsyncBoxBody<Bytes, Cut>;

/// Time for the first half to arrive before the connection breaks.
const HALF_TIME: Duration = Duration::from_millis(20);

pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The first half, and then a broken connection.
pub(super) fn half(bytes: &Bytes) -> Body {
    let first = bytes.slice(..bytes.len() / 2);
    streamed(stream::iter([Ok(first)]).chain(broken()))
}

pub(super) fn streamed(parts: impl Stream<Item = Result<Bytes, Cut>> + Send + 'static) -> Body {
    StreamBody::new(parts.map_ok(Frame::data)).boxed_unsync()
}

/// The events of a watch, with this fault after so many of them.
pub(super) fn faulty_watch(
    parts: impl Stream<Item = Result<Bytes, Cut>> + Send + 'static,
    after: usize,
    fault: WatchFault,
) -> Body {
    let events = events(parts);
    match fault {
        WatchFault::Close => streamed(events.take(after)),
        WatchFault::Silence => streamed(events.take(after).chain(stream::pending())),
        WatchFault::Gone => {
            let event = serde_json::json!({ "type": "ERROR", "object": kubernetes_status(410, "Expired") });
            let event = Bytes::from(format!("{event}\n"));
            streamed(events.take(after).chain(stream::iter([Ok(event)])))
        }
        WatchFault::Repeat => streamed(events.enumerate().flat_map(move |(index, event)| {
            let times = if index < after { 1 } else { 2 };
            stream::iter(vec![event; times])
        })),
        WatchFault::CutInEvent => streamed(events.enumerate().flat_map(move |(index, event)| match event {
            Ok(event) if index == after => {
                let first = event.slice(..event.len() / 2);
                stream::iter([Ok(first)]).chain(broken()).left_stream()
            }
            event => stream::iter([event]).right_stream(),
        })),
    }
}

/// The events of a watch that the predicate lets pass.
pub(super) fn sifted_watch(
    parts: impl Stream<Item = Result<Bytes, Cut>> + Send + 'static,
    predicate: EventPredicate,
) -> Body {
    streamed(events(parts).try_filter(move |event| {
        let event = serde_json::from_slice(event).unwrap_or_default();
        std::future::ready(predicate.passes(&event))
    }))
}

/// Whole events: one a line.
fn events(
    parts: impl Stream<Item = Result<Bytes, Cut>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send {
    let reader = StreamReader::new(Box::pin(parts.map_err(std::io::Error::other)));
    let lines = FramedRead::new(reader, LinesCodec::new());
    lines.map(|line| line.map(|line| Bytes::from(line + "\n")).map_err(|_| Cut))
}

fn broken() -> impl Stream<Item = Result<Bytes, Cut>> + Send {
    stream::once(async {
        tokio::time::sleep(HALF_TIME).await;
        Err(Cut)
    })
}
