//! Several replicas, one lease: never a write without a claim, and somebody who goes on.

mod replica;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Fault, FaultAction, Identity, Latency, Operation};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::{Operator, Program, World};
use workload_identity_binding::app::Failure;

use crate::process::WIB;
use crate::runner::{figure, trials};
use replica::{History, LONG, NAME, Replica, SHORT, leads, leases, probe};

trials![
    shared one_works_and_the_others_stand_by_ready,
    shared a_replica_that_may_not_read_the_lease_is_not_ready_and_disturbs_nobody,
    shared a_stop_hands_over_at_once,
    shared a_killed_leader_is_followed_within_the_lease,
    shared a_lease_that_is_edited_during_a_write_ends_the_leader,
    shared a_lease_that_is_deleted_during_a_write_ends_the_leader,
    shared rights_that_are_withdrawn_during_a_write_end_the_leader,
    shared a_process_that_was_paused_writes_nothing_and_exits,
    shared without_the_api_server_nothing_is_written_to_azure,
];

/// How long after its arrival a write takes effect that loses its writer.
const DELAY: Duration = Duration::from_secs(12);

/// Makes workloads and their bindings.
async fn bind(world: &World, names: &[&str]) -> Result<Vec<Identity>> {
    let mut identities = Vec::new();
    for name in names {
        let identity = world.workload(name).await?;
        world.bind(name, name, &identity).await?;
        identities.push(identity);
    }
    Ok(identities)
}

/// A leader `a` and a standby `b`.
async fn pair(world: &World, lease: Duration) -> Result<(History, (Replica, Operator), (Replica, Operator))> {
    let history = History::watch(world);
    let (a, b) = (
        Replica::new(world, "a", lease).await?,
        Replica::new(world, "b", lease).await?,
    );
    let leader = a.start(world).await?;
    leads(&leader).await?;
    let standby = b.start(world).await?;
    probe(&standby, "/readyz", "standby").await?;
    Ok((history, (a, leader), (b, standby)))
}

/// Fails unless there is one credential, the binding is ready and its workload is accepted.
async fn in_order(world: &World, name: &str, identity: &Identity) -> Result<()> {
    world.ready(name).await?;
    let held = world.azure.credentials(&identity.resource_id);
    ensure!(held.len() == 1, "{} credentials: {held:?}", held.len());
    world.assert_accepted(name, &identity.client_id).await
}

/// Fails unless the operator ends by itself, for the reason that it leads no longer.
async fn ends(operator: Operator, part: &str) -> Result<()> {
    let ended = tokio::time::timeout(LONG * 2, operator.ended()).await;
    match ended.context("the old leader goes on")? {
        Err(failure @ Failure::Leadership(_)) => {
            assert_eq!(failure.exit_code(), 5);
            ensure!(failure.to_string().contains(part), "{failure}");
            Ok(())
        }
        other => anyhow::bail!("it ended with {other:?}"),
    }
}

async fn one_works_and_the_others_stand_by_ready(world: World) -> Result<()> {
    let (history, (a, leader), (b, standby)) = pair(&world, SHORT).await?;
    let identities = bind(&world, &["web", "api", "job"]).await?;
    for (name, identity) in ["web", "api", "job"].iter().zip(&identities) {
        in_order(&world, name, identity).await?;
    }
    world.delete("job").await?;
    let status = |leads: u8| format!("leader_election_master_status{{name=\"{NAME}\"}} {leads}");
    probe(&leader, "/metrics", &status(1)).await?;
    probe(&standby, "/metrics", &status(0)).await?;
    assert_eq!(standby.get("/healthz").await?.0, 200);

    // Longer than a lease: the claim is renewed, and the standby keeps still.
    tokio::time::sleep(SHORT + Duration::from_secs(1)).await;
    ensure!(history.is_held_by("a"), "{:?} holds the lease", history.holder());
    ensure!(b.writes().is_empty(), "the standby wrote: {:?}", b.writes());
    ensure!(b.claims().is_empty(), "the standby touched the lease");
    ensure!(
        b.gates.azure.count("azure GET identity") == 0,
        "the standby asked Azure"
    );
    let spec = leases(&world).get(NAME).await?.spec.context("no spec")?;
    assert_eq!(
        (spec.lease_duration_seconds, spec.lease_transitions),
        (Some(8), Some(0))
    );
    ensure!(spec.acquire_time.is_some() && spec.renew_time > spec.acquire_time);
    let writes = history.assert_no_write_without_claim(&[&a, &b])?;
    figure(format!(
        "leadership: two replicas: {writes} writes by the leader, 0 by the standby"
    ));
    Ok(())
}

async fn a_replica_that_may_not_read_the_lease_is_not_ready_and_disturbs_nobody(world: World) -> Result<()> {
    let (a, b) = (
        Replica::new(&world, "a", LONG).await?,
        Replica::new(&world, "b", LONG).await?,
    );
    let leader = a.start(&world).await?;
    leads(&leader).await?;
    // Another lease, for which the Role gives no rights.
    let mut arguments = b.arguments(&world);
    arguments.push("--lease-name=other".to_owned());
    let other = Operator::start(arguments).await?;
    let started = Instant::now();
    while !other
        .get("/readyz")
        .await?
        .1
        .contains("waiting for the lease of the leader election")
    {
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "{:?}",
            other.get("/readyz").await?
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let identities = bind(&world, &["web"]).await?;
    in_order(&world, "web", &identities[0]).await?;
    ensure!(b.writes().is_empty() && !other.has_ended());
    let asked = Instant::now();
    ensure!(other.stop().await.is_ok() && asked.elapsed() < Duration::from_secs(2));
    Ok(())
}

async fn a_stop_hands_over_at_once(world: World) -> Result<()> {
    let (history, (a, leader), (b, standby)) = pair(&world, LONG).await?;
    let identities = bind(&world, &["web", "api"]).await?;
    world.ready("web").await?;
    let asked = Instant::now();
    leader.stop().await?;
    let stopped = asked.elapsed();
    world.until("b leads", || history.is_held_by("b")).await?;
    let (taken, free) = (asked.elapsed(), asked.elapsed().saturating_sub(stopped));
    leads(&standby).await?;
    let working = asked.elapsed();
    for (name, identity) in ["web", "api"].iter().zip(&identities) {
        in_order(&world, name, identity).await?;
    }
    // Less than any renewal or lease: nobody has waited for anything.
    ensure!(
        free < Duration::from_secs(2),
        "taken over {free:?} later, {taken:?} in all"
    );
    ensure!(
        world.azure.overlapping_writes().is_empty(),
        "two writes at a time"
    );
    history.assert_no_write_without_claim(&[&a, &b])?;
    figure(format!(
        "leadership: stop: ended after {stopped:.0?}, lease taken {free:.0?} later, listed after {working:.0?} in all"
    ));
    Ok(())
}

async fn a_killed_leader_is_followed_within_the_lease(world: World) -> Result<()> {
    let (history, (a, leader), (b, standby)) = pair(&world, SHORT).await?;
    let identities = bind(&world, &["web"]).await?;
    in_order(&world, "web", &identities[0]).await?;
    drop(leader);
    let killed = Instant::now();
    let late = bind(&world, &["api"]).await?;
    world.until("b leads", || history.is_held_by("b")).await?;
    let taken = killed.elapsed();
    leads(&standby).await?;
    in_order(&world, "api", &late[0]).await?;
    let renewed = a.claims().last().copied().context("no claim")?;
    let since_renewal = b.claims().first().copied().context("no claim")? - renewed;
    ensure!(
        since_renewal >= SHORT,
        "taken {since_renewal:?} after the last renewal"
    );
    ensure!(
        taken < SHORT + Duration::from_secs(2),
        "taken over after {taken:?}"
    );
    history.assert_no_write_without_claim(&[&a, &b])?;
    figure(format!(
        "leadership: kill, lease {SHORT:?}: taken over after {taken:.1?}, {:.0?} past the lease's end; with the default of 15s: 10s to 15s after the kill, and the same",
        since_renewal.saturating_sub(SHORT)
    ));
    Ok(())
}

/// The leader loses the lease by a deed of somebody else while a write of it is at Azure.
async fn lost_during_a_write(
    world: World,
    lease: Duration,
    what: &str,
    part: &str,
    deed: impl AsyncFnOnce(&World) -> Result<()>,
    mend: impl AsyncFnOnce(&World) -> Result<()>,
) -> Result<()> {
    let (history, (a, leader), (b, standby)) = pair(&world, lease).await?;
    // The first write arrives, and takes effect long after its writer is gone; more are to come.
    let slow = FaultAction::Delay(DELAY);
    world
        .azure
        .fault(Fault::on(Operation::PutCredential).action(slow));
    let identities = bind(&world, &["web"]).await?;
    world
        .until("a write is at Azure", || {
            world.azure.count(Operation::PutCredential) == 1
        })
        .await?;
    deed(&world).await?;
    let done = Instant::now();
    let more = bind(&world, &["api", "job"]).await?;
    ends(leader, part).await?;
    let ended = done.elapsed();
    let writes = a.writes().len();
    mend(&world).await?;
    world.until("b leads", || history.is_held_by("b")).await?;
    leads(&standby).await?;
    for (name, identity) in ["web", "api", "job"].iter().zip(identities.iter().chain(&more)) {
        in_order(&world, name, identity).await?;
    }
    // The old write has taken effect by then, or does now: it changes nothing.
    let entries = || {
        let mut journal = world.azure.journal();
        journal.retain(|e| {
            e.operation == Operation::PutCredential
                && e.identity.as_deref().is_some_and(|i| i.ends_with("/web"))
        });
        journal
    };
    world
        .until("the old write is over", || {
            done.elapsed() > DELAY * 2 || entries().first().is_some_and(|e| e.committed.is_some())
        })
        .await?;
    in_order(&world, "web", &identities[0]).await?;
    assert_eq!(a.writes().len(), writes, "the old leader wrote after its end");
    history.assert_no_write_without_claim(&[&a, &b])?;
    let puts = entries();
    figure(format!(
        "leadership: {what} during a write: the old leader ended after {ended:.1?}; {} PUTs of the credential, the old one {}",
        puts.len(),
        if puts.first().is_some_and(|e| e.committed.is_some()) {
            "took effect late"
        } else {
            "had no effect"
        }
    ));
    Ok(())
}

async fn a_lease_that_is_edited_during_a_write_ends_the_leader(world: World) -> Result<()> {
    let edit = async |world: &World| {
        let spec = json!({ "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": 1 } });
        leases(world)
            .patch(NAME, &PatchParams::default(), &Patch::Merge(spec))
            .await?;
        Ok(())
    };
    lost_during_a_write(
        world,
        LONG,
        "edited",
        "is held by \"somebody\"",
        edit,
        async |_| Ok(()),
    )
    .await
}

async fn a_lease_that_is_deleted_during_a_write_ends_the_leader(world: World) -> Result<()> {
    let delete = async |world: &World| {
        leases(world).delete(NAME, &DeleteParams::default()).await?;
        Ok(())
    };
    // The standby may be quicker to make it anew than the leader is to look.
    lost_during_a_write(
        world,
        LONG,
        "deleted",
        "leads no longer",
        delete,
        async |_| Ok(()),
    )
    .await
}

async fn rights_that_are_withdrawn_during_a_write_end_the_leader(world: World) -> Result<()> {
    let withdraw = async |world: &World| {
        let bindings: Api<RoleBinding> = Api::namespaced(world.admin(), &world.namespace);
        let name = "workload-identity-binding-leader-election";
        bindings.delete(name, &DeleteParams::default()).await?;
        Ok(())
    };
    let restore = async |world: &World| world.elect("b", SHORT).await.map(drop);
    lost_during_a_write(world, SHORT, "rights withdrawn", "has run out", withdraw, restore).await
}

async fn a_process_that_was_paused_writes_nothing_and_exits(world: World) -> Result<()> {
    let history = History::watch(&world);
    let (a, b) = (
        Replica::new(&world, "a", SHORT).await?,
        Replica::new(&world, "b", SHORT).await?,
    );
    let mut leader = Program::start(Path::new(WIB), &a.arguments(&world)[1..], &[])?;
    leader.ready().await?;
    world.until("a leads", || history.is_held_by("a")).await?;
    let standby = b.start(&world).await?;
    probe(&standby, "/readyz", "standby").await?;

    // Stopped between a write and what follows on its answer, with more work before it.
    world
        .azure
        .knobs(|k| k.latency = Latency::of([(Operation::PutCredential, Duration::from_millis(300))]));
    let identities = bind(&world, &["web", "api", "job", "cron"]).await?;
    world
        .until("a write is at Azure", || {
            world.azure.count(Operation::PutCredential) > 0
        })
        .await?;
    leader.signal("STOP").await?;
    let paused = Instant::now();
    world.until("b leads", || history.is_held_by("b")).await?;
    leads(&standby).await?;
    for (name, identity) in ["web", "api", "job", "cron"].iter().zip(&identities) {
        in_order(&world, name, identity).await?;
    }
    tokio::time::sleep(SHORT.saturating_sub(paused.elapsed()) + Duration::from_secs(1)).await;
    // Something that only a write could mend, so that whoever may write would.
    world.azure.delete_credential(
        &identities[0].resource_id,
        &world.azure.credentials(&identities[0].resource_id)[0].name,
    );
    let (before, resumed) = (a.writes().len(), Instant::now());
    leader.signal("CONT").await?;
    let ended = leader.ended().await?;
    assert_eq!(ended.code, Some(5), "{}", ended.log);
    let last = ended.log.lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("error: ") && last.contains("has run out"),
        "{last}"
    );
    // What it had sent before the pause may reach the gate only now; what it begins now may not.
    let writes = a.writes();
    let begun: Vec<_> = writes[before..]
        .iter()
        .filter(|call| call.received > resumed)
        .collect();
    ensure!(
        begun.is_empty(),
        "after {:?} of pause: {begun:?}",
        resumed - paused
    );
    assert_eq!(a.azure_writes_after(paused + Duration::from_millis(100)), 0);
    history.assert_no_write_without_claim(&[&a, &b])?;
    figure(format!(
        "leadership: paused for {:.1?}: ended {:.0?} after it went on, 0 writes",
        resumed - paused,
        resumed.elapsed()
    ));
    Ok(())
}

async fn without_the_api_server_nothing_is_written_to_azure(world: World) -> Result<()> {
    let (history, (a, leader), (b, standby)) = pair(&world, SHORT).await?;
    // One lane, a queue in it: writes that need nothing from Kubernetes any more.
    let identity = world.identity("shared");
    world
        .azure
        .knobs(|k| k.latency = Latency::of([(Operation::PutCredential, Duration::from_millis(500))]));
    let names: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
    for name in &names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
    }
    world
        .until("writes are at Azure", || {
            world.azure.count(Operation::PutCredential) > 1
        })
        .await?;
    a.gates.kubernetes.freeze();
    let cut = Instant::now();
    ends(leader, "has run out").await?;
    let (ended, claim) = (cut.elapsed(), a.claims().last().copied().context("no claim")?);
    world.until("b leads", || history.is_held_by("b")).await?;
    let taken = cut.elapsed();
    leads(&standby).await?;
    a.gates.kubernetes.thaw();
    for name in &names {
        world.ready(name).await?;
        world.assert_accepted(name, &identity.client_id).await?;
    }
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), names.len());
    let after = a.azure_writes_after(cut);
    assert_eq!(
        a.azure_writes_after(claim + SHORT * 9 / 10),
        0,
        "a write after the claim"
    );
    ensure!(
        ended < SHORT + Duration::from_secs(1),
        "the old leader ended after {ended:?}"
    );
    history.assert_no_write_without_claim(&[&a, &b])?;
    figure(format!(
        "leadership: cut off from the API server: ended after {ended:.1?} with {after} writes to Azure under its last claim, taken over after {taken:.1?}"
    ));
    Ok(())
}
