//! Builds a program of the Go module, once, into the target directory.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::Tool;
use super::progress::Progress;
use super::source::{self, kubernetes_version};
use crate::control_plane::tail;

/// Always the same: Go compiles all of Kubernetes again when one of these changes.
const BUILD_FLAGS: [&str; 4] = ["build", "-trimpath", "-buildvcs=false", "-mod=readonly"];

const GO_IS_MISSING: &str = "`go` was not found: the tests build a real kube-apiserver with it, helm, and others. \
    Install Go (https://go.dev/dl). For the kube-apiserver alone, KUBEBUILDER_ASSETS can be set to a directory with \
    the programs `etcd` and `kube-apiserver` (then without controllers)";

/// The path of the program, which is built first if this exact source has not been built yet. Takes minutes the
/// first time: not to be called on an async thread.
pub(super) fn binary(tool: Tool) -> Result<PathBuf> {
    let workspace = workspace();
    let module = workspace.join("tests/control-plane");
    let linker_flags = source::linker_flags(&kubernetes_version(&module)?);

    let store = target(&workspace).join("control-plane");
    let directory = store.join(key(&module, tool, &linker_flags)?);
    let built = directory.join(tool.name());
    if built.is_file() {
        return Ok(built);
    }
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;

    // Test binaries run side by side: one builds, the others wait for it.
    let _lock = lock(&store.join("lock"))?;
    if !built.is_file() {
        // Under another name until it is whole, so that a build that was killed leaves nothing to be taken for one.
        let unfinished = directory.join(format!("{}.{}", tool.name(), std::process::id()));
        let progress = Progress::start(format!("building {} (once, {})", tool.name(), tool.cost()));
        go_build(&module, tool, &linker_flags, &unfinished, &progress)?;
        fs::rename(&unfinished, &built).with_context(|| format!("renaming {}", unfinished.display()))?;
        progress.finish();
    }
    Ok(built)
}

/// Runs `go build`, and tells that it still runs.
fn go_build(module: &Path, tool: Tool, linker_flags: &str, output: &Path, progress: &Progress) -> Result<()> {
    let log = output.with_extension("log");
    let mut build = go(module)
        .args(BUILD_FLAGS)
        .args(["-ldflags", linker_flags, "-o"])
        .arg(output)
        .arg(tool.package())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()
        .map_err(explain)?;
    let status = wait(&mut build, progress)?;
    ensure!(
        status.success(),
        "`go build` in {} failed ({status}):\n{}",
        module.display(),
        tail(&log)
    );
    fs::remove_file(&log)?;
    Ok(())
}

fn wait(build: &mut Child, progress: &Progress) -> Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = build.try_wait()? {
            return Ok(status);
        }
        progress.still_running();
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let progress = Progress::start("waiting for another process that builds with Go".to_owned());
            file.lock()?;
            progress.finish();
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).context("locking the builds with Go");
        }
    }
    Ok(file)
}

/// `go` in the module, with an environment that gives the same build everywhere.
fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off");
    command
}

/// A name for exactly this program: another source, compiler or flag gives another name.
fn key(module: &Path, tool: Tool, linker_flags: &str) -> Result<String> {
    let version = go(module).arg("version").output().map_err(explain)?;
    ensure!(
        version.status.success(),
        "`go version` failed: {}",
        String::from_utf8_lossy(&version.stderr)
    );
    source::key(
        module,
        tool.package(),
        &version.stdout,
        &format!("{BUILD_FLAGS:?} {linker_flags}"),
    )
}

fn explain(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!(GO_IS_MISSING),
        _ => anyhow::Error::new(error).context("running `go`"),
    }
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn target(workspace: &Path) -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => workspace.join(directory), // an absolute path replaces the workspace's
        None => workspace.join("target"),
    }
}
