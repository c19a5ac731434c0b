//! A tenant patches its own binding without end. Whatever it patches, a revocation is not held up, nor is a neighbour.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wib_harness::world::Storm;
use wib_harness::world::bindings::condition;
use wib_harness::{Cluster, World};

use super::{NO_CREDENTIAL, ready};
use crate::runner;

/// One alone changes most: many stand in each other's way, and in everybody's way to the API server.
const PATCHERS: [usize; 2] = [1, 24];

/// Unhindered a revocation takes less than 5 s: `cargo bench --bench startup` says how much less under a storm. Here
/// others use the machine as well; what a storm holds up does not come at all while it lasts.
const PATIENCE: Duration = Duration::from_mins(1);

type Patch = fn(usize) -> Value;

/// What is patched. Two controllers that fight over a label do the second.
const STORMS: [(&str, Patch); 4] = [
    (
        "an annotation",
        |n| json!({ "metadata": { "annotations": { "n": n.to_string() } } }),
    ),
    (
        "a label",
        |n| json!({ "metadata": { "labels": { "owner": if n % 2 == 0 { "one" } else { "two" } } } }),
    ),
    ("spec.suspend", |n| json!({ "spec": { "suspend": n % 2 == 0 } })),
    ("the release annotation", |n| {
        let value = if n % 2 == 0 { json!("true") } else { Value::Null };
        json!({ "metadata": { "annotations": { "workload-identity.io/release": value } } })
    }),
];

fn storms() -> impl Iterator<Item = (usize, (&'static str, Patch))> {
    PATCHERS
        .into_iter()
        .flat_map(|patchers| STORMS.map(|storm| (patchers, storm)))
}

pub async fn no_storm_holds_up_a_revocation() -> Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    let mut failed = Vec::new();
    for (patchers, (what, patch)) in storms() {
        let world = World::new(cluster.clone()).await?;
        match revoked_under(&world, patchers, patch).await {
            Ok(took) => runner::figure(format!(
                "tenants: revoked after {:.1} s while {patchers} change {what} without end",
                took.as_secs_f32()
            )),
            Err(error) => failed.push(format!("{patchers} change {what}: {error:#}")),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

async fn revoked_under(world: &World, patchers: usize, patch: Patch) -> Result<Duration> {
    let (identity, _operator) = ready(world, &[]).await?;
    let storm = world.storm("web", patchers, patch).await?;
    world.assert_accepted("web", &identity.client_id).await?;
    world.revoke("web", &identity).await?;
    let (began, before) = (tokio::time::Instant::now(), storm.landed());
    let revoked = world
        .refused_within("web", &identity.client_id, NO_CREDENTIAL, PATIENCE)
        .await;
    let (took, landed) = (began.elapsed(), storm.landed() - before);
    revoked.with_context(|| format!("{landed} patches in {took:?}"))?;
    goes_on(world, &storm).await?;
    // And the binding says so, for all that is written on it meanwhile.
    let told = world.wait("web", "told under the storm", |b| {
        condition(b, "Ready").is_some_and(|c| (c.0, c.1) == ("False", "NotAuthorized"))
    });
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.context("the binding does not say NotAuthorized")??;
    goes_on(world, &storm).await?;
    Ok(took)
}

/// Fails if the storm was over before what it should have held up.
async fn goes_on(world: &World, storm: &Storm) -> Result<()> {
    let before = storm.landed();
    world.until("the storm goes on", || storm.landed() > before).await
}

pub async fn a_storm_holds_up_no_newcomer() -> Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    let mut failed = Vec::new();
    for (patchers, (what, patch)) in storms() {
        let world = World::new(cluster.clone()).await?;
        if let Err(error) = newcomer_under(&world, patchers, patch).await {
            failed.push(format!("{patchers} change {what}: {error:#}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

async fn newcomer_under(world: &World, patchers: usize, patch: Patch) -> Result<()> {
    let (identity, _operator) = ready(world, &[]).await?;
    let storm = world.storm("web", patchers, patch).await?;
    world.service_account("late").await?;
    world.grant("late", &identity).await?;
    world.bind("late", "late", &identity).await?;
    let ready = tokio::time::timeout(PATIENCE, world.ready("late")).await;
    ready.context("not ready")??;
    world.assert_accepted("late", &identity.client_id).await?;
    goes_on(world, &storm).await
}
