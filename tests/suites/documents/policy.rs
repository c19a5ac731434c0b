//! The admission policy that docs/security.md shows: the operator does all its work under it, and whoever has stolen
//! its token can do nothing else to ServiceAccounts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use azure_emulator::Operation;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
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

pub async fn the_policy_of_the_security_page_lets_the_operator_work_and_no_more() -> Result<()> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.workload("web").await?;
    let annotations =
        json!({ "metadata": { "annotations": { "team": "shop" }, "labels": { "team": "shop" } } });
    let patch = Patch::Merge(&annotations);
    world
        .service_accounts()
        .patch("web", &PatchParams::default(), &patch)
        .await?;

    let objects = objects_of("admissionregistration.k8s.io/")?;
    ensure!(
        objects.len() == 2,
        "{PAGE} shows {} objects of a policy",
        objects.len()
    );
    for object in &objects {
        super::apply(&world.admin(), &object.value, false).await?;
    }
    let token = world.cluster.operator_token("").await?;
    let thief = world.cluster.control_plane.client_for_token(&token).await?;
    let namespace = &world.namespace;

    // The API server hears of a policy after a moment. A change that changes nothing would be let through.
    let mut told = None;
    for n in 0..200 {
        let label = json!({ "metadata": { "labels": { "by": format!("thief-{n}") } } });
        told = refusal(&thief, namespace, label).await;
        if told.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let Some(told) = told else {
        bail!("the policy is not in force after 10 s");
    };
    ensure!(told.contains("may write annotations only"), "{told}");
    for (patch, expected) in [
        (
            json!({ "metadata": { "annotations": { "iam.example/role": "admin" } } }),
            "its own annotations only",
        ),
        (
            json!({ "metadata": { "annotations": { "team": null } } }),
            "its own annotations only",
        ),
        (
            json!({ "metadata": { "annotations": { "team": "other" } } }),
            "its own annotations only",
        ),
        (
            json!({ "imagePullSecrets": [{ "name": "thief" }] }),
            "may write annotations only",
        ),
        (
            json!({ "secrets": [{ "name": "thief" }] }),
            "may write annotations only",
        ),
        (
            json!({ "metadata": { "finalizers": ["thief.example/held"] } }),
            "hold nothing else",
        ),
        (
            json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "a" }] } }),
            "hold nothing else",
        ),
        (
            json!({ "automountServiceAccountToken": true }),
            "may write annotations only",
        ),
    ] {
        let told = refusal(&thief, namespace, patch.clone()).await;
        let told = told.with_context(|| format!("{patch} is let through"))?;
        ensure!(told.contains(expected), "{patch}: {told}");
    }
    let labelled = json!({ "metadata": { "name": "thief", "labels": { "a": "b" } } });
    let accounts: Api<ServiceAccount> = Api::namespaced(thief, namespace);
    let made = accounts
        .create(&PostParams::default(), &serde_json::from_value(labelled)?)
        .await;
    ensure!(made.is_err(), "a ServiceAccount with labels is made");

    // Annotated, made, let go with `Retain`, and taken back: all of the operator's own writes.
    let made = world.identity("made");
    world.grant("made", &made).await?;
    let operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
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
    ensure!(
        world
            .annotation("web", "azure.workload.identity/client-id")
            .await?
            .is_none()
    );
    ensure!(world.annotation("web", "team").await?.as_deref() == Some("shop"));
    world.assert_accepted("made", &made.client_id).await?;
    ensure!(world.azure.count(Operation::DeleteCredential) == 1);
    Ok(operator.stop().await?)
}
