//! The optional ValidatingAdmissionPolicy, on the real API server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Identity;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use wib_harness::World;

use super::helm::{IDS, Release, one};
use super::lifecycle::Stage;

const ON: &str = "--set=admissionPolicy.enabled=true";

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;

fn spec(identity: &Value, account: &str) -> Value {
    json!({ "identity": identity, "serviceAccount": { "name": account } })
}

fn by_id(identity: &Identity) -> Value {
    json!({ "resourceId": identity.resource_id })
}

/// Fails unless the policy refuses the creation of this binding, with a sentence that names both sides.
async fn refused(world: &World, name: &str, spec: Value, sentence: &str) -> Result<()> {
    let Err(error) = world.create(name, spec).await else {
        anyhow::bail!("{name} was let in");
    };
    let told = format!("{error:#}");
    ensure!(told.contains(sentence), "{told}");
    Ok(())
}

/// What a refusal says of a ServiceAccount and an identity.
fn may_not(world: &World, account: &str, identity: &Identity) -> String {
    let key = identity.resource_id.to_lowercase();
    let namespace = &world.namespace;
    format!(
        "ServiceAccount {namespace}/{account} may not use {key}: a cluster administrator has to grant it first"
    )
}

/// A policy takes effect a moment after it was made or changed: waits until a name alone is refused with this sentence.
async fn in_effect(world: &World, sentence: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let told = match world
            .create("probe", spec(&json!({ "name": "nobody-has-this" }), "web"))
            .await
        {
            Ok(_) => world.delete("probe").await.map(|()| "let in".to_owned())?,
            Err(error) => format!("{error:#}"),
        };
        if told.contains(sentence) {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "the policy is not in effect after 30 s: {told}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn bindings_without_a_grant_are_refused_at_once() -> Result<()> {
    let stage = Stage::chart(&[ON]).await?;
    let world = &stage.world;
    in_effect(world, &may_not(world, "web", &world.at("nobody-has-this"))).await?;
    // Letter case makes no other identity.
    let (web, other) = (world.identity("Web"), world.identity("other"));
    world.service_account("web").await?;
    let sentence = may_not(world, "web", &web);
    refused(world, "web", spec(&by_id(&web), "web"), &sentence).await?;
    refused(world, "web", spec(&json!({ "name": "Web" }), "web"), &sentence).await?;

    // What tenants can give themselves does not count.
    grant_in_the_namespace(world, &web).await?;
    refused(world, "web", spec(&by_id(&web), "web"), &sentence).await?;

    world.grant("web", &web).await?;
    world.create("web", spec(&by_id(&web), "web")).await?;
    world
        .create("named", spec(&json!({ "name": "Web" }), "web"))
        .await?;
    let whole = json!({
        "name": "Web", "resourceGroup": "shop", "subscriptionId": world.azure.subscription_id(),
    });
    world.create("whole", spec(&whole, "web")).await?;
    for name in ["web", "named", "whole"] {
        world.ready(name).await?;
    }
    world.assert_accepted("web", &web.client_id).await?;
    changes_are_checked(world, &web, &other).await?;

    // Admission does not see that a grant is withdrawn; the operator does, and writes its status and finalizers all the
    // same.
    world.revoke("web", &web).await?;
    world.stalled("web", "NotAuthorized").await?;
    world.assert_refused("web", &web.client_id, NO_CREDENTIAL).await?;
    world
        .change("web", json!({ "spec": { "suspend": true } }))
        .await?;
    let mut finalizers = world.bindings().get("web").await?.finalizers().to_vec();
    finalizers.push("example.com/mine".to_owned());
    let both = json!({ "metadata": { "finalizers": finalizers, "labels": { "a": "b" } } });
    world.change("web", both).await?;
    finalizers.pop();
    world
        .change("web", json!({ "metadata": { "finalizers": finalizers } }))
        .await?;
    for name in ["web", "named", "whole"] {
        world.delete(name).await?;
    }
    without_defaults(world).await
}

/// A binding that is in is no way around the policy.
async fn changes_are_checked(world: &World, web: &Identity, other: &Identity) -> Result<()> {
    let to_other = json!({ "spec": { "identity": { "resourceId": other.resource_id } } });
    let to_another = json!({ "spec": { "serviceAccount": { "name": "another" } } });
    for (patch, sentence) in [
        (to_other, may_not(world, "web", other)),
        (to_another, may_not(world, "another", web)),
    ] {
        let error = world
            .change("web", patch)
            .await
            .err()
            .context("the change was let in")?;
        ensure!(format!("{error:#}").contains(&sentence), "{error:#}");
    }
    Ok(())
}

/// Without defaults of the operator a name alone is no identity.
async fn without_defaults(world: &World) -> Result<()> {
    let objects = Release::usual(&[&IDS[..], &[ON]].concat()).objects().await?;
    let policy = one(&objects, "ValidatingAdmissionPolicy")?.clone();
    world.cluster.apply(&[policy]).await?;
    let sentence = "the operator has no default for them: set them, or use resourceId";
    in_effect(world, sentence).await
}

/// A grant that a tenant may make: in the own namespace only. Waits until the API server's authorizer knows it.
async fn grant_in_the_namespace(world: &World, identity: &Identity) -> Result<()> {
    let metadata = json!({ "name": "use-web", "namespace": world.namespace });
    let key = identity.resource_id.to_lowercase();
    let (group, resource) = ("workload-identity.io", "managedidentities");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
        "rules": [{ "apiGroups": [group], "resources": [resource], "verbs": ["use"], "resourceNames": [key] }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "use-web" },
        "subjects": [{ "kind": "ServiceAccount", "name": "web", "namespace": world.namespace }],
    });
    world.cluster.apply(&[role, binding]).await?;
    let user = format!("system:serviceaccount:{}:web", world.namespace);
    let attributes = json!({
        "namespace": world.namespace, "group": group, "resource": resource, "verb": "use", "name": key,
    });
    world
        .await_right(&user, attributes, Duration::from_secs(10))
        .await
}
