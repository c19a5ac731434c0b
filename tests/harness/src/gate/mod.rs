//! Faults on the wire: a reverse proxy between one operator and the API server, or Azure.
//!
//! The operator needs no seams for it, and the same faults work for one that runs in this process and for the
//! real program. A [`Gate`] ends TLS with an authority of its own, passes calls on with headers and bodies,
//! streams the answers of watches, keeps a journal of [`Call`]s, and does to them what [`Rule`]s say.

mod body;
mod journal;
mod rules;
mod serve;
mod signature;
mod tls;
mod upstream;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use journal::Call;
pub use rules::{Rule, Trap, WatchFault};

use journal::Journal;
use rules::Script;
use tls::Tls;
use upstream::Upstream;

/// What is behind a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// A kube-apiserver.
    Kubernetes,
    /// Azure Resource Manager and Entra, at one address.
    Azure,
}

/// Ends a connection (HTTP/2: a stream) without an answer, or in the middle of one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("cut by the gate")]
struct Cut;

/// A reverse proxy with faults. Dropped, it closes, and what it has parked is reset.
pub struct Gate {
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    address: SocketAddr,
    ca_pem: String,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    transport: Transport,
    url: String,
    upstream: Upstream,
    journal: Journal,
    script: Script,
    frozen: watch::Sender<bool>,
    /// Ends the connections of now; replaced when they are cut.
    connections: Mutex<CancellationToken>,
    /// Calls on their way to the other side.
    sent: TaskTracker,
}

impl Gate {
    /// Opens a gate in front of a server that this authority vouches for.
    pub async fn open(transport: Transport, upstream: &str, upstream_ca_pem: &str) -> Result<Self> {
        crate::control_plane::install_crypto();
        let tls = Tls::generate()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            transport,
            url: format!("https://{address}"),
            upstream: Upstream::new(upstream, upstream_ca_pem)?,
            journal: Journal::default(),
            script: Script::default(),
            frozen: watch::Sender::new(false),
            connections: Mutex::default(),
            sent: TaskTracker::new(),
        });
        let gate = Self {
            shared,
            acceptor: TlsAcceptor::from(tls.server),
            address,
            ca_pem: tls.ca_pem,
            accepting: Mutex::default(),
        };
        gate.listen(listener);
        Ok(gate)
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The authority that vouches for the gate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// All calls so far, in order of arrival.
    pub fn journal(&self) -> Vec<Call> {
        self.shared.journal.calls()
    }

    /// How many calls have had this signature.
    pub fn count(&self, signature: &str) -> usize {
        let journal = self.journal();
        journal.iter().filter(|call| call.signature == signature).count()
    }

    /// Adds a scripted fault.
    pub fn rule(&self, rule: Rule) -> Trap {
        self.shared.script.add(rule)
    }

    /// Drops all rules, used up or not. What is parked stays parked.
    pub fn clear_rules(&self) {
        self.shared.script.clear();
    }

    /// A partition with silence: from now on nothing passes in either direction. New connections are accepted
    /// and mute.
    pub fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// Ends the partition; what was under way goes on.
    pub fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// Drops all open connections.
    pub fn cut(&self) {
        let mut connections = self
            .shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *connections).cancel();
    }

    /// Refuses new connections, as a port does on which nobody listens. Open ones stay.
    pub async fn refuse(&self) {
        let accepting = self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // Aborted on purpose: the port is free when it has ended.
            let _ = accepting.await;
        }
    }

    /// Accepts connections again after [`refuse`](Self::refuse).
    pub async fn accept(&self) -> Result<()> {
        self.refuse().await;
        let listener = TcpListener::bind(self.address).await;
        self.listen(listener.with_context(|| format!("listening on {} again", self.address))?);
        Ok(())
    }

    /// Closes the gate for good. Nothing passes any more; what had been sent on has been answered when this
    /// returns, though the caller does not hear of it.
    pub async fn close(&self) {
        self.refuse().await;
        self.cut();
        self.shared.sent.close();
        self.shared.sent.wait().await;
    }

    fn listen(&self, listener: TcpListener) {
        let (shared, acceptor) = (self.shared.clone(), self.acceptor.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let connections = shared
                    .connections
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                let connection =
                    shared
                        .clone()
                        .unless_frozen(connection(shared.clone(), stream, acceptor.clone()));
                tokio::spawn(connections.run_until_cancelled_owned(connection));
            }
        });
        *self.accepting.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let accepting = self
            .accepting
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(accepting) = accepting {
            accepting.abort();
        }
        self.cut();
    }
}

impl Shared {
    /// Whether bodies name the address of what is behind.
    fn translates(&self) -> bool {
        self.transport == Transport::Azure
    }

    /// Waits while the gate is frozen.
    async fn thawed(&self) {
        // Fails only when the gate is gone, and with it everything that waits here.
        let _ = self.frozen.subscribe().wait_for(|frozen| !frozen).await;
    }

    /// Works on while the gate is not frozen. A connection that nobody works on neither reads nor writes.
    async fn unless_frozen(self: Arc<Self>, work: impl Future<Output = ()>) {
        tokio::pin!(work);
        let mut frozen = self.frozen.subscribe();
        loop {
            self.thawed().await;
            tokio::select! {
                biased;
                _ = frozen.wait_for(|frozen| *frozen) => {}
                () = &mut work => return,
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, acceptor: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| serve::serve(shared.clone(), request));
    let served = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error = error.to_string(), "connection ended");
    }
}
