//! With the real mutating webhook of Azure Workload Identity: a pod of a ServiceAccount that we annotated logs in with
//! what the webhook gives it, and nothing else.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Identity;
use k8s_openapi::api::core::v1::Pod;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::control_plane::Webhook;
use wib_harness::world::pods::Inside;
use wib_harness::{AUDIENCE, Operator, World};

use crate::runner::trials;

trials![
    shared a_pod_logs_in_with_what_the_webhook_gives_it,
    shared without_the_label_a_pod_gets_nothing,
    shared a_pod_that_was_there_before_the_binding_must_be_restarted,
    shared each_pod_of_two_service_accounts_gets_the_identity_they_share,
    shared a_pod_names_the_client_ids_of_further_identities_itself,
    shared the_lifetime_of_tokens_is_the_one_of_the_binding_unless_the_pod_says_otherwise,
    shared every_lifetime_that_a_binding_may_ask_for_is_good_for_the_webhook,
    shared the_tenant_of_the_identity_goes_before_that_of_the_webhook,
    shared containers_may_be_left_out,
    shared beside_the_proxy_a_pod_has_the_same_access,
    shared in_a_cloud_with_another_audience_both_use_it,
];

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;
/// A credential matches but for the audience.
const NO_AUDIENCE: i64 = 700_212;
/// The webhook's own tenant, for ServiceAccounts that name none.
const OTHER_TENANT: &str = "99999999-9999-4999-8999-999999999999";
const CHINA: &str = "api://AzureADTokenExchangeChina";

const VARIABLES: [&str; 4] = [
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
];

/// A pod made once the webhook, which follows ServiceAccounts by a watch of its own, knows this client id.
async fn pod_with(world: &World, service_account: &str, client_id: &str) -> Result<(Pod, Inside)> {
    for _ in 0..200 {
        let pod = world.pod(service_account, |_| {}).await?;
        let inside = world.inside(&pod)?;
        if inside.environment.get("AZURE_CLIENT_ID").map(String::as_str) == Some(client_id) {
            return Ok((pod, inside));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("no pod of {service_account} gets the client id {client_id}")
}

/// The webhook, and an operator that has made the binding `web` ready.
async fn bound(world: &World) -> Result<(Webhook, Operator, Identity)> {
    let webhook = world.webhook(OTHER_TENANT, AUDIENCE).await?;
    let identity = world.workload("web").await?;
    let operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    Ok((webhook, operator, identity))
}

async fn accepted(world: &World, inside: &Inside, client_id: Option<&str>) -> Result<()> {
    let answer = world.login(inside, client_id).await?;
    ensure!(answer.is_ok(), "Entra refused the pod: {:?}", answer.err());
    Ok(())
}

async fn refused(world: &World, inside: &Inside, client_id: Option<&str>, code: i64) -> Result<()> {
    let error = world.login(inside, client_id).await?.err();
    assert_eq!(error.map(|e| e.code), Some(code));
    Ok(())
}

fn lifetime(inside: &Inside) -> Option<i64> {
    inside.projection.as_ref().and_then(|p| p.expiration_seconds)
}

async fn a_pod_logs_in_with_what_the_webhook_gives_it(world: World) -> Result<()> {
    let (webhook, _operator, identity) = bound(&world).await?;

    let (_, inside) = pod_with(&world, "web", &identity.client_id).await?;
    let names: Vec<&str> = inside.environment.keys().map(String::as_str).collect();
    assert_eq!(names, VARIABLES);
    let projection = inside.projection.as_ref().context("no token is projected")?;
    assert_eq!(projection.audience.as_deref(), Some(AUDIENCE));
    assert_eq!(projection.expiration_seconds, Some(3600));
    accepted(&world, &inside, None).await?;

    world.delete("web").await?;
    refused(&world, &inside, None, NO_CREDENTIAL).await?;
    webhook.uninstall().await
}

async fn without_the_label_a_pod_gets_nothing(world: World) -> Result<()> {
    let (webhook, _operator, identity) = bound(&world).await?;

    for labels in [json!({}), json!({ "azure.workload.identity/use": "True" })] {
        let pod = world.pod("web", |pod| pod["metadata"]["labels"] = labels).await?;
        assert_eq!(world.inside(&pod)?.environment, BTreeMap::new());
    }
    pod_with(&world, "web", &identity.client_id).await?;
    webhook.uninstall().await
}

async fn a_pod_that_was_there_before_the_binding_must_be_restarted(world: World) -> Result<()> {
    let webhook = world.webhook(OTHER_TENANT, AUDIENCE).await?;
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    let early = world.pod("web", |_| {}).await?;
    ensure!(!world.inside(&early)?.environment.contains_key("AZURE_CLIENT_ID"));

    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    let name = early.metadata.name.context("a pod without a name")?;
    let still = world.inside(&world.pods().get(&name).await?)?;
    ensure!(!still.environment.contains_key("AZURE_CLIENT_ID"));
    let (_, restarted) = pod_with(&world, "web", &identity.client_id).await?;
    accepted(&world, &restarted, None).await?;
    webhook.uninstall().await
}

async fn each_pod_of_two_service_accounts_gets_the_identity_they_share(world: World) -> Result<()> {
    let webhook = world.webhook(OTHER_TENANT, AUDIENCE).await?;
    let identity = world.identity("reader");
    let _operator = world.operator().await?;
    for name in ["web", "job"] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
    }
    let mut pods = Vec::new();
    for name in ["web", "job"] {
        world.ready(name).await?;
        let (_, inside) = pod_with(&world, name, &identity.client_id).await?;
        accepted(&world, &inside, None).await?;
        pods.push(inside);
    }
    world.delete("web").await?;
    let [web, job] = pods.try_into().map_err(|_| anyhow::anyhow!("two pods"))?;
    ensure!(
        world.login(&web, None).await?.is_err(),
        "the first keeps its access"
    );
    accepted(&world, &job, None).await?;
    webhook.uninstall().await
}

async fn a_pod_names_the_client_ids_of_further_identities_itself(world: World) -> Result<()> {
    let webhook = world.webhook(OTHER_TENANT, AUDIENCE).await?;
    let (main, archive) = (world.workload("worker").await?, world.identity("archive"));
    world.grant("worker", &archive).await?;
    let _operator = world.operator().await?;
    world.bind("worker", "worker", &main).await?;
    let spec = json!({
        "identity": { "resourceId": archive.resource_id },
        "serviceAccount": { "name": "worker", "annotate": false },
    });
    world.create("worker-archive", spec).await?;
    for name in ["worker", "worker-archive"] {
        world.ready(name).await?;
    }
    let (_, inside) = pod_with(&world, "worker", &main.client_id).await?;
    accepted(&world, &inside, None).await?;
    accepted(&world, &inside, Some(&archive.client_id)).await?;
    webhook.uninstall().await
}

async fn the_lifetime_of_tokens_is_the_one_of_the_binding_unless_the_pod_says_otherwise(
    world: World,
) -> Result<()> {
    let webhook = world.webhook(OTHER_TENANT, AUDIENCE).await?;
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    bind_for(&world, "web", &identity.resource_id, 7200).await?;
    world.ready("web").await?;

    let (_, inside) = pod_with(&world, "web", &identity.client_id).await?;
    assert_eq!(lifetime(&inside), Some(7200));
    accepted(&world, &inside, None).await?;
    let own = |pod: &mut Value| {
        pod["metadata"]["annotations"] =
            json!({ "azure.workload.identity/service-account-token-expiration": "4000" });
    };
    let pod = world.pod("web", own).await?;
    assert_eq!(lifetime(&world.inside(&pod)?), Some(4000));
    webhook.uninstall().await
}

async fn every_lifetime_that_a_binding_may_ask_for_is_good_for_the_webhook(world: World) -> Result<()> {
    let webhook = world.webhook(OTHER_TENANT, AUDIENCE).await?;
    let _operator = world.operator().await?;
    for (name, seconds) in [("shortest", 3600), ("longest", 86400)] {
        let identity = world.workload(name).await?;
        bind_for(&world, name, &identity.resource_id, seconds).await?;
        world.ready(name).await?;
        let (_, inside) = pod_with(&world, name, &identity.client_id).await?;
        assert_eq!(lifetime(&inside), Some(seconds));
        accepted(&world, &inside, None).await?;
    }
    // One second beyond, a binding is refused: the webhook would refuse every pod of that ServiceAccount.
    let identity = world.workload("beyond").await?;
    for seconds in [3599, 86401] {
        let refusal = bind_for(&world, "beyond", &identity.resource_id, seconds)
            .await
            .err();
        let refusal = format!("{:#}", refusal.context("accepted")?);
        ensure!(refusal.contains("tokenExpirationSeconds"), "{refusal}");
        let pod = world.pod("beyond", |pod| {
            pod["metadata"]["annotations"] =
                json!({ "azure.workload.identity/service-account-token-expiration": seconds.to_string() });
        });
        ensure!(pod.await.is_err(), "the webhook accepts {seconds}");
    }
    webhook.uninstall().await
}

async fn bind_for(world: &World, name: &str, resource_id: &str, seconds: i64) -> Result<()> {
    let spec = json!({
        "identity": { "resourceId": resource_id },
        "serviceAccount": { "name": name, "tokenExpirationSeconds": seconds },
    });
    world.create(name, spec).await.map(drop)
}

async fn the_tenant_of_the_identity_goes_before_that_of_the_webhook(world: World) -> Result<()> {
    let webhook = world.webhook(OTHER_TENANT, AUDIENCE).await?;
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    let early = world.inside(&world.pod("web", |_| {}).await?)?;
    assert_eq!(
        early.environment.get("AZURE_TENANT_ID").map(String::as_str),
        Some(OTHER_TENANT)
    );

    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let (_, inside) = pod_with(&world, "web", &identity.client_id).await?;
    assert_eq!(
        inside.environment.get("AZURE_TENANT_ID"),
        Some(&identity.tenant_id)
    );
    accepted(&world, &inside, None).await?;
    webhook.uninstall().await
}

async fn containers_may_be_left_out(world: World) -> Result<()> {
    let (webhook, _operator, identity) = bound(&world).await?;
    pod_with(&world, "web", &identity.client_id).await?;

    let pod = world
        .pod("web", |pod| {
            pod["metadata"]["annotations"] =
                json!({ "azure.workload.identity/skip-containers": "mesh; logs" });
            pod["spec"]["initContainers"] = json!([{ "name": "prepare", "image": "app" }]);
            pod["spec"]["containers"] = json!([
                { "name": "app", "image": "app" },
                { "name": "mesh", "image": "mesh" },
                { "name": "logs", "image": "logs" },
            ]);
        })
        .await?;
    for container in ["prepare", "app"] {
        accepted(&world, &world.inside_of(&pod, container)?, None).await?;
    }
    for container in ["mesh", "logs"] {
        assert_eq!(world.inside_of(&pod, container)?.environment, BTreeMap::new());
    }
    webhook.uninstall().await
}

/// For applications that still ask 169.254.169.254: the webhook adds a proxy that answers there with the same login.
async fn beside_the_proxy_a_pod_has_the_same_access(world: World) -> Result<()> {
    let (webhook, _operator, identity) = bound(&world).await?;
    pod_with(&world, "web", &identity.client_id).await?;

    let pod = world
        .pod("web", |pod| {
            pod["metadata"]["annotations"] = json!({ "azure.workload.identity/inject-proxy-sidecar": "" });
        })
        .await?;
    for container in ["app", "azwi-proxy"] {
        accepted(&world, &world.inside_of(&pod, container)?, None).await?;
    }
    webhook.uninstall().await
}

async fn in_a_cloud_with_another_audience_both_use_it(world: World) -> Result<()> {
    let webhook = world.webhook(OTHER_TENANT, CHINA).await?;
    let identity = world.workload("web").await?;
    let operator = world.operator_with(&[&format!("--audience={CHINA}")]).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let (_, inside) = pod_with(&world, "web", &identity.client_id).await?;
    accepted(&world, &inside, None).await?;

    // The two must agree: with the operator's default audience the same pod is refused.
    operator.stop().await?;
    let _operator = world.operator().await?;
    let with_default = |b: &workload_identity_binding::api::WorkloadIdentityBinding| {
        let credential = b.status.as_ref().and_then(|s| s.credential.as_ref());
        credential.is_some_and(|c| c.audience == AUDIENCE)
    };
    world
        .wait("web", "bound for the default audience", with_default)
        .await?;
    world.ready("web").await?;
    refused(&world, &inside, None, NO_AUDIENCE).await?;
    webhook.uninstall().await
}
