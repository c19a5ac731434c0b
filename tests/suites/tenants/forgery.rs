//! The status of a binding is a report: wiped or forged, it neither keeps what was revoked nor removes what is not
//! ours.

use anyhow::{Result, ensure};
use azure_emulator::Identity;
use kube::api::{Patch, PatchParams};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{AUDIENCE, World};

use super::{begin_deletion, of_another_cluster, ready, refused_soon, untouched};

/// Somebody with the right to write statuses writes one.
async fn forge(world: &World, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    let params = PatchParams::default();
    world.bindings().patch_status("web", &params, &patch).await?;
    Ok(())
}

fn wiped() -> Value {
    let nothing = Value::Null;
    json!({ "identity": nothing, "credential": nothing, "serviceAccount": nothing, "superseded": nothing })
}

fn adopted() -> Value {
    json!({ "credential": { "origin": "Adopted" } })
}

/// The status is forged and the grant withdrawn while no operator runs.
async fn revoked_behind(world: &World, status: Value) -> Result<Identity> {
    let (identity, operator) = ready(world, &[]).await?;
    operator.stop().await?;
    forge(world, status).await?;
    world.revoke("web", &identity).await?;
    Ok(identity)
}

pub async fn what_nobody_remembers_is_revoked(world: World) -> Result<()> {
    let identity = revoked_behind(&world, wiped()).await?;
    let _operator = world.operator().await?;
    refused_soon(&world, "web", &identity).await?;
    world.stalled("web", "NotAuthorized").await.map(|_| ())
}

pub async fn what_nobody_remembers_is_revoked_with_its_binding(world: World) -> Result<()> {
    let mut lie = wiped();
    lie["conditions"] = json!([{
        "type": "Ready", "status": "False", "reason": "NotAuthorized", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let identity = revoked_behind(&world, lie).await?;
    begin_deletion(&world, "web").await?;
    let _operator = world.operator().await?;
    world.gone("web").await?;
    refused_soon(&world, "web", &identity).await
}

pub async fn an_adoption_that_is_a_lie_is_revoked(world: World) -> Result<()> {
    let identity = revoked_behind(&world, adopted()).await?;
    let _operator = world.operator().await?;
    refused_soon(&world, "web", &identity).await?;
    world.stalled("web", "NotAuthorized").await.map(|_| ())
}

pub async fn an_adoption_that_is_a_lie_is_revoked_with_its_binding(world: World) -> Result<()> {
    let identity = revoked_behind(&world, adopted()).await?;
    let _operator = world.operator().await?;
    // The operator has written a status of its own by then.
    world.stalled("web", "NotAuthorized").await?;
    world.delete("web").await?;
    refused_soon(&world, "web", &identity).await
}

/// What a status has to say to claim this credential.
fn claim(credential: &azure_emulator::Credential) -> Value {
    json!({
        "name": credential.name, "issuer": credential.issuer, "subject": credential.subject,
        "audience": AUDIENCE, "origin": "Created",
    })
}

pub async fn a_forged_superseded_reaches_no_credential_of_another_cluster(world: World) -> Result<()> {
    // Nobody here was granted this identity. Another cluster has a namespace of the same name.
    let theirs = world.identity("theirs");
    let victim = of_another_cluster(&world, "web");
    world.azure.put_credential(&theirs.resource_id, victim.clone());
    let (_, operator) = ready(&world, &[]).await?;
    let lie = json!([{ "resourceId": theirs.resource_id, "credential": claim(&victim) }]);
    forge(&world, json!({ "superseded": lie })).await?;
    settled(&world, &theirs, &victim).await?;

    operator.stop().await?;
    forge(&world, json!({ "superseded": lie })).await?;
    begin_deletion(&world, "web").await?;
    let _operator = world.operator().await?;
    world.gone("web").await?;
    never_asked(&world, &theirs, &victim)
}

pub async fn a_forged_status_reaches_no_credential_of_another_cluster(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    let theirs = world.identity("theirs");
    let victim = of_another_cluster(&world, "web");
    for on in [&identity, &theirs] {
        world.azure.put_credential(&on.resource_id, victim.clone());
    }
    operator.stop().await?;
    // The one on the identity that is granted, and then the one on an identity that is not.
    forge(&world, json!({ "credential": claim(&victim) })).await?;
    let operator = world.operator().await?;
    settled(&world, &theirs, &victim).await?;
    untouched(&world, &identity, std::slice::from_ref(&victim))?;
    operator.stop().await?;
    let lie = json!({ "identity": { "resourceId": theirs.resource_id }, "credential": claim(&victim) });
    forge(&world, lie).await?;
    world.revoke("web", &identity).await?;
    begin_deletion(&world, "web").await?;
    let _operator = world.operator().await?;
    world.gone("web").await?;
    let left = world.azure.credentials(&identity.resource_id);
    assert_eq!(left, std::slice::from_ref(&victim));
    never_asked(&world, &theirs, &victim)
}

/// Waits until the operator has done what a lie could make it do: the binding has changed twice since, and is ready.
async fn settled(world: &World, theirs: &Identity, victim: &azure_emulator::Credential) -> Result<()> {
    for suspend in [true, false] {
        world
            .change("web", json!({ "spec": { "suspend": suspend } }))
            .await?;
        world
            .wait("web", "seen", |b| {
                b.status.as_ref().and_then(|s| s.observed_generation) == b.metadata.generation
            })
            .await?;
    }
    world.ready("web").await?;
    never_asked(world, theirs, victim)
}

/// Fails if Azure was asked anything about an identity that nobody was granted, or the victim is gone.
fn never_asked(world: &World, theirs: &Identity, victim: &azure_emulator::Credential) -> Result<()> {
    untouched(world, theirs, std::slice::from_ref(victim))?;
    let id = theirs.resource_id.to_lowercase();
    let about = |e: &azure_emulator::Entry| e.identity.as_deref() == Some(id.as_str());
    let asked = world.azure.journal().into_iter().find(about);
    ensure!(asked.is_none(), "Azure was asked about it: {asked:#?}");
    Ok(())
}
