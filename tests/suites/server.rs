//! The port of probes and metrics under clients that mean no good. What any pod of the cluster can reach must neither
//! take the operator's memory nor keep the kubelet out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wib_harness::{Program, World};

use crate::process::WIB;
use crate::runner::trials;

trials![
    shared half_open_connections_are_closed_and_cost_bounded_memory,
    shared a_head_that_trickles_in_is_cut_off,
    shared probes_get_through_a_flood_of_connections,
    shared probes_get_through_without_file_descriptors,
];

/// What the kubelet gives a probe in the chart and in `config/`.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The 5 seconds that a head may take, and slack for a machine that does much else.
const CLOSED_WITHIN: Duration = Duration::from_secs(20);

/// An operator that is ready.
async fn ready(world: &World) -> Result<Program> {
    let arguments = world.operator_arguments(&[]);
    let mut program = Program::start(Path::new(WIB), &arguments[1..], &[])?;
    program.ready().await?;
    Ok(program)
}

/// Fails unless a probe of readiness gets its answer in the kubelet's time.
async fn probe(program: &Program) -> Result<()> {
    let answer = timeout(PROBE_TIMEOUT, program.get("/readyz")).await;
    let answer = answer.context("the kubelet would have given up")??;
    ensure!(answer.0 == 200, "{answer:?}");
    Ok(())
}

/// A connection with a request that lacks its end.
async fn half_open(address: SocketAddr, size: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let half = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(size));
    // One that has been closed meanwhile is what the trial wants.
    let _ = stream.write_all(half.as_bytes()).await;
    Ok(stream)
}

/// Returns when the server has closed a connection, with a reset or without.
async fn closed(mut stream: TcpStream) {
    let mut answer = [0; 256];
    while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
}

/// Resident memory of a process, in kB.
fn resident(program: &Program) -> Result<u64> {
    let id = program.id().context("it has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(figure.parse()?)
}

async fn half_open_connections_are_closed_and_cost_bounded_memory(world: World) -> Result<()> {
    let program = ready(&world).await?;
    let before = resident(&program)?;
    let mut open = Vec::new();
    for count in 1..=3000 {
        open.push(half_open(program.address(), 8000).await?);
        if count % 500 == 0 {
            probe(&program).await?;
        }
    }
    let during = resident(&program)?;
    ensure!(
        during * 2 < before * 3,
        "{before} kB resident before, {during} kB with 3,000 half requests"
    );
    let all = async {
        for stream in open {
            closed(stream).await;
        }
    };
    let closed = timeout(CLOSED_WITHIN, all).await;
    closed.context("connections with half a request stay open")?;
    probe(&program).await
}

async fn a_head_that_trickles_in_is_cut_off(world: World) -> Result<()> {
    let program = ready(&world).await?;
    let (mut reader, mut writer) = half_open(program.address(), 1).await?.into_split();
    let trickle = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = [0; 256];
    let ended = async { while reader.read(&mut answer).await.is_ok_and(|read| read > 0) {} };
    let first = async {
        tokio::select! {
            () = trickle => {}
            () = ended => {}
        }
    };
    timeout(CLOSED_WITHIN, first)
        .await
        .context("a head may take for ever, a byte at a time")
}

async fn probes_get_through_a_flood_of_connections(world: World) -> Result<()> {
    let program = ready(&world).await?;
    let (address, stop, opened) = (program.address(), AtomicBool::new(false), AtomicU32::new(0));
    // Holds 100 connections and replaces the oldest.
    let flood = async || {
        let mut held = VecDeque::new();
        while !stop.load(Ordering::Relaxed) {
            held.push_back(half_open(address, 100).await?);
            opened.fetch_add(1, Ordering::Relaxed);
            if held.len() > 100 {
                held.pop_front();
            }
        }
        anyhow::Ok(())
    };
    // Together more than the limit, all the time; a thousand connections, however long they take.
    let floods = try_join_all([flood(), flood(), flood(), flood()]);
    let probes = async {
        let mut probes = 0;
        while probes < 30 || opened.load(Ordering::Relaxed) < 1000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let beside = || format!("beside {} connections", opened.load(Ordering::Relaxed));
            probe(&program).await.with_context(beside)?;
            probes += 1;
        }
        stop.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    tokio::try_join!(floods, probes).map(drop)
}

async fn probes_get_through_without_file_descriptors(world: World) -> Result<()> {
    // A pod's limit is far higher; what counts is that it is below that of the connections.
    let limited = ["-c", "ulimit -n 96; exec \"$0\" \"$@\"", WIB].map(str::to_owned);
    let arguments = [&limited[..], &world.operator_arguments(&[])[1..]].concat();
    let mut program = Program::start(Path::new("/bin/sh"), &arguments, &[])?;
    program.ready().await?;
    let mut open = Vec::new();
    for _ in 0..10 {
        for _ in 0..40 {
            open.push(half_open(program.address(), 100).await?);
        }
        probe(&program).await?;
    }
    ensure!(
        program.log()?.contains("cannot accept a connection"),
        "the descriptors have sufficed"
    );
    let ended = program.terminate().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
