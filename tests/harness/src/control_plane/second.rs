//! A second API server on the same data, which can be left behind: a stale one, as it really happens. And a balancer
//! in front of both.

use anyhow::{Context as _, Result};
use kube::Client;
use kube::config::Kubeconfig;

use super::access::{Address, by_token};
use super::link::Link;
use super::process::Process;
use super::{ControlPlane, PORT_ATTEMPTS, api_server, ports};

/// A second API server, between which and etcd lies a link that can be frozen. Dropping it kills its process.
///
/// Frozen, it knows nothing new: its watches are silent and its access reviews are those of the past. What it has to
/// ask etcd for (lists and reads without a resourceVersion, writes) gets no answer. Etcd's clients give a silent
/// connection up after 40 s, so a freeze should be shorter.
pub struct SecondApiServer {
    _process: Process,
    link: Link,
    port: u16,
    address: Address,
    admin: Client,
}

impl ControlPlane {
    /// Starts a second API server beside the first. It runs no controllers.
    pub async fn second_api_server(&self) -> Result<SecondApiServer> {
        let mut attempt = 1;
        loop {
            match self.launch_second().await {
                Err(error) if attempt < PORT_ATTEMPTS && ports::is_taken(&error) => attempt += 1,
                result => return result.context("starting a second API server"),
            }
        }
    }

    async fn launch_second(&self) -> Result<SecondApiServer> {
        let link = Link::to(self.etcd_port).await?;
        let port = ports::free_port()?;
        let address = Address {
            url: format!("https://127.0.0.1:{port}"),
            ..self.address.clone()
        };
        let admin = address.client(self.admin_user.clone()).await?;
        let flags = &self.options.api_server_flags;
        let flags = self.files.flags(port, link.port(), &self.options.issuers, flags);
        let log = self.directory.path(&format!("kube-apiserver-{port}.log"));
        let mut process = Process::spawn("kube-apiserver", self.binaries.api_server(&flags, None), log)?;
        let ensure_running = || process.ensure_running();
        let ready = api_server::wait_until_ready(&address, self.issuer(), &admin, ensure_running).await;
        ready.map_err(|error| process.with_log(&error))?;
        Ok(SecondApiServer {
            _process: process,
            link,
            port,
            address,
            admin,
        })
    }
}

impl SecondApiServer {
    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.address.url
    }

    /// A client of this API server that may do everything.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// A kubeconfig that leads here and authenticates with a token.
    pub fn kubeconfig_for_token(&self, token: &str) -> Kubeconfig {
        self.address.kubeconfig(by_token(token))
    }

    /// Cuts it off from etcd. Nobody is told.
    pub fn freeze(&self) {
        self.link.freeze();
    }

    /// Lets it catch up.
    pub fn thaw(&self) {
        self.link.thaw();
    }
}

/// An address in front of two API servers. It leads to the first until it is told otherwise.
pub struct Balancer {
    link: Link,
    address: Address,
    first: u16,
}

impl ControlPlane {
    /// An address that can lead to a second API server as well, as that of a balancer does.
    pub async fn balancer(&self) -> Result<Balancer> {
        let link = Link::to(self.port).await?;
        let address = Address {
            url: format!("https://127.0.0.1:{}", link.port()),
            ..self.address.clone()
        };
        Ok(Balancer {
            link,
            address,
            first: self.port,
        })
    }
}

impl Balancer {
    /// A kubeconfig that leads here and authenticates with a token.
    pub fn kubeconfig_for_token(&self, token: &str) -> Kubeconfig {
        self.address.kubeconfig(by_token(token))
    }

    /// Ends all connections; new ones go to the first API server.
    pub fn lead_to_first(&self) {
        self.link.lead_to(self.first);
    }

    /// Ends all connections; new ones go to the second.
    pub fn lead_to(&self, second: &SecondApiServer) {
        self.link.lead_to(second.port);
    }
}
