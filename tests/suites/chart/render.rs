//! What the chart makes of many sets of values: the real API server takes it, pods fit the Pod Security Standard
//! `restricted`, and every selector selects what it is for.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::Tool;
use wib_harness::control_plane::ControlPlane;

use super::helm::{CHART, IDS, Release, documents, one};
use super::wholeness::{keeps, nothing_asks_for_everything, selectors_select};
use crate::runner::figure;

/// Definitions of the Prometheus operator.
const MONITORING: [&str; 2] = [
    include_str!("monitoring/servicemonitors.yaml"),
    include_str!("monitoring/prometheusrules.yaml"),
];

const PART_OF: &str = "app.kubernetes.io/managed-by";

/// The sets in `ci/`, and names that are hard to deal with.
fn releases() -> Result<Vec<Release>> {
    let mut releases = vec![
        Release::usual(&IDS),
        Release::new("wib", "identities", &IDS),
        Release::new(&"r".repeat(53), &"n".repeat(63), &IDS),
        Release::new(
            "a.b-c",
            "dots",
            &[&IDS[..], &["--set=metrics.dashboard.enabled=true"]].concat(),
        ),
        Release::new(
            "no-rights",
            "no-rights",
            &[&IDS[..], &["--set=rbac.create=false"]].concat(),
        ),
        Release::new(
            "no-crd",
            "no-crd",
            &[&IDS[..], &["--set=crds.enabled=false"]].concat(),
        ),
    ];
    let mut files = 0;
    for entry in std::fs::read_dir(format!("{CHART}/ci"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix("-values.yaml"));
        let name = name.with_context(|| format!("{} is no set of values", path.display()))?;
        releases.push(Release::new(
            name,
            name,
            &[format!("--values={}", path.display())],
        ));
        files += 1;
    }
    ensure!(files >= 5, "sets of values are missing from ci/");
    Ok(releases)
}

pub async fn every_set_of_values_makes_what_the_api_server_takes() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let server = Server(control_plane.admin());
    for definition in MONITORING.iter().map(|text| documents(text)) {
        server.make(&definition?[0]).await?;
    }
    // The policy and bindings are of a kind that only the CRD makes known.
    let (mut objects, mut sets) = (0, 0);
    for release in releases()? {
        let name = release.name.clone();
        objects += server
            .takes(&release)
            .await
            .with_context(|| format!("release {name}"))?;
        sets += 1;
    }
    figure(format!(
        "chart: {objects} objects of {sets} sets of values taken by the API server, strictly"
    ));
    Ok(())
}

/// An API server that is asked, and changed as little as possible.
struct Server(kube::Client);

impl Server {
    async fn apply(&self, object: &Value, params: &PatchParams) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let kind = GroupVersionKind::try_from(object.types.as_ref().context("no kind")?)?;
        let mut found = pinned_kind(&self.0, &kind).await;
        for _ in 0..100 {
            if found.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            found = pinned_kind(&self.0, &kind).await;
        }
        let (resource, capabilities) = found?;
        let name = object.metadata.name.clone().context("no name")?;
        let api: Api<DynamicObject> = match (&object.metadata.namespace, capabilities.scope) {
            (Some(namespace), Scope::Namespaced) => {
                Api::namespaced_with(self.0.clone(), namespace, &resource)
            }
            (None, Scope::Cluster) => Api::all_with(self.0.clone(), &resource),
            (namespace, scope) => anyhow::bail!("{name} has namespace {namespace:?} and scope {scope:?}"),
        };
        api.patch(&name, params, &Patch::Apply(&object)).await?;
        Ok(())
    }

    async fn make(&self, object: &Value) -> Result<()> {
        self.apply(object, &PatchParams::apply("platform-team").force())
            .await
    }

    /// Checks a release as a whole. Answers how many objects it has.
    async fn takes(&self, release: &Release) -> Result<usize> {
        let text = release.text().await?;
        assert_eq!(text, release.text().await?, "two renders differ");
        ensure!(!text.contains("<no value>"), "{text}");
        let objects = documents(&text)?;
        let namespaces: BTreeSet<_> = objects
            .iter()
            .filter_map(|o| o["metadata"]["namespace"].as_str())
            .collect();
        for namespace in &namespaces {
            let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
            let metadata = json!({ "name": namespace, "labels": labels });
            self.make(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
                .await?;
        }
        let mut strict = PatchParams::apply("helm").dry_run();
        strict.field_validation = Some(ValidationDirective::Strict);
        let mut names = BTreeSet::new();
        for object in &objects {
            let (kind, metadata) = (&object["kind"], &object["metadata"]);
            let name = format!("{kind} {}/{}", metadata["namespace"], metadata["name"]);
            self.apply(object, &strict).await.with_context(|| name.clone())?;
            ensure!(names.insert(name.clone()), "twice: {name}");
            let extra = metadata["name"].as_str().is_some_and(|n| n.ends_with("-extra"));
            ensure!(
                extra || metadata["labels"][PART_OF] == "Helm",
                "{name} lacks its labels"
            );
        }
        self.takes_the_pod(release, &objects).await?;
        selectors_select(&objects)?;
        nothing_asks_for_everything(&objects)?;
        keeps(&objects)?;
        Ok(objects.len())
    }

    /// A pod of the Deployment is let into a namespace that enforces `restricted`.
    async fn takes_the_pod(&self, release: &Release, objects: &[Value]) -> Result<()> {
        let template = &one(objects, "Deployment")?["spec"]["template"];
        let account = &template["spec"]["serviceAccountName"];
        let metadata = json!({ "name": account, "namespace": release.namespace });
        self.make(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }))
            .await?;
        let pods: Api<Pod> = Api::namespaced(self.0.clone(), &release.namespace);
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let mut pod = template.clone();
        pod["metadata"]["name"] = "operator".into();
        pods.create(&dry_run, &serde_json::from_value(pod.clone())?)
            .await
            .context("the pod")?;
        // The namespace does refuse.
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
        let refused = pods.create(&dry_run, &serde_json::from_value(pod)?).await;
        ensure!(
            refused.is_err_and(|e| e.to_string().contains("violates PodSecurity")),
            "the namespace takes any pod"
        );
        Ok(())
    }
}

pub async fn the_notes_say_what_to_do_next() -> Result<()> {
    let lint = [&["lint", "--strict", CHART][..], &IDS].concat();
    Tool::Helm.run(&lint, "").await?;
    for (flags, parts) in [
        (
            &[][..],
            &[
                "--subject system:serviceaccount:workload-identity-binding-system:workload-identity-binding",
                "rollout status --namespace workload-identity-binding-system deployment/workload-identity-binding",
                "@.type==\"Authorized\"",
            ][..],
        ),
        (
            &["--set=serviceAccount.name=me", "--set=authorization=none"],
            &[
                "--subject system:serviceaccount:workload-identity-binding-system:me",
                "WARNING: authorization is none",
            ],
        ),
        (
            &["--set=crds.enabled=false"],
            &["waits until the CustomResourceDefinition is there"],
        ),
        (&["--set=crds.keep=false"], &["WARNING: crds.keep is false"]),
        (&["--set=rbac.create=false"], &["rbac.create is false"]),
        (
            &["--set=azure.credential=managed-identity"],
            &["logs in to Azure by managed-identity"],
        ),
    ] {
        let release = Release::usual(&[&IDS[..], flags].concat());
        let output = release.output(&["install", "--dry-run=client"]).await?;
        let text = String::from_utf8(output.stdout)?;
        let (_, notes) = text.split_once("NOTES:").context(text.clone())?;
        for part in parts {
            ensure!(notes.contains(part), "{flags:?}: {part} is missing in:\n{notes}");
        }
        let warns = notes.contains("WARNING");
        ensure!(
            warns == parts.iter().any(|p| p.contains("WARNING")),
            "{flags:?}:\n{notes}"
        );
    }
    Ok(())
}
