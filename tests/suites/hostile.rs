//! Tenants who mean harm: names and ids made to steer, statuses and annotations that lie, and floods. The
//! operator trusts neither admission nor what a tenant can write.

mod references;
mod secrecy;

use std::time::Duration;

use anyhow::{Result, ensure};
use azure_emulator::{Identity, Operation};
use futures::future::try_join_all;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{Operator, World};
use workload_identity_binding::api::FINALIZER;

use crate::runner::{self, trials};
use references::{
    admission_refuses_every_hostile_reference, without_admission_no_hostile_reference_gets_anywhere,
};
use secrecy::nothing_of_one_tenant_reaches_another;

trials![
    shared admission_refuses_every_hostile_reference,
    alone without_admission_no_hostile_reference_gets_anywhere,
    alone nothing_of_one_tenant_reaches_another,
    shared names_built_to_collide_stay_apart,
    shared two_hundred_bindings_without_a_grant_cost_azure_nothing,
    shared a_wiped_status_does_not_keep_what_is_revoked,
    shared a_status_wiped_behind_the_operators_back_is_put_on_record_again,
    shared a_status_that_claims_a_refusal_does_not_keep_the_trust,
    shared a_finalizer_that_is_taken_away_comes_back,
    shared a_release_before_the_deletion_is_no_release,
    shared an_owner_who_fights_over_the_service_account_is_told_and_not_fought,
];

const CLIENT_ID: &str = "azure.workload.identity/client-id";

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;

async fn ready(world: &World, flags: &[&str]) -> Result<(Identity, Operator)> {
    let identity = world.workload("web").await?;
    let operator = world.operator_with(flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    Ok((identity, operator))
}

async fn names_built_to_collide_stay_apart(world: World) -> Result<()> {
    let identity = world.identity("web");
    // The readable part of a credential's name ends after about a hundred characters, and has no periods.
    let long = "a".repeat(200);
    let names = [
        "a.b",
        "a-b",
        &format!("{long}1"),
        &format!("{long}2"),
        &format!("{long}.1"),
    ];
    for name in names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let _operator = world.operator().await?;
    for (n, name) in names.iter().enumerate() {
        world.bind(&format!("binding-{n}"), name, &identity).await?;
    }
    for n in 0..names.len() {
        world.ready(&format!("binding-{n}")).await?;
    }
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), names.len());
    for (n, name) in names.iter().enumerate() {
        world.assert_accepted(name, &identity.client_id).await?;
        world.delete(&format!("binding-{n}")).await?;
        let left = world.azure.credentials(&identity.resource_id).len();
        assert_eq!(left, names.len() - n - 1);
    }
    Ok(())
}

async fn two_hundred_bindings_without_a_grant_cost_azure_nothing(world: World) -> Result<()> {
    let honest = world.workload("honest").await?;
    let _operator = world.operator().await?;
    let names: Vec<_> = (0..200).map(|n| format!("foreign-{n:03}")).collect();
    let identities: Vec<_> = names.iter().map(|name| world.identity(name)).collect();
    let all = names.iter().zip(&identities);
    try_join_all(all.map(|(name, identity)| world.bind(name, "web", identity))).await?;
    world.bind("honest", "honest", &honest).await?;
    world.ready("honest").await?;
    try_join_all(names.iter().map(|name| world.stalled(name, "NotAuthorized"))).await?;
    for name in &names {
        world.bindings().delete(name, &DeleteParams::default()).await?;
    }
    for name in &names {
        world.gone(name).await?;
    }

    let theirs = |e: &azure_emulator::Entry| e.identity.as_deref().is_some_and(|id| id.contains("/foreign-"));
    assert_eq!(world.azure.journal().iter().filter(|e| theirs(e)).count(), 0);
    world.assert_accepted("honest", &honest.client_id).await?;
    runner::figure("hostile: 200 bindings without a grant, 0 calls of Azure");
    Ok(())
}

/// A tenant with every right in the namespace writes a status.
async fn forge(world: &World, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    let params = PatchParams::default();
    world.bindings().patch_status("web", &params, &patch).await?;
    Ok(())
}

fn wiped() -> Value {
    json!({ "identity": null, "credential": null, "serviceAccount": null, "superseded": null })
}

async fn a_wiped_status_does_not_keep_what_is_revoked(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    // Suspended, nothing is written in Azure, and a look would not bring the record back.
    world
        .change("web", json!({ "spec": { "suspend": true } }))
        .await?;
    world
        .wait("web", "suspended", |b| {
            let observed = b.status.as_ref().and_then(|s| s.observed_generation);
            observed == b.metadata.generation
        })
        .await?;
    forge(&world, wiped()).await?;
    world.revoke("web", &identity).await?;
    world.stalled("web", "NotAuthorized").await?;
    withdrawn(&world, &identity).await
}

async fn withdrawn(world: &World, identity: &Identity) -> Result<()> {
    let gone = || world.azure.credentials(&identity.resource_id).is_empty();
    world.until("the credential is withdrawn", gone).await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await
}

async fn a_status_wiped_behind_the_operators_back_is_put_on_record_again(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    let before = world.ready("web").await?.status.and_then(|s| s.credential);
    operator.stop().await?;
    world
        .change("web", json!({ "spec": { "suspend": true } }))
        .await?;
    forge(&world, wiped()).await?;
    let _operator = world.operator().await?;
    world
        .wait("web", "on record again", |b| {
            b.status.as_ref().is_some_and(|s| s.credential == before)
        })
        .await?;
    world.revoke("web", &identity).await?;
    withdrawn(&world, &identity).await
}

async fn a_status_that_claims_a_refusal_does_not_keep_the_trust(world: World) -> Result<()> {
    let (identity, operator) = ready(&world, &[]).await?;
    operator.stop().await?;
    let mut lie = wiped();
    lie["conditions"] = json!([{
        "type": "Ready", "status": "False", "reason": "NotAuthorized", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    forge(&world, lie).await?;
    world.bindings().delete("web", &DeleteParams::default()).await?;
    let _operator = world.operator().await?;
    world.gone("web").await?;
    withdrawn(&world, &identity).await
}

async fn a_finalizer_that_is_taken_away_comes_back(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    for _ in 0..3 {
        world
            .change("web", json!({ "metadata": { "finalizers": null } }))
            .await?;
        let held = |b: &workload_identity_binding::api::WorkloadIdentityBinding| {
            b.finalizers().iter().any(|f| f == FINALIZER)
        };
        world.wait("web", "held again", held).await?;
    }
    world.delete("web").await?;
    withdrawn(&world, &identity).await
}

async fn a_release_before_the_deletion_is_no_release(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    let annotations = json!({
        "workload-identity.io/release": "true",
        CLIENT_ID: "00000000-0000-0000-0000-00000000000a",
    });
    let labels = json!({ "azure.workload.identity/use": "true" });
    let patch = json!({ "metadata": { "annotations": annotations, "labels": labels } });
    world.change("web", patch).await?;
    world.revoke("web", &identity).await?;
    world.stalled("web", "NotAuthorized").await?;
    withdrawn(&world, &identity).await?;
    ensure!(
        world.annotation("web", CLIENT_ID).await?.is_none(),
        "the id was left"
    );
    Ok(())
}

async fn an_owner_who_fights_over_the_service_account_is_told_and_not_fought(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    let stranger = world.identity("stranger");
    let set = async |value: Option<&str>| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { CLIENT_ID: value } } }));
        let params = PatchParams::default();
        world.service_accounts().patch("web", &params, &patch).await
    };
    for _ in 0..5 {
        set(Some(&stranger.client_id)).await?;
        world.stalled("web", "FieldConflict").await?;
    }
    let on_accounts = || {
        let writes = world.kubernetes_writes().unwrap_or_default();
        writes.iter().filter(|w| w.resource == "serviceaccounts").count()
    };
    let before = on_accounts();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // One try each second, refused by the API server: the owner's value stands.
    ensure!(
        on_accounts() - before <= 8,
        "{} writes in 3 s",
        on_accounts() - before
    );
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?,
        Some(stranger.client_id.clone())
    );
    assert_eq!(world.azure.credentials(&stranger.resource_id), []);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);

    set(None).await?;
    world.ready("web").await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?,
        Some(identity.client_id.clone())
    );
    let accounts: Api<_> = world.service_accounts();
    ensure!(
        accounts.get_opt("web").await?.is_some(),
        "the ServiceAccount is gone"
    );
    Ok(())
}
