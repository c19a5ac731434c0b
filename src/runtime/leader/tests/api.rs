//! An API server that holds one lease and enforces its version, and links to it that can fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What happens to the calls on a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// They are answered.
    Up,
    /// They never arrive, and nobody hears of it.
    Cut,
    /// They arrive, but no answer comes back.
    Deaf,
    /// They are answered with this status.
    Refused(u16),
    /// They take so long on the way there, and so long back.
    Slow(Duration, Duration),
}

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    writes: Vec<(&'static str, Method)>,
}

/// The API server. Clones are the same one.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<State>>);

/// One client's way to it.
#[derive(Clone)]
pub struct Link {
    who: &'static str,
    server: ApiServer,
    mode: Arc<Mutex<Mode>>,
}

impl ApiServer {
    pub fn link(&self, who: &'static str) -> Link {
        Link {
            who,
            server: self.clone(),
            mode: Arc::new(Mutex::new(Mode::Up)),
        }
    }

    pub fn lease(&self) -> Option<Value> {
        self.0.lock().unwrap().lease.clone()
    }

    pub fn spec(&self) -> Value {
        self.lease()
            .map(|lease| lease["spec"].clone())
            .unwrap_or_default()
    }

    /// Writes that were carried out.
    pub fn writes(&self) -> Vec<(&'static str, Method)> {
        self.0.lock().unwrap().writes.clone()
    }

    /// Somebody with `kubectl edit`.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        let mut lease = state.lease.clone().unwrap_or_else(|| {
            json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": { "name": "lease", "namespace": "ns" }, "spec": {} })
        });
        change(&mut lease);
        state.store(lease);
    }

    /// Somebody with `kubectl delete`.
    pub fn delete(&self) {
        self.0.lock().unwrap().lease = None;
    }

    fn answer(&self, who: &'static str, method: &Method, body: &[u8]) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        let failed = |code: u16| {
            (
                code,
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                           "reason": if code == 404 { "NotFound" } else { "Conflict" }, "message": "refused" }),
            )
        };
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let same = |field: &str, held: &Value| sent["metadata"][field] == held["metadata"][field];
        match (method, &state.lease) {
            (&Method::GET, None) => failed(404),
            (&Method::GET, Some(lease)) => (200, lease.clone()),
            (&Method::POST, None) => {
                state.writes.push((who, method.clone()));
                (201, state.store(sent))
            }
            (&Method::PUT, Some(held)) if same("resourceVersion", held) && same("uid", held) => {
                state.writes.push((who, method.clone()));
                (200, state.store(sent))
            }
            (&Method::POST | &Method::PUT, _) => failed(409),
            _ => failed(405),
        }
    }
}

impl State {
    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if self.lease.is_none() {
            lease["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        self.lease = Some(lease.clone());
        lease
    }
}

impl Link {
    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub fn client(&self) -> Client {
        let link = self.clone();
        let service = tower::service_fn(move |request| {
            let link = link.clone();
            async move { Ok::<_, tower::BoxError>(link.carry(request).await) }
        });
        Client::new(service, "ns")
    }

    async fn carry(&self, request: Request<Body>) -> Response<Body> {
        let mode = *self.mode.lock().unwrap();
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        match mode {
            Mode::Cut => std::future::pending().await,
            Mode::Slow(there, _) => tokio::time::sleep(there).await,
            _ => {}
        }
        // Watches fail: nothing may depend on them.
        let watched = parts
            .uri
            .query()
            .is_some_and(|query| query.contains("fieldSelector"));
        let (status, answer) = match mode {
            Mode::Refused(status) => (
                status,
                json!({ "kind": "Status", "code": status, "message": "no" }),
            ),
            _ if watched => (
                403,
                json!({ "kind": "Status", "code": 403, "message": "no watch" }),
            ),
            _ => self.server.answer(self.who, &parts.method, &body),
        };
        match mode {
            Mode::Deaf => std::future::pending().await,
            Mode::Slow(_, back) => tokio::time::sleep(back).await,
            _ => {}
        }
        Response::builder()
            .status(status)
            .body(Body::from(serde_json::to_vec(&answer).unwrap()))
            .unwrap()
    }
}
