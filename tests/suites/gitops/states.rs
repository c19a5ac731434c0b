//! Real objects of every state, as the operator leaves them on a real API server.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Fault, Lock, LockLevel};
use kube::api::DeleteParams;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::World;
use wib_harness::world::bindings::condition;

use super::health::ask;
use super::testdata;

/// State, and what kstatus, Argo CD and Flux take it for.
const STATES: [(&str, [&str; 3]); 14] = [
    ("never-seen", ["InProgress", "Progressing", "InProgress"]),
    ("azure-unavailable", ["InProgress", "Progressing", "InProgress"]),
    (
        "service-account-missing",
        ["InProgress", "Progressing", "InProgress"],
    ),
    ("ready", ["Current", "Healthy", "Current"]),
    ("spec-changed", ["InProgress", "Progressing", "InProgress"]),
    ("not-authorized", ["Failed", "Degraded", "Failed"]),
    ("identity-missing", ["Failed", "Degraded", "Failed"]),
    ("field-conflict", ["Failed", "Degraded", "Failed"]),
    ("invalid-spec", ["Failed", "Degraded", "Failed"]),
    ("suspended", ["Current", "Suspended", "Current"]),
    ("suspended-and-differs", ["InProgress", "Suspended", "InProgress"]),
    ("suspended-not-authorized", ["Failed", "Degraded", "Failed"]),
    ("deleted-unseen", ["Terminating", "Progressing", "InProgress"]),
    ("deletion-locked", ["Terminating", "Degraded", "Failed"]),
];

/// The names of roles hold a hash of the identity's id, so the states that are kept come of one subscription.
const SUBSCRIPTION: &str = "5ab5c41b-0000-4000-9000-000000000001";

pub async fn every_state_is_what_each_tool_takes_it_for(world: World) -> Result<()> {
    let world = World::in_subscription(world.cluster.clone(), SUBSCRIPTION).await?;
    let mut states = BTreeMap::new();
    without_an_operator(&world, &mut states).await?;
    let operator = world.operator().await?;
    waiting(&world, &mut states).await?;
    stalled(&world, &mut states).await?;
    suspended(&world, &mut states).await?;
    deletion_locked(&world, &mut states).await?;
    in_order(&world, &mut states).await?;
    operator.stop().await?;
    in_order_and_left_alone(&world, &mut states).await?;

    assert_eq!(states.len(), STATES.len());
    let objects = STATES.map(|(name, _)| &states[name]);
    let answers = ask(&objects).await?;
    let told: Vec<_> = STATES
        .iter()
        .zip(&answers)
        .map(|((name, _), h)| (*name, h.statuses()))
        .collect();
    assert_eq!(told, STATES);
    for (object, health) in objects.iter().zip(&answers) {
        the_message_is_ours(object, &health.argo.message)?;
    }
    testdata::keep(&world, &STATES.map(|s| s.0), &objects, &answers)
}

/// Argo CD shows what `Ready` says, once the operator has looked at this generation.
fn the_message_is_ours(object: &Value, shown: &str) -> Result<()> {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        let generic = shown == "Waiting for the operator" || shown.starts_with("Pending deletion");
        ensure!(generic, "{shown}");
        return Ok(());
    }
    let conditions = object["status"]["conditions"]
        .as_array()
        .context("no conditions")?;
    let ready = conditions
        .iter()
        .find(|c| c["type"] == "Ready")
        .context("no Ready")?;
    assert_eq!(ready["message"], *shown);
    Ok(())
}

type States = BTreeMap<&'static str, Value>;

/// Keeps a binding as the API server has it, defaults and all.
async fn keep(world: &World, states: &mut States, name: &'static str) -> Result<()> {
    states.insert(name, raw(world, name).await?);
    Ok(())
}

pub async fn raw(world: &World, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(
        super::bindings::api(world).get(name).await?,
    )?)
}

async fn without_an_operator(world: &World, states: &mut States) -> Result<()> {
    let identity = world.workload("never-seen").await?;
    world.bind("never-seen", "never-seen", &identity).await?;
    keep(world, states, "never-seen").await
}

async fn waiting(world: &World, states: &mut States) -> Result<()> {
    let name = "azure-unavailable";
    let outage = Fault::any().path("/azure-unavailable").always();
    world
        .azure
        .fault(outage.status(503, "ServiceUnavailable", "Try later."));
    let identity = world.workload(name).await?;
    world.bind(name, name, &identity).await?;
    world.not_ready(name, "AzureUnavailable").await?;
    keep(world, states, name).await?;

    let name = "service-account-missing";
    let identity = world.identity(name);
    world.grant(name, &identity).await?;
    world.bind(name, name, &identity).await?;
    world.not_ready(name, "ServiceAccountNotFound").await?;
    keep(world, states, name).await
}

async fn stalled(world: &World, states: &mut States) -> Result<()> {
    let name = "not-authorized";
    world.service_account(name).await?;
    world.bind(name, name, &world.identity(name)).await?;
    world.stalled(name, "NotAuthorized").await?;
    keep(world, states, name).await?;

    let name = "identity-missing";
    world.service_account(name).await?;
    world.grant(name, &world.at(name)).await?;
    world.bind(name, name, &world.at(name)).await?;
    world.stalled(name, "IdentityNotFound").await?;
    keep(world, states, name).await?;

    let name = "field-conflict";
    let identity = world.workload(name).await?;
    super::tools::Tool::Flux
        .apply(world, name, &json!({ super::tools::CLIENT_ID: "of-git" }))
        .await?;
    world.bind(name, name, &identity).await?;
    world.stalled(name, "FieldConflict").await?;
    keep(world, states, name).await?;

    let name = "invalid-spec";
    let spec = json!({ "identity": { "name": "web" }, "serviceAccount": { "name": "web" } });
    world.create(name, spec).await?;
    world.stalled(name, "InvalidSpec").await?;
    keep(world, states, name).await
}

async fn suspended(world: &World, states: &mut States) -> Result<()> {
    let suspend = json!({ "spec": { "suspend": true } });
    let is_suspended = |b: &workload_identity_binding::api::WorkloadIdentityBinding| {
        b.metadata.generation == b.status.as_ref().and_then(|s| s.observed_generation)
            && condition(b, "Ready").is_some_and(|c| c.1 == "Suspended")
    };
    let name = "suspended";
    let identity = world.workload(name).await?;
    world.bind(name, name, &identity).await?;
    world.ready(name).await?;
    world.change(name, suspend.clone()).await?;
    world.wait(name, "suspended", is_suspended).await?;
    keep(world, states, name).await?;

    let name = "suspended-and-differs";
    let identity = world.workload(name).await?;
    let spec = |name: &str, identity: &str| json!({ "identity": { "resourceId": identity }, "serviceAccount": { "name": name }, "suspend": true });
    world.create(name, spec(name, &identity.resource_id)).await?;
    world.wait(name, "suspended", is_suspended).await?;
    keep(world, states, name).await?;

    let name = "suspended-not-authorized";
    world
        .create(name, spec(name, &world.identity(name).resource_id))
        .await?;
    world.stalled(name, "NotAuthorized").await?;
    keep(world, states, name).await
}

async fn deletion_locked(world: &World, states: &mut States) -> Result<()> {
    let name = "deletion-locked";
    let identity = world.workload(name).await?;
    world.bind(name, name, &identity).await?;
    world.ready(name).await?;
    let lock = Lock {
        scope: identity.resource_id.clone(),
        level: LockLevel::CanNotDelete,
    };
    world.azure.knobs(|k| k.locks = vec![lock]);
    world.bindings().delete(name, &DeleteParams::default()).await?;
    world.stalled(name, "ResourceLocked").await?;
    keep(world, states, name).await?;
    world.azure.knobs(|k| k.locks.clear());
    world.gone(name).await
}

async fn in_order(world: &World, states: &mut States) -> Result<()> {
    for name in ["ready", "spec-changed", "deleted-unseen"] {
        let identity = world.workload(name).await?;
        world.bind(name, name, &identity).await?;
        world.ready(name).await?;
    }
    keep(world, states, "ready").await
}

/// What was said last is about an earlier generation.
async fn in_order_and_left_alone(world: &World, states: &mut States) -> Result<()> {
    let name = "spec-changed";
    let change = json!({ "spec": { "serviceAccount": { "tokenExpirationSeconds": 7200 } } });
    world.change(name, change).await?;
    keep(world, states, name).await?;
    let name = "deleted-unseen";
    world.bindings().delete(name, &DeleteParams::default()).await?;
    keep(world, states, name).await
}
