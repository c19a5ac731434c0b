//! etcd is put back to a backup: the operator hears everything again, believes storage and not its own memory, and
//! what was made since the backup is neither forgotten nor wiped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Identity;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::control_plane::{Backup, ControlPlane};
use wib_harness::{Cluster, Operator, World};
use workload_identity_binding::api::CredentialState;

use crate::runner::{figure, trials};

trials![
    alone an_older_storage_is_noticed_and_everything_heard_again,
    alone a_storage_that_was_moved_on_is_believed,
    alone after_a_restore_while_the_operator_was_down_it_goes_on,
];

/// Noticed, listed again, and acted on.
const SOON: Duration = Duration::from_mins(1);

/// Writes since the backup: more than a control plane makes while it starts.
const LOST: usize = 2_000;

fn control_plane(world: &mut World) -> Result<&mut ControlPlane> {
    let cluster = Arc::get_mut(&mut world.cluster).context("the cluster is shared")?;
    Ok(&mut cluster.control_plane)
}

/// A workload of this name, granted and bound, and accepted by Entra.
async fn bound(world: &World, name: &str, identity: &Identity) -> Result<()> {
    world.service_account(name).await?;
    world.grant(name, identity).await?;
    world.bind(name, name, identity).await?;
    world.ready(name).await?;
    world.assert_accepted(name, &identity.client_id).await
}

async fn restores_counted(operator: &Operator) -> Result<String> {
    let (_, metrics) = operator.get("/metrics").await?;
    let mut lines = metrics.lines();
    let line = lines.find_map(|line| line.strip_prefix("wib_storage_restores_total "));
    Ok(line.context("not counted")?.to_owned())
}

/// Two workloads and a backup; a third one after that, and much else.
async fn a_backup_and_more(world: &mut World, identity: &Identity) -> Result<Backup> {
    for name in ["web", "api"] {
        bound(world, name, identity).await?;
    }
    // What is granted after it would be denied when it comes back.
    world.grant("late", identity).await?;
    let backup = control_plane(world)?.back_up().await?;
    bound(world, "late", identity).await?;
    Ok(backup)
}

async fn an_older_storage_is_noticed_and_everything_heard_again() -> Result<()> {
    let mut world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.identity("web");
    let operator = world.operator_with(&["--orphan-grace-period=10s"]).await?;
    let backup = a_backup_and_more(&mut world, &identity).await?;
    let late = world.workload_token("late").await?;
    world.cluster.control_plane.advance(LOST).await?;
    assert_eq!(restores_counted(&operator).await?, "0");

    control_plane(&mut world)?.restore(&backup).await?;
    let restored = Instant::now();
    // A new binding, a withdrawn grant and a deletion: each by another watch.
    bound(&world, "next", &identity).await?;
    figure(format!(
        "restores: a binding made after etcd was put back was ready after {} s",
        restored.elapsed().as_secs()
    ));
    ensure!(restored.elapsed() < SOON, "after {:?}", restored.elapsed());
    world.revoke("api", &identity).await?;
    world
        .refused_within("api", &identity.client_id, 700_213, Duration::from_secs(10))
        .await?;
    world.delete("web").await?;
    world.gone("web").await?;
    assert_eq!(restores_counted(&operator).await?, "1");

    // What was made since the backup has no binding any more. It is on record again, and told, and goes.
    world
        .in_state(&identity, "late", CredentialState::Orphaned)
        .await?;
    world
        .token_refused(
            &late,
            &identity.client_id,
            700_213,
            tokio::time::Instant::now() + SOON,
        )
        .await?;
    world.assert_accepted("next", &identity.client_id).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 1);
    Ok(())
}

async fn a_storage_that_was_moved_on_is_believed() -> Result<()> {
    let mut world = World::new(Arc::new(Cluster::start().await?)).await?;
    let (first, second) = (world.identity("first"), world.identity("second"));
    let _operator = world.operator_with(&["--orphan-grace-period=3s"]).await?;
    bound(&world, "web", &first).await?;
    world.grant("web", &second).await?;
    let backup = control_plane(&mut world)?.back_up().await?;

    let to = |identity: &Identity| json!({ "spec": { "identity": { "resourceId": identity.resource_id } } });
    world.change("web", to(&second)).await?;
    world.ready("web").await?;
    world
        .until("the first credential is gone", || {
            world.azure.credentials(&first.resource_id).is_empty()
        })
        .await?;

    // The spec names the first identity again. The operator remembers later writes than storage holds.
    control_plane(&mut world)?
        .restore_and_advance(&backup, LOST)
        .await?;
    let restored = Instant::now();
    world
        .until("the first identity trusts again, and nobody else does", || {
            let held = |identity: &Identity| world.azure.credentials(&identity.resource_id).len();
            (held(&first), held(&second)) == (1, 0)
        })
        .await?;
    ensure!(restored.elapsed() < SOON, "after {:?}", restored.elapsed());
    world.ready("web").await?;
    world.assert_accepted("web", &first.client_id).await
}

async fn after_a_restore_while_the_operator_was_down_it_goes_on() -> Result<()> {
    let mut world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.identity("web");
    let operator = world.operator().await?;
    let backup = a_backup_and_more(&mut world, &identity).await?;
    operator.stop().await?;
    control_plane(&mut world)?.restore(&backup).await?;
    world.azure.clear_journal();
    let _operator = world.operator().await?;
    bound(&world, "next", &identity).await?;
    for name in ["web", "api"] {
        world.assert_accepted(name, &identity.client_id).await?;
    }
    // Nobody knows of the third one's binding. It carries the operator's mark, so it is told, and stays until a person
    // has decided: it may be another cluster's, restored from the same backup.
    world
        .in_state(&identity, "late", CredentialState::Orphaned)
        .await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 4);
    assert_eq!(world.azure.count(azure_emulator::Operation::DeleteCredential), 0);
    Ok(())
}
