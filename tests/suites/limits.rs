//! Azure's documented limits, and many bindings at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{ArmBuckets, Identity, Latency, Operation, RpBuckets};
use futures::future::try_join_all;
use kube::api::{DeleteParams, ListParams};
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::gate::Rule;
use wib_harness::world::bindings::{condition, is_ready};
use wib_harness::{Cluster, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use crate::runner::{figure, trials};

trials![
    exhaustive twenty_at_once_keep_to_the_documented_limits,
    exhaustive two_clusters_share_the_documented_limits,
    alone thousands_in_one_namespace_do_not_starve_another,
    shared bindings_that_come_together_share_the_writes_of_records,
    shared a_full_identity_blocks_only_its_own_losers,
    shared a_freed_slot_is_taken_at_once,
    shared removals_make_room_for_what_comes_with_them,
];

/// Credentials that Azure allows on an identity.
const LIMIT: usize = 20;

/// A slow retry helps nobody here.
const UNHURRIED: [&str; 2] = ["--slow-retry-interval=10m", "--max-retry-interval=1m"];

/// At 0.25 writes a second: the first at once, one in four seconds then.
fn floor(writes: usize) -> Duration {
    Duration::from_secs(4) * u32::try_from(writes - 1).unwrap_or(u32::MAX)
}

fn documented(world: &World) {
    world.azure.knobs(|knobs| {
        knobs.rp_buckets = Some(RpBuckets::published());
        knobs.arm_buckets = Some(ArmBuckets::published());
    });
}

async fn prepare(world: &World, names: &[String], identity: &Identity) -> Result<()> {
    for name in names {
        world.service_account(name).await?;
        world.grant(name, identity).await?;
    }
    Ok(())
}

async fn bindings(world: &World) -> Result<Vec<WorkloadIdentityBinding>> {
    Ok(world.bindings().list(&ListParams::default()).await?.items)
}

/// Waits until so many bindings of this namespace are as wanted.
async fn until(
    world: &World,
    count: usize,
    patience: Duration,
    wanted: impl Fn(&WorkloadIdentityBinding) -> bool,
) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let found = bindings(world).await?.into_iter().filter(|b| wanted(b)).count();
        if found >= count {
            return Ok(started.elapsed());
        }
        ensure!(
            started.elapsed() < patience,
            "{found} of {count} after {patience:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Answers of Azure to writes, by status.
fn refused(world: &World, status: u16) -> usize {
    let journal = world.azure.journal();
    journal.iter().filter(|e| e.status == Some(status)).count()
}

/// The time from the first write to the last.
fn writing(world: &World) -> Result<Duration> {
    let journal = world.azure.journal();
    let mut writes = journal.iter().filter(|e| e.operation == Operation::PutCredential);
    let first = writes.next().context("nothing was written")?;
    Ok(writes.next_back().unwrap_or(first).started - first.started)
}

async fn twenty_at_once_keep_to_the_documented_limits(world: World) -> Result<()> {
    documented(&world);
    let identity = world.identity("web");
    let names: Vec<_> = (0..LIMIT).map(|n| format!("web-{n}")).collect();
    prepare(&world, &names, &identity).await?;
    let _operator = world.operator_with(&UNHURRIED).await?;

    try_join_all(names.iter().map(|name| world.bind(name, name, &identity))).await?;
    until(&world, LIMIT, floor(LIMIT) * 2, is_ready).await?;
    let makespan = writing(&world)?;

    let bound = floor(LIMIT).mul_f64(1.1);
    ensure!(
        makespan <= bound,
        "{makespan:?}, and {bound:?} is 1.1 times the floor"
    );
    assert_eq!(refused(&world, 409), 0);
    assert_eq!(world.azure.overlapping_writes(), []);
    let (throttled, reads) = (
        refused(&world, 429),
        world.azure.count(Operation::GetIdentity) + world.azure.count(Operation::ListCredentials),
    );
    ensure!(throttled <= LIMIT / 2, "{throttled} calls were refused with 429");
    assert_eq!(reads, 2);
    for name in &names {
        world.assert_accepted(name, &identity.client_id).await?;
    }
    figure(format!(
        "limits: {LIMIT} bindings on one identity in {:.1} s, floor {} s, 409: 0, 429: {throttled}",
        makespan.as_secs_f64(),
        floor(LIMIT).as_secs()
    ));
    Ok(())
}

async fn two_clusters_share_the_documented_limits(world: World) -> Result<()> {
    documented(&world);
    let other = world
        .beside(Arc::new(Cluster::start().await?), &world.namespace)
        .await?;
    let identity = world.identity("web");
    let names: Vec<_> = (0..LIMIT / 2).map(|n| format!("web-{n}")).collect();
    let _operators = {
        prepare(&world, &names, &identity).await?;
        prepare(&other, &names, &identity).await?;
        (
            world.operator_with(&UNHURRIED).await?,
            other.operator_with(&UNHURRIED).await?,
        )
    };

    for world in [&world, &other] {
        try_join_all(names.iter().map(|name| world.bind(name, name, &identity))).await?;
    }
    let patience = floor(LIMIT) * 4;
    tokio::try_join!(
        until(&world, names.len(), patience, is_ready),
        until(&other, names.len(), patience, is_ready)
    )?;
    let makespan = writing(&world)?;

    let bound = floor(LIMIT) * 2;
    ensure!(
        makespan <= bound,
        "{makespan:?}, and {bound:?} is twice the floor"
    );
    assert_eq!(world.azure.overlapping_writes(), []);
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), LIMIT);
    for world in [&world, &other] {
        for name in &names {
            world.assert_accepted(name, &identity.client_id).await?;
        }
    }
    figure(format!(
        "limits: two clusters with {} bindings each on one identity in {:.1} s, floor {} s, 409: {}, 429: {}",
        names.len(),
        makespan.as_secs_f64(),
        floor(LIMIT).as_secs(),
        refused(&world, 409),
        refused(&world, 429),
    ));
    Ok(())
}

async fn thousands_in_one_namespace_do_not_starve_another() -> Result<()> {
    const MANY: usize = 2000;
    let cluster = Arc::new(Cluster::start().await?);
    let big = World::new(cluster.clone()).await?;
    documented(&big);
    let identities: Vec<_> = (0..MANY / LIMIT)
        .map(|n| big.identity(&format!("big-{n}")))
        .collect();
    let small = big.identity("small");
    // The API server holds creates back while a definition is young.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for chunk in (0..MANY).collect::<Vec<_>>().chunks(50) {
        try_join_all(chunk.iter().map(|n| {
            let (name, identity) = (format!("big-{n}"), &identities[n / LIMIT]);
            let spec = json!({
                "identity": { "resourceId": identity.resource_id },
                "serviceAccount": { "name": name, "create": true },
            });
            let big = &big;
            async move { big.create(&name, spec).await }
        }))
        .await?;
    }
    let mut arguments = big.operator_arguments(&["--authorization=none"]);
    arguments.retain(|a| !a.starts_with("--watch-namespace"));
    let _operator = wib_harness::Operator::start(arguments).await?;
    until(&big, LIMIT, Duration::from_mins(1), is_ready).await?;

    let other = big.neighbour("small").await?;
    other.service_account("small").await?;
    let (started, before) = (Instant::now(), big.azure.journal().len());
    other.bind("small", "small", &small).await?;
    other.ready("small").await?;
    let (took, calls) = (started.elapsed(), big.azure.journal().len() - before);

    let ready = bindings(&big).await?.into_iter().filter(is_ready).count();
    ensure!(ready < MANY / 4, "the big namespace was through already: {ready}");
    // Three of its own, and between them what the pace let the others do.
    ensure!(calls < MANY / 10, "it had to wait for {calls} calls");
    assert_eq!(refused(&big, 409), 0);
    let (throttled, writes) = (refused(&big, 429), big.azure.count(Operation::PutCredential));
    figure(format!(
        "limits: one binding beside {MANY} of another namespace was ready after {:.1} s and {calls} calls, when {ready} of those were; 429: {throttled} of {} calls, {writes} of them writes",
        took.as_secs_f64(),
        big.azure.journal().len(),
    ));
    Ok(())
}

/// Three writes for each binding, and for each identity at most six on its record: it is made, filled, and what
/// the other bindings add while one write is under way goes into the next.
async fn bindings_that_come_together_share_the_writes_of_records(world: World) -> Result<()> {
    const IDENTITIES: usize = 10;
    const EACH: usize = 10;
    world
        .azure
        .knobs(|knobs| knobs.latency = Latency::all(Duration::from_millis(50)));
    let identities: Vec<_> = (0..IDENTITIES)
        .map(|n| world.identity(&format!("many-{n}")))
        .collect();
    let names: Vec<_> = (0..IDENTITIES * EACH).map(|n| format!("many-{n}")).collect();
    try_join_all(names.iter().map(|name| world.service_account(name))).await?;
    let gates = world.gated().await?;
    // So slow that others come while one is under way, however busy the machine is.
    let slow = Rule::on("k8s PUT managedidentities/status").delay_before(Duration::from_secs(2));
    gates.kubernetes.rule(slow.always());
    let bind = |(n, name): (usize, &String)| {
        let (world, name, identity) = (&world, name.clone(), &identities[n % IDENTITIES]);
        async move { world.bind(&name, &name, identity).await }
    };
    try_join_all(names.iter().enumerate().map(bind)).await?;
    // It finds all of them at once: how fast people make them is no matter.
    let _operator = world.operator_through(&gates, &["--authorization=none"]).await?;
    until(&world, names.len(), Duration::from_mins(2), is_ready).await?;

    let on_bindings = world.kubernetes_writes_after(names.len()).await?.len();
    let on_records = world.record_writes()?.len();
    assert_eq!(on_bindings, 3 * names.len());
    ensure!(
        on_records <= 6 * IDENTITIES,
        "{on_records} writes on {IDENTITIES} records"
    );
    figure(format!(
        "limits: {} bindings at once on {IDENTITIES} identities: {on_bindings} writes on bindings and their ServiceAccounts, {on_records} on records",
        names.len()
    ));
    Ok(())
}

async fn a_full_identity_blocks_only_its_own_losers(world: World) -> Result<()> {
    let (full, free) = (world.identity("full"), world.identity("free"));
    let crowd: Vec<_> = (0..LIMIT + 5).map(|n| format!("crowd-{n}")).collect();
    let others: Vec<_> = (0..5).map(|n| format!("other-{n}")).collect();
    prepare(&world, &crowd, &full).await?;
    prepare(&world, &others, &free).await?;
    let _operator = world.operator_with(&UNHURRIED).await?;
    try_join_all(crowd.iter().map(|name| world.bind(name, name, &full))).await?;
    try_join_all(others.iter().map(|name| world.bind(name, name, &free))).await?;

    try_join_all(others.iter().map(|name| world.ready(name))).await?;
    let patience = Duration::from_secs(30);
    until(&world, LIMIT + others.len(), patience, is_ready).await?;
    until(&world, 5, patience, is_loser).await?;
    assert_eq!(world.azure.credentials(&full.resource_id).len(), LIMIT);
    assert_eq!(world.azure.count(Operation::PutCredential), LIMIT + others.len());
    for binding in bindings(&world).await? {
        let name = binding.metadata.name.clone().unwrap_or_default();
        let identity = if name.starts_with("crowd") { &full } else { &free };
        let accepted = world.exchange(&name, &identity.client_id).await?.is_ok();
        assert_eq!(accepted, is_ready(&binding), "{name}");
    }
    Ok(())
}

fn is_loser(binding: &WorkloadIdentityBinding) -> bool {
    condition(binding, "Stalled").is_some_and(|c| c.1 == "CredentialLimitReached")
}

async fn a_freed_slot_is_taken_at_once(world: World) -> Result<()> {
    let identity = world.identity("full");
    let names: Vec<_> = (0..LIMIT + 3).map(|n| format!("web-{n}")).collect();
    prepare(&world, &names, &identity).await?;
    let _operator = world.operator_with(&UNHURRIED).await?;
    try_join_all(names.iter().map(|name| world.bind(name, name, &identity))).await?;
    let patience = Duration::from_secs(30);
    until(&world, LIMIT, patience, is_ready).await?;
    until(&world, 3, patience, is_loser).await?;

    let winner = bindings(&world).await?.into_iter().find(is_ready);
    let winner = winner.and_then(|b| b.metadata.name).context("nobody is ready")?;
    let started = Instant::now();
    world.delete(&winner).await?;
    until(&world, LIMIT, patience, is_ready).await?;
    let took = started.elapsed();
    ensure!(took < Duration::from_secs(10), "noticed after {took:?}");
    until(&world, 2, patience, is_loser).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), LIMIT);
    Ok(())
}

async fn removals_make_room_for_what_comes_with_them(world: World) -> Result<()> {
    let identity = world.identity("full");
    let old: Vec<_> = (0..LIMIT).map(|n| format!("old-{n}")).collect();
    let new: Vec<_> = (0..10).map(|n| format!("new-{n}")).collect();
    prepare(&world, &old, &identity).await?;
    prepare(&world, &new, &identity).await?;
    let _operator = world.operator_with(&UNHURRIED).await?;
    try_join_all(old.iter().map(|name| world.bind(name, name, &identity))).await?;
    let patience = Duration::from_secs(30);
    until(&world, LIMIT, patience, is_ready).await?;

    // The new ones first: they must not have to wait for a slow retry.
    try_join_all(new.iter().map(|name| world.bind(name, name, &identity))).await?;
    let (api, params) = (world.bindings(), DeleteParams::default());
    try_join_all(old[..10].iter().map(|name| api.delete(name, &params))).await?;
    try_join_all(new.iter().map(|name| world.ready(name))).await?;
    try_join_all(old[..10].iter().map(|name| world.gone(name))).await?;

    assert_eq!(world.azure.credentials(&identity.resource_id).len(), LIMIT);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 10);
    // At first, and before a deletion when that list is older than ten seconds.
    ensure!(
        world.azure.count(Operation::ListCredentials) <= 2,
        "a list for each change"
    );
    assert_eq!(world.azure.overlapping_writes(), []);
    for name in &new {
        world.assert_accepted(name, &identity.client_id).await?;
    }
    Ok(())
}
