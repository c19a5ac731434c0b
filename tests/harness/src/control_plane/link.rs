//! A TCP link that can be frozen, which is a partition in which nobody hears a reset, or led elsewhere.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Forwards connections to a port of this machine. Dropped, it takes no more of them.
pub(super) struct Link {
    port: u16,
    frozen: watch::Sender<bool>,
    way: Arc<Mutex<Way>>,
    accepting: JoinHandle<()>,
}

/// Where new connections go, and the end of those that go there.
#[derive(Clone)]
struct Way {
    target: u16,
    end: CancellationToken,
}

impl Way {
    fn to(target: u16) -> Self {
        Self {
            target,
            end: CancellationToken::new(),
        }
    }
}

impl Link {
    /// Opens a link to a port.
    pub async fn to(target: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (frozen, state) = watch::channel(false);
        let way = Arc::new(Mutex::new(Way::to(target)));
        let ways = way.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let way = ways.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, way.target)).await else {
                    continue;
                };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                for (from, to) in [(near_in, far_out), (far_in, near_out)] {
                    let forwarding = forward(from, to, state.clone());
                    tokio::spawn(way.end.clone().run_until_cancelled_owned(forwarding));
                }
            }
        });
        Ok(Self {
            port,
            frozen,
            way,
            accepting,
        })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing passes; no connection ends, and new ones are accepted.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Lets everything pass again, what was held back first.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    /// Ends all connections; new ones go to another port.
    pub fn lead_to(&self, target: u16) {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *way, Way::to(target)).end.cancel();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let held = frozen.wait_for(|frozen| !frozen).await.map(drop);
        if held.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
