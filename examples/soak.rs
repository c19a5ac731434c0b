//! Hours of random deeds, faults, kills and restarts: `cargo run --example soak -- --for 30m`.
//!
//! A real kube-apiserver, an emulated Azure, and the real program in a process of its own. Checked all the time:
//! one write at a time, a workload whose binding is ready is accepted, no credential that nothing asks for. At
//! the end everything is deleted, and nothing may be left. Fails with what was violated.

#[path = "soak/faults.rs"]
mod faults;
#[path = "soak/memory.rs"]
mod memory;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use fastrand::Rng;
use kube::api::ListParams;
use memory::Memory;
use serde_json::json;
use wib_harness::sequences::{ACCOUNTS, Asked, IDENTITIES, Operation, Schema, View, pair};
use wib_harness::world::bindings::is_ready;
use wib_harness::{Cluster, Program, World};

/// Operations between two checks.
const ROUND: u64 = 20;
/// By then all must be in order after the last fault.
const PATIENCE: Duration = Duration::from_secs(45);

/// Work the operator until something gives, or until the time is over.
#[derive(clap::Parser)]
struct Options {
    /// How long.
    #[arg(long = "for", default_value = "30m")]
    time: jiff::SignedDuration,
    /// Repeats the same deeds.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Default)]
struct Figures {
    operations: u64,
    faults: u64,
    restarts: u64,
    api_server_kills: u64,
    checks: u64,
    arm_calls: usize,
}

struct Soak {
    world: World,
    wib: PathBuf,
    operator: Option<Program>,
    asked: Asked,
    rng: Rng,
    figures: Figures,
    memory: Memory,
    longest: Memory,
    operator_started: Instant,
}

impl Soak {
    async fn start(seed: u64) -> Result<Self> {
        let wib = build().await?;
        let world = World::named(Arc::new(Cluster::start().await?), "soak").await?;
        let mut asked = Asked::default();
        for (account, identity) in ACCOUNTS.into_iter().zip(IDENTITIES) {
            let id = world.identity(identity);
            world.service_account(account).await?;
            world.grant(account, &id).await?;
            asked.grants.insert((account.to_owned(), identity.to_owned()));
        }
        let mut soak = Self {
            world,
            wib,
            operator: None,
            asked,
            rng: Rng::with_seed(seed),
            figures: Figures::default(),
            memory: Memory::default(),
            longest: Memory::default(),
            operator_started: Instant::now(),
        };
        soak.restart(false).await?;
        Ok(soak)
    }

    /// Replaces the operator's process, politely or not.
    async fn restart(&mut self, politely: bool) -> Result<()> {
        if let Some(operator) = self.operator.take().filter(|_| politely) {
            let ended = operator.terminate().await?;
            ensure!(
                ended.code == Some(0),
                "the operator ended with {:?}:\n{}",
                ended.code,
                ended.log
            );
            ensure!(!ended.log.contains("panicked"), "{}", ended.log);
        }
        // Tokens live for an hour.
        self.world.write_operator_files().await?;
        let quick = [
            "--drift-interval=1s",
            "--read-after-write-grace=10ms",
            "--azure-timeout=2s",
        ];
        let arguments = self.world.operator_arguments(&quick);
        let mut operator = Program::start(&self.wib, &arguments[1..], &[])?;
        operator.ready().await?;
        self.operator = Some(operator);
        self.operator_started = Instant::now();
        let done = std::mem::take(&mut self.memory);
        if done.span() > self.longest.span() {
            self.longest = done;
        }
        Ok(())
    }

    async fn kill_api_server(&mut self) -> Result<()> {
        let cluster = Arc::get_mut(&mut self.world.cluster).context("the cluster is shared")?;
        cluster.control_plane.kill_api_server().await;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(100..4000))).await;
        cluster.control_plane.start_api_server().await?;
        self.figures.api_server_kills += 1;
        Ok(())
    }

    async fn round(&mut self, schema: &Schema, lifetime: Duration) -> Result<()> {
        for _ in 0..ROUND {
            if self.rng.u8(..5) == 0 {
                self.world.azure.fault(faults::any(&mut self.rng));
                self.figures.faults += 1;
            }
            let operation = Operation::any(schema, &mut self.rng);
            let done = operation.act(&self.world, &mut self.asked).await;
            done.with_context(|| format!("{operation:?}"))?;
            self.figures.operations += 1;
        }
        if self.rng.u8(..8) == 0 {
            self.kill_api_server().await?;
        }
        if self.operator_started.elapsed() > lifetime {
            let politely = self.rng.bool();
            self.restart(politely).await?;
            self.figures.restarts += 1;
        }
        Ok(())
    }

    /// Lets the faults pass, and looks at everything.
    async fn check(&mut self) -> Result<()> {
        self.world.azure.clear_faults();
        let end = Instant::now() + PATIENCE;
        while let Err(violation) = self.in_order().await {
            ensure!(
                Instant::now() < end,
                "after {PATIENCE:?} without faults: {violation:#}"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let overlapping = self.world.azure.overlapping_writes();
        ensure!(overlapping.is_empty(), "two writes at once: {overlapping:#?}");
        self.figures.arm_calls += self
            .world
            .azure
            .journal()
            .iter()
            .filter(|e| e.operation.is_arm())
            .count();
        self.world.azure.clear_journal();
        self.figures.checks += 1;
        let operator = self.operator.as_ref().and_then(Program::id);
        self.memory.sample(self.operator_started, operator)
    }

    async fn in_order(&self) -> Result<()> {
        let view = View::of(&self.world).await?;
        for (identity, account, ours) in &view.credentials {
            let credential = (account.clone(), identity.clone());
            let wanted = self.asked.specs.values().any(|spec| pair(spec) == credential);
            let granted = self.asked.grants.contains(&credential);
            let kept =
                self.asked.retained.contains(&credential) || granted && view.held.contains(&credential);
            ensure!(
                !ours || kept || wanted && granted,
                "{identity} trusts {account}, and nothing asks for it"
            );
        }
        let bindings = self.world.bindings().list(&ListParams::default()).await?;
        for binding in bindings.iter().filter(|b| is_ready(b) && !b.spec.suspend) {
            let account = &binding.spec.service_account.name;
            let identity = binding.status.as_ref().and_then(|s| s.identity.as_ref());
            let client = identity.and_then(|i| i.client_id.as_ref());
            if let Some(client) = client
                && self.world.service_accounts().get_opt(account).await?.is_some()
            {
                self.world.assert_accepted(account, client).await?;
            }
        }
        Ok(())
    }

    /// Everything is deleted, and nothing is left.
    async fn end(&mut self) -> Result<()> {
        for (name, spec) in std::mem::take(&mut self.asked.specs) {
            if spec["deletionPolicy"] == "Retain" {
                self.world
                    .change(&name, json!({ "spec": { "deletionPolicy": "Delete" } }))
                    .await?;
            }
            self.world.delete(&name).await?;
        }
        self.check().await?;
        let operator = self.operator.take().context("no operator")?.terminate().await?;
        ensure!(
            operator.code == Some(0) && !operator.log.contains("panicked"),
            "{}",
            operator.log
        );
        Ok(())
    }

    fn report(&self, took: Duration) -> Result<()> {
        let memory = if self.memory.span() > self.longest.span() {
            &self.memory
        } else {
            &self.longest
        };
        let Figures {
            operations,
            faults,
            restarts,
            api_server_kills,
            checks,
            arm_calls,
        } = &self.figures;
        let writes = self.world.kubernetes_writes()?.len();
        let minutes = took.as_secs_f64() / 60.0;
        println!("\ntime                {:.0} s", took.as_secs_f64());
        println!("operations          {operations}");
        println!(
            "faults              {faults}, {api_server_kills} kills of the API server, {restarts} restarts"
        );
        println!("checks              {checks}");
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        for (what, count) in [("ARM calls", *arm_calls), ("Kubernetes writes", writes)] {
            let (a_minute, each) = (count as f64 / minutes, count as f64 / (*operations).max(1) as f64);
            println!("{what:<19} {count}: {a_minute:.0} a minute, {each:.1} an operation");
        }
        println!("memory              {}", memory.course());
        println!(
            "                    {:+.0} KiB a minute, over {} s of one process",
            memory.slope(),
            memory.span().as_secs()
        );
        Ok(())
    }
}

/// The program as it is: an example is built without it.
async fn build() -> Result<PathBuf> {
    let mut cargo = tokio::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--bin", "wib"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    ensure!(
        cargo.status().await?.success(),
        "cargo build --bin wib has failed"
    );
    let example = std::env::current_exe()?;
    let target = example.parent().and_then(std::path::Path::parent);
    Ok(target.context("no folder of the build")?.join("wib"))
}

async fn soak(options: &Options) -> Result<()> {
    let time: Duration = options.time.try_into().context("--for")?;
    let mut soak = Soak::start(options.seed).await?;
    let schema = Schema::read(soak.world.azure.subscription_id())?;
    let started = Instant::now();
    let terminal = std::io::stdout().is_terminal();
    let mut result = Ok(());
    while result.is_ok() && started.elapsed() < time {
        result = match soak.round(&schema, (time / 3).min(Duration::from_mins(30))).await {
            Ok(()) => soak.check().await,
            failed => failed,
        };
        if terminal {
            let Figures {
                operations, faults, ..
            } = soak.figures;
            print!(
                "\r{:>5} s  {operations} operations, {faults} faults ",
                started.elapsed().as_secs()
            );
            std::io::stdout().flush()?;
        }
    }
    if result.is_ok() {
        result = soak.end().await;
    }
    soak.report(started.elapsed())?;
    if result.is_err()
        && let Some(operator) = &soak.operator
    {
        let log = operator.log()?;
        let from = log.lines().count().saturating_sub(60);
        eprintln!("{}", log.lines().skip(from).collect::<Vec<_>>().join("\n"));
    }
    println!("violations          {}", u8::from(result.is_err()));
    result.with_context(|| format!("--seed {}", options.seed))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new().map_err(anyhow::Error::from);
    let result = runtime.and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                result = soak(&options) => result,
                _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped")),
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
