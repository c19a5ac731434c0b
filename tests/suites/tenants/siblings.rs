//! Several bindings of one ServiceAccount: none is in the way of another that may do more, and none takes a
//! credential into oblivion.

use std::time::Duration;

use anyhow::Result;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::World;

const CLIENT_ID: &str = "azure.workload.identity/client-id";

pub async fn a_credential_left_to_a_binding_that_never_had_it_goes(world: World) -> Result<()> {
    let (first, second, third) = (
        world.workload("web").await?,
        world.identity("second"),
        world.identity("third"),
    );
    world.grant("web", &second).await?;
    world.grant("web", &third).await?;
    let _operator = world.operator().await?;
    // The oldest annotates. One beside it makes a trust only, and one behind it gets nothing.
    world.bind("oldest", "web", &second).await?;
    world.ready("oldest").await?;
    let beside = json!({
        "identity": { "resourceId": first.resource_id },
        "serviceAccount": { "name": "web", "annotate": false },
    });
    world.create("beside", beside).await?;
    world.ready("beside").await?;
    later().await;
    world.bind("behind", "web", &first).await?;
    world.stalled("behind", "ServiceAccountTaken").await?;

    // The credential is left to the one behind, which then wants another.
    world.delete("beside").await?;
    world.assert_accepted("web", &first.client_id).await?;
    let elsewhere = json!({ "spec": { "identity": { "resourceId": third.resource_id } } });
    world.change("behind", elsewhere).await?;
    world.stalled("behind", "ServiceAccountTaken").await?;
    for name in ["behind", "oldest"] {
        world.delete(name).await?;
    }
    for identity in [&first, &second, &third] {
        world.revoke("web", identity).await?;
    }
    for identity in [&first, &second, &third] {
        super::refused_soon(&world, "web", identity).await?;
    }
    Ok(())
}

pub async fn a_sibling_without_a_grant_is_in_nobodys_way(world: World) -> Result<()> {
    let (foreign, identity) = (world.identity("foreign"), world.workload("web").await?);
    let _operator = world.operator().await?;
    world.bind("older", "web", &foreign).await?;
    world.stalled("older", "NotAuthorized").await?;
    later().await;
    world.bind("newer", "web", &identity).await?;
    granted_one_works(&world, &identity).await?;

    // Nor is one that has lost its grant.
    let lost = world.workload("api").await?;
    world.bind("lost", "api", &lost).await?;
    world.ready("lost").await?;
    world.grant("api", &identity).await?;
    later().await;
    world.bind("waits", "api", &identity).await?;
    world.stalled("waits", "ServiceAccountTaken").await?;
    world.revoke("api", &lost).await?;
    ready_soon(&world, "waits").await?;
    world.assert_accepted("api", &identity.client_id).await
}

pub async fn a_suspended_sibling_is_in_nobodys_way(world: World) -> Result<()> {
    let (other, identity) = (world.identity("other"), world.workload("web").await?);
    world.grant("web", &other).await?;
    let _operator = world.operator().await?;
    let suspended = json!({
        "identity": { "resourceId": other.resource_id },
        "serviceAccount": { "name": "web" },
        "suspend": true,
    });
    world.create("older", suspended).await?;
    world
        .wait("older", "seen", |b| {
            b.status.as_ref().and_then(|s| s.observed_generation) == b.metadata.generation
        })
        .await?;
    later().await;
    world.bind("newer", "web", &identity).await?;
    granted_one_works(&world, &identity).await
}

async fn granted_one_works(world: &World, identity: &azure_emulator::Identity) -> Result<()> {
    ready_soon(world, "newer").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );
    Ok(())
}

/// Age counts in whole seconds: whatever is made from now on is younger.
async fn later() {
    tokio::time::sleep(Duration::from_millis(1100)).await;
}

/// Waits until a binding is ready, for less long than anything else may take.
async fn ready_soon(world: &World, name: &str) -> Result<()> {
    let patience = Duration::from_secs(20);
    if let Ok(ready) = tokio::time::timeout(patience, world.ready(name)).await {
        return ready.map(|_| ());
    }
    let binding = world.bindings().get(name).await?;
    let shown = wib_harness::world::bindings::describe(&binding);
    anyhow::bail!("{name} is not ready after {patience:?}:\n{shown}")
}
