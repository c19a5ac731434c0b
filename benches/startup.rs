//! What the operator costs: `cargo bench --bench startup`.
//!
//! Runs the program as it is shipped (release profile) against a real kube-apiserver and an emulated Azure
//! that takes 100 ms for every answer. Prints figures and asserts none: they are the machine's as much as
//! ours. The counts of calls do not depend on the machine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Identity, Latency, Operation};
use futures::future::try_join_all;
use kube::api::ListParams;
use serde_json::json;
use wib_harness::world::bindings::is_ready;
use wib_harness::{Cluster, Program, World};

/// The program, built with the profile of this bench.
const WIB: &str = env!("CARGO_BIN_EXE_wib");
/// How often the program is started.
const STARTS: usize = 5;
/// How many bindings are made. Azure allows 20 credentials on an identity.
const BINDINGS: usize = 20;
/// How long Azure takes for an answer.
const LATENCY: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    // `cargo test --benches` runs benches too, with this flag missing.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("startup: figures are had with `cargo bench --bench startup`");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let cluster = Arc::new(Cluster::start().await?);
        // The API server holds every create back for two seconds while a definition is younger than that.
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!();
        size()?;
        startup(&World::new(cluster.clone()).await?).await?;
        one_after_the_other(&World::new(cluster.clone()).await?).await?;
        at_once(&World::new(cluster.clone()).await?, BINDINGS).await?;
        at_once(&World::new(cluster.clone()).await?, 1).await?;
        a_thousand(&World::new(cluster.clone()).await?).await?;
        storm(&World::new(cluster).await?).await
    })
}

fn row(what: &str, figure: &str) {
    println!("{what:<58} {figure}");
}

fn size() -> Result<()> {
    let size = std::fs::metadata(WIB)
        .with_context(|| format!("{WIB} is missing: cargo build --release --bin wib"))?;
    row("size of the binary", &mebibytes(size.len()));
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0)
}

/// `min / median / max`.
fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |index: usize| milliseconds(times[index]);
    format!("{} / {} / {}", at(0), at(times.len() / 2), at(times.len() - 1))
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// A percentile of sorted times, by the nearest rank.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    times[(times.len() * percent).div_ceil(100).max(1) - 1]
}

async fn operator(world: &World) -> Result<Program> {
    world.azure.knobs(|knobs| knobs.latency = Latency::all(LATENCY));
    let mut program = Program::start(Path::new(WIB), &world.operator_arguments(&[])[1..], &[])?;
    program.ready().await?;
    Ok(program)
}

async fn startup(world: &World) -> Result<()> {
    let arguments = world.operator_arguments(&[]);
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut program = Program::start(Path::new(WIB), &arguments[1..], &[])?;
        times.push(program.ready().await?);
        memory.extend(resident(&program));
        let ended = program.terminate().await?;
        ensure!(ended.code == Some(0), "{ended:?}");
    }
    row("start to ready, min / median / max of 5", &spread(&mut times));
    memory.sort_unstable();
    let memory = memory
        .get(memory.len() / 2)
        .map_or_else(|| "unknown".to_owned(), |&bytes| mebibytes(bytes));
    row("resident memory when ready, median", &memory);
    Ok(())
}

/// Resident memory, where the kernel tells.
fn resident(program: &Program) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|kibibytes| kibibytes * 1024)
}

/// The time from `kubectl apply` to Ready, each binding with an identity of its own, one after the other.
async fn one_after_the_other(world: &World) -> Result<()> {
    let identities = prepared(world, BINDINGS).await?;
    let program = operator(world).await?;
    let mut times = Vec::new();
    for (name, identity) in &identities {
        times.push(bound(world, name, identity).await?);
    }
    times.sort();
    println!();
    row(
        "apply to ready, one after the other, p50",
        &milliseconds(percentile(&times, 50)),
    );
    row(
        "apply to ready, one after the other, p99",
        &milliseconds(percentile(&times, 99)),
    );
    row(
        "  floor: three calls to Azure of 100 ms",
        &milliseconds(LATENCY * 3),
    );
    costs(world)?;
    end(program).await
}

/// Twenty bindings at once, on this many identities.
async fn at_once(world: &World, identities: usize) -> Result<()> {
    let identities = prepared(world, identities).await?;
    let program = operator(world).await?;
    let started = Instant::now();
    let bindings = identities
        .iter()
        .map(|(name, identity)| bound(world, name, identity));
    let mut times = try_join_all(bindings).await?;
    let makespan = started.elapsed();
    let used = identities
        .iter()
        .map(|(_, identity)| &identity.name)
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    println!();
    row(
        &format!("{BINDINGS} at once on {used} identities, until the last is ready"),
        &milliseconds(makespan),
    );
    let writes = u32::try_from(BINDINGS / used)?;
    row(
        &format!("  floor: two reads and {writes} write(s), one by one"),
        &milliseconds(LATENCY * (2 + writes)),
    );
    row("  each, min / median / max", &spread(&mut times));
    row(
        "  writes that overlapped on an identity",
        &world.azure.overlapping_writes().len().to_string(),
    );
    costs(world)?;
    end(program).await
}

/// A thousand bindings on a hundred identities, made before the operator starts.
async fn a_thousand(world: &World) -> Result<()> {
    const IDENTITIES: usize = 100;
    const MANY: usize = 1000;
    let identities: Vec<_> = (0..IDENTITIES)
        .map(|n| world.identity(&format!("identity-{n}")))
        .collect();
    let names: Vec<_> = (0..MANY).map(|n| format!("web-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        world.service_account(name).await?;
        world.bind(name, name, &identities[n % IDENTITIES]).await?;
    }
    let started = Instant::now();
    world.azure.knobs(|knobs| knobs.latency = Latency::all(LATENCY));
    let arguments = world.operator_arguments(&["--authorization=none"]);
    let program = Program::start(Path::new(WIB), &arguments[1..], &[])?;
    let is_all = || async {
        let bindings = world.bindings().list(&ListParams::default()).await?;
        anyhow::Ok(bindings.iter().filter(|binding| is_ready(binding)).count() == MANY)
    };
    while !is_all().await? {
        ensure!(started.elapsed() < Duration::from_mins(20), "not all are ready");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!();
    row(
        &format!("{MANY} on {IDENTITIES} identities, from the start until the last is ready"),
        &milliseconds(started.elapsed()),
    );
    world.kubernetes_writes_after(MANY).await?;
    costs(world)?;
    if let Some(memory) = resident(&program) {
        row("  resident memory then", &mebibytes(memory));
    }
    end(program).await
}

/// A grant is withdrawn while patches of the binding do not end.
async fn storm(world: &World) -> Result<()> {
    const PATCHERS: usize = 24;
    const TIMES: usize = 5;
    let identity = world.workload("web").await?;
    let program = operator(world).await?;
    bound(world, "web", &identity).await?;
    let patch = |n: usize| json!({ "metadata": { "annotations": { "n": n.to_string() } } });
    let storm = world.storm("web", PATCHERS, patch).await?;
    let mut times = Vec::new();
    let begun = Instant::now();
    for _ in 0..TIMES {
        world.grant("web", &identity).await?;
        world.wait("web", "ready", is_ready).await?;
        let started = Instant::now();
        world.revoke("web", &identity).await?;
        let gone = || world.azure.credentials(&identity.resource_id).is_empty();
        world.until("the credential is gone", gone).await?;
        times.push(started.elapsed());
    }
    println!();
    row(
        &format!("revoked while {PATCHERS} patch the binding, min / median / max of {TIMES}"),
        &spread(&mut times),
    );
    let patches = u128::try_from(storm.landed())? * 1000 / begun.elapsed().as_millis().max(1);
    row("  patches a second", &patches.to_string());
    end(program).await
}

/// Names of bindings with their identities: ServiceAccounts and grants are there.
async fn prepared(world: &World, identities: usize) -> Result<Vec<(String, Identity)>> {
    let identities: Vec<_> = (0..identities)
        .map(|n| world.identity(&format!("identity-{n}")))
        .collect();
    let bindings = (0..BINDINGS).map(|n| (format!("web-{n}"), identities[n % identities.len()].clone()));
    let bindings: Vec<_> = bindings.collect();
    for (name, identity) in &bindings {
        world.service_account(name).await?;
        world.grant(name, identity).await?;
    }
    Ok(bindings)
}

/// Makes a binding and waits until it is ready.
async fn bound(world: &World, name: &str, identity: &Identity) -> Result<Duration> {
    let started = Instant::now();
    world.bind(name, name, identity).await?;
    world.wait(name, "ready", is_ready).await?;
    Ok(started.elapsed())
}

fn costs(world: &World) -> Result<()> {
    let count = |operation| world.azure.count(operation);
    row(
        "  calls: token / identity / list / put",
        &format!(
            "{} / {} / {} / {}",
            count(Operation::Token),
            count(Operation::GetIdentity),
            count(Operation::ListCredentials),
            count(Operation::PutCredential)
        ),
    );
    let writes = world.kubernetes_writes()?;
    let refused = writes.iter().filter(|write| write.status >= 300).count();
    let records = world.record_writes()?;
    let records_refused = records.iter().filter(|write| write.status >= 300).count();
    row(
        "  writes to Kubernetes / of them on records / refused",
        &format!(
            "{} / {} / {}",
            writes.len() + records.len(),
            records.len(),
            refused + records_refused
        ),
    );
    Ok(())
}

async fn end(program: Program) -> Result<()> {
    let ended = program.terminate().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
