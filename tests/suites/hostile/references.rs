//! Ids and names that would steer an address, or stand for somebody else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use wib_harness::world::bindings::condition;
use wib_harness::{Cluster, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use crate::runner;

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000000a";
const ID: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/victim";

/// Parts that are no name anywhere.
fn parts() -> Vec<String> {
    let mut parts: Vec<_> = [
        "..",
        ".",
        "../victim",
        "victim/..",
        "victim/../../x",
        "%2e%2e",
        "victim%2f..",
        "victim%00",
        "a//b",
        "//",
        "victim?api-version=1",
        "victim?",
        "victim#x",
        "victim/",
        "/victim",
        "victim\\x",
        "victim;x=1",
        "victim@evil.example",
        "victim:443",
        "victim victim",
        " victim",
        "victim ",
        "victim\n",
        "victim\r\nx: y",
        "victim\t",
        "victim\u{0}",
        "victim\u{1b}[31m",
        "victim\u{7f}",
        "\u{212a}eeper",
        "victim\u{17f}",
        "ｖｉｃｔｉｍ",
        "vіctim",
        "victim\u{200b}",
        "victim\u{202e}mitciv",
        "\u{feff}victim",
        "victim\u{301}",
        "*",
        "$(victim)",
        "{{victim}}",
        "victim'",
        "victim\"",
        "<victim>",
    ]
    .map(str::to_owned)
    .into();
    parts.push("v".repeat(600));
    parts
}

/// References that no rule lets through: field by field, and as a whole.
fn identities() -> Vec<Value> {
    let mut all = Vec::new();
    for part in parts() {
        all.push(json!({ "resourceId": ID.replace("victim", &part) }));
        all.push(json!({ "resourceId": ID.replace("shop", &part) }));
        all.push(json!({ "resourceId": ID.replace(SUBSCRIPTION, &part) }));
        all.push(json!({ "resourceId": part.clone() }));
        all.push(json!({ "name": part, "resourceGroup": "shop", "subscriptionId": SUBSCRIPTION }));
        all.push(json!({ "name": "victim", "resourceGroup": part, "subscriptionId": SUBSCRIPTION }));
        all.push(json!({ "name": "victim", "resourceGroup": "shop", "subscriptionId": part }));
    }
    for (from, to) in [
        ("Microsoft.ManagedIdentity", "Microsoft.Compute"),
        ("Microsoft.ManagedIdentity", "Microſoft.ManagedIdentity"),
        ("userAssignedIdentities", "virtualMachines"),
        ("userAssignedIdentities", "uſerAssignedIdentities"),
        ("/providers/", "/providers/x/providers/"),
        ("/subscriptions/", "//subscriptions/"),
        ("/subscriptions/", "https://evil.example/subscriptions/"),
        ("victim", "victim/federatedIdentityCredentials/x"),
        ("victim", "victim/revokeTokens"),
        ("resourceGroups", "resourceGroups/x/resourceGroups"),
    ] {
        all.push(json!({ "resourceId": ID.replace(from, to) }));
    }
    // As long as anything may be, and the names of groups take periods and spaces at no end.
    all.push(json!({ "resourceId": format!("{ID}{}", "x".repeat(100_000)) }));
    // A group's name may hold periods and may be this one.
    let fine = [".a", "%"];
    all.retain(|identity| !fine.iter().any(|f| identity["resourceGroup"] == *f));
    all
}

fn specs() -> Vec<Value> {
    let of = |identity: Value, name: &str| json!({ "identity": identity, "serviceAccount": { "name": name, "create": true } });
    let mut all: Vec<_> = identities()
        .into_iter()
        .map(|identity| of(identity, "web"))
        .collect();
    let accounts = [
        "Web",
        "web:admin",
        "-web",
        "web-",
        "web.",
        "a..b",
        "web/token",
        "../secrets/x",
        "",
    ];
    let accounts = accounts.map(str::to_owned).into_iter().chain(parts());
    // A name for a ServiceAccount may be one that Azure would refuse.
    all.extend(accounts.map(|name| of(json!({ "resourceId": ID }), &name)));
    all.push(of(json!({ "resourceId": ID }), &"w".repeat(500_000)));
    all
}

fn dynamic(world: &World) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<WorkloadIdentityBinding>(&());
    Api::namespaced_with(world.admin(), &world.namespace, &resource)
}

async fn create(
    world: &World,
    name: &str,
    spec: &Value,
    dry_run: bool,
) -> Result<kube::Result<DynamicObject>> {
    let object = serde_json::from_value(json!({
        "apiVersion": "workload-identity.io/v1alpha1",
        "kind": "WorkloadIdentityBinding",
        "metadata": { "name": name },
        "spec": spec,
    }))?;
    let params = PostParams {
        dry_run,
        ..PostParams::default()
    };
    Ok(dynamic(world).create(&params, &object).await)
}

pub async fn admission_refuses_every_hostile_reference(world: World) -> Result<()> {
    for spec in specs() {
        let answer = create(&world, "web", &spec, true).await?;
        let refused = matches!(&answer, Err(kube::Error::Api(status)) if status.code == 422);
        ensure!(refused, "{spec:.300}: {answer:.300?}");
    }
    Ok(())
}

/// A world on a cluster whose definition lets any spec through: one of another version, or one that somebody
/// has weakened.
async fn without_admission() -> Result<World> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(world.admin());
    let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let patch = json!([{ "op": "replace", "path": field, "value": anything }]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
    let params = PatchParams::default();
    crds.patch(WorkloadIdentityBinding::crd_name(), &params, &patch)
        .await?;
    for _ in 0..200 {
        if create(&world, "web", &specs()[0], true).await?.is_ok() {
            return Ok(world);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("the API server has not taken the weakened definition after 10 s")
}

pub async fn without_admission_no_hostile_reference_gets_anywhere() -> Result<()> {
    let world = without_admission().await?;
    let honest = world.workload("honest").await?;
    // Nobody else stands in the way either, and every default is there.
    let flags = [
        "--authorization=none",
        "--resource-group=shop",
        &format!("--subscription-id={SUBSCRIPTION}"),
    ];
    let _operator = world.operator_with(&flags).await?;
    let specs = specs();
    let mut names = Vec::new();
    for (n, spec) in specs.iter().enumerate() {
        let name = format!("hostile-{n:03}");
        create(&world, &name, spec, false).await??;
        names.push(name);
    }
    let told = async |(name, spec): (&String, &Value)| {
        let binding = world.not_ready(name, "InvalidSpec").await?;
        let message = condition(&binding, "Stalled")
            .map(|c| c.2.to_owned())
            .unwrap_or_default();
        // What it says is ours alone: nothing of the hostile text is thrown back at whoever reads it.
        ensure!(
            message.len() < 600 && message.is_ascii(),
            "{spec:.300}: {message:.1000}"
        );
        anyhow::Ok(())
    };
    for chunk in names.iter().zip(&specs).collect::<Vec<_>>().chunks(25) {
        try_join_all(chunk.iter().map(|pair| told(*pair))).await?;
    }
    world.bind("honest", "honest", &honest).await?;
    world.ready("honest").await?;
    world.assert_accepted("honest", &honest.client_id).await?;
    for name in &names {
        dynamic(&world).delete(name, &DeleteParams::default()).await?;
    }
    for name in &names {
        world.gone(name).await?;
    }
    let mine = honest.resource_id.to_lowercase();
    let asked: Vec<_> = world
        .azure
        .journal()
        .into_iter()
        .filter(|e| e.operation.is_arm())
        .collect();
    let other = asked.iter().find(|e| e.identity.as_deref() != Some(&mine));
    ensure!(other.is_none(), "Azure was asked: {other:#?}");
    for write in world.kubernetes_writes()? {
        let own = write.resource.starts_with("workloadidentitybindings");
        ensure!(own || write.name == "honest", "{write:?}");
    }
    runner::figure(format!("hostile: {} references, 0 calls", specs.len()));
    Ok(())
}
