//! What docs/upgrade.md says of changes: an operator ends, and the next one begins with other flags; and an operator
//! that is newer than the definition.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Identity, Operation};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::world::bindings::{condition, is_ready};
use wib_harness::{Cluster, World};
use workload_identity_binding::api::{self, CredentialOrigin, CredentialStatus, WorkloadIdentityBinding};

use crate::runner::trials;

trials![
    shared another_prefix_keeps_what_stands_and_names_what_comes,
    shared another_audience_replaces_what_stands,
    shared grants_that_come_into_force_take_away_what_has_none,
    shared other_defaults_move_what_is_given_by_name,
    alone a_definition_that_is_too_old_lets_nothing_be_made,
];

const CLIENT_ID: &str = "azure.workload.identity/client-id";

fn credential(binding: &WorkloadIdentityBinding) -> CredentialStatus {
    let status = binding.status.as_ref();
    status.and_then(|s| s.credential.clone()).unwrap_or_default()
}

/// A binding that an operator with these flags has made ready, and that operator's end.
async fn made_by(world: &World, flags: &[&str]) -> Result<Identity> {
    let identity = world.workload("web").await?;
    let operator = world.operator_with(flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    operator.stop().await?;
    world.azure.clear_journal();
    Ok(identity)
}

async fn another_prefix_keeps_what_stands_and_names_what_comes(world: World) -> Result<()> {
    let identity = made_by(&world, &[]).await?;
    let _operator = world.operator_with(&["--credential-prefix=blue"]).await?;
    world.service_account("api").await?;
    world.grant("api", &identity).await?;
    world.bind("api", "api", &identity).await?;
    let api = credential(&world.ready("api").await?);
    ensure!(api.name.starts_with("blue-"), "{api:?}");

    // A change that has the binding looked at.
    let change = json!({ "spec": { "serviceAccount": { "tokenExpirationSeconds": 7200 } } });
    world.change("web", change).await?;
    let web = credential(&world.ready("web").await?);
    ensure!(web.name.starts_with("wib-"), "{web:?}");
    assert_eq!(web.origin, CredentialOrigin::Created);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    world.assert_accepted("web", &identity.client_id).await?;

    world.delete("web").await?;
    let left = world.azure.credentials(&identity.resource_id);
    assert_eq!(left.into_iter().map(|c| c.name).collect::<Vec<_>>(), [api.name]);
    Ok(())
}

async fn another_audience_replaces_what_stands(world: World) -> Result<()> {
    let identity = made_by(&world, &[]).await?;
    let _operator = world.operator_with(&["--audience=api://Other"]).await?;
    world
        .wait("web", "ready with the new audience", |b| {
            is_ready(b) && credential(b).audience == "api://Other"
        })
        .await?;
    let held = world.azure.credentials(&identity.resource_id);
    let audiences: Vec<_> = held.into_iter().map(|c| c.audiences).collect();
    assert_eq!(audiences, [["api://Other"]]);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 1);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    // The webhook still asks for the old one.
    world.assert_refused("web", &identity.client_id, 700_212).await
}

async fn grants_that_come_into_force_take_away_what_has_none(world: World) -> Result<()> {
    let granted = made_by(&world, &["--authorization=none"]).await?;
    let other = world.identity("other");
    world.service_account("other").await?;
    let operator = world.operator_with(&["--authorization=none"]).await?;
    world.bind("other", "other", &other).await?;
    world.ready("other").await?;
    world.assert_accepted("other", &other.client_id).await?;
    operator.stop().await?;

    let operator = world.operator().await?;
    world.stalled("other", "NotAuthorized").await?;
    world
        .until("the credential is taken back", || {
            world.azure.credentials(&other.resource_id).is_empty()
        })
        .await?;
    assert_eq!(world.annotation("other", CLIENT_ID).await?, None);
    world.assert_accepted("web", &granted.client_id).await?;
    operator.stop().await?;

    let _operator = world.operator_with(&["--authorization=none"]).await?;
    world.ready("other").await?;
    world.assert_accepted("other", &other.client_id).await
}

async fn other_defaults_move_what_is_given_by_name(world: World) -> Result<()> {
    let (old, new) = (world.identity("web"), world.azure.create_identity("moved", "web"));
    world.service_account("web").await?;
    let subscription = format!("--subscription-id={}", world.azure.subscription_id());
    let flags = |group| [subscription.as_str(), group, "--authorization=none"];
    let operator = world.operator_with(&flags("--resource-group=shop")).await?;
    world
        .create(
            "web",
            json!({ "identity": { "name": "web" }, "serviceAccount": { "name": "web" } }),
        )
        .await?;
    world.ready("web").await?;
    world.assert_accepted("web", &old.client_id).await?;
    operator.stop().await?;

    let _operator = world.operator_with(&flags("--resource-group=moved")).await?;
    let client_id = new.client_id.clone();
    world
        .wait("web", "ready on the other identity", move |b| {
            let status = b.status.clone().unwrap_or_default();
            let there = status.identity.and_then(|i| i.client_id) == Some(client_id.clone());
            is_ready(b) && there
        })
        .await?;
    world.assert_accepted("web", &new.client_id).await?;
    assert_eq!(world.azure.credentials(&old.resource_id), []);
    assert_eq!(world.annotation("web", CLIENT_ID).await?, Some(new.client_id));
    Ok(())
}

/// The definition of records as an older version might have had it: its status does not know the credentials, which the
/// API server prunes without a word.
fn older_definition() -> Result<CustomResourceDefinition> {
    let mut crd = api::definition_of_identities();
    let versions = crd.spec.versions.iter_mut();
    let schemas = versions.filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut());
    let statuses = schemas.filter_map(|s| s.properties.as_mut()?.get_mut("status")?.properties.as_mut());
    let removed = statuses.filter_map(|status| status.remove("credentials")).count();
    ensure!(removed == 1, "the definition has no status.credentials");
    Ok(crd)
}

async fn a_definition_that_is_too_old_lets_nothing_be_made() -> Result<()> {
    let world = World::new(Arc::new(Cluster::start_bare().await?)).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(world.admin());
    for crd in [api::definition_of_bindings(), older_definition()?] {
        crds.create(&PostParams::default(), &crd).await?;
    }
    let identity = world.workload("web").await?;
    let operator = world.operator().await?;
    let mut bound = world.bind("web", "web", &identity).await;
    for _ in 0..200 {
        if bound.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        bound = world.bind("web", "web", &identity).await;
    }
    bound?;

    // It has tried, again and again, and could not put on record what it was about to make.
    let mut failed = 0.0;
    for _ in 0..400 {
        failed = failed_visits(&operator.get("/metrics").await?.1)?;
        if failed >= 3.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(failed >= 3.0, "{failed} visits have failed");
    assert_eq!(world.azure.count(Operation::PutCredential), 0);
    let told = world.not_ready("web", "KubernetesUnavailable").await?;
    let (_, _, message) = condition(&told, "Ready").context("no condition")?;
    ensure!(
        message.contains("apply the CustomResourceDefinition managedidentities"),
        "{message}"
    );

    world.cluster.install_crd().await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

fn failed_visits(metrics: &str) -> Result<f64> {
    let series = metrics.lines().find(|line| {
        line.starts_with("controller_runtime_reconcile_total{") && line.contains("result=\"error\"")
    });
    let value = series.and_then(|line| line.rsplit(' ').next());
    Ok(value.map(str::parse).transpose()?.unwrap_or_default())
}
