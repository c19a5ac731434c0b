//! `/healthz`, `/readyz` and `/metrics`.
//!
//! Every pod of the cluster can usually reach this port, and what it costs is taken from the memory
//! that the operator works with. So nothing here grows with what clients do: the connections are
//! counted, each has a deadline, and a head has a size. One request per connection: the kubelet opens
//! a new one for each probe anyway, and Prometheus can afford to; in return none is ever idle.

mod connections;
mod endpoints;

use std::convert::Infallible;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::metrics::Metrics;
use super::readiness::Readiness;
use connections::Connections;
use endpoints::HttpEndpoints;

/// Open connections. A replica has a kubelet and one or two Prometheus servers as clients.
const MAX_CONNECTIONS: usize = 128;
/// Longest wait for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest life of a connection: as long as Prometheus waits for a scrape by default.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest head of a request, and the largest buffer of a connection.
const MAX_HEAD: usize = 16 * 1024;
/// Pause after the system could not give a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);
/// Least time between two warnings about that.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, readiness: Readiness, metrics: Metrics) -> Infallible {
    let endpoints = HttpEndpoints::new(readiness, metrics);
    let mut connections = Connections::new(MAX_CONNECTIONS);
    let mut warned: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.admit(converse(stream, endpoints.clone())).await,
            // The client has gone already.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // No file descriptor or memory is left (EMFILE, ENFILE, ENOBUFS, ENOMEM). What is
                // closed here serves the next probe, and the operator's own calls too.
                if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                    warned = Some(Instant::now());
                    warn!(%error, "cannot accept a connection; closing the older half of those that are open");
                }
                connections.close_older_half().await;
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Reads one request and answers it.
async fn converse(stream: TcpStream, endpoints: HttpEndpoints) {
    let service = service_fn(move |request| {
        let response = endpoints.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the HTTP port has failed"),
        Err(_) => debug!("a connection to the HTTP port has outlived its deadline"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn served() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Readiness::default(), Metrics::default()));
        address
    }

    /// A connection on which this has been written.
    async fn written(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// What comes until the server closes the connection, which must not take as long as a deadline.
    async fn answer(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        let end = timeout(HEAD_TIMEOUT / 2, stream.read_to_end(&mut answer)).await;
        // A reset is an end too.
        let _ = end.expect("the server keeps the connection");
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_connection_serves_one_request() {
        let twice = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2);
        let answer = answer(written(served().await, &twice).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("connection: close\r\n") && answer.ends_with("\r\n\r\nok"),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let head = format!("GET /healthz HTTP/1.1\r\nx: {}", "x".repeat(MAX_HEAD));
        let answer = answer(written(served().await, &head).await).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_body_is_not_waited_for() {
        let request = "POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
        let answer = answer(written(served().await, request).await).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }

    #[tokio::test]
    async fn beyond_the_limit_the_oldest_connection_is_closed() {
        let address = served().await;
        let mut open = Vec::new();
        for _ in 0..=MAX_CONNECTIONS {
            open.push(written(address, "GET /healthz HTTP/1.1\r\n").await);
        }
        let mut open = open.into_iter();
        assert_eq!(answer(open.next().unwrap()).await, "");
        // The next one still has its turn.
        let mut second = open.next().unwrap();
        second.write_all(b"host: a\r\n\r\n").await.unwrap();
        assert!(answer(second).await.starts_with("HTTP/1.1 200"));
    }
}
