//! What is read of a cluster.

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::stage::{DEPLOYMENT, PLATFORM, Stage};

pub async fn long_lists_are_read_page_by_page() -> Result<()> {
    let stage = Stage::with_web().await?;
    let accounts = futures::stream::iter(0..620).map(|number| {
        let world = &stage.world;
        async move { world.service_account(&format!("account-{number}")).await }
    });
    accounts.buffer_unordered(16).try_collect::<Vec<_>>().await?;
    let plan = stage.plan(&["-n", "shop"]).await?;
    // The Deployment, its identity and binding, and the ServiceAccount that was there before.
    assert_eq!(plan["summary"]["files"], 624);
    let lists = stage.gate.journal();
    let pages = lists
        .iter()
        .filter(|call| call.path.ends_with("/serviceaccounts") && call.query.is_some());
    assert_eq!(pages.count(), 2);
    Ok(())
}

/// State of each workload of a plan, and the codes of its findings.
fn said(plan: &Value) -> (Vec<&str>, Vec<&str>) {
    let texts = |list: &'static str, key: &'static str| {
        let all = plan[list].as_array().into_iter().flatten();
        all.filter_map(move |one| one[key].as_str()).collect()
    };
    (texts("workloads", "state"), texts("findings", "code"))
}

pub async fn an_installation_elsewhere_tells_that_identities_keep_to_their_namespace() -> Result<()> {
    let stage = Stage::new().await?;
    stage.pod_identity(PLATFORM, "web", "web").await?;
    stage.workload(DEPLOYMENT, "web", "web", |_| {}).await?;
    assert_eq!(said(&stage.plan(&["-n", "shop"]).await?).0, ["planned"]);
    let container = json!({ "name": "mic", "image": "mic", "args": ["--forceNamespaced"] });
    let mic = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": PLATFORM, "name": "aad-pod-identity-mic", "labels": { "component": "mic" } },
        "spec": {
            "selector": { "matchLabels": { "component": "mic" } },
            "template": { "metadata": { "labels": { "component": "mic" } }, "spec": { "containers": [container] } },
        },
    });
    stage.world.cluster.apply(&[mic]).await?;
    let plan = stage.plan(&["-n", "shop"]).await?;
    let (states, codes) = said(&plan);
    assert_eq!(states, ["no-identity"]);
    for code in ["namespaced-mode", "namespace-mismatch", "installation"] {
        ensure!(codes.contains(&code), "{code} is missing in {codes:?}");
    }
    Ok(())
}

pub async fn files_and_a_cluster_are_joined() -> Result<()> {
    let stage = Stage::new().await?;
    stage.workload(DEPLOYMENT, "web", "web", |_| {}).await?;
    let (states, codes) = {
        let plan = stage.plan(&["-n", "shop"]).await?;
        let (states, codes) = said(&plan);
        (states.join(" "), codes.join(" "))
    };
    assert_eq!((states.as_str(), codes.as_str()), ("no-identity", "dead-label"));
    let file = tempfile::NamedTempFile::new()?;
    let identity = stage.world.identity("web");
    let text = format!(
        "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata: {{name: web}}\n\
         spec: {{resourceID: {}}}\n---\n\
         apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\nmetadata: {{name: web}}\n\
         spec: {{azureIdentity: web, selector: web}}\n",
        identity.resource_id
    );
    std::fs::write(file.path(), text)?;
    let path = file.path().display().to_string();
    let plan = stage.plan(&["-n", "shop", &path]).await?;
    assert_eq!(said(&plan).0, ["planned"], "{plan}");
    assert_eq!(plan["steps"][2]["items"][0]["place"]["file"], json!(path));
    assert_eq!(plan["steps"][2]["items"][0]["place"]["line"], json!(6));
    Ok(())
}

pub async fn a_cluster_without_pod_identity_has_nothing_to_migrate() -> Result<()> {
    let stage = Stage::without_pod_identity().await?;
    let (plan, code) = (
        stage.plan(&["-A"]).await?,
        stage.run(&["-A", "--exit-code"]).await?.code,
    );
    assert_eq!(
        (&plan["workloads"], &plan["findings"], code),
        (&json!([]), &json!([]), Some(0)),
        "{plan}"
    );
    for step in ["grant", "switch", "clean"] {
        stage
            .writes_nothing(0, &["-A", "--apply", "--step", step])
            .await?;
    }
    Ok(())
}
