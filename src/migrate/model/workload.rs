//! Everything that makes pods: built-in kinds, and the custom resources whose templates are known.

use std::sync::Arc;

use super::{LABEL, Reference, Text, USE_LABEL};
use crate::migrate::object::{Object, template_path_of};
use crate::migrate::yaml::{Mark, Node};

/// Controllers of Flux: their ServiceAccounts are named like their Deployments, which are often only patched.
const FLUX: [&str; 6] = [
    "source-controller",
    "kustomize-controller",
    "helm-controller",
    "notification-controller",
    "image-reflector-controller",
    "image-automation-controller",
];

/// Something that makes pods.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which.
    pub at: Reference,
    /// Group and version.
    pub api_version: String,
    /// The label of its pods.
    pub label: Option<Text>,
    /// Whether its pods already carry the label of workload identity.
    pub uses_workload_identity: bool,
    /// ServiceAccount of its pods, where it names one.
    pub service_account: Option<Text>,
    /// Labels of its pods.
    pub labels: Vec<(String, String)>,
    /// Where its selector holds the label: it cannot be changed.
    pub in_selector: Option<Mark>,
    /// Where the label stands without effect: on the object itself, or as an annotation.
    pub on_object: Option<Mark>,
    /// The same, as an annotation.
    pub as_annotation: Option<Mark>,
    /// Whether it is a part of an object only.
    pub is_patch: bool,
    /// The pod.
    pub pod: Option<Arc<Node>>,
    /// SecretProviderClasses that it mounts.
    pub classes: Vec<String>,
    /// The chart that makes it, if it is a release of one. Its pod is then the values, and its ServiceAccount is named by
    /// the chart.
    pub chart: Option<&'static str>,
}

/// Where metadata and spec of the pods of an object stand.
pub fn pod_paths(group: &str, kind: &str) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
    if let Some(path) = template_path_of(group, kind) {
        let of = |last| [path, &[last]].concat();
        return Some((of("metadata"), of("spec")));
    }
    let monitoring = ["Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler"];
    let known = group == "monitoring.coreos.com" && monitoring.contains(&kind);
    known.then(|| (vec!["spec", "podMetadata"], vec!["spec"]))
}

/// Whether an object is a workload whose pods carry the label.
pub fn is_labelled(object: &Object) -> bool {
    pod_paths(object.group(), &object.kind).is_some_and(|(mut path, _)| {
        path.extend(["labels", LABEL]);
        object.node.at(&path).is_some()
    })
}

impl Workload {
    pub(super) fn of(object: &Object, at: Reference) -> Option<Self> {
        let (metadata, spec) = pod_paths(object.group(), &object.kind)?;
        let node = &object.node;
        let key = |path: &[&str], field: &str| {
            let path = [path, &[field]].concat();
            node.at(&path)
                .and_then(|map| map.entry(LABEL))
                .map(|(key, _)| key.mark)
        };
        let pod = node.at(&spec).cloned();
        let labels = node.at(&[&metadata[..], &["labels"]].concat());
        let own = metadata == ["metadata"];
        let named = pod.as_ref().and_then(|pod| {
            let found = pod
                .get("serviceAccountName")
                .or_else(|| pod.get("serviceAccount"));
            found
                .and_then(|node| Text::of(node))
                .filter(|name| !name.text.is_empty())
        });
        let is_patch = is_patch(object, pod.as_deref());
        let flux = is_patch && named.is_none() && FLUX.contains(&at.name.as_str());
        let like_its_deployment = flux.then(|| Text {
            text: at.name.clone(),
            mark: at.mark,
        });
        Some(Self {
            api_version: object.api_version.clone(),
            label: labels
                .and_then(|l| l.get(LABEL))
                .and_then(|l| Text::of(l))
                .filter(|l| !l.text.is_empty()),
            uses_workload_identity: labels.is_some_and(|l| l.text_at(&[USE_LABEL]) == Some("true")),
            service_account: named.or(like_its_deployment),
            labels: labels
                .map_or(&[][..], |l| l.entries())
                .iter()
                .filter_map(pair)
                .collect(),
            in_selector: key(&["spec", "selector"], "matchLabels"),
            on_object: key(&["metadata"], "labels").filter(|_| !own),
            as_annotation: key(&["metadata"], "annotations").or_else(|| key(&metadata, "annotations")),
            is_patch,
            classes: pod.as_deref().map(classes).unwrap_or_default(),
            pod,
            at,
            chart: None,
        })
    }

    /// Whether its pods cannot be changed, so that it is to be deleted and made anew.
    pub fn is_immutable(&self) -> bool {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        matches!((group, self.at.kind.as_str()), ("", "Pod") | ("batch", "Job"))
    }

    /// The ServiceAccount of its pods.
    pub fn account(&self) -> &str {
        self.service_account
            .as_ref()
            .map_or("default", |account| &account.text)
    }
}

fn pair((key, value): &(Arc<Node>, Arc<Node>)) -> Option<(String, String)> {
    Some((key.as_text()?.to_owned(), value.as_text()?.to_owned()))
}

/// A Deployment without a selector, or with a container without an image, is part of one: a patch.
fn is_patch(object: &Object, pod: Option<&Node>) -> bool {
    let apps = object.group() == "apps"
        && ["Deployment", "StatefulSet", "DaemonSet"].contains(&object.kind.as_str());
    let containers = pod.and_then(|pod| pod.get("containers"));
    let missing_image = containers.is_some_and(|list| list.items().iter().any(|c| c.get("image").is_none()));
    apps && (object.node.at(&["spec", "selector"]).is_none() || missing_image)
}

/// Names of the SecretProviderClasses among the volumes of a pod.
fn classes(pod: &Node) -> Vec<String> {
    let volumes = pod.get("volumes").map_or(&[][..], |list| list.items());
    let class = |volume: &Arc<Node>| {
        let csi = volume.get("csi")?;
        csi.text_at(&["driver"])
            .filter(|driver| *driver == "secrets-store.csi.k8s.io")?;
        Some(
            csi.text_at(&["volumeAttributes", "secretProviderClass"])?
                .to_owned(),
        )
    };
    volumes.iter().filter_map(class).collect()
}
