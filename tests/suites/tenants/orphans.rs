//! Ours, granted, and wanted by nobody: shown at once, removed after a grace, and never in bulk by accident.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation;
use futures::future::try_join_all;
use kube::api::{Patch, PatchParams};
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::World;
use wib_harness::world::records::{entry, state};
use workload_identity_binding::api::{CredentialState, ManagedIdentity};

use super::{force_away, measured, ready_through, revoked_soon, strangers, untouched};

const GRACE: &str = "--orphan-grace-period=3s";

fn orphaned(record: &ManagedIdentity) -> i64 {
    record.status.as_ref().map_or(0, |s| s.orphaned)
}

pub async fn an_orphan_is_shown_and_keeps_its_access(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let (identity, operator) = ready_through(&world, &gates, &[]).await?;
    world.in_state(&identity, "web", CredentialState::Wanted).await?;
    force_away(&world, &gates, &["web"]).await?;

    let record = world
        .in_state(&identity, "web", CredentialState::Orphaned)
        .await?;
    assert_eq!(orphaned(&record), 1);
    assert_eq!(entry(&record, "web").map(|c| c.binding.as_str()), Some("web"));
    let told = world
        .warned(record.metadata.uid.as_deref(), Some("CredentialOrphaned"))
        .await?;
    ensure!(
        told.1.contains("web") && told.1.contains(&world.namespace),
        "{told:?}"
    );
    measured(&operator, "wib_credentials{state=\"Orphaned\"} 1").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);

    revoked_soon(&world, "web", &identity).await?;
    world.unrecorded(&identity).await?;
    measured(&operator, "wib_credentials{state=\"Orphaned\"} 0").await
}

pub async fn an_orphan_goes_after_its_grace_and_strangers_stay(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let (identity, _operator) = ready_through(&world, &gates, &[GRACE]).await?;
    let strangers = strangers(&world, &identity);
    force_away(&world, &gates, &["web"]).await?;
    world
        .in_state(&identity, "web", CredentialState::Orphaned)
        .await?;
    world.assert_accepted("web", &identity.client_id).await?;
    let left = || world.azure.credentials(&identity.resource_id).len();
    world
        .until("only strangers are left", || left() == strangers.len())
        .await?;
    untouched(&world, &identity, &strangers)?;
    world.unrecorded(&identity).await
}

pub async fn a_binding_made_again_takes_its_orphan_back(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let (identity, _operator) = ready_through(&world, &gates, &[]).await?;
    force_away(&world, &gates, &["web"]).await?;
    world
        .in_state(&identity, "web", CredentialState::Orphaned)
        .await?;

    world.bind("again", "web", &identity).await?;
    world.ready("again").await?;
    let record = world.in_state(&identity, "web", CredentialState::Wanted).await?;
    assert_eq!(orphaned(&record), 0);
    assert_eq!(entry(&record, "web").map(|c| c.binding.as_str()), Some("again"));
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    world.assert_accepted("web", &identity.client_id).await?;

    world.delete("again").await?;
    ensure!(
        world.azure.credentials(&identity.resource_id).is_empty(),
        "it was not taken back"
    );
    Ok(())
}

pub async fn many_orphans_at_once_wait_for_a_person(world: World) -> Result<()> {
    let identity = world.identity("web");
    let names: Vec<String> = (0..8).map(|n| format!("web-{n}")).collect();
    let gates = world.gated().await?;
    let _operator = world.operator_through(&gates, &[GRACE]).await?;
    for name in &names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
    }
    try_join_all(names.iter().map(|name| world.ready(name))).await?;

    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    force_away(&world, &gates, &all).await?;
    let held = |r: &ManagedIdentity| {
        orphaned(r) == 8
            && all
                .iter()
                .all(|name| state(r, name) == Some(CredentialState::Orphaned))
    };
    let record = world.recorded(&identity, "one with 8 orphans", held).await?;
    let uid = record.metadata.uid.as_deref();
    let told = world.warned(uid, Some("OrphansHeld")).await?.1;
    ensure!(
        told.contains("workload-identity.io/remove-orphans") && told.contains("true"),
        "the way out is not told: {told}"
    );
    // Twice their grace.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    for name in &names {
        world.assert_accepted(name, &identity.client_id).await?;
    }

    let name = record.metadata.name.context("a record without a name")?;
    let go = json!({ "metadata": { "annotations": { "workload-identity.io/remove-orphans": "true" } } });
    world
        .records()
        .patch(&name, &PatchParams::default(), &Patch::Merge(go))
        .await?;
    let none = || world.azure.credentials(&identity.resource_id).is_empty();
    world.until("the orphans are removed", none).await?;
    world.unrecorded(&identity).await
}
