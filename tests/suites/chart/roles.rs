//! People: what the roles of the chart add to the built-in ones.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use wib_harness::{Cluster, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::helm::{IDS, Release};

/// What the controller of aggregated roles does, which does not run here: the rules of all roles that a built-in role's
/// own selector selects become its rules.
async fn aggregate(world: &World, name: &str) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(world.admin());
    let mut built_in = roles.get(name).await?;
    let mut rules = Vec::new();
    let rule = built_in.aggregation_rule.clone().context("not aggregated")?;
    for selector in rule.cluster_role_selectors.into_iter().flatten() {
        let labels = selector.match_labels.unwrap_or_default();
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        for role in roles
            .list(&ListParams::default().labels(&labels.join(",")))
            .await?
        {
            // `edit` is itself part of `admin`, and `view` of both.
            rules.extend(role.rules.into_iter().flatten());
        }
    }
    built_in.rules = Some(rules);
    roles.replace(name, &PostParams::default(), &built_in).await?;
    Ok(())
}

pub async fn people_write_bindings_and_nobody_but_administrators_grants() -> Result<()> {
    let objects = Release::usual(&IDS).objects().await?;
    let world = World::new(Cluster::start_from(&objects).await?.into()).await?;
    // In the order in which they are part of one another.
    for role in ["view", "edit", "admin"] {
        aggregate(&world, role).await?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": world.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role }],
        });
        world.cluster.apply(&[binding]).await?;
    }
    let identity = world.identity("web");
    let grant = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": "wib-use-web" },
        "rules": [{
            "apiGroups": ["workload-identity.io"],
            "resources": ["azureidentities"],
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
