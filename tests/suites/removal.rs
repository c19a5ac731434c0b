//! What is taken away in the wrong order: definition, namespace, operator, identity. Nothing is wiped by
//! accident, nothing hangs for ever, and what docs/uninstall.md says works.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Identity, Lock, LockLevel, Operation};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};
use kube::{CustomResourceExt as _, ResourceExt as _};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::world::bindings::condition;
use wib_harness::{Cluster, Operator, World, cluster};
use workload_identity_binding::api::WorkloadIdentityBinding;

use crate::runner::trials;

trials![
    alone a_definition_that_is_deleted_and_comes_back_costs_nobody_access,
    alone a_definition_that_is_deleted_without_an_operator_waits_for_one,
    shared a_namespace_that_is_deleted_without_an_operator_is_cleaned_by_the_next,
    shared a_namespace_that_azure_holds_up_says_why_and_can_be_let_go,
    shared a_namespace_whose_resource_group_is_gone_goes,
    alone an_operator_that_is_uninstalled_first_leaves_two_ways_out,
];

const CLIENT_ID: &str = "azure.workload.identity/client-id";
const NAMES: [&str; 4] = ["web", "api", "job", "made"];

/// A namespace with bindings that are ready; the last one's ServiceAccount was made by the operator.
async fn in_order(world: &World) -> Result<(Identity, Operator)> {
    let identity = world.identity("web");
    for name in NAMES {
        world.grant(name, &identity).await?;
    }
    let operator = world.operator().await?;
    apply(world, &identity).await?;
    Ok((identity, operator))
}

/// What a platform team has in its repository, applied.
async fn apply(world: &World, identity: &Identity) -> Result<()> {
    for name in NAMES {
        if name != "made" && world.service_accounts().get_opt(name).await?.is_none() {
            world.service_account(name).await?;
        }
        let spec = json!({
            "identity": { "resourceId": identity.resource_id },
            "serviceAccount": { "name": name, "create": name == "made" },
        });
        world.create(name, spec).await?;
    }
    try_join_all(NAMES.map(|name| world.ready(name))).await?;
    accepted(world, identity).await
}

/// Every workload has its access, and its id.
async fn accepted(world: &World, identity: &Identity) -> Result<()> {
    for name in NAMES {
        world.assert_accepted(name, &identity.client_id).await?;
        let annotated = world.annotation(name, CLIENT_ID).await?;
        assert_eq!(annotated.as_ref(), Some(&identity.client_id), "{name}");
    }
    Ok(())
}

/// Three namespaces of one cluster of its own.
async fn three_namespaces() -> Result<Vec<World>> {
    let cluster = Arc::new(Cluster::start().await?);
    try_join_all((0..3).map(|_| World::new(cluster.clone()))).await
}

fn crds(world: &World) -> Api<CustomResourceDefinition> {
    Api::all(world.admin())
}

async fn delete_crd(world: &World) -> Result<()> {
    let params = DeleteParams::default();
    crds(world)
        .delete(WorkloadIdentityBinding::crd_name(), &params)
        .await?;
    Ok(())
}

/// Waits until an object is gone.
async fn gone<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    for _ in 0..600 {
        if api.get_opt(name).await?.is_none() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!(
        "{name} hangs: {:#?}",
        api.get_opt(name).await?.map(|o| o.meta().clone())
    )
}

async fn namespace_goes(world: &World) -> Result<()> {
    gone(&Api::<Namespace>::all(world.admin()), &world.namespace).await
}

fn azure_writes(world: &World) -> usize {
    world
        .azure
        .journal()
        .iter()
        .filter(|e| e.operation.is_write())
        .count()
}

async fn a_definition_that_is_deleted_and_comes_back_costs_nobody_access() -> Result<()> {
    let worlds = three_namespaces().await?;
    let ready = try_join_all(worlds.iter().map(in_order)).await?;
    let writes: Vec<_> = worlds.iter().map(azure_writes).collect();

    delete_crd(&worlds[0]).await?;
    gone(&crds(&worlds[0]), WorkloadIdentityBinding::crd_name()).await?;
    for (world, (identity, operator)) in worlds.iter().zip(&ready) {
        accepted(world, identity).await?;
        ensure!(!operator.has_ended(), "the operator has ended");
    }
    worlds[0].cluster.install_crd().await?;
    try_join_all(
        worlds
            .iter()
            .zip(&ready)
            .map(|(w, (identity, _))| apply(w, identity)),
    )
    .await?;
    assert_eq!(worlds.iter().map(azure_writes).collect::<Vec<_>>(), writes);
    Ok(())
}

async fn a_definition_that_is_deleted_without_an_operator_waits_for_one() -> Result<()> {
    let worlds = three_namespaces().await?;
    let mut identities = Vec::new();
    for (identity, operator) in try_join_all(worlds.iter().map(in_order)).await? {
        operator.stop().await?;
        identities.push(identity);
    }
    let writes: Vec<_> = worlds.iter().map(azure_writes).collect();
    delete_crd(&worlds[0]).await?;
    // The API server deletes all objects first.
    let deleting = |b: &WorkloadIdentityBinding| b.metadata.deletion_timestamp.is_some();
    for world in &worlds {
        world.wait("web", "deleted", deleting).await?;
    }

    let _operators = try_join_all(worlds.iter().map(World::operator)).await?;
    gone(&crds(&worlds[0]), WorkloadIdentityBinding::crd_name()).await?;
    for (world, identity) in worlds.iter().zip(&identities) {
        accepted(world, identity).await?;
    }
    worlds[0].cluster.install_crd().await?;
    try_join_all(
        worlds
            .iter()
            .zip(&identities)
            .map(|(w, identity)| apply(w, identity)),
    )
    .await?;
    assert_eq!(worlds.iter().map(azure_writes).collect::<Vec<_>>(), writes);
    Ok(())
}

async fn a_namespace_that_is_deleted_without_an_operator_is_cleaned_by_the_next(world: World) -> Result<()> {
    let (identity, operator) = in_order(&world).await?;
    operator.stop().await?;
    world.delete_namespace().await?;
    gone(&world.service_accounts(), "web").await?;
    ensure!(
        world.bindings().get_opt("web").await?.is_some(),
        "let go by nobody"
    );
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), NAMES.len());

    let _operator = world.operator().await?;
    namespace_goes(&world).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    assert_eq!(world.azure.count(Operation::DeleteCredential), NAMES.len());
    Ok(())
}

async fn a_namespace_that_azure_holds_up_says_why_and_can_be_let_go(world: World) -> Result<()> {
    let (identity, _operator) = in_order(&world).await?;
    let lock = Lock {
        scope: identity.resource_id.clone(),
        level: LockLevel::ReadOnly,
    };
    world.azure.knobs(|k| k.locks = vec![lock]);
    world.delete_namespace().await?;
    for name in NAMES {
        let told = world.not_ready(name, "ResourceLocked").await?;
        let told = condition(&told, "Stalled").map(|c| c.2).unwrap_or_default();
        ensure!(told.contains("workload-identity.io/release"), "{told}");
    }
    let (key, value) = documented("kubectl annotate wib NAME --namespace NAMESPACE ")?
        .split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .context("no key and value")?;
    let release = json!({ "metadata": { "annotations": { key: value } } });
    world.change("web", release).await?;
    world.gone("web").await?;
    // The others go by themselves once the lock does.
    world.azure.knobs(|k| k.locks.clear());
    namespace_goes(&world).await?;
    let left = world.azure.credentials(&identity.resource_id);
    ensure!(left.len() == 1 && left[0].subject.ends_with(":web"), "{left:#?}");
    Ok(())
}

async fn a_namespace_whose_resource_group_is_gone_goes(world: World) -> Result<()> {
    let (_, _operator) = in_order(&world).await?;
    world.azure.delete_resource_group("shop");
    world.delete_namespace().await?;
    namespace_goes(&world).await
}

async fn an_operator_that_is_uninstalled_first_leaves_two_ways_out() -> Result<()> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let (identity, operator) = in_order(&world).await?;
    // Its namespace first, while it still runs: it can do nothing any more, and harms nobody.
    let namespaces: Api<Namespace> = Api::all(world.admin());
    let params = DeleteParams::default();
    namespaces.delete(cluster::OPERATOR_NAMESPACE, &params).await?;
    gone(&namespaces, cluster::OPERATOR_NAMESPACE).await?;
    Api::<ClusterRoleBinding>::all(world.admin())
        .delete("workload-identity-binding", &params)
        .await?;
    Api::<ClusterRole>::all(world.admin())
        .delete("workload-identity-binding", &params)
        .await?;
    world.bindings().delete("web", &params).await?;
    world.bindings().delete("api", &params).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    operator.stop().await?;
    for name in ["web", "api"] {
        let held = world.bindings().get(name).await?;
        ensure!(!held.finalizers().is_empty(), "{name} has no finalizer");
    }
    accepted(&world, &identity).await?;

    // By hand, as documented: the credential stays.
    let patch = documented("kubectl patch wib NAME --namespace NAMESPACE --type=merge -p ")?;
    let patch: Value = serde_json::from_str(patch.trim_matches('\''))?;
    world.change("web", patch).await?;
    world.gone("web").await?;
    accepted(&world, &identity).await?;

    // Installed again, the operator finishes what waits, and keeps what is in order.
    world.cluster.install_operator().await?;
    Api::<ServiceAccount>::namespaced(world.admin(), cluster::OPERATOR_NAMESPACE)
        .get(cluster::OPERATOR_SERVICE_ACCOUNT)
        .await?;
    world.write_operator_files().await?;
    let _operator = world.operator().await?;
    world.gone("api").await?;
    world.ready("job").await?;
    world.ready("made").await?;
    let left = world.azure.credentials(&identity.resource_id);
    ensure!(!left.iter().any(|c| c.subject.ends_with(":api")), "{left:#?}");
    assert_eq!(left.len(), NAMES.len() - 1);
    Ok(())
}

/// What follows these words of a command in docs/uninstall.md.
fn documented(command: &str) -> Result<String> {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/uninstall.md"))?;
    let line = document.lines().find_map(|line| line.strip_prefix(command));
    line.map(|rest| rest.trim().to_owned())
        .with_context(|| format!("docs/uninstall.md does not say `{command}`"))
}
