//! What it does not do, and what it says then.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::gate::Rule;

use super::stage::{CONFIG_MAP, DEPLOYMENT, JOB, POD, Stage, WEBHOOK, documents, mount, role, step};

/// The role of the documents without the rules of some resources.
fn role_without(resources: &[&str]) -> Result<Value> {
    let mut role = role()?;
    let rules = role["rules"].as_array_mut().context("no rules")?;
    let count = rules.len();
    rules.retain(|rule| {
        let verbs = rule["verbs"].as_array().into_iter().flatten();
        let names = rule["resources"].as_array().into_iter().flatten().chain(verbs);
        names
            .filter_map(Value::as_str)
            .all(|name| !resources.contains(&name))
    });
    ensure!(rules.len() < count, "the role does not name {resources:?}");
    Ok(role)
}

pub async fn rights_that_are_missing_are_named_and_nothing_is_done() -> Result<()> {
    let stage = Stage::with(&role_without(&["deployments", "clusterroles", "use"])?).await?;
    let identity = stage.pod_identity("shop", "web", "web").await?;
    stage.workload(DEPLOYMENT, "web", "web", |_| {}).await?;

    let plan = stage.plan(&["-n", "shop"]).await?;
    let findings = plan["findings"].as_array().context("no findings")?;
    let missing = |f: &&Value| f["code"] == "cluster-forbidden" && f["severity"] == "error";
    let reasons: Vec<String> = findings
        .iter()
        .filter(missing)
        .map(|f| f["reason"].to_string())
        .collect();
    let named = |reason: &String| reason.contains("cannot list resource") && reason.contains("deployments");
    ensure!(reasons.iter().any(named), "{reasons:?}");
    for name in ["grant", "switch"] {
        let said = stage.writes_nothing(1, &step(name)).await?;
        ensure!(
            said.contains("nothing was changed") && said.contains("deployments"),
            "{said}"
        );
    }

    stage.rights(&role_without(&["clusterroles", "use"])?).await?;
    let said = stage.writes_nothing(1, &step("grant")).await?;
    for part in ["clusterroles", "nothing was changed", "--skip-grants"] {
        ensure!(said.contains(part), "{part} is missing in: {said}");
    }

    stage.rights(&role_without(&["use"])?).await?;
    let said = stage.writes_nothing(1, &step("grant")).await?;
    for part in [
        "nothing was changed",
        "the verb use on managedidentities",
        "-o yaml",
    ] {
        ensure!(said.contains(part), "{part} is missing in: {said}");
    }

    // Whoever owns the identities does their part.
    let printed = stage.ends(0, &["-n", "shop", "-o", "yaml"]).await?;
    let grants: Vec<Value> = documents(&printed)?
        .into_iter()
        .filter(|o| o["kind"].as_str().is_some_and(|k| k.starts_with("ClusterRole")))
        .collect();
    assert_eq!(grants.len(), 2);
    stage.world.cluster.apply(&grants).await?;
    stage
        .ends(0, &[&step("grant")[..], &["--skip-grants"]].concat())
        .await?;
    stage.ends(0, &step("switch")).await?;
    stage.world.assert_accepted("web", &identity.client_id).await?;
    // What others have made stays.
    stage.ends(0, &["-n", "shop", "--rollback"]).await?;
    let after = stage.snapshot().await?;
    for grant in grants {
        let name = format!(
            "{} shop/{}",
            grant["kind"].as_str().unwrap_or_default(),
            grant["metadata"]["name"].as_str().unwrap_or_default()
        );
        ensure!(after.contains_key(&name), "{name} is gone");
    }
    Ok(())
}

pub async fn who_sees_one_namespace_migrates_what_is_certain() -> Result<()> {
    let nobody = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "nobody" }, "rules": [],
    });
    let stage = Stage::with(&nobody).await?;
    let mut tenant = role_without(&["clusterroles", "use"])?;
    tenant["metadata"]["name"] = json!("tenant");
    stage.rights_in("shop", &tenant).await?;
    let identity = stage.pod_identity("shop", "web", "web").await?;
    stage.workload(DEPLOYMENT, "web", "web", |_| {}).await?;

    let plan = stage.plan(&["-n", "shop"]).await?;
    let findings = plan["findings"].as_array().context("no findings")?;
    let codes: Vec<&str> = findings.iter().filter_map(|f| f["code"].as_str()).collect();
    ensure!(
        codes.contains(&"other-namespaces") && !codes.contains(&"cluster-forbidden"),
        "{findings:?}"
    );
    stage.writes_nothing(1, &step("grant")).await?;
    let printed = stage.ends(0, &["-n", "shop", "-o", "yaml"]).await?;
    let mut grants = documents(&printed)?;
    grants.retain(|object| {
        object["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("ClusterRole"))
    });
    stage.world.cluster.apply(&grants).await?;
    stage
        .ends(0, &[&step("grant")[..], &["--skip-grants"]].concat())
        .await?;
    stage.ends(0, &step("switch")).await?;
    stage.world.assert_accepted("web", &identity.client_id).await?;

    // Pods of other namespaces may use the binding, unless pod identity keeps to its namespace.
    let said = stage.writes_nothing(1, &step("clean")).await?;
    ensure!(
        said.contains("nothing was removed") && said.contains("--namespaced"),
        "{said}"
    );
    let said = stage
        .ends(0, &[&step("clean")[..], &["--namespaced"]].concat())
        .await?;
    ensure!(said.contains("removed   AzureIdentityBinding shop/web"), "{said}");
    let said = stage.writes_nothing(1, &["-A", "--rollback"]).await?;
    ensure!(said.contains("cannot list resource"), "{said}");
    stage.ends(0, &["-n", "shop", "--rollback"]).await?;
    Ok(())
}

pub async fn a_workload_whose_bindings_are_not_ready_is_not_switched() -> Result<()> {
    let stage = Stage::new().await?;
    let nowhere = stage.world.at("nowhere").resource_id;
    let metadata = json!({ "namespace": "shop", "name": "web" });
    let api_version = "aadpodidentity.k8s.io/v1";
    let objects = [
        json!({ "apiVersion": api_version, "kind": "AzureIdentity", "metadata": metadata, "spec": { "resourceID": nowhere } }),
        json!({
            "apiVersion": api_version, "kind": "AzureIdentityBinding", "metadata": metadata,
            "spec": { "azureIdentity": "web", "selector": "web" },
        }),
    ];
    stage.world.cluster.apply(&objects).await?;
    stage.workload(DEPLOYMENT, "web", "web", |_| {}).await?;
    let before = stage.get(DEPLOYMENT, "web").await?["spec"].clone();

    let said = stage.writes_nothing(1, &step("switch")).await?;
    ensure!(
        said.contains("web (it is not there)") && said.contains("--step grant first"),
        "{said}"
    );
    let said = stage
        .ends(1, &[&step("grant")[..], &["--timeout", "3s"]].concat())
        .await?;
    ensure!(
        said.contains("WorkloadIdentityBinding shop/web: not Ready: IdentityNotFound"),
        "{said}"
    );
    let said = stage.writes_nothing(1, &step("switch")).await?;
    ensure!(said.contains("IdentityNotFound"), "{said}");
    assert_eq!(before, stage.get(DEPLOYMENT, "web").await?["spec"]);

    // Once somebody has mended it, everything goes on.
    let identity = stage.world.identity("nowhere");
    stage.ends(0, &step("grant")).await?;
    stage.ends(0, &step("switch")).await?;
    stage.world.assert_accepted("web", &identity.client_id).await
}

pub async fn without_the_webhook_no_pod_is_switched() -> Result<()> {
    let stage = Stage::with_web().await?;
    stage.ends(0, &step("grant")).await?;
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(stage.world.admin());
    webhooks.delete(WEBHOOK, &DeleteParams::default()).await?;
    let plan = stage.plan(&["-n", "shop"]).await?;
    let findings = plan["findings"].as_array().context("no findings")?;
    ensure!(
        findings.iter().any(|f| f["code"] == "webhook-missing"),
        "{findings:?}"
    );
    let said = stage.writes_nothing(1, &step("switch")).await?;
    ensure!(
        said.contains("nothing was changed. The cluster has no webhook"),
        "{said}"
    );
    Ok(())
}

pub async fn what_is_used_is_not_removed() -> Result<()> {
    let stage = Stage::with_web().await?;
    stage.ends(0, &step("grant")).await?;
    stage.controllers.stop();
    let said = stage
        .ends(1, &[&step("switch")[..], &["--timeout", "300ms"]].concat())
        .await?;
    ensure!(said.contains("switched  Deployment shop/web"), "{said}");
    ensure!(
        said.contains("failed    Deployment shop/web: its pods have not been replaced"),
        "{said}"
    );
    stage
        .ends(0, &[&step("switch")[..], &["--wait=false"]].concat())
        .await?;
    let said = stage.writes_nothing(1, &step("clean")).await?;
    ensure!(said.contains("kept      AzureIdentityBinding shop/web"), "{said}");

    // A pod of somebody else in another namespace, which no workload here knows of.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "stray", "labels": { "aadpodidbinding": "web" } },
        "spec": { "serviceAccountName": "migrator", "containers": [{ "name": "app", "image": "app" }] },
    });
    let pods = stage.api(POD, super::stage::PLATFORM);
    pods.create(
        &PostParams::default(),
        &serde_json::from_value::<DynamicObject>(pod)?,
    )
    .await?;
    stage.controllers.go_on();
    stage.ends(0, &step("switch")).await?;
    let said = stage.writes_nothing(0, &step("clean")).await?;
    ensure!(
        said.contains("kept      AzureIdentityBinding shop/web: until they are migrated: Pod platform/stray"),
        "{said}"
    );
    ensure!(
        said.contains("kept      AzureIdentity shop/web: as long as there are bindings"),
        "{said}"
    );
    pods.delete("stray", &DeleteParams::default().grace_period(0))
        .await?;
    let said = stage.ends(0, &step("clean")).await?;
    ensure!(said.contains("removed   AzureIdentity shop/web"), "{said}");
    Ok(())
}

pub async fn a_class_and_all_who_mount_it_switch_together_or_stay() -> Result<()> {
    let stage = Stage::new().await?;
    let identity = stage.pod_identity("shop", "web", "web").await?;
    stage.class("vault").await?;
    let mounting = |object: &mut Value| mount(&mut object["spec"]["template"], "vault");
    for name in ["web", "api"] {
        stage.workload(DEPLOYMENT, name, "web", mounting).await?;
    }
    // One that has no identity.
    stage.workload(DEPLOYMENT, "plain", "", mounting).await?;
    let before = stage.snapshot().await?;
    stage.ends(0, &step("grant")).await?;
    let said = stage.writes_nothing(1, &step("switch")).await?;
    for part in [
        "failed    Deployment shop/web: it switches together with SecretProviderClass shop/vault, which its pods mount",
        "Deployment shop/plain has no label of pod identity",
        "set clientID by hand",
        "failed    Deployment shop/api: it switches together",
    ] {
        ensure!(said.contains(part), "{said}");
    }
    stage
        .api(DEPLOYMENT, "shop")
        .delete("plain", &DeleteParams::default())
        .await?;

    // One that somebody else keeps.
    let helm = |name: Value| json!({ "metadata": { "annotations": { "meta.helm.sh/release-name": name } } });
    stage.change(DEPLOYMENT, "api", helm(json!("shop"))).await?;
    let said = stage.writes_nothing(1, &step("switch")).await?;
    ensure!(
        said.contains("failed    Deployment shop/api: the release shop of Helm would change it back")
            && said.contains("and Deployment shop/api cannot: the release shop of Helm"),
        "{said}"
    );
    stage.change(DEPLOYMENT, "api", helm(Value::Null)).await?;

    let said = stage.ends(0, &step("switch")).await?;
    let at = |text: &str| said.find(text).with_context(|| format!("{text}: {said}"));
    ensure!(
        at("switched  SecretProviderClass shop/vault")? < at("switched  Deployment shop/api")?,
        "{said}"
    );
    let switched = json!({ "clientID": identity.client_id, "keyvaultName": "kv" });
    assert_eq!(stage.parameters("vault").await?, switched);
    stage.writes_nothing(0, &step("switch")).await?;

    // They go back together, or stay.
    let account = |name: &str| json!({ "spec": { "template": { "spec": { "serviceAccountName": name, "serviceAccount": name } } } });
    let own = stage.get(DEPLOYMENT, "api").await?["spec"]["template"]["spec"]["serviceAccountName"].clone();
    stage.change(DEPLOYMENT, "api", account("default")).await?;
    let back = ["-n", "shop", "--rollback", "--step", "switch"];
    let said = stage.writes_nothing(1, &back).await?;
    for part in [
        "failed    SecretProviderClass shop/vault: Deployment shop/api needs it as it is",
        "failed    Deployment shop/api: it was changed after it was switched",
        "failed    Deployment shop/web: its pods mount SecretProviderClass shop/vault, and Deployment shop/api needs",
    ] {
        ensure!(said.contains(part), "{said}");
    }
    stage
        .change(DEPLOYMENT, "api", account(own.as_str().unwrap_or_default()))
        .await?;
    stage.ends(0, &["-n", "shop", "--rollback"]).await?;
    let mut before = before;
    before.remove("Deployment shop/plain");
    stage.assert_unchanged_since(&before).await
}

pub async fn what_cannot_be_changed_is_left_and_said() -> Result<()> {
    let stage = Stage::with_web().await?;
    let job = |object: &mut Value| {
        object["spec"] = json!({ "template": object["spec"]["template"] });
        object["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    };
    stage.workload(JOB, "once", "web", job).await?;
    let owned = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "db-0", "labels": { "aadpodidbinding": "web" },
            "ownerReferences": [{
                "apiVersion": "example.com/v1", "kind": "Database", "name": "db", "controller": true,
                "uid": "00000000-0000-4000-8000-000000000001",
            }],
        },
        "spec": { "containers": [{ "name": "app", "image": "app" }] },
    });
    stage
        .api(POD, "shop")
        .create(
            &PostParams::default(),
            &serde_json::from_value::<DynamicObject>(owned)?,
        )
        .await?;

    let plan = stage.plan(&["-n", "shop"]).await?;
    let findings = plan["findings"].as_array().context("no findings")?;
    let about: Vec<&Value> = findings
        .iter()
        .filter(|f| f["code"] == "label-elsewhere")
        .collect();
    assert_eq!(
        (about.len(), &about[0]["subject"]),
        (1, &json!("Database shop/db")),
        "{about:?}"
    );

    stage.ends(0, &step("grant")).await?;
    let said = stage.ends(1, &step("switch")).await?;
    ensure!(
        said.contains("failed    Job shop/once: its pods cannot be changed. Delete it and make it anew"),
        "{said}"
    );
    ensure!(said.contains("switched  Deployment shop/web"), "{said}");

    // Somebody goes on with a workload: rolling back would undo their work.
    let patch = json!({ "spec": { "template": { "spec": { "serviceAccountName": "default" } } } });
    stage.change(DEPLOYMENT, "web", patch).await?;
    let before = stage.get(DEPLOYMENT, "web").await?["spec"].clone();
    let said = stage.ends(1, &["-n", "shop", "--rollback"]).await?;
    ensure!(
        said.contains("failed    Deployment shop/web: it was changed after it was switched"),
        "{said}"
    );
    ensure!(
        said.contains("failed    ServiceAccount shop/web: Deployment shop/web still uses"),
        "{said}"
    );
    assert_eq!(before, stage.get(DEPLOYMENT, "web").await?["spec"]);
    stage.world.ready("web").await?;
    Ok(())
}

pub async fn a_conflict_is_tried_again_with_what_is_there_then() -> Result<()> {
    let stage = Stage::with_web().await?;
    stage.ends(0, &step("grant")).await?;
    let trap = stage.gate.rule(
        Rule::on("k8s PATCH deployments")
            .times(2)
            .kubernetes_status(409, "Conflict"),
    );
    let said = stage.ends(0, &step("switch")).await?;
    assert_eq!(trap.hits().len(), 2, "{said}");
    let labels = &stage.get(DEPLOYMENT, "web").await?["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["azure.workload.identity/use"], "true");
    Ok(())
}

pub async fn a_full_journal_stops_before_anything_is_done() -> Result<()> {
    let stage = Stage::with_web().await?;
    let entry = json!({ "entry": "account", "kind": "X", "name": "x", "account": "a".repeat(1_048_400), "resourceIds": [] });
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "wib-migration" },
        "data": { "account_X_x": entry.to_string() },
    });
    let maps = stage.api(CONFIG_MAP, "shop");
    maps.create(
        &PostParams::default(),
        &serde_json::from_value::<DynamicObject>(map)?,
    )
    .await?;
    let said = stage.writes_nothing(1, &step("grant")).await?;
    ensure!(said.contains("ConfigMap shop/wib-migration, is full"), "{said}");
    Ok(())
}
