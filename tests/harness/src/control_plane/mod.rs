//! A real Kubernetes control plane for tests: etcd, kube-apiserver and a few controllers, without containers.
//!
//! It starts in about three seconds, so share one between the tests of a file and give each test a namespace. A test
//! that changes what all of them see (issuer, API server, definitions) wants one of its own.

mod access;
mod api_server;
mod backup;
mod binaries;
mod link;
mod pki;
mod ports;
mod process;
mod second;
mod webhook;
mod workdir;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use kube::config::AuthInfo;

use access::{Address, by_certificate};
use api_server::Files;
pub use backup::Backup;
use binaries::Binaries;
use pki::Pki;
use process::Process;
pub(crate) use process::tail;
pub use second::{Balancer, SecondApiServer};
pub use webhook::{Webhook, WebhookOptions};
use workdir::WorkDir;

/// The group that RBAC does not apply to.
const ADMIN_GROUP: &str = "system:masters";

const ETCD_START_TIMEOUT: Duration = Duration::from_mins(1);
const PORT_ATTEMPTS: usize = 5;

/// How a control plane differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The issuers of ServiceAccount tokens: the first signs, all are accepted. Empty: the API server's own address.
    pub issuers: Vec<String>,
    /// More flags for kube-apiserver, after the usual ones.
    pub api_server_flags: Vec<String>,
}

/// A running control plane. Dropping it kills its processes and removes its files.
pub struct ControlPlane {
    // Fields are dropped in this order: the processes before the directory they write to.
    api_server: Option<Process>,
    etcd: Option<Process>,
    directory: WorkDir,
    files: Files,
    pki: Pki,
    binaries: Binaries,
    options: Options,
    port: u16,
    etcd_port: u16,
    address: Address,
    admin_user: AuthInfo,
    admin: Client,
    controllers_kubeconfig: PathBuf,
}

/// Makes aws-lc-rs the process's cryptography for TLS, unless something else already is.
pub fn install_crypto() {
    // An error says that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Builds what a control plane needs, if that was not done yet: minutes that no deadline of a test should count.
pub async fn prepare() -> Result<()> {
    Binaries::find().await.map(drop)
}

impl ControlPlane {
    /// Starts etcd and the API server, and returns when it is ready. Builds them first when that was never done.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// As [`Self::start`], with other issuers or flags.
    pub async fn start_with(options: Options) -> Result<Self> {
        install_crypto();
        let binaries = Binaries::find().await?;
        let mut attempt = 1;
        loop {
            match Self::launch(binaries.clone(), options.clone()).await {
                Err(error) if attempt < PORT_ATTEMPTS && ports::is_taken(&error) => attempt += 1,
                result => return result.context("starting the control plane"),
            }
        }
    }

    async fn launch(binaries: Binaries, mut options: Options) -> Result<Self> {
        let (port, etcd_port) = (ports::free_port()?, ports::free_port()?);
        let pki = Pki::new()?;
        let address = Address {
            url: format!("https://127.0.0.1:{port}"),
            ca_pem: pki.ca_pem(),
        };
        if options.issuers.is_empty() {
            options.issuers.push(format!("{}/", address.url));
        }
        let directory = WorkDir::create()?;
        let files = Files::write(&pki, &directory)?;
        let admin_user = by_certificate(&pki.client("admin", Some(ADMIN_GROUP))?);
        let kubeconfig = serde_json::to_string(&address.kubeconfig(admin_user.clone()))?;
        let controllers_kubeconfig = directory.write("controllers.kubeconfig", &kubeconfig)?;

        let command = binaries.etcd(&directory.path("etcd"), etcd_port);
        let mut etcd = Process::spawn("etcd", command, directory.path("etcd.log"))?;
        let ready = wait_until_listening(&mut etcd, etcd_port).await;
        ready.map_err(|error| etcd.with_log(&error))?;
        let mut control_plane = Self {
            api_server: None,
            etcd: Some(etcd),
            admin: address.client(admin_user.clone()).await?,
            directory,
            files,
            pki,
            binaries,
            options,
            port,
            etcd_port,
            address,
            admin_user,
            controllers_kubeconfig,
        };
        control_plane.spawn_api_server().await?;
        Ok(control_plane)
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.address.url
    }

    /// The certificate of the authority that signed the API server's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.address.ca_pem
    }

    /// The issuer that signs: byte for byte the `iss` of new tokens.
    pub fn issuer(&self) -> &str {
        &self.options.issuers[0]
    }

    /// Another issuer whose discovery document this API server really serves: it has two names.
    pub fn alternative_issuer(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    /// Whether there is a garbage collector, a namespace controller and a ServiceAccount controller.
    pub fn has_controllers(&self) -> bool {
        self.binaries.has_controllers()
    }

    /// The process ids of etcd and, when it runs, of the API server.
    pub fn process_ids(&self) -> Vec<u32> {
        let processes = [&self.etcd, &self.api_server];
        processes.into_iter().flatten().map(Process::id).collect()
    }

    /// Kills the API server as a crash would. Clients are refused until it is started again; etcd keeps its data.
    pub async fn kill_api_server(&mut self) {
        if let Some(api_server) = self.api_server.take() {
            api_server.kill().await;
        }
    }

    /// Starts the API server again after [`Self::kill_api_server`]: same port, same data.
    pub async fn start_api_server(&mut self) -> Result<()> {
        let mut attempt = 1;
        while self.api_server.is_none() {
            match self.spawn_api_server().await {
                Err(error) if attempt < PORT_ATTEMPTS && ports::is_taken(&error) => attempt += 1,
                result => return result.context("starting the API server again"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    /// Changes the issuers, as an administrator does: the API server is started again with others. The first signs.
    pub async fn restart_with_issuers(&mut self, issuers: &[&str]) -> Result<()> {
        ensure!(!issuers.is_empty(), "the API server needs an issuer");
        self.options.issuers = issuers.iter().copied().map(str::to_owned).collect();
        self.kill_api_server().await;
        self.start_api_server().await
    }

    async fn spawn_api_server(&mut self) -> Result<()> {
        let Options {
            issuers,
            api_server_flags,
        } = &self.options;
        let flags = self
            .files
            .flags(self.port, self.etcd_port, issuers, api_server_flags);
        let command = self
            .binaries
            .api_server(&flags, Some(&self.controllers_kubeconfig));
        let mut process = Process::spawn(
            "kube-apiserver",
            command,
            self.directory.path("kube-apiserver.log"),
        )?;
        let ensure_running = || process.ensure_running();
        let ready =
            api_server::wait_until_ready(&self.address, self.issuer(), &self.admin, ensure_running).await;
        ready.map_err(|error| process.with_log(&error))?;
        self.api_server = Some(process);
        Ok(())
    }
}

async fn wait_until_listening(etcd: &mut Process, port: u16) -> Result<()> {
    let deadline = Instant::now() + ETCD_START_TIMEOUT;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while tokio::net::TcpStream::connect(address).await.is_err() {
        etcd.ensure_running()?;
        ensure!(
            Instant::now() < deadline,
            "etcd does not listen after {} s",
            ETCD_START_TIMEOUT.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    etcd.ensure_running() // else it is somebody else who listens there
}
