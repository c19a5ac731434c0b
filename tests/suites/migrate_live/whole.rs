//! A cluster from pod identity to workload identity and back.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use azure_emulator::Identity;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::stage::{BINDING, CRON_JOB, DEPLOYMENT, PLATFORM, SERVICE_ACCOUNT, STATEFUL_SET, Stage, mount};

const GRANT: [&str; 5] = ["-n", "shop", "--apply", "--step", "grant"];
const SWITCH: [&str; 5] = ["-n", "shop", "--apply", "--step", "switch"];
const CLEAN: [&str; 4] = ["-A", "--apply", "--step", "clean"];

/// All forms of workloads. Answers which ServiceAccount has to be accepted for which identity.
async fn workloads(stage: &Stage) -> Result<Vec<(&'static str, Identity)>> {
    let account = |name: &'static str| {
        move |object: &mut Value| object["spec"]["template"]["spec"]["serviceAccountName"] = json!(name)
    };
    for name in ["orders", "pair"] {
        stage.world.service_account(name).await?;
    }
    let mut accepted = Vec::new();
    accepted.push(("web", stage.pod_identity("shop", "web", "web").await?));
    stage.workload(DEPLOYMENT, "web", "web", |_| {}).await?;
    accepted.push(("orders", stage.pod_identity("shop", "orders", "orders").await?));
    stage
        .workload(STATEFUL_SET, "orders", "orders", account("orders"))
        .await?;
    accepted.push(("pair", stage.pod_identity("shop", "pair", "pair").await?));
    stage.class("vault").await?;
    for name in ["left", "right"] {
        let mounting = |object: &mut Value| {
            account("pair")(object);
            mount(&mut object["spec"]["template"], "vault");
        };
        stage.workload(DEPLOYMENT, name, "pair", mounting).await?;
    }
    accepted.push(("cross", stage.pod_identity(PLATFORM, "cross", "cross").await?));
    stage.workload(DEPLOYMENT, "cross", "cross", |_| {}).await?;
    accepted.push(("held", stage.pod_identity("shop", "held", "held").await?));
    let hold =
        |object: &mut Value| object["spec"]["selector"]["matchLabels"]["aadpodidbinding"] = json!("held");
    stage.workload(DEPLOYMENT, "held", "held", hold).await?;
    accepted.push(("nightly", stage.pod_identity("shop", "nightly", "nightly").await?));
    stage.workload(CRON_JOB, "nightly", "nightly", |_| {}).await?;
    for name in ["first", "second"] {
        accepted.push(("double", stage.pod_identity("shop", name, "double").await?));
    }
    stage.workload(DEPLOYMENT, "double", "double", |_| {}).await?;
    accepted.push(("charted", stage.pod_identity("shop", "charted", "charted").await?));
    let helm = |object: &mut Value| {
        object["metadata"]["annotations"] = json!({ "meta.helm.sh/release-name": "charted-release" });
    };
    stage.workload(DEPLOYMENT, "charted", "charted", helm).await?;
    let argo = json!({ "metadata": { "annotations": { "argocd.argoproj.io/tracking-id": "shop:web" } } });
    stage.change(BINDING, "charted", argo).await?;
    let secrets = json!({ "imagePullSecrets": [{ "name": "registry" }] });
    stage.change(SERVICE_ACCOUNT, "default", secrets).await?;
    Ok(accepted)
}

fn objects<'a>(plan: &'a Value, step: &str, action: &str) -> BTreeSet<&'a str> {
    let steps = plan["steps"].as_array().into_iter().flatten();
    let items = steps
        .filter(|s| s["name"] == step)
        .flat_map(|s| s["items"].as_array().into_iter().flatten());
    items
        .filter(|item| item["action"] == action)
        .filter_map(|item| item["object"].as_str())
        .collect()
}

async fn templates_are_switched(stage: &Stage) -> Result<()> {
    let template = |object: &Value| object["spec"]["template"].clone();
    for (kind, name, label, account) in [
        (DEPLOYMENT, "web", None, "web"),
        (STATEFUL_SET, "orders", None, "orders"),
        (DEPLOYMENT, "held", Some("held"), "held"),
    ] {
        let template = template(&stage.get(kind, name).await?);
        let labels = &template["metadata"]["labels"];
        assert_eq!(labels["azure.workload.identity/use"], "true", "{name}");
        assert_eq!(labels["aadpodidbinding"].as_str(), label, "{name}");
        assert_eq!(template["spec"]["serviceAccountName"], account, "{name}");
    }
    let nightly = stage.get(CRON_JOB, "nightly").await?;
    let template = template(&nightly["spec"]["jobTemplate"]);
    assert_eq!(
        template["metadata"]["labels"]["azure.workload.identity/use"],
        "true"
    );
    let client = &stage.world.at("pair").client_id;
    assert_eq!(
        stage.parameters("vault").await?,
        json!({ "clientID": client, "keyvaultName": "kv" })
    );
    Ok(())
}

/// What nothing uses once all have switched.
fn removable() -> BTreeSet<String> {
    let names = [
        "web", "orders", "pair", "held", "nightly", "first", "second", "charted",
    ];
    let mut all: BTreeSet<String> = names
        .iter()
        .map(|name| format!("AzureIdentityBinding shop/{name}"))
        .collect();
    all.extend(names.iter().map(|name| format!("AzureIdentity shop/{name}")));
    all.extend(["AzureIdentityBinding", "AzureIdentity"].map(|kind| format!("{kind} {PLATFORM}/cross")));
    // What keeps the binding would leave it without its identity.
    all.remove("AzureIdentity shop/charted");
    all
}

async fn one_namespace_goes_back_as_far_as_it_can(stage: &Stage) -> Result<()> {
    // One namespace alone cannot go back where its pods would have no identity, and keeps what they have.
    let said = stage.ends(1, &["-n", "shop", "--rollback"]).await?;
    ensure!(
        said.contains("failed    Deployment shop/cross: its pods would have no identity"),
        "{said}"
    );
    ensure!(
        said.contains("roll back with -A") && said.contains("restored  Deployment shop/web"),
        "{said}"
    );
    let cross = stage.world.at("cross").client_id;
    stage.world.assert_accepted("cross", &cross).await
}

pub async fn a_cluster_is_migrated_and_brought_back() -> Result<()> {
    let stage = Stage::new().await?;
    let accepted = workloads(&stage).await?;
    let before = stage.snapshot().await?;

    let plan = stage.plan(&["-n", "shop"]).await?;
    let rows = plan["workloads"].as_array().map_or(0, Vec::len);
    assert_eq!((rows, &plan["summary"]["planned"]), (9, &json!(9)), "{plan}");
    let place = &plan["workloads"][0]["place"];
    assert_eq!(
        (&place["file"], &place["line"]),
        (&json!("cluster://shop/CronJob/nightly"), &json!(0))
    );
    let switched = objects(&plan, "switch", "change");
    assert_eq!(switched.len(), 10, "{switched:?}");
    ensure!(
        switched.contains("SecretProviderClass shop/vault"),
        "{switched:?}"
    );
    stage.assert_unchanged_since(&before).await?;

    let said = stage.ends(0, &GRANT).await?;
    ensure!(said.contains("created   ServiceAccount shop/web"), "{said}");
    ensure!(!said.contains("ServiceAccount shop/orders:"), "{said}");
    let account = stage.get(SERVICE_ACCOUNT, "web").await?;
    assert_eq!(account["imagePullSecrets"], json!([{ "name": "registry" }]));
    stage.writes_nothing(0, &GRANT).await?;
    assert_eq!(
        objects(&stage.plan(&["-n", "shop"]).await?, "grant", "create").len(),
        0
    );
    let pods = |snapshot: &std::collections::BTreeMap<String, Value>| {
        let kinds = ["Deployment", "StatefulSet", "CronJob"];
        let mut snapshot = snapshot.clone();
        snapshot.retain(|name, _| kinds.iter().any(|kind| name.starts_with(kind)));
        snapshot
    };
    assert_eq!(pods(&before), pods(&stage.snapshot().await?));

    let said = stage.ends(1, &SWITCH).await?;
    let refused =
        "failed    Deployment shop/charted: the release charted-release of Helm would change it back";
    ensure!(
        said.contains(refused) && said.contains("--include-managed"),
        "{said}"
    );
    stage
        .ends(0, &[&SWITCH[..], &["--include-managed"]].concat())
        .await?;
    stage.writes_nothing(0, &SWITCH).await?;
    for (account, identity) in &accepted {
        stage.world.assert_accepted(account, &identity.client_id).await?;
    }
    templates_are_switched(&stage).await?;

    let plan = stage.plan(&["-A"]).await?;
    assert_eq!(plan["workloads"], json!([]));
    let steps: Vec<&str> = plan["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|s| s["name"].as_str())
        .collect();
    assert_eq!(steps, ["clean"]);
    assert_eq!(plan["findings"], json!([]));
    let removed: BTreeSet<String> = objects(&plan, "clean", "remove")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(removed, removable());

    let said = stage
        .ends(1, &["-n", "shop", "--apply", "--step", "clean"])
        .await?;
    ensure!(
        said.contains("kept      AzureIdentityBinding platform/cross: it is in another namespace"),
        "{said}"
    );
    ensure!(
        said.contains("failed    AzureIdentityBinding shop/charted: Argo CD would make it anew"),
        "{said}"
    );
    stage
        .ends(0, &[&CLEAN[..], &["--include-managed"]].concat())
        .await?;
    stage.writes_nothing(0, &CLEAN).await?;
    assert_eq!(stage.left_of_pod_identity().await?, [""; 0]);

    one_namespace_goes_back_as_far_as_it_can(&stage).await?;
    let said = stage.ends(0, &["-A", "--rollback"]).await?;
    ensure!(said.contains("restored  AzureIdentity platform/cross"), "{said}");
    stage.assert_unchanged_since(&before).await?;
    stage.writes_nothing(0, &["-A", "--rollback"]).await?;
    for (account, identity) in &accepted {
        if ["orders", "pair"].contains(account) {
            ensure!(
                stage.world.exchange(account, &identity.client_id).await?.is_err(),
                "{account} is still trusted"
            );
        }
    }
    Ok(())
}
