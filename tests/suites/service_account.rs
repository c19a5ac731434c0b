//! The ServiceAccount: shared with others, never brought back to life, picked up when it appears.

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DeleteParams, Patch, PatchParams};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::World;
use wib_harness::world::bindings::condition;

use crate::runner::{figure, trials};

trials![
    shared a_missing_service_account_is_picked_up_when_it_appears,
    shared a_deleted_service_account_is_not_brought_back,
    shared one_that_is_made_again_costs_one_write_however_many_share_it,
    shared create_makes_one_that_goes_with_the_binding,
    shared a_created_one_stays_where_access_is_retained,
    shared annotate_false_writes_nothing,
    shared what_others_put_there_stays,
    shared an_equal_value_of_another_manager_is_shared,
    shared another_managers_value_is_a_conflict_that_names_it,
    shared an_empty_map_of_another_manager_is_no_conflict,
    shared a_gitops_apply_beside_us_disturbs_nothing,
    shared ids_removed_by_hand_come_back,
];

const CLIENT_ID: &str = "azure.workload.identity/client-id";

/// Applies a ServiceAccount as a GitOps tool does.
async fn gitops_apply(
    world: &World,
    name: &str,
    manager: &str,
    annotations: Value,
) -> Result<ServiceAccount> {
    let body = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": name, "annotations": annotations },
    });
    let params = PatchParams::apply(manager).force();
    Ok(world
        .service_accounts()
        .patch(name, &params, &Patch::Apply(body))
        .await?)
}

async fn a_missing_service_account_is_picked_up_when_it_appears(world: World) -> Result<()> {
    let identity = world.identity("web");
    world.grant("web", &identity).await?;
    // Only the watch can bring it in time.
    let _operator = world.operator_with(&["--slow-retry-interval=1h"]).await?;
    world.bind("web", "web", &identity).await?;
    let waiting = world.not_ready("web", "ServiceAccountNotFound").await?;
    ensure!(
        condition(&waiting, "Stalled").is_none(),
        "it is not stalled: GitOps may apply it next"
    );

    world.service_account("web").await?;

    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_deleted_service_account_is_not_brought_back(world: World) -> Result<()> {
    let identity = world.identity("web");
    let first = world.service_account("web").await?;
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    world
        .service_accounts()
        .delete("web", &DeleteParams::default())
        .await?;
    world.not_ready("web", "ServiceAccountNotFound").await?;
    ensure!(
        world.service_accounts().get_opt("web").await?.is_none(),
        "the operator brought it back"
    );

    let second = world.service_account("web").await?;
    ensure!(first.metadata.uid != second.metadata.uid);
    world.ready("web").await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );
    // The subject is by name: Azure had no part in this.
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    world.assert_accepted("web", &identity.client_id).await
}

/// As a Helm hook does at every upgrade.
async fn one_that_is_made_again_costs_one_write_however_many_share_it(world: World) -> Result<()> {
    const SHARING: usize = 12;
    const TIMES: usize = 10;
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    let names: Vec<_> = (0..SHARING).map(|n| format!("web-{n}")).collect();
    for name in &names {
        world.bind(name, "web", &identity).await?;
    }
    for name in &names {
        world.ready(name).await?;
    }
    let before = world.kubernetes_writes_after(SHARING).await?.len();
    let operator_writes =
        async || -> Result<usize> { Ok(world.kubernetes_writes_after(SHARING).await?.len()) };
    for n in 1..=TIMES {
        let service_account = world.service_accounts();
        service_account.delete("web", &DeleteParams::default()).await?;
        world.service_account("web").await?;
        // Whoever comes first annotates it.
        world
            .annotated("web", &identity)
            .await
            .with_context(|| format!("time {n}"))?;
    }
    for name in &names {
        world.ready(name).await?;
    }
    let writes = operator_writes().await? - before;
    figure(format!(
        "service account: made again {TIMES} times under {SHARING} bindings: {writes} writes"
    ));
    // A binding that looks just between the two says that it is missing, and takes that back.
    let all = world.kubernetes_writes_after(SHARING).await?.split_off(before);
    ensure!(writes < 3 * TIMES, "{writes} writes: {all:?}");
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    world.assert_accepted("web", &identity.client_id).await
}

async fn create_makes_one_that_goes_with_the_binding(world: World) -> Result<()> {
    ensure!(
        world.cluster.control_plane.has_controllers(),
        "this trial needs the garbage collector, which KUBEBUILDER_ASSETS does not bring; unset it"
    );
    let identity = world.identity("web");
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    let spec = json!({
        "identity": { "resourceId": identity.resource_id },
        "serviceAccount": { "name": "web", "create": true },
    });
    world.create("web", spec).await?;
    let ready = world.ready("web").await?;
    let status = ready
        .status
        .clone()
        .and_then(|s| s.service_account)
        .context("no ServiceAccount in the status")?;
    assert_eq!(
        status.origin,
        workload_identity_binding::api::ServiceAccountOrigin::Created
    );
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );
    world.assert_accepted("web", &identity.client_id).await?;

    world.delete("web").await?;
    // The collector learns of new kinds every 30 seconds.
    for _ in 0..600 {
        if world.service_accounts().get_opt("web").await?.is_none() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the ServiceAccount was not collected")
}

async fn a_created_one_stays_where_access_is_retained(world: World) -> Result<()> {
    let identity = world.identity("web");
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    let spec = json!({
        "identity": { "resourceId": identity.resource_id },
        "serviceAccount": { "name": "web", "create": true },
        "deletionPolicy": "Retain",
    });
    world.create("web", spec).await?;
    world.ready("web").await?;
    world.delete("web").await?;
    let account = world.service_accounts().get("web").await?;
    assert_eq!(account.metadata.owner_references.unwrap_or_default(), []);
    world.assert_accepted("web", &identity.client_id).await
}

async fn annotate_false_writes_nothing(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    let spec = json!({
        "identity": { "resourceId": identity.resource_id },
        "serviceAccount": { "name": "web", "annotate": false },
    });
    world.create("web", spec).await?;
    let ready = world.ready("web").await?;
    assert_eq!(
        condition(&ready, "ServiceAccountAnnotated").map(|c| c.1),
        Some("NotRequested")
    );
    assert_eq!(world.annotation("web", CLIENT_ID).await?, None);
    let on_accounts = world
        .kubernetes_writes_after(1)
        .await?
        .into_iter()
        .filter(|w| w.resource == "serviceaccounts")
        .count();
    assert_eq!(on_accounts, 0);
    world.assert_accepted("web", &identity.client_id).await?;

    // Turned on and off again: ours come and go.
    world
        .change(
            "web",
            json!({ "spec": { "serviceAccount": { "annotate": true } } }),
        )
        .await?;
    world
        .wait("web", "annotated", |b| {
            condition(b, "ServiceAccountAnnotated").map(|c| c.1) == Some("Annotated")
        })
        .await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );
    world
        .change(
            "web",
            json!({ "spec": { "serviceAccount": { "annotate": false } } }),
        )
        .await?;
    world
        .wait("web", "not annotated", |b| {
            condition(b, "ServiceAccountAnnotated").map(|c| c.1) == Some("NotRequested")
        })
        .await?;
    assert_eq!(world.annotation("web", CLIENT_ID).await?, None);
    Ok(())
}

async fn what_others_put_there_stays(world: World) -> Result<()> {
    let identity = world.identity("web");
    gitops_apply(&world, "web", "argocd-controller", json!({ "team": "shop" })).await?;
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    assert_eq!(world.annotation("web", "team").await?.as_deref(), Some("shop"));
    world.delete("web").await?;
    assert_eq!(world.annotation("web", "team").await?.as_deref(), Some("shop"));
    assert_eq!(world.annotation("web", CLIENT_ID).await?, None);
    Ok(())
}

async fn an_equal_value_of_another_manager_is_shared(world: World) -> Result<()> {
    let identity = world.identity("web");
    let annotations = json!({
        CLIENT_ID: identity.client_id,
        "azure.workload.identity/tenant-id": identity.tenant_id,
    });
    gitops_apply(&world, "web", "argocd-controller", annotations).await?;
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let on_accounts = world
        .kubernetes_writes_after(1)
        .await?
        .into_iter()
        .filter(|w| w.resource == "serviceaccounts")
        .count();
    assert_eq!(on_accounts, 0, "nothing differed, so nothing was to be written");

    world.delete("web").await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );
    Ok(())
}

async fn another_managers_value_is_a_conflict_that_names_it(world: World) -> Result<()> {
    let identity = world.identity("web");
    gitops_apply(
        &world,
        "web",
        "argocd-controller",
        json!({ CLIENT_ID: "somebody-elses" }),
    )
    .await?;
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let conflict = world.not_ready("web", "FieldConflict").await?;
    let (_, _, message) = condition(&conflict, "Ready").context("no Ready")?;
    ensure!(
        message.contains("argocd-controller"),
        "the manager is not named: {message}"
    );
    ensure!(condition(&conflict, "Stalled").is_some());
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_deref(),
        Some("somebody-elses")
    );

    // The way out that the message names.
    gitops_apply(&world, "web", "argocd-controller", Value::Null).await?;
    world.ready("web").await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );
    Ok(())
}

async fn an_empty_map_of_another_manager_is_no_conflict(world: World) -> Result<()> {
    let identity = world.identity("web");
    gitops_apply(&world, "web", "kustomize-controller", json!({})).await?;
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    gitops_apply(&world, "web", "kustomize-controller", json!({})).await?;
    let kept = world.annotation("web", CLIENT_ID).await?;
    assert_eq!(
        kept.as_ref(),
        Some(&identity.client_id),
        "the next apply took it away"
    );
    Ok(())
}

async fn a_gitops_apply_beside_us_disturbs_nothing(world: World) -> Result<()> {
    let identity = world.identity("web");
    gitops_apply(&world, "web", "kustomize-controller", json!({ "team": "shop" })).await?;
    world.grant("web", &identity).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let before = world.kubernetes_writes_after(1).await?.len();
    for round in 0..3 {
        gitops_apply(
            &world,
            "web",
            "kustomize-controller",
            json!({ "round": round.to_string() }),
        )
        .await?;
        assert_eq!(
            world.annotation("web", CLIENT_ID).await?.as_ref(),
            Some(&identity.client_id)
        );
    }
    // A later visit that writes shows that the earlier ones are over.
    world
        .change(
            "web",
            json!({ "spec": { "serviceAccount": { "tokenExpirationSeconds": 7200 } } }),
        )
        .await?;
    world.ready("web").await?;
    let writes = world.kubernetes_writes_after(2).await?.split_off(before);
    let on_accounts: Vec<_> = writes
        .iter()
        .filter(|w| w.resource == "serviceaccounts")
        .collect();
    assert_eq!(on_accounts.len(), 1, "{writes:#?}");
    Ok(())
}

async fn ids_removed_by_hand_come_back(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    let bare = json!({ "metadata": { "annotations": { CLIENT_ID: null } } });
    world
        .service_accounts()
        .patch("web", &PatchParams::default(), &Patch::Merge(bare))
        .await?;
    for _ in 0..200 {
        if world.annotation("web", CLIENT_ID).await?.as_ref() == Some(&identity.client_id) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("the client id did not come back")
}
