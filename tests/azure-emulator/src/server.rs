//! The listener: TLS, HTTP/1.1 and HTTP/2, and the journal's brackets around each request.

use std::sync::Arc;
use std::time::Instant;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::USER_AGENT;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::arm::{self, ArmError};
use crate::call::{Call, Route};
use crate::entra;
use crate::inject::{Body, Cut, after, before, respond};
use crate::journal::Entry;
use crate::reply::Reply;
use crate::shared::{Shared, lock};

/// Largest accepted body; ARM's limit is 4 MiB.
const LARGEST_BODY: usize = 4 << 20;

/// Accepts connections until cancelled, which also drops open ones.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let connection = connection(Arc::clone(&shared), stream, acceptor.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(connection));
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, acceptor: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| serve(Arc::clone(&shared), request));
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error = error.to_string(), "connection ended");
    }
}

/// Closes the journal's entry, also when the client goes away first.
struct Bracket {
    shared: Arc<Shared>,
    id: u64,
}

impl Bracket {
    fn answered(&self, reply: &Reply) {
        self.shared.journal.update(self.id, |entry| {
            entry.status = Some(reply.status);
            entry.error_code.clone_from(&reply.error_code);
            entry.ended.get_or_insert_with(Instant::now);
        });
    }
}

impl Drop for Bracket {
    fn drop(&mut self) {
        self.shared.journal.update(self.id, |entry| {
            entry.ended.get_or_insert_with(Instant::now);
        });
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.as_str().to_owned(), parts.uri.path().to_owned());
    let query = parts.uri.query().unwrap_or_default();
    let parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let route = Route::parse(&path);
    let (operation, caller) = match &route {
        Route::Arm(target) => (target.operation(&method), arm::bearer(&shared, &parts.headers)),
        Route::Entra(target) => (
            target.operation(&method),
            Err(ArmError::gateway(401, "AuthenticationFailed", "")),
        ),
    };
    let mut call = Call {
        operation,
        method,
        path,
        headers: parts.headers,
        body: Vec::new(),
        caller,
        knobs: shared.knobs(),
        parameters,
        entry: 0,
        shared,
    };
    call.entry = begin(&call, &route);
    let bracket = Bracket {
        shared: Arc::clone(&call.shared),
        id: call.entry,
    };

    call.body = Limited::new(body, LARGEST_BODY)
        .collect()
        .await
        .map_err(|_| Cut)?
        .to_bytes()
        .to_vec();
    if matches!(route, Route::Arm(_)) {
        call.update(|entry| entry.body = serde_json::from_slice(&call.body).ok());
    }
    let fault = lock(&call.shared.faults).meet(call.operation, &call.method, &call.path);
    let reply = match before(&call, fault.as_ref()).await? {
        Some(reply) => reply,
        None => process(call, route).await?,
    };
    let reply = after(&bracket.shared, reply, fault.as_ref()).await?;
    let response = respond(&reply, fault.as_ref());
    bracket.answered(&reply);
    Ok(response)
}

fn begin(call: &Call, route: &Route) -> u64 {
    let identity = match route {
        Route::Arm(target) => target.identity().map(|path| path.id.to_ascii_lowercase()),
        Route::Entra(_) => None,
    };
    call.shared.journal.begin(Entry {
        id: 0,
        operation: call.operation,
        method: call.method.clone(),
        path: call.path.clone(),
        api_version: call.query("api-version").map(str::to_owned),
        skip_token: call.query("$skiptoken").map(str::to_owned),
        caller: call.caller.as_ref().ok().map(|caller| caller.client_id.clone()),
        identity,
        body: None,
        status: None,
        error_code: None,
        started: Instant::now(),
        ended: None,
        committed: None,
        started_at: call.now(),
        user_agent: call
            .headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
    })
}

/// Runs on its own: a client that goes away does not stop a write, as in Azure.
async fn process(call: Call, route: Route) -> Result<Reply, Cut> {
    let work = async move {
        match &route {
            Route::Arm(target) => arm::handle(&call, target).await,
            Route::Entra(target) => entra::handle(&call, target).await,
        }
    };
    tokio::spawn(work).await.map_err(|_| Cut)
}
