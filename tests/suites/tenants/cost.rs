//! Nobody makes the operator ask Azure about identities that he was not granted.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use wib_harness::World;
use workload_identity_binding::api::FINALIZER;

use crate::runner;

const BINDINGS: usize = 100;

pub async fn bindings_that_bring_the_finalizer_and_no_grant_cost_azure_nothing(world: World) -> Result<()> {
    let honest = world.workload("honest").await?;
    let _operator = world.operator().await?;
    world.bind("honest", "honest", &honest).await?;
    world.ready("honest").await?;
    let names: Vec<_> = (0..BINDINGS).map(|n| format!("foreign-{n:03}")).collect();
    let identities: Vec<_> = names.iter().map(|name| world.identity(name)).collect();
    try_join_all(names.iter().zip(&identities).map(async |(name, identity)| {
        let binding = serde_json::from_value(json!({
            "apiVersion": "workload-identity.io/v1alpha1",
            "kind": "WorkloadIdentityBinding",
            "metadata": { "name": name, "finalizers": [FINALIZER] },
            "spec": {
                "identity": { "resourceId": identity.resource_id },
                "serviceAccount": { "name": "web" },
            },
        }))?;
        world.bindings().create(&PostParams::default(), &binding).await?;
        // At once: most have not been seen by then.
        world.bindings().delete(name, &DeleteParams::default()).await?;
        anyhow::Ok(())
    }))
    .await?;
    try_join_all(names.iter().map(|name| world.gone(name))).await?;

    let theirs = |e: &azure_emulator::Entry| e.identity.as_deref().is_some_and(|id| id.contains("/foreign-"));
    let asked = world.azure.journal().iter().filter(|e| theirs(e)).count();
    ensure!(
        asked == 0,
        "{asked} calls of Azure about identities that nobody was granted"
    );
    world.assert_accepted("honest", &honest.client_id).await?;
    runner::figure(format!(
        "tenants: {BINDINGS} bindings with our finalizer and no grant, 0 calls of Azure"
    ));
    Ok(())
}
