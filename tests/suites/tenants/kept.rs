//! `Retain` and the release annotation keep access for as long as it is granted, and no longer.

use anyhow::Result;
use azure_emulator::{Lock, LockLevel, Operation};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::World;
use workload_identity_binding::api::CredentialState;

use super::{begin_deletion, ready, refused_soon, revoked_soon};

fn release() -> Value {
    json!({ "metadata": { "annotations": { "workload-identity.io/release": "true" } } })
}

fn retain() -> Value {
    json!({ "spec": { "deletionPolicy": "Retain" } })
}

pub async fn what_was_released_is_revoked_with_its_grant(world: World) -> Result<()> {
    revoked_after(&world, release(), CredentialState::Released).await
}

pub async fn what_is_retained_is_revoked_with_its_grant(world: World) -> Result<()> {
    revoked_after(&world, retain(), CredentialState::Retained).await
}

/// The binding goes and its access stays, until the grant is withdrawn.
async fn revoked_after(world: &World, patch: Value, state: CredentialState) -> Result<()> {
    let (identity, operator) = ready(world, &[]).await?;
    world.change("web", patch).await?;
    world.delete("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    let shown = world.in_state(&identity, "web", state).await;
    // Also by an operator that was not there.
    operator.stop().await?;
    let _operator = world.operator().await?;
    revoked_soon(world, "web", &identity).await?;
    // Last, so that the failure above says what a workload sees.
    shown.map(|_| ())
}

pub async fn a_release_after_the_grant_is_gone_keeps_nothing(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    operator.stop().await?;
    world.revoke("web", &identity).await?;
    world.change("web", release()).await?;
    begin_deletion(&world, "web").await?;
    let _operator = world.operator().await?;
    world.gone("web").await?;
    refused_soon(&world, "web", &identity).await
}

pub async fn retain_keeps_nothing_of_an_earlier_spec_without_a_grant(world: World) -> Result<()> {
    let (first, operator) = ready(&world, &[]).await?;
    let second = world.identity("second");
    world.grant("web", &second).await?;
    let lock = Lock {
        scope: first.resource_id.clone(),
        level: LockLevel::CanNotDelete,
    };
    world.azure.knobs(|k| k.locks = vec![lock]);
    let moved = json!({ "spec": {
        "identity": { "resourceId": second.resource_id }, "deletionPolicy": "Retain",
    } });
    world.change("web", moved).await?;
    world
        .until("both have a credential", || {
            world.azure.credentials(&second.resource_id).len() == 1
        })
        .await?;
    world.delete("web").await?;
    operator.stop().await?;
    world.azure.knobs(|k| k.locks.clear());
    let _operator = world.operator().await?;
    for identity in [&first, &second] {
        world.revoke("web", identity).await?;
    }
    refused_soon(&world, "web", &second).await?;
    refused_soon(&world, "web", &first).await
}
