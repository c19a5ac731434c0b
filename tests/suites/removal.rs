//! What is taken away in the wrong order: definition, namespace, operator, identity. Nothing is wiped by
//! accident, nothing hangs for ever, and what docs/uninstall.md says works.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Identity, Lock, LockLevel, Operation};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{CustomResourceExt as _, ResourceExt as _};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::world::bindings::condition;
use wib_harness::{Cluster, Operator, World, cluster};
use workload_identity_binding::api::{RELEASE_ANNOTATION, WorkloadIdentityBinding};

use crate::runner::trials;

trials![
    alone a_definition_that_is_deleted_and_comes_back_costs_nobody_access,
    alone a_definition_that_is_deleted_without_an_operator_waits_for_one,
    shared a_namespace_that_is_deleted_without_an_operator_is_cleaned_by_the_next,
    shared a_namespace_that_azure_holds_up_says_why_and_can_be_let_go,
    shared a_namespace_whose_resource_group_is_gone_goes,
    alone an_operator_that_is_uninstalled_first_leaves_two_ways_out,
    alone openshift_lets_go_of_a_service_account_with_one_more_right,
    alone what_openshift_refuses_is_told_and_the_binding_can_be_released,
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

/// A cluster that guards owner references, and a binding that is ready there: its ServiceAccount was made by the
/// operator, and is to stay when it goes.
async fn retained_on_openshift() -> Result<(World, Identity, Operator)> {
    let cluster = Arc::new(Cluster::start_as_openshift().await?);
    let world = World::new(cluster).await?;
    let identity = world.identity("web");
    world.grant("web", &identity).await?;
    let operator = world.operator().await?;
    let spec = json!({
        "identity": { "resourceId": identity.resource_id },
        "serviceAccount": { "name": "web", "create": true },
        "deletionPolicy": "Retain",
    });
    world.create("web", spec).await?;
    world.ready("web").await?;
    Ok((world, identity, operator))
}

/// Taking an owner reference off needs the right to delete the object, which `config/rbac` does not give.
async fn openshift_lets_go_of_a_service_account_with_one_more_right() -> Result<()> {
    let (world, identity, _operator) = retained_on_openshift().await?;
    let operator = world
        .cluster
        .control_plane
        .client_for_user(cluster::OPERATOR_USER, &[])
        .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(operator, &world.namespace);
    let nobodys = Patch::Merge(json!({ "metadata": { "ownerReferences": null } }));
    let refused = accounts.patch("web", &PatchParams::default(), &nobodys).await;
    let refused = refused
        .err()
        .context("nothing guards the owner references")?
        .to_string();
    ensure!(
        refused.contains("cannot set an ownerRef on a resource you can't delete"),
        "{refused}"
    );

    let name = "workload-identity-binding-let-go";
    let right = json!({ "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["delete"] });
    let rbac = "rbac.authorization.k8s.io";
    world
        .cluster
        .apply(&[
            json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
                "metadata": { "name": name }, "rules": [right],
            }),
            json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
                "metadata": { "name": name },
                "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": name },
                "subjects": [{
                    "kind": "ServiceAccount",
                    "namespace": cluster::OPERATOR_NAMESPACE, "name": cluster::OPERATOR_SERVICE_ACCOUNT,
                }],
            }),
        ])
        .await?;
    let delete = json!({ "namespace": world.namespace, "resource": "serviceaccounts", "verb": "delete" });
    world
        .await_right(cluster::OPERATOR_USER, delete, Duration::from_secs(20))
        .await?;
    world.delete("web").await?;
    let kept = world.service_accounts().get("web").await?;
    assert_eq!(kept.owner_references(), []);
    world.assert_accepted("web", &identity.client_id).await
}

/// Without that right the binding waits, says what it waits for, and goes when it is released.
async fn what_openshift_refuses_is_told_and_the_binding_can_be_released() -> Result<()> {
    let (world, identity, _operator) = retained_on_openshift().await?;
    let params = DeleteParams::default();
    world.bindings().delete("web", &params).await?;
    let told = world.not_ready("web", "KubernetesUnavailable");
    let told = tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .context("nothing says for 10 s why the binding does not go")??;
    ensure!(told.metadata.deletion_timestamp.is_some(), "not deleted");
    let message = condition(&told, "Ready").context("no condition")?.2.to_owned();
    for part in [
        &format!("ServiceAccount {}/web", world.namespace),
        "forbidden",
        RELEASE_ANNOTATION,
    ] {
        ensure!(message.contains(part), "{part} is missing in: {message}");
    }
    let events: Api<Event> = Api::namespaced(world.admin(), &world.namespace);
    let mut warning = None;
    for _ in 0..100 {
        let all = events.list(&ListParams::default()).await?;
        warning = all.items.into_iter().find(|event| {
            event.reason.as_deref() == Some("KubernetesUnavailable")
                && event
                    .regarding
                    .as_ref()
                    .is_some_and(|r| r.uid == told.metadata.uid)
        });
        if warning.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let warning = warning.context("no event says why")?;
    assert_eq!(warning.type_.as_deref(), Some("Warning"));
    ensure!(
        warning
            .note
            .as_deref()
            .is_some_and(|note| note.contains(RELEASE_ANNOTATION)),
        "{warning:#?}"
    );
    // It tries again and again, and says the same each time.
    for _ in 0..60 {
        let waiting = world.bindings().get("web").await?;
        let (status, reason, _) = condition(&waiting, "Ready").context("no condition")?;
        assert_eq!((status, reason), ("False", "KubernetesUnavailable"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let release = json!({ "metadata": { "annotations": { RELEASE_ANNOTATION: "true" } } });
    world.change("web", release).await?;
    world.gone("web").await?;
    // Azure was left alone. The ServiceAccount belongs to nobody any more, and Kubernetes collects it.
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 1);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    Ok(())
}

/// What follows these words of a command in docs/uninstall.md.
fn documented(command: &str) -> Result<String> {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/uninstall.md"))?;
    let line = document.lines().find_map(|line| line.strip_prefix(command));
    line.map(|rest| rest.trim().to_owned())
        .with_context(|| format!("docs/uninstall.md does not say `{command}`"))
}
