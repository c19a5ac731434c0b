//! What the explorer (`src/core/explorer`) found, against real parts: writes that outlast their answer, bindings that
//! come and go together, and passes that go on at the same time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_emulator::{Latency, Operation};
use kube::api::DeleteParams;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::World;
use wib_harness::gate::Rule;

use crate::runner::trials;

trials![
    shared a_write_that_outlasts_its_answer_does_not_outlive_its_binding,
    shared a_write_that_outlasts_its_answer_does_not_outlive_its_spec,
    shared a_revoked_credential_is_not_left_to_another_binding_of_the_pair,
    shared a_repair_that_a_revocation_overtakes_writes_nothing,
];

/// Makes a PUT that Azure works on for longer than the operator waits, and comes back while it does.
async fn a_slow_write(world: &World, act: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let slow = Duration::from_secs(4);
    world
        .azure
        .knobs(|k| k.latency = Latency::of([(Operation::PutCredential, slow)]));
    act().await?;
    let puts = || world.azure.count(Operation::PutCredential);
    world.until("the write is under way", || puts() == 1).await?;
    world.azure.knobs(|k| k.latency = Latency::default());
    Ok(())
}

async fn first_put_committed(world: &World) -> Result<()> {
    let committed = || {
        let journal = world.azure.journal();
        let put = journal
            .into_iter()
            .find(|e| e.operation == Operation::PutCredential);
        put.is_some_and(|e| e.committed.is_some())
    };
    world.until("Azure has carried the write out", committed).await
}

async fn a_write_that_outlasts_its_answer_does_not_outlive_its_binding(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let _operator = world.operator_with(&["--azure-timeout=1s"]).await?;
    a_slow_write(&world, async || {
        world.bind("web", "web", &identity).await.map(drop)
    })
    .await?;

    world.delete("web").await?;

    first_put_committed(&world).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}

async fn a_write_that_outlasts_its_answer_does_not_outlive_its_spec(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    world.service_account("api").await?;
    world.grant("api", &identity).await?;
    let theirs = world.foreign_credential("terraform", "api");
    world.azure.put_credential(&identity.resource_id, theirs.clone());
    let _operator = world.operator_with(&["--azure-timeout=1s"]).await?;
    a_slow_write(&world, async || {
        world.bind("web", "web", &identity).await.map(drop)
    })
    .await?;

    // Adopted, the new pair needs no write that would have to wait for the old one.
    let patch = json!({ "spec": { "serviceAccount": { "name": "api" } } });
    world.change("web", patch).await?;
    world.ready("web").await?;

    first_put_committed(&world).await?;
    let credentials = || world.azure.credentials(&identity.resource_id);
    world
        .until("only the adopted one stands", || {
            credentials() == [theirs.clone()]
        })
        .await
        .with_context(|| format!("{:#?}", credentials()))
}

async fn a_revoked_credential_is_not_left_to_another_binding_of_the_pair(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let operator = world.operator().await?;
    world.bind("first", "web", &identity).await?;
    world.ready("first").await?;
    operator.stop().await?;

    world.bind("second", "web", &identity).await?;
    world.revoke("web", &identity).await?;
    world.bindings().delete("first", &DeleteParams::default()).await?;
    let _operator = world.operator().await?;
    world.gone("first").await?;

    world.not_ready("second", "NotAuthorized").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}

/// The pass of the binding has seen the grant, and is about to write again what somebody has deleted. Meanwhile the
/// pass over the record takes back what is no longer granted: nothing stands any more, and nothing is on record.
async fn a_repair_that_a_revocation_overtakes_writes_nothing(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let gates = world.gated().await?;
    let flags = ["--drift-interval=300ms", "--read-after-write-grace=10ms"];
    let _operator = world.operator_through(&gates, &flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    let last_read = Rule::on("k8s GET workloadidentitybindings").park_after_commit();
    let repair = gates.kubernetes.rule(last_read);
    for credential in world.azure.credentials(&identity.resource_id) {
        world
            .azure
            .delete_credential(&identity.resource_id, &credential.name);
    }
    repair.reached().await.context("the gate is gone")?;
    world.revoke("web", &identity).await?;
    world.unrecorded(&identity).await?;
    world.azure.clear_journal();
    repair.release();

    world.not_ready("web", "NotAuthorized").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 0);
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}
