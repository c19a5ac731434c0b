//! Watches do not begin faster than once a second each. A server that accepts a watch and ends it at
//! once (a proxy that is overloaded or shuts down) would else be asked again hundreds of times a
//! second: the library takes such an end for none to wait after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Request;
use tokio::time::Instant;
use tower::{Layer, Service};

/// Least time between the beginnings of two watches of one kind. Much less than any watch lasts.
const LEAST: Duration = Duration::from_secs(1);

/// Puts [`Pace`] around a client.
#[derive(Clone, Debug, Default)]
pub struct PaceLayer(Begun);

/// When the last watch of each path began, or is to begin. As many as there are watches.
type Begun = Arc<Mutex<HashMap<String, Instant>>>;

impl<S> Layer<S> for PaceLayer {
    type Service = Pace<S>;

    fn layer(&self, inner: S) -> Pace<S> {
        Pace {
            inner,
            begun: self.0.clone(),
        }
    }
}

/// A client that holds watches back which come too soon.
#[derive(Clone, Debug)]
pub struct Pace<S> {
    inner: S,
    begun: Begun,
}

impl<S, B> Service<Request<B>> for Pace<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let start = is_watch(&request).then(|| next(&self.begun, request.uri().path()));
        let answer = self.inner.call(request);
        Box::pin(async move {
            if let Some(start) = start {
                tokio::time::sleep_until(start).await;
            }
            // Nothing is sent before this is polled.
            answer.await
        })
    }
}

fn is_watch<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true")
}

fn next(begun: &Begun, path: &str) -> Instant {
    let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let start = begun.get(path).map_or(now, |last| now.max(*last + LEAST));
    begun.insert(path.to_owned(), start);
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    #[tokio::test(start_paused = true)]
    async fn only_watches_that_come_too_soon_are_held_back() {
        let server = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(Instant::now()) });
        let client = ServiceBuilder::new().layer(PaceLayer::default()).service(server);
        let start = Instant::now();
        let at = async |uri: &str| {
            let request = Request::get(uri).body(()).unwrap();
            client.clone().oneshot(request).await.unwrap() - start
        };
        assert_eq!(at("/pods?watch=true").await, Duration::ZERO);
        assert_eq!(at("/nodes?watch=true&x=1").await, Duration::ZERO);
        assert_eq!(at("/pods").await, Duration::ZERO);
        assert_eq!(at("/pods?watch=true").await, Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(at("/pods?watch=true").await, Duration::from_secs(6));
    }
}
