//! The API server refuses the operator's own writes for good: a policy, or a plugin such as OpenShift's owner check.
//! Nothing else waits for that, and whoever deletes a binding is told why it stays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use wib_harness::gate::Rule;
use wib_harness::world::Gates;
use wib_harness::world::bindings::{condition, describe};
use wib_harness::{Cluster, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use crate::runner::figure;

use super::{begin_deletion, gone_soon, ready_through};

/// What the API server answers: to a request that RBAC or a plugin refuses, and to one that a ValidatingAdmissionPolicy
/// refuses.
const REFUSALS: [(u16, &str); 2] = [(403, "Forbidden"), (422, "Invalid")];

/// Name of the policy, and of what puts it in force.
const POLICY: &str = "no-finalizers";

/// How long a binding may be deleted and say that it is in order.
const TOLD: Duration = Duration::from_secs(15);

pub async fn a_finalizer_that_a_policy_refuses_holds_up_no_sibling() -> Result<()> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    world.cluster.apply(&policy()).await?;
    let identity = world.workload("web").await?;
    in_effect(&world, &identity).await?;
    let _operator = world.operator().await?;
    world.bind("first", "web", &identity).await?;
    world.ready("first").await?;

    let refused = world.bind("refused", "web", &identity).await?;
    begin_deletion(&world, "first").await?;
    gone_soon(&world, "first").await?;
    let not_ready = |b: &WorkloadIdentityBinding| {
        condition(b, "Ready").is_some_and(|c| c.0 != "True" && c.2.contains("finalizer"))
    };
    let told = tokio::time::timeout(TOLD, world.wait("refused", "told why", not_ready)).await;
    told.context("the binding does not say that its finalizer is refused")??;
    world.warned(refused.metadata.uid.as_deref(), None).await?;

    // The way out.
    remove_policy(&world).await?;
    world.ready("refused").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    world.delete("refused").await?;
    super::refused_soon(&world, "web", &identity).await
}

/// Nobody may put a finalizer on a binding that is called `refused`.
fn policy() -> [Value; 2] {
    let version = "admissionregistration.k8s.io/v1";
    let rule = json!({
        "apiGroups": ["workload-identity.io"], "apiVersions": ["*"], "operations": ["UPDATE"],
        "resources": ["workloadidentitybindings"],
    });
    let validation = json!({
        "expression": "object.metadata.name != 'refused' || !has(object.metadata.finalizers)",
        "message": "no finalizers in this house",
    });
    [
        json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": POLICY },
            "spec": { "matchConstraints": { "resourceRules": [rule] }, "validations": [validation] },
        }),
        json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": POLICY },
            "spec": { "policyName": POLICY, "validationActions": ["Deny"] },
        }),
    ]
}

/// A policy takes effect a moment after it was made.
async fn in_effect(world: &World, identity: &azure_emulator::Identity) -> Result<()> {
    world.bind("refused", "web", identity).await?;
    let end = tokio::time::Instant::now() + Duration::from_mins(1);
    while world
        .change(
            "refused",
            json!({ "metadata": { "finalizers": ["example.com/probe"] } }),
        )
        .await
        .is_ok()
    {
        ensure!(tokio::time::Instant::now() < end, "the policy has no effect");
        super::strip(world, "refused").await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.delete("refused").await
}

async fn remove_policy(world: &World) -> Result<()> {
    let params = DeleteParams::default();
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(world.admin());
    bindings.delete(POLICY, &params).await?;
    let policies = Api::<ValidatingAdmissionPolicy>::all(world.admin());
    policies.delete(POLICY, &params).await?;
    Ok(())
}

pub async fn a_finalizer_that_cannot_be_taken_off_is_told(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let (identity, _operator) = ready_through(&world, &gates, &[]).await?;
    for (status, reason) in REFUSALS {
        let rule = Rule::when(|call| call.signature == "k8s PATCH workloadidentitybindings");
        gates
            .kubernetes
            .rule(rule.path("/web").always().kubernetes_status(status, reason));
        begin_deletion(&world, "web").await?;
        says_why_it_stays(&world, &gates).await?;
        super::refused_soon(&world, "web", &identity).await?;
        gates.kubernetes.clear_rules();
        gone_soon(&world, "web").await?;
        world.bind("web", "web", &identity).await?;
        world.ready("web").await?;
    }
    Ok(())
}

/// Ten bindings whose finalizer a policy keeps there: each is cleaned up once, and tried ever more rarely.
///
/// On a cluster of its own: the grants of other trials would make every operator look again.
pub async fn a_refusal_that_lasts_costs_ever_less() -> Result<()> {
    const BINDINGS: usize = 10;
    const MEASURED: Duration = Duration::from_secs(20);
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let gates = world.gated().await?;
    let _operator = world
        .operator_through(&gates, &["--max-retry-interval=1m"])
        .await?;
    let identity = world.identity("web");
    let names: Vec<_> = (0..BINDINGS).map(|n| format!("web-{n}")).collect();
    for name in &names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
    }
    for name in &names {
        world.ready(name).await?;
    }
    for (status, reason) in REFUSALS {
        let patches = || gates.kubernetes.count("k8s PATCH workloadidentitybindings");
        let before = patches();
        let rule = Rule::on("k8s PATCH workloadidentitybindings").always();
        gates.kubernetes.rule(rule.kubernetes_status(status, reason));
        let deleted = &names[if status == 403 {
            0..BINDINGS / 2
        } else {
            BINDINGS / 2..BINDINGS
        }];
        for name in deleted {
            begin_deletion(&world, name).await?;
        }
        tokio::time::sleep(MEASURED).await;
        let tries = patches() - before;
        figure(format!(
            "tenants: {} finalizers refused with {status}: {tries} tries in {} s",
            deleted.len(),
            MEASURED.as_secs()
        ));
        ensure!(tries <= 15 * deleted.len(), "{tries} tries");
        for name in deleted {
            world.not_ready(name, "KubernetesUnavailable").await?;
        }
        gates.kubernetes.clear_rules();
    }
    ensure!(world.azure.credentials(&identity.resource_id).is_empty());
    let deletes = world.azure.count(Operation::DeleteCredential);
    ensure!(deletes == BINDINGS, "{deletes} deletes");
    Ok(())
}

pub async fn a_service_account_that_cannot_be_let_go_is_told(world: World) -> Result<()> {
    let identity = world.identity("web");
    world.grant("web", &identity).await?;
    let gates = world.gated().await?;
    let _operator = world.operator_through(&gates, &[]).await?;
    for (status, reason) in REFUSALS {
        // Access is to stay, and with it a ServiceAccount that would be collected with its owner.
        let spec = json!({
            "identity": { "resourceId": identity.resource_id },
            "serviceAccount": { "name": "web", "create": true },
            "deletionPolicy": "Retain",
        });
        world.create("web", spec).await?;
        world.ready("web").await?;
        let rule = Rule::when(|call| call.signature == "k8s PATCH serviceaccounts");
        gates
            .kubernetes
            .rule(rule.always().kubernetes_status(status, reason));
        begin_deletion(&world, "web").await?;
        says_why_it_stays(&world, &gates).await?;
        gates.kubernetes.clear_rules();
        gone_soon(&world, "web").await?;
        world.assert_accepted("web", &identity.client_id).await?;
        let account = world
            .service_accounts()
            .get("web")
            .await
            .context("the ServiceAccount is gone")?;
        let owners = account.metadata.owner_references.unwrap_or_default();
        ensure!(owners.is_empty(), "it goes with its owner: {owners:?}");
        // The next one is made by the operator again.
        world
            .service_accounts()
            .delete("web", &DeleteParams::default())
            .await?;
    }
    Ok(())
}

/// A binding that is being deleted is not in order: it says why it stays, and there is a warning.
async fn says_why_it_stays(world: &World, gates: &Gates) -> Result<()> {
    let told = |b: &WorkloadIdentityBinding| {
        let ready = condition(b, "Ready");
        b.metadata.deletion_timestamp.is_some()
            && ready.is_some_and(|c| c.0 == "False" && c.1 != "Deleting" && !c.2.is_empty())
    };
    let waited = tokio::time::timeout(TOLD, world.wait("web", "told why it stays", told)).await;
    let Ok(binding) = waited else {
        let calls = gates.kubernetes.journal();
        let tries = calls.iter().filter(|c| c.method == "PATCH").count();
        let binding = world.bindings().get("web").await?;
        anyhow::bail!("after {TOLD:?} and {tries} patches:\n{}", describe(&binding))
    };
    world.warned(binding?.metadata.uid.as_deref(), None).await?;
    Ok(())
}
