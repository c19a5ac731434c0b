//! A child process that cannot outlive its owner.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

/// How much of a child's log an error carries: enough for the cause, few enough to be read.
const TAIL_LINES: usize = 30;

/// A running child. Dropping it kills it and waits until it is gone.
///
/// Its standard input is a pipe that only we hold, and the child ends when that pipe does. So it also ends when we are
/// killed without a chance to drop anything.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    _lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts `command`, with both of its outputs appended to `log`.
    pub fn spawn(name: &'static str, mut command: Command, log: PathBuf) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        command
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output);
        // A group of its own: Ctrl-C in a terminal then reaches us alone, and we can still clean up in the cluster.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        let lifeline = child.stdin.take();
        Ok(Self {
            name,
            child,
            log,
            _lifeline: lifeline,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the child is no longer running.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended ({status})", self.name),
            None => Ok(()),
        }
    }

    /// The error together with the end of the child's log, where its cause usually is.
    pub fn with_log(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!(
            "{error:#}; the end of the log of {}:\n{}",
            self.name,
            tail(&self.log)
        )
    }

    /// Kills the child as a crash would (SIGKILL) and waits until it is gone and its port is free.
    pub async fn kill(mut self) {
        // An error says that it has ended already, which is what we want.
        let _ = self.child.kill();
        while let Ok(None) = self.child.try_wait() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a file; empty when it cannot be read, because this only ever decorates another error.
pub(crate) fn tail(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
