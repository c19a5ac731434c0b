//! The real program in a process of its own, as a pod runs it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};

/// Longest wait for its readiness or its end.
const PATIENCE: Duration = Duration::from_mins(1);

/// Ports below those that systems give to outgoing connections, from 32768 on Linux.
const PORTS: std::ops::Range<u16> = 30_000..32_700;

/// A running program. Dropped, it is killed.
pub struct Program {
    child: Child,
    address: SocketAddr,
    started: Instant,
    directory: tempfile::TempDir,
}

/// How a program has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub output: String,
    /// What it logged: its standard error.
    pub log: String,
}

impl Program {
    /// Starts it with these arguments and this environment, and nothing of ours. One that listens is given a
    /// free port, since it tells nobody which one it took.
    pub fn start(program: &Path, arguments: &[String], environment: &[(&str, &str)]) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let directory = tempfile::tempdir().context("cannot make a folder for the outputs")?;
        let file = |name: &str| File::create(directory.path().join(name));
        let arguments = arguments.iter().map(|argument| match argument.as_str() {
            "--http-address=127.0.0.1:0" => format!("--http-address={address}"),
            _ => argument.clone(),
        });
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("HOME", directory.path())
            .env("RUST_BACKTRACE", "1")
            .env("WIB_HTTP_ADDRESS", address.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("stdout")?)
            .stderr(file("stderr")?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            child,
            address,
            started: Instant::now(),
            directory,
        })
    }

    /// Runs it to its end.
    pub async fn run(program: &Path, arguments: &[String], environment: &[(&str, &str)]) -> Result<Ended> {
        Self::start(program, arguments, environment)?.ended().await
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Status and body of a GET, as a probe sees them.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        get(self.address, path).await
    }

    /// Waits until it is ready, and says how long that took from its start.
    pub async fn ready(&mut self) -> Result<Duration> {
        loop {
            let answer = self.get("/readyz").await;
            if answer.as_ref().is_ok_and(|(status, _)| *status == 200) {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended ({status}):\n{}", self.log()?);
            }
            ensure!(
                self.started.elapsed() < PATIENCE,
                "not ready ({answer:?}):\n{}",
                self.log()?
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.directory.path().join("stderr"))?)
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().context("it has ended before")?;
        let kill = Command::new("/bin/sh")
            .args(["-c", &format!("kill -{signal} {id}")])
            .status()
            .await?;
        ensure!(kill.success(), "cannot send SIG{signal} to {id}");
        Ok(())
    }

    /// Sends SIGTERM, as a kubelet does, and waits for its end.
    pub async fn terminate(self) -> Result<Ended> {
        self.signal("TERM").await?;
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Result<Ended> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let Ok(status) = status else {
            bail!("it has not ended after {PATIENCE:?}:\n{}", self.log()?);
        };
        let output = std::fs::read_to_string(self.directory.path().join("stdout"))?;
        Ok(Ended {
            code: status?.code(),
            output,
            log: self.log()?,
        })
    }
}

/// Status and body of a GET over plain HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .context("no HTTP status")?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    Ok((status, body))
}

/// A port of 127.0.0.1 on which nobody listens.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Test programs that run side by side begin at different places.
    let offset = u16::try_from(std::process::id().wrapping_mul(37) % u32::from(count))?;
    for _ in 0..count {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (offset + next) % count;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?}")
}
