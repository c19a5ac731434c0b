//! From apply to Ready to gone, as a workload sees it.

use anyhow::{Result, ensure};
use azure_emulator::Operation;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::{World, Write};

use crate::runner::trials;

trials![
    shared a_binding_becomes_ready_and_its_workload_is_accepted,
    shared a_new_binding_costs_three_calls_and_four_writes,
    shared a_deleted_binding_leaves_nothing_behind,
    shared another_identity_replaces_the_first,
    shared another_service_account_replaces_the_first,
    shared retain_leaves_the_workload_its_access,
    shared release_lets_go_without_touching_azure,
    shared suspended_nothing_is_written_and_drift_is_told,
    shared a_deleted_namespace_takes_its_trust_along,
];

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;

async fn a_binding_becomes_ready_and_its_workload_is_accepted(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await?;
    let _operator = world.operator().await?;

    world.bind("web", "web", &identity).await?;
    let binding = world.ready("web").await?;

    world.assert_accepted("web", &identity.client_id).await?;
    let key = "azure.workload.identity/client-id";
    assert_eq!(
        world.annotation("web", key).await?.as_ref(),
        Some(&identity.client_id)
    );
    let status = binding.status.unwrap_or_default();
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str()))
        .collect();
    assert_eq!(
        types,
        [
            ("Ready", "True"),
            ("Authorized", "True"),
            ("IdentityResolved", "True"),
            ("CredentialSynced", "True"),
            ("ServiceAccountAnnotated", "True"),
        ]
    );
    let found = status.identity.unwrap_or_default();
    assert_eq!(found.client_id.as_ref(), Some(&identity.client_id));
    assert_eq!(found.principal_id.as_ref(), Some(&identity.principal_id));
    let credential = status.credential.unwrap_or_default();
    assert_eq!(credential.issuer, world.cluster.control_plane.issuer());
    assert_eq!(
        credential.subject,
        format!("system:serviceaccount:{}:web", world.namespace)
    );
    Ok(())
}

async fn a_new_binding_costs_three_calls_and_four_writes(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    world.service_account("api").await?;
    world.grant("api", &identity).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    let arm: Vec<_> = world
        .azure
        .journal()
        .iter()
        .map(|e| e.operation)
        .filter(|o| o.is_arm())
        .collect();
    assert_eq!(
        arm,
        [
            Operation::GetIdentity,
            Operation::ListCredentials,
            Operation::PutCredential
        ]
    );
    let told = |writes: Vec<Write>| -> Vec<(String, u64)> {
        let told = |w: Write| (format!("{} {}", w.verb, w.resource), w.status);
        writes.into_iter().map(told).collect()
    };
    let on_binding = [
        ("patch workloadidentitybindings".to_owned(), 200),
        ("patch serviceaccounts".to_owned(), 200),
        ("patch workloadidentitybindings/status".to_owned(), 200),
    ];
    assert_eq!(told(world.kubernetes_writes_after(1).await?), on_binding);
    // The first binding of an identity makes its record.
    let record = ("update managedidentities/status".to_owned(), 200);
    let first = [("create managedidentities".to_owned(), 201), record.clone()];
    assert_eq!(told(world.record_writes()?), first);

    world.bind("api", "api", &identity).await?;
    world.ready("api").await?;
    let second = told(world.kubernetes_writes_after(2).await?).split_off(3);
    assert_eq!(second, on_binding);
    assert_eq!(told(world.record_writes()?).split_off(2), [record]);
    Ok(())
}

async fn a_deleted_binding_leaves_nothing_behind(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    world.delete("web").await?;

    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await?;
    let annotations = world
        .service_accounts()
        .get("web")
        .await?
        .metadata
        .annotations
        .unwrap_or_default();
    assert_eq!(
        annotations
            .into_iter()
            .filter(|(k, _)| k.starts_with("azure."))
            .count(),
        0
    );
    Ok(())
}

async fn another_identity_replaces_the_first(world: World) -> Result<()> {
    let (first, second) = (world.identity("first"), world.identity("second"));
    world.service_account("web").await?;
    world.grant("web", &first).await?;
    world.grant("web", &second).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &first).await?;
    world.ready("web").await?;

    world
        .change(
            "web",
            json!({ "spec": { "identity": { "resourceId": second.resource_id } } }),
        )
        .await?;
    world.ready("web").await?;

    world.assert_accepted("web", &second.client_id).await?;
    world
        .assert_refused("web", &first.client_id, NO_CREDENTIAL)
        .await?;
    let key = "azure.workload.identity/client-id";
    assert_eq!(
        world.annotation("web", key).await?.as_ref(),
        Some(&second.client_id)
    );
    let order: Vec<_> = world
        .azure
        .journal()
        .iter()
        .map(|e| e.operation)
        .filter(|o| o.is_write())
        .collect();
    assert_eq!(
        order,
        [
            Operation::PutCredential,
            Operation::PutCredential,
            Operation::DeleteCredential
        ]
    );
    Ok(())
}

async fn another_service_account_replaces_the_first(world: World) -> Result<()> {
    let identity = world.identity("web");
    for name in ["old", "new"] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let _operator = world.operator().await?;
    world.bind("web", "old", &identity).await?;
    world.ready("web").await?;

    world
        .change("web", json!({ "spec": { "serviceAccount": { "name": "new" } } }))
        .await?;
    world.ready("web").await?;

    world.assert_accepted("new", &identity.client_id).await?;
    let key = "azure.workload.identity/client-id";
    assert_eq!(world.annotation("old", key).await?, None);
    assert_eq!(
        world.annotation("new", key).await?.as_ref(),
        Some(&identity.client_id)
    );
    ensure!(
        world.exchange("old", &identity.client_id).await?.is_err(),
        "the old ServiceAccount is still trusted"
    );
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 1);
    Ok(())
}

async fn retain_leaves_the_workload_its_access(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    let spec = json!({
        "identity": { "resourceId": identity.resource_id },
        "serviceAccount": { "name": "web" },
        "deletionPolicy": "Retain",
    });
    world.create("web", spec).await?;
    world.ready("web").await?;

    world.delete("web").await?;

    world.assert_accepted("web", &identity.client_id).await?;
    let key = "azure.workload.identity/client-id";
    assert_eq!(
        world.annotation("web", key).await?.as_ref(),
        Some(&identity.client_id)
    );
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    Ok(())
}

async fn release_lets_go_without_touching_azure(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world
        .azure
        .deny(None, "federatedIdentityCredentials/delete", &identity.resource_id);
    world
        .bindings()
        .delete("web", &kube::api::DeleteParams::default())
        .await?;
    let stuck = world.not_ready("web", "AzureAccessDenied").await?;
    let message = wib_harness::world::bindings::condition(&stuck, "Ready")
        .map(|c| c.2)
        .unwrap_or_default();
    ensure!(
        message.contains("workload-identity.io/release"),
        "the way out is not named: {message}"
    );

    let release = json!({ "metadata": { "annotations": { "workload-identity.io/release": "true" } } });
    world.change("web", release).await?;
    world.gone("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    Ok(())
}

async fn suspended_nothing_is_written_and_drift_is_told(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let _operator = world
        .operator_with(&["--drift-interval=200ms", "--read-after-write-grace=10ms"])
        .await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world
        .change("web", json!({ "spec": { "suspend": true } }))
        .await?;
    world
        .wait("web", "ready and suspended", |b| {
            let ready = wib_harness::world::bindings::condition(b, "Ready");
            ready.is_some_and(|c| (c.0, c.1) == ("True", "Suspended"))
        })
        .await?;

    for credential in world.azure.credentials(&identity.resource_id) {
        world
            .azure
            .delete_credential(&identity.resource_id, &credential.name);
    }
    let drifted = world.not_ready("web", "Suspended").await?;
    let synced = wib_harness::world::bindings::condition(&drifted, "CredentialSynced").map(|c| c.0);
    assert_eq!(synced, Some("False"));
    assert_eq!(world.azure.count(Operation::PutCredential), 1);

    world
        .change("web", json!({ "spec": { "suspend": false } }))
        .await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_deleted_namespace_takes_its_trust_along(world: World) -> Result<()> {
    ensure!(
        world.cluster.control_plane.has_controllers(),
        "this trial needs the namespace controller, which KUBEBUILDER_ASSETS does not bring; unset it"
    );
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let token = world.workload_token("web").await?;

    world.delete_namespace().await?;
    world.gone("web").await?;

    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    let azure = &world.azure;
    let answer = azure_emulator::client::exchange(
        azure.url(),
        azure.ca_pem(),
        azure.tenant_id(),
        &identity.client_id,
        &token,
    );
    assert_eq!(answer.await.err().map(|e| e.code), Some(NO_CREDENTIAL));
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(world.admin());
    for _ in 0..300 {
        if namespaces.get_opt(&world.namespace).await?.is_none() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("the namespace hangs")
}
