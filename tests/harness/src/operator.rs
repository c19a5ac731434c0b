//! An operator that runs in this process, with the same flags that a pod gives it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use azure_emulator::{Emulator, Identity};
use clap::Parser as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workload_identity_binding::app::{App, Failure};
use workload_identity_binding::cli::{Cli, Command};

use crate::AUDIENCE;
use crate::cluster::Cluster;
use crate::program;

/// A running operator. Dropped, it ends at once, as a killed pod does.
pub struct Operator {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

/// The files that a kubelet would put into the operator's pod.
pub async fn write_files(directory: &Path, cluster: &Cluster, azure: &Emulator) -> Result<()> {
    let api_token = cluster.operator_token("").await?;
    let kubeconfig = serde_yaml::to_string(&cluster.control_plane.kubeconfig_for_token(&api_token))?;
    std::fs::write(directory.join("kubeconfig"), kubeconfig)?;
    std::fs::write(directory.join("api-token"), api_token)?;
    std::fs::write(
        directory.join("azure-token"),
        cluster.operator_token(AUDIENCE).await?,
    )?;
    std::fs::write(directory.join("ca.pem"), azure.ca_pem())?;
    Ok(())
}

/// The arguments of `wib` for an operator on these files.
pub fn arguments(
    directory: &Path,
    azure: &Emulator,
    identity: &Identity,
    namespace: &str,
    more: &[&str],
) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut arguments: Vec<String> = ["wib", "run"].map(str::to_owned).into();
    let pairs = [
        ("--kubeconfig", file("kubeconfig")),
        ("--issuer-token-file", file("api-token")),
        ("--watch-namespace", namespace.to_owned()),
        ("--azure-endpoint", azure.url().to_owned()),
        ("--azure-authority-host", azure.url().to_owned()),
        ("--azure-ca-bundle", file("ca.pem")),
        ("--azure-credential", "workload-identity".to_owned()),
        ("--azure-tenant-id", azure.tenant_id().to_owned()),
        ("--azure-client-id", identity.client_id.clone()),
        ("--azure-federated-token-file", file("azure-token")),
        ("--http-address", "127.0.0.1:0".to_owned()),
        ("--startup-timeout", "20s".to_owned()),
        ("--leader-elect", "false".to_owned()),
    ];
    for (flag, value) in pairs {
        // A flag that the test gives stands for itself.
        if !more
            .iter()
            .any(|m| *m == flag || m.starts_with(&format!("{flag}=")))
        {
            arguments.push(format!("{flag}={value}"));
        }
    }
    arguments.extend(more.iter().map(|&m| m.to_owned()));
    arguments
}

impl Operator {
    /// Starts `wib` with these arguments.
    pub async fn start(arguments: Vec<String>) -> Result<Self> {
        let Command::Run(args) = Cli::try_parse_from(arguments)?.command else {
            anyhow::bail!("the arguments do not run an operator");
        };
        let app = App::bind(*args).await?;
        let address = app.address();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(app.run(shutdown.clone()));
        Ok(Self {
            address,
            shutdown,
            task,
        })
    }

    /// Where `/readyz` and `/metrics` are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Status and body of a GET, as a probe sees them.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        program::get(self.address, path).await
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for it to end by itself.
    pub async fn ended(mut self) -> Result<(), Failure> {
        let result = (&mut self.task).await;
        result.unwrap_or_else(|e| Err(Failure::Other(e.to_string())))
    }

    /// Kills it, and waits until its task has ended. An error says that it had ended by itself, or panicked.
    pub async fn kill(mut self) -> Result<()> {
        self.task.abort();
        match (&mut self.task).await {
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(error).context("the operator panicked"),
            Ok(ended) => anyhow::bail!("the operator had ended: {ended:?}"),
        }
    }

    /// Stops it as a SIGTERM does, and waits for its end.
    pub async fn stop(self) -> Result<(), Failure> {
        self.shutdown.cancel();
        self.ended().await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}
