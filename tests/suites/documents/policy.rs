//! The admission policy that docs/security.md shows: the operator does all its work under it, and whoever has stolen
//! its token can do nothing else to ServiceAccounts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use azure_emulator::{Identity, Operation};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{Cluster, World};

use super::collect::{self, Object};

const PAGE: &str = "docs/security.md";

/// The objects of a group in the page.
fn objects_of(group: &str) -> Result<Vec<Object>> {
    let texts = collect::texts()?;
    let page = texts.iter().find(|text| text.is(PAGE)).context(PAGE)?;
    let (mut objects, _) = page.objects()?;
    objects.retain(|object| {
        let version = object.value["apiVersion"].as_str().unwrap_or_default();
        version.starts_with(group)
    });
    Ok(objects)
}

/// What the API server answers to a change by whoever holds the operator's token.
async fn refusal(client: &Client, namespace: &str, patch: Value) -> Option<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let answer = accounts
        .patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    answer.err().map(|error| error.to_string())
}

/// Puts the policy of the page into force.
async fn enforce(world: &World, thief: &Client) -> Result<()> {
    let objects = objects_of("admissionregistration.k8s.io/")?;
    ensure!(
        objects.len() == 2,
        "{PAGE} shows {} objects of a policy",
        objects.len()
    );
    for object in &objects {
        super::apply(&world.admin(), &object.value, false).await?;
    }
    // The API server hears of it after a moment. A change that changes nothing would be let through.
    for n in 0..200 {
        let label = json!({ "metadata": { "labels": { "by": format!("thief-{n}") } } });
        if let Some(told) = refusal(thief, &world.namespace, label).await {
            ensure!(told.contains(NOTHING_BUT_ANNOTATIONS), "{told}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the policy is not in force after 10 s")
}

const NOTHING_BUT_ANNOTATIONS: &str = "may write annotations only";
const ITS_OWN_ONLY: &str = "its own annotations only";
const HOLDS_NOTHING: &str = "hold nothing else";

/// What a thief would like to do.
async fn attempts(world: &World, thief: &Client) -> Result<()> {
    let metadata = |metadata: Value| json!({ "metadata": metadata });
    let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "a" });
    for (patch, expected) in [
        (
            metadata(json!({ "annotations": { "iam.example/role": "admin" } })),
            ITS_OWN_ONLY,
        ),
        (metadata(json!({ "annotations": { "team": null } })), ITS_OWN_ONLY),
        (
            metadata(json!({ "annotations": { "team": "other" } })),
            ITS_OWN_ONLY,
        ),
        (
            metadata(json!({ "finalizers": ["thief.example/held"] })),
            HOLDS_NOTHING,
        ),
        (metadata(json!({ "ownerReferences": [owner] })), HOLDS_NOTHING),
        (
            json!({ "imagePullSecrets": [{ "name": "thief" }] }),
            NOTHING_BUT_ANNOTATIONS,
        ),
        (
            json!({ "secrets": [{ "name": "thief" }] }),
            NOTHING_BUT_ANNOTATIONS,
        ),
        (
            json!({ "automountServiceAccountToken": true }),
            NOTHING_BUT_ANNOTATIONS,
        ),
    ] {
        let told = refusal(thief, &world.namespace, patch.clone()).await;
        let told = told.with_context(|| format!("{patch} is let through"))?;
        ensure!(told.contains(expected), "{patch}: {told}");
    }
    let labelled = metadata(json!({ "name": "thief", "labels": { "a": "b" } }));
    let accounts: Api<ServiceAccount> = Api::namespaced(thief.clone(), &world.namespace);
    let made = accounts
        .create(&PostParams::default(), &serde_json::from_value(labelled)?)
        .await;
    let told = made
        .err()
        .context("a ServiceAccount with labels is made")?
        .to_string();
    ensure!(told.contains(NOTHING_BUT_ANNOTATIONS), "{told}");
    Ok(())
}

/// Annotated, made, let go with `Retain`, and taken back: all of the operator's own writes.
async fn work(world: &World, identity: &Identity) -> Result<()> {
    let made = world.identity("made");
    world.grant("made", &made).await?;
    let operator = world.operator().await?;
    world.bind("web", "web", identity).await?;
    let spec = json!({
        "identity": { "resourceId": made.resource_id },
        "serviceAccount": { "name": "made", "create": true, "tokenExpirationSeconds": 7200 },
        "deletionPolicy": "Retain",
    });
    world.create("made", spec).await?;
    for name in ["web", "made"] {
        world.ready(name).await?;
        world.delete(name).await?;
    }
    let client_id = world
        .annotation("web", "azure.workload.identity/client-id")
        .await?;
    assert_eq!(client_id, None);
    assert_eq!(world.annotation("web", "team").await?.as_deref(), Some("shop"));
    assert_eq!(world.azure.count(Operation::DeleteCredential), 1);
    world.assert_accepted("made", &made.client_id).await?;
    Ok(operator.stop().await?)
}

pub async fn the_policy_of_the_security_page_lets_the_operator_work_and_no_more() -> Result<()> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.workload("web").await?;
    let owned = json!({ "metadata": { "annotations": { "team": "shop" }, "labels": { "team": "shop" } } });
    world
        .service_accounts()
        .patch("web", &PatchParams::default(), &Patch::Merge(owned))
        .await?;
    let token = world.cluster.operator_token("").await?;
    let thief = world.cluster.control_plane.client_for_token(&token).await?;
    enforce(&world, &thief).await?;
    attempts(&world, &thief).await?;
    work(&world, &identity).await
}
