//! An API server that is cut off from its storage: it goes on answering what it has in memory (watches, access
//! reviews, tokens), and knows nothing of what happened since.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use azure_emulator::{Identity, Operation};
use kube::api::DeleteParams;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::world::bindings::is_ready;
use wib_harness::{Operator, World};

use crate::runner::{figure, trials};

trials![
    shared what_an_api_server_has_missed_is_not_written_in_azure,
    shared a_grant_that_an_api_server_has_missed_is_not_missing,
    shared an_operator_that_starts_on_a_stale_api_server_waits,
];

/// Looks at Azure every second, and takes a missing credential for missing at once.
const QUICK: [&str; 2] = ["--drift-interval=1s", "--read-after-write-grace=10ms"];

/// As another instance of the operator leaves it: the credential is gone, and so is the finalizer.
async fn finish(world: &World, name: &str) -> Result<()> {
    world.bindings().delete(name, &DeleteParams::default()).await?;
    world
        .change(name, json!({ "metadata": { "finalizers": null } }))
        .await?;
    world.gone(name).await
}

fn take_credentials(world: &World, identity: &Identity) {
    for credential in world.azure.credentials(&identity.resource_id) {
        world
            .azure
            .delete_credential(&identity.resource_id, &credential.name);
    }
}

/// Lists of an identity's credentials so far.
fn looks(world: &World, identity: &Identity) -> usize {
    let id = identity.resource_id.to_lowercase();
    let journal = world.azure.journal().into_iter();
    journal
        .filter(|e| e.operation == Operation::ListCredentials && e.identity.as_deref() == Some(&id))
        .count()
}

fn writes(world: &World) -> usize {
    world
        .azure
        .journal()
        .iter()
        .filter(|e| e.operation.is_write())
        .count()
}

/// Waits until `/metrics` has this line.
async fn shows(operator: &Operator, line: &str) -> Result<()> {
    let started = Instant::now();
    while !operator.get("/metrics").await?.1.contains(line) {
        ensure!(started.elapsed() < Duration::from_secs(30), "never seen: {line}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A binding that is gone, one that was made again, one that asks for something else and one whose grant is gone
/// all look as they were, and their credentials are missing.
async fn what_an_api_server_has_missed_is_not_written_in_azure(world: World) -> Result<()> {
    let second = world.cluster.control_plane.second_api_server().await?;
    let token = world.cluster.operator_token("").await?;
    let flag = world.write_kubeconfig("second", &second.kubeconfig_for_token(&token))?;
    let operator = world
        .operator_with(&[&[flag.as_str()], &QUICK[..]].concat())
        .await?;

    let names = ["gone", "again", "moved", "revoked"];
    let mut identities = Vec::new();
    for name in names {
        let identity = world.workload(name).await?;
        world.bind(name, name, &identity).await?;
        identities.push(identity);
    }
    let target = world.identity("target");
    world.grant("moved", &target).await?;
    for name in names {
        world.ready(name).await?;
    }

    second.freeze();
    let frozen = Instant::now();
    world.azure.clear_journal();
    finish(&world, "gone").await?;
    finish(&world, "again").await?;
    world.bind("again", "again", &identities[1]).await?;
    let moved = json!({ "spec": { "identity": { "resourceId": target.resource_id } } });
    world.change("moved", moved).await?;
    world.revoke("revoked", &identities[3]).await?;
    for identity in &identities {
        take_credentials(&world, identity);
    }
    let seen: Vec<_> = identities.iter().map(|i| looks(&world, i)).collect();
    for (identity, seen) in identities.iter().zip(seen) {
        let what = format!("the missing credential of {} is seen", identity.name);
        world.until(&what, || looks(&world, identity) > seen + 1).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(writes(&world), 0, "Azure was written on the strength of memory");
    let lasted = frozen.elapsed();
    second.thaw();

    world
        .wait("again", "ready again", |b| {
            is_ready(b) && b.status.as_ref().is_some_and(|s| s.credential.is_some())
        })
        .await?;
    world.assert_accepted("again", &identities[1].client_id).await?;
    let wanted = target.client_id.clone();
    world
        .wait("moved", "moved", move |b| {
            let on = b.status.as_ref().and_then(|s| s.identity.as_ref());
            is_ready(b) && on.is_some_and(|i| i.client_id.as_deref() == Some(wanted.as_str()))
        })
        .await?;
    world.assert_accepted("moved", &target.client_id).await?;
    world.stalled("revoked", "NotAuthorized").await?;
    for (name, held) in [("gone", 0), ("again", 1), ("moved", 0), ("revoked", 0)] {
        let identity = &identities[names.iter().position(|n| *n == name).unwrap_or_default()];
        assert_eq!(
            world.azure.credentials(&identity.resource_id).len(),
            held,
            "{name}"
        );
    }
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    // What two bindings are known to have made and no list shows is deleted by its name.
    assert_eq!(world.azure.count(Operation::DeleteCredential), 2);
    ensure!(!operator.has_ended(), "the operator has ended");
    figure(format!(
        "kubernetes faults: stale API server, 4 changes missed for {:.0} s: 0 writes to Azure while it lasted",
        lasted.as_secs_f64()
    ));
    Ok(())
}

/// A balancer leads the operator from an API server that knows the grant to one that does not.
async fn a_grant_that_an_api_server_has_missed_is_not_missing(world: World) -> Result<()> {
    let second = world.cluster.control_plane.second_api_server().await?;
    let balancer = world.cluster.control_plane.balancer().await?;
    let token = world.cluster.operator_token("").await?;
    let flag = world.write_kubeconfig("balancer", &balancer.kubeconfig_for_token(&token))?;
    second.freeze();
    let identity = world.workload("web").await?;
    let operator = world
        .operator_with(&[&[flag.as_str()], &QUICK[..]].concat())
        .await?;
    world.bind("web", "web", &identity).await?;
    let ready = world.ready("web").await?;
    // The first visit, which made it ready, has ended.
    shows(&operator, "wib_reconcile_reason_total{reason=\"Synced\"} 2").await?;

    balancer.lead_to(&second);
    // The review is answered, with no; then the binding cannot be read, within the client's deadline.
    shows(
        &operator,
        "wib_reconcile_reason_total{reason=\"KubernetesUnavailable\"} 1",
    )
    .await?;
    assert_eq!(
        world.azure.count(Operation::DeleteCredential),
        0,
        "a stale denial was believed"
    );
    world.assert_accepted("web", &identity.client_id).await?;
    second.thaw();

    // It works there as well.
    let api = world.workload("api").await?;
    world.bind("api", "api", &api).await?;
    world.ready("api").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    let status = world.bindings().get("web").await?.status;
    assert_eq!(status, ready.status, "the status has changed");
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    balancer.lead_to_first();
    world.delete("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}

async fn an_operator_that_starts_on_a_stale_api_server_waits(world: World) -> Result<()> {
    let second = world.cluster.control_plane.second_api_server().await?;
    let token = world.cluster.operator_token("").await?;
    let flag = world.write_kubeconfig("second", &second.kubeconfig_for_token(&token))?;
    let identity = world.workload("web").await?;
    let first = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    second.freeze();
    first.stop().await?;
    // While nobody looks the binding goes, and another one of its name comes.
    finish(&world, "web").await?;
    take_credentials(&world, &identity);
    let operator: Operator = world
        .operator_with(&[&[flag.as_str()], &QUICK[..]].concat())
        .await?;
    let started = Instant::now();
    let pending = "waiting for the first list of bindings and ServiceAccounts";
    loop {
        let (status, body) = operator.get("/readyz").await?;
        ensure!(status == 503, "ready with nothing but memory to go by");
        if body == pending && started.elapsed() > Duration::from_secs(4) {
            break;
        }
        ensure!(started.elapsed() < Duration::from_secs(20), "{body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    second.thaw();
    let started = Instant::now();
    while operator.get("/readyz").await?.0 != 200 {
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "not ready after the thaw"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    world.delete("web").await
}
