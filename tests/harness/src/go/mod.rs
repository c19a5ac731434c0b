//! Programs of other projects that the tests use as they are: the control plane, the webhook, helm and others, built
//! from the one Go module `tests/control-plane`, each once and only when it is needed.

mod build;
mod progress;
mod source;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A program of the Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// etcd, kube-apiserver and four controllers: see [`crate::control_plane`].
    ControlPlane,
    /// The mutating webhook of Azure Workload Identity: see `tests/control-plane/cmd/webhook`.
    Webhook,
    /// What kstatus, Flux and Argo CD make of an object.
    Health,
    /// The package manager.
    Helm,
    /// The builder of manifests.
    Kustomize,
    /// Checks rules of Prometheus and runs their unit tests.
    Promtool,
    /// The server that scrapes metrics and evaluates rules.
    Prometheus,
    /// Checks workflows of GitHub.
    Actionlint,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Webhook => "webhook",
            Self::Health => "health",
            Self::Helm => "helm",
            Self::Kustomize => "kustomize",
            Self::Promtool => "promtool",
            Self::Prometheus => "prometheus",
            Self::Actionlint => "actionlint",
        }
    }

    /// What `go build` is asked for. Those that are not ours are `tool` lines of `go.mod`.
    fn package(self) -> &'static str {
        match self {
            Self::ControlPlane => "./cmd/control-plane",
            Self::Webhook => "./cmd/webhook",
            Self::Health => "./cmd/health",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Kustomize => "sigs.k8s.io/kustomize/kustomize/v5",
            Self::Promtool => "github.com/prometheus/prometheus/cmd/promtool",
            Self::Prometheus => "github.com/prometheus/prometheus/cmd/prometheus",
            Self::Actionlint => "github.com/rhysd/actionlint/cmd/actionlint",
        }
    }

    /// What a build takes on 2 cores, for whoever waits.
    fn cost(self) -> &'static str {
        match self {
            Self::ControlPlane => "about 5 minutes on 2 cores",
            Self::Promtool | Self::Prometheus => "about 3 minutes on 2 cores",
            _ => "less than a minute",
        }
    }

    /// Where the program is. Builds it if that was not done yet.
    ///
    /// # Errors
    /// If Go is missing or the build fails; the error holds the end of the compiler's output.
    pub async fn path(self) -> Result<PathBuf> {
        tokio::task::spawn_blocking(move || build::binary(self)).await?
    }

    /// Runs it with this standard input, in an environment of its own, and answers how it ended.
    pub async fn output<A: AsRef<OsStr>>(self, arguments: &[A], input: &str) -> Result<Output> {
        let home = tempfile::tempdir()?;
        let mut child = Command::new(self.path().await?)
            .args(arguments)
            .env_clear()
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name()))?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input closes it.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        Ok(output?)
    }

    /// Runs it, and answers what it printed.
    ///
    /// # Errors
    /// If it fails; the error holds what it complained about.
    pub async fn run<A: AsRef<OsStr>>(self, arguments: &[A], input: &str) -> Result<String> {
        let output = self.output(arguments, input).await?;
        ensure!(
            output.status.success(),
            "{} failed ({}):\n{}{}",
            self.name(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}
