//! People: what the roles of the chart add to the built-in ones.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use wib_harness::{Cluster, World};
use workload_identity_binding::api::{ManagedIdentity, WorkloadIdentityBinding};

use super::helm::{IDS, Release};

/// Waits until a user has a right on bindings: built-in roles learn of the chart's by a controller.
async fn may_by_now(world: &World, user: &str, verb: &str) -> Result<()> {
    let attributes = json!({
        "namespace": world.namespace, "group": "workload-identity.io", "resource": "workloadidentitybindings",
        "verb": verb,
    });
    world.await_right(user, attributes, Duration::from_secs(20)).await
}

pub async fn people_write_bindings_and_nobody_but_administrators_grants() -> Result<()> {
    let objects = Release::usual(&IDS).objects().await?;
    let world = World::new(Cluster::start_from(&objects).await?.into()).await?;
    for (role, verb) in [
        ("view", "list"),
        ("edit", "create"),
        ("admin", "deletecollection"),
    ] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": world.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role }],
        });
        world.cluster.apply(&[binding]).await?;
        may_by_now(&world, role, verb).await?;
    }
    let identity = world.identity("web");
    let grant = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": "wib-use-web" },
        "rules": [{
            "apiGroups": ["workload-identity.io"],
            "resources": ["managedidentities"],
            "verbs": ["use"],
            "resourceNames": [identity.resource_id.to_lowercase()],
        }],
    });
    for (user, writes) in [
        ("edit", true),
        ("admin", true),
        ("view", false),
        ("nobody", false),
    ] {
        let client = world.cluster.control_plane.client_for_user(user, &[]).await?;
        let bindings: Api<WorkloadIdentityBinding> = Api::namespaced(client.clone(), &world.namespace);
        may(
            user,
            "list",
            user != "nobody",
            bindings.list(&ListParams::default()).await,
        )?;
        let binding = serde_json::from_value(json!({
            "apiVersion": "workload-identity.io/v1alpha1",
            "kind": "WorkloadIdentityBinding",
            "metadata": { "name": user },
            "spec": { "identity": { "resourceId": identity.resource_id }, "serviceAccount": { "name": "web" } },
        }))?;
        may(
            user,
            "create",
            writes,
            bindings.create(&PostParams::default(), &binding).await,
        )?;
        let suspend = Patch::Merge(json!({ "spec": { "suspend": true } }));
        let params = PatchParams::default();
        may(
            user,
            "change",
            writes,
            bindings.patch(user, &params, &suspend).await,
        )?;
        let all = bindings
            .delete_collection(&DeleteParams::default().dry_run(), &ListParams::default())
            .await;
        may(user, "delete all", user == "admin", all)?;
        // Nobody but the operator says that something is ready, and nobody grants.
        let status = Patch::Merge(json!({ "status": { "observedGeneration": 1 } }));
        may(
            user,
            "write the status",
            false,
            bindings.patch_status(user, &params, &status).await,
        )?;
        let role: ClusterRole = serde_json::from_value(grant.clone())?;
        let roles: Api<ClusterRole> = Api::all(client.clone());
        may(
            user,
            "grant",
            false,
            roles.create(&PostParams::default(), &role).await,
        )?;
        let bound: Value = json!({
            "metadata": { "name": "wib-use-web" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "web", "namespace": world.namespace }],
        });
        let bound = serde_json::from_value(bound)?;
        let role_bindings: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(client);
        may(
            user,
            "bind a grant",
            false,
            role_bindings.create(&PostParams::default(), &bound).await,
        )?;
    }
    world.cluster.apply(&[grant]).await
}

/// Records name the ServiceAccounts of every tenant: the built-in roles do not open them, not even in the whole cluster.
pub async fn platform_teams_read_records_and_nobody_else_does() -> Result<()> {
    let objects = Release::usual(&IDS).objects().await?;
    let world = World::new(Cluster::start_from(&objects).await?.into()).await?;
    let viewer = "workload-identity-binding-identity-viewer";
    for role in ["view", "edit", "admin", viewer] {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("all-{role}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role }],
        });
        world.cluster.apply(&[binding]).await?;
    }
    for (role, verb) in [
        ("view", "list"),
        ("edit", "create"),
        ("admin", "deletecollection"),
    ] {
        may_by_now(&world, role, verb).await?;
    }
    let list = json!({ "group": "workload-identity.io", "resource": "managedidentities", "verb": "list" });
    world.await_right(viewer, list, Duration::from_secs(20)).await?;

    let made: Api<ManagedIdentity> = Api::all(world.admin());
    let record = serde_json::from_value(json!({
        "apiVersion": "workload-identity.io/v1alpha1",
        "kind": "ManagedIdentity",
        "metadata": { "name": "web-00000000" },
        "spec": { "resourceId": world.identity("web").resource_id.to_lowercase() },
    }))?;
    made.create(&PostParams::default(), &record).await?;
    for user in ["view", "edit", "admin", viewer] {
        let client = world.cluster.control_plane.client_for_user(user, &[]).await?;
        let records: Api<ManagedIdentity> = Api::all(client);
        let reads = user == viewer;
        may(user, "list", reads, records.list(&ListParams::default()).await)?;
        may(user, "read", reads, records.get("web-00000000").await)?;
        let deleted = records.delete("web-00000000", &DeleteParams::default()).await;
        may(user, "delete", false, deleted)?;
        let forged = Patch::Merge(json!({ "status": { "ours": 20 } }));
        let params = PatchParams::default();
        may(
            user,
            "write the status",
            false,
            records.patch_status("web-00000000", &params, &forged).await,
        )?;
    }
    Ok(())
}

/// Fails unless a call of a user was allowed or forbidden as wanted.
fn may<T>(user: &str, what: &str, allowed: bool, answer: kube::Result<T>) -> Result<()> {
    let forbidden = matches!(&answer, Err(kube::Error::Api(status)) if status.code == 403);
    let error = answer.err();
    ensure!(
        if allowed { error.is_none() } else { forbidden },
        "{user} wanted to {what}, expected {allowed}: {error:?}"
    );
    Ok(())
}
