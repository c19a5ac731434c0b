//! The package of the chart under helm's own hands: installed, upgraded, rolled back and uninstalled.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Map, Value, json};
use wib_harness::Tool;
use wib_harness::control_plane::ControlPlane;
use workload_identity_binding::api::{self, WorkloadIdentityBinding};

use super::helm::{CHART, IDS};

const NAME: &str = "workload-identity-binding";
const NAMESPACE: &str = "workload-identity-binding-system";

/// A cluster, and a package of the chart.
struct Stage {
    control_plane: ControlPlane,
    directory: tempfile::TempDir,
    package: String,
}

impl Stage {
    async fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let target = directory.path().display().to_string();
        Tool::Helm
            .run(&["package", CHART, "--destination", &target], "")
            .await?;
        let control_plane = ControlPlane::start().await?;
        let kubeconfig = serde_yaml::to_string(&control_plane.kubeconfig())?;
        std::fs::write(directory.path().join("kubeconfig"), kubeconfig)?;
        Ok(Self {
            package: format!("{target}/{NAME}-{}.tgz", env!("CARGO_PKG_VERSION")),
            control_plane,
            directory,
        })
    }

    async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let kubeconfig = format!(
            "--kubeconfig={}",
            self.directory.path().join("kubeconfig").display()
        );
        let place = ["--namespace", NAMESPACE, &kubeconfig];
        Tool::Helm.run(&[arguments, &place].concat(), "").await
    }

    async fn install(&self, flags: &[&str]) -> Result<String> {
        let command = ["install", NAME, &self.package, "--create-namespace"];
        self.helm(&[&command, &IDS[..], flags].concat()).await
    }

    /// A setting of the Deployment.
    async fn setting(&self, name: &str) -> Result<Option<String>> {
        let deployments: Api<Deployment> = Api::namespaced(self.control_plane.admin(), NAMESPACE);
        let Some(deployment) = deployments.get_opt(NAME).await? else {
            return Ok(None);
        };
        let deployment = serde_json::to_value(deployment)?;
        let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
        let variable = variables.into_iter().flatten().find(|v| v["name"] == name);
        Ok(variable.and_then(|v| v["value"].as_str()).map(str::to_owned))
    }

    fn definitions(&self) -> Api<CustomResourceDefinition> {
        Api::all(self.control_plane.admin())
    }

    async fn has_definitions(&self) -> Result<bool> {
        let mut stand = Vec::new();
        for definition in api::crds() {
            let found = self.definitions().get_opt(&definition.name_any()).await?;
            stand.push(found.is_some_and(|d| d.metadata.deletion_timestamp.is_none()));
        }
        let all = stand.iter().all(|stands| *stands);
        ensure!(
            all || !stand.iter().any(|stands| *stands),
            "one of the definitions stands without the other"
        );
        Ok(all)
    }
}

pub async fn helm_installs_upgrades_goes_back_and_leaves_the_definitions() -> Result<()> {
    let stage = Stage::new().await?;
    // Somebody has installed the definitions before. The document says how they become the release's.
    for definition in api::crds() {
        let made = stage.definitions();
        made.create(&PostParams::default(), &definition).await?;
    }
    let refused = stage
        .install(&[])
        .await
        .err()
        .context("helm takes what is not its own")?;
    ensure!(format!("{refused:#}").contains("ownership"), "{refused:#}");
    let adopt = json!({ "metadata": {
        "labels": documented("app.kubernetes.io/")?, "annotations": documented("meta.helm.sh/")?,
    }});
    let (params, adopt) = (PatchParams::default(), Patch::Merge(adopt));
    for definition in api::crds() {
        let taken = stage.definitions();
        taken.patch(&definition.name_any(), &params, &adopt).await?;
    }

    let notes = stage.install(&[]).await?;
    ensure!(
        notes.contains(&format!("system:serviceaccount:{NAMESPACE}:{NAME}")),
        "{notes}"
    );
    let drift = "WIB_DRIFT_INTERVAL";
    assert_eq!(stage.setting(drift).await?.as_deref(), Some("10m"));
    let upgrade = [
        "upgrade",
        NAME,
        &stage.package,
        "--reset-then-reuse-values",
        "--set=driftInterval=5m",
    ];
    stage.helm(&upgrade).await?;
    assert_eq!(stage.setting(drift).await?.as_deref(), Some("5m"));
    stage.helm(&["rollback", NAME, "1"]).await?;
    assert_eq!(stage.setting(drift).await?.as_deref(), Some("10m"));

    let binding = json!({
        "apiVersion": "workload-identity.io/v1alpha1", "kind": "WorkloadIdentityBinding",
        "metadata": { "name": "web" },
        "spec": { "identity": { "name": "web" }, "serviceAccount": { "name": "web" } },
    });
    let resource = ApiResource::erase::<WorkloadIdentityBinding>(&());
    let bindings: Api<DynamicObject> =
        Api::namespaced_with(stage.control_plane.admin(), "default", &resource);
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding)?)
        .await?;
    stage.helm(&["uninstall", NAME]).await?;
    assert_eq!(stage.setting(drift).await?, None);
    ensure!(
        stage.has_definitions().await?,
        "the definitions went with the release"
    );
    bindings.get("web").await?;

    // A release that is installed again goes on with it; one that does not keep it takes it along.
    stage.install(&["--set=crds.keep=false"]).await?;
    stage.helm(&["uninstall", NAME]).await?;
    ensure!(!stage.has_definitions().await?, "the definitions stay after all");
    Ok(())
}

/// Labels or annotations that docs/helm.md puts on a definition.
fn documented(prefix: &str) -> Result<Value> {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/helm.md"))?;
    let words = document
        .split_whitespace()
        .filter(|word| word.starts_with(prefix));
    let pairs = words.filter_map(|word| word.split_once('='));
    let map: Map<String, Value> = pairs.map(|(key, value)| (key.to_owned(), value.into())).collect();
    ensure!(!map.is_empty(), "docs/helm.md says nothing of {prefix}");
    Ok(map.into())
}
