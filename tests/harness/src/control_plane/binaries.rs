//! Which programs make a control plane: our own, built from `tests/control-plane`, or those in `KUBEBUILDER_ASSETS`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::Tool;

/// The directory with ready-made `etcd` and `kube-apiserver`, as envtest calls it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Runs a program that knows nothing of us so that it dies when its standard input ends. The program takes the
/// shell's place, so its process id is the one we started.
const TIED_TO_STDIN: &str = r#"exec 3<&0; (cat <&3 >/dev/null; kill -9 $$) & exec "$@" 3<&- </dev/null"#;

/// Where the programs are.
#[derive(Clone, Debug)]
pub(super) enum Binaries {
    /// Our own program: etcd, kube-apiserver and the controllers in one file.
    Built(PathBuf),
    /// Upstream's programs, and no controllers.
    Assets(PathBuf),
}

impl Binaries {
    /// Takes those of `KUBEBUILDER_ASSETS`, or else builds ours if this has not been done yet.
    pub async fn find() -> Result<Self> {
        match env::var_os(ASSETS) {
            Some(directory) if !directory.is_empty() => Self::assets(directory.into()),
            _ => Ok(Self::Built(Tool::ControlPlane.path().await?)),
        }
    }

    fn assets(directory: PathBuf) -> Result<Self> {
        for name in ["etcd", "kube-apiserver"] {
            ensure!(
                directory.join(name).is_file(),
                "{ASSETS} is {} but there is no `{name}` in it: fill it (setup-envtest does), or unset {ASSETS} and \
                 have the control plane built with Go",
                directory.display(),
            );
        }
        Ok(Self::Assets(directory))
    }

    pub fn has_controllers(&self) -> bool {
        matches!(self, Self::Built(_))
    }

    /// The command that runs etcd, without TLS and without waiting for the disk.
    pub fn etcd(&self, data: &Path, port: u16) -> Command {
        let listen = format!("127.0.0.1:{port}");
        match self {
            Self::Built(program) => {
                let mut command = Command::new(program);
                command.args(["etcd", "--exit-on-stdin-eof", "--listen", &listen]);
                command.arg("--data-dir").arg(data);
                command
            }
            Self::Assets(directory) => {
                let mut command = tied_to_stdin(&directory.join("etcd"));
                let url = format!("http://{listen}");
                command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
                // There are no peers, so any port does.
                command.args(["--listen-peer-urls", "http://127.0.0.1:0"]);
                command.args(["--unsafe-no-fsync", "--log-level", "warn"]);
                command.arg("--data-dir").arg(data);
                command
            }
        }
    }

    /// The command that runs kube-apiserver, and with a kubeconfig the controllers, if there are any.
    pub fn api_server(&self, flags: &[String], controllers_kubeconfig: Option<&Path>) -> Command {
        let mut command = match self {
            Self::Built(program) => {
                let mut command = Command::new(program);
                command.args(["apiserver", "--exit-on-stdin-eof"]);
                if let Some(kubeconfig) = controllers_kubeconfig {
                    command.arg("--controllers-kubeconfig").arg(kubeconfig);
                }
                command.arg("--");
                command
            }
            Self::Assets(directory) => tied_to_stdin(&directory.join("kube-apiserver")),
        };
        command.args(flags);
        command
    }
}

fn tied_to_stdin(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", TIED_TO_STDIN, "sh"]).arg(program);
    command
}
