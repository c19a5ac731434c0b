//! The finalizer is taken off before, during or instead of a deletion: the `edit` role is enough for that. The trust
//! stays for as long as it is granted, and no longer.

use anyhow::Result;
use azure_emulator::{Identity, Lock, LockLevel};
use kube::ResourceExt as _;
use serde_json::json;
use wib_harness::World;
use workload_identity_binding::api::{FINALIZER, WorkloadIdentityBinding};

use super::{begin_deletion, force_away, ready, ready_through, refused_soon, revoked_soon, strip};

/// Somebody else's, who takes his time.
const THEIRS: &str = "example.com/hold";

fn is_held(binding: &WorkloadIdentityBinding) -> bool {
    binding.finalizers().iter().any(|f| f == FINALIZER)
}

pub async fn a_binding_forced_away_before_its_deletion_is_revoked(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let (identity, _operator) = ready_through(&world, &gates, &[]).await?;
    force_away(&world, &gates, &["web"]).await?;
    world.assert_accepted("web", &identity.client_id).await?;
    revoked_soon(&world, "web", &identity).await
}

pub async fn a_binding_forced_away_during_its_deletion_is_revoked(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    lock(&world, &identity);
    begin_deletion(&world, "web").await?;
    world.not_ready("web", "ResourceLocked").await?;
    strip(&world, "web").await?;
    world.gone("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    world.revoke("web", &identity).await?;
    world.azure.knobs(|k| k.locks.clear());
    refused_soon(&world, "web", &identity).await
}

pub async fn a_binding_that_another_finalizer_holds_is_revoked(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    let only = |finalizers: &[&str]| json!({ "metadata": { "finalizers": finalizers } });
    world.change("web", only(&[FINALIZER, THEIRS])).await?;
    operator.stop().await?;
    begin_deletion(&world, "web").await?;
    // Ours goes, the object stays, and nobody can put a finalizer on what is being deleted.
    world.change("web", only(&[THEIRS])).await?;
    let operator = world.operator().await?;
    another_is_ready(&world).await?;
    revoked_soon(&world, "web", &identity).await?;
    operator.stop().await?;
    strip(&world, "web").await?;
    world.gone("web").await
}

pub async fn a_binding_without_its_finalizer_is_revoked_and_gets_it_back(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    operator.stop().await?;
    strip(&world, "web").await?;
    world.revoke("web", &identity).await?;
    let _operator = world.operator().await?;
    refused_soon(&world, "web", &identity).await?;
    // Without a grant there is nothing to hold it for.
    world.stalled("web", "NotAuthorized").await?;
    world.grant("web", &identity).await?;
    world.ready("web").await?;
    world.wait("web", "held again", is_held).await?;
    world.assert_accepted("web", &identity.client_id).await
}

pub async fn a_binding_forced_away_is_revoked_by_an_operator_that_was_restarted(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    operator.stop().await?;
    strip(&world, "web").await?;
    world.delete("web").await?;
    let operator = world.operator().await?;
    world.assert_accepted("web", &identity.client_id).await?;
    operator.stop().await?;
    let operator = world.operator().await?;
    // It is at work: another binding is.
    another_is_ready(&world).await?;
    world.assert_accepted("web", &identity.client_id).await?;
    revoked_soon(&world, "web", &identity).await?;
    operator.stop().await?;
    Ok(())
}

pub async fn a_binding_forced_away_is_revoked_by_an_operator_that_starts_later(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    operator.stop().await?;
    strip(&world, "web").await?;
    world.delete("web").await?;
    world.revoke("web", &identity).await?;
    world.assert_accepted("web", &identity.client_id).await?;
    let _operator = world.operator().await?;
    refused_soon(&world, "web", &identity).await
}

async fn another_is_ready(world: &World) -> Result<()> {
    let other = world.workload("other").await?;
    world.bind("other", "other", &other).await?;
    world.ready("other").await?;
    Ok(())
}

fn lock(world: &World, identity: &Identity) {
    let lock = Lock {
        scope: identity.resource_id.clone(),
        level: LockLevel::CanNotDelete,
    };
    world.azure.knobs(|k| k.locks = vec![lock]);
}
