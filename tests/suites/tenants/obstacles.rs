//! One identity refuses what is asked of it. That delays nothing elsewhere, and is told whole.

use anyhow::{Result, ensure};
use azure_emulator::{Identity, Lock, LockLevel};
use serde_json::json;
use wib_harness::world::bindings::condition;
use wib_harness::{Operator, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::{SOON, begin_deletion, message, refused_soon};

const CLIENT_ID: &str = "azure.workload.identity/client-id";

/// A binding that has moved on from one identity to another; the first keeps its credential, since it refuses
/// deletions.
async fn moved_on(world: &World) -> Result<(Identity, Identity, Operator)> {
    let (one, two) = (world.identity("alpha"), world.identity("omega"));
    world.service_account("web").await?;
    world.grant("web", &one).await?;
    world.grant("web", &two).await?;
    let operator = world.operator().await?;
    world.bind("web", "web", &one).await?;
    world.ready("web").await?;
    refuse(world, &one);
    world
        .change(
            "web",
            json!({ "spec": { "identity": { "resourceId": two.resource_id } } }),
        )
        .await?;
    world
        .until("both have a credential", || {
            [&one, &two].map(|i| world.azure.credentials(&i.resource_id).len()) == [1, 1]
        })
        .await?;
    // Its status has come along: what follows is about a record of two identities.
    let on_two = |b: &WorkloadIdentityBinding| {
        let on = b.status.as_ref().and_then(|s| s.identity.as_ref());
        on.is_some_and(|i| i.resource_id.eq_ignore_ascii_case(&two.resource_id))
    };
    world.wait("web", "on the second identity", on_two).await?;
    Ok((one, two, operator))
}

fn refuse(world: &World, identity: &Identity) {
    let action = "federatedIdentityCredentials/delete";
    world.azure.deny(None, action, &identity.resource_id);
}

pub async fn a_revocation_that_one_identity_refuses_reaches_the_others(world: World) -> Result<()> {
    let (one, two, _operator) = moved_on(&world).await?;
    for identity in [&one, &two] {
        world.revoke("web", identity).await?;
    }
    refused_soon(&world, "web", &two).await?;
    world.assert_accepted("web", &one.client_id).await?;
    world.azure.allow_all();
    refused_soon(&world, "web", &one).await
}

pub async fn a_deletion_that_one_identity_refuses_takes_back_the_others(world: World) -> Result<()> {
    let (one, two, _operator) = moved_on(&world).await?;
    begin_deletion(&world, "web").await?;
    refused_soon(&world, "web", &two).await?;
    let held = world.not_ready("web", "AzureAccessDenied").await?;
    let told = condition(&held, "Ready").map(|c| c.2).unwrap_or_default();
    ensure!(told.contains(&one.name), "{told}");
    world.azure.allow_all();
    world.gone("web").await?;
    refused_soon(&world, "web", &one).await
}

pub async fn every_obstacle_is_told(world: World) -> Result<()> {
    let (one, two, _operator) = moved_on(&world).await?;
    // For a reason of its own.
    let lock = Lock {
        scope: two.resource_id.clone(),
        level: LockLevel::CanNotDelete,
    };
    world.azure.knobs(|k| k.locks = vec![lock]);
    for identity in [&one, &two] {
        world.revoke("web", identity).await?;
    }
    both_are_told(&world, [&one, &two]).await?;
    begin_deletion(&world, "web").await?;
    world
        .wait("web", "being deleted", |b| {
            b.metadata.deletion_timestamp.is_some()
                && condition(b, "Authorized").is_some_and(|c| c.1 == "Deleting")
        })
        .await?;
    both_are_told(&world, [&one, &two]).await?;

    world.azure.allow_all();
    world.azure.knobs(|k| k.locks.clear());
    world.gone("web").await?;
    for identity in [&one, &two] {
        refused_soon(&world, "web", identity).await?;
    }
    Ok(())
}

/// Waits until the binding names both identities where people look.
async fn both_are_told(world: &World, identities: [&Identity; 2]) -> Result<()> {
    let whole = |b: &WorkloadIdentityBinding| {
        let told = condition(b, "Ready").map(|c| c.2).unwrap_or_default();
        identities.iter().all(|i| told.contains(&i.name))
    };
    let waited = world.wait("web", "told of both obstacles", whole);
    match tokio::time::timeout(SOON * 2, waited).await {
        Ok(told) => told.map(|_| ()),
        Err(_) => anyhow::bail!("only this is told: {}", message(world, "web", "Ready").await?),
    }
}

pub async fn a_locked_identity_holds_up_no_annotation(world: World) -> Result<()> {
    let (identity, _operator) = super::ready(&world, &[]).await?;
    refuse(&world, &identity);
    world.revoke("web", &identity).await?;
    let end = tokio::time::Instant::now() + SOON;
    while world.annotation("web", CLIENT_ID).await?.is_some() {
        ensure!(
            tokio::time::Instant::now() < end,
            "the ServiceAccount still names the identity"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.assert_accepted("web", &identity.client_id).await?;
    world.azure.allow_all();
    refused_soon(&world, "web", &identity).await
}
