//! Kubernetes objects among documents. Pure.

use std::sync::Arc;

use super::yaml::{Mark, Node, Value};

/// The label of pod identity, on pods.
pub const LABEL: &str = "aadpodidbinding";

/// The label that takes its place.
pub const USE_LABEL: &str = "azure.workload.identity/use";

/// Kinds without a namespace, of those that stand beside workloads.
pub const CLUSTER_SCOPED: [&str; 14] = [
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "PersistentVolume",
    "StorageClass",
    "PriorityClass",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "IngressClass",
    "CSIDriver",
    "ClusterIssuer",
    "PodSecurityPolicy",
];

/// A Kubernetes object as it is written.
#[derive(Clone, Debug)]
pub struct Object {
    /// The whole of it.
    pub node: Arc<Node>,
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name; empty with `generateName`.
    pub name: String,
    /// Namespace, where it names one.
    pub namespace: Option<String>,
}

impl Object {
    /// The object that a document is: it has `apiVersion` and `kind`.
    pub fn of(node: &Arc<Node>) -> Option<Self> {
        let metadata = |key| node.text_at(&["metadata", key]);
        Some(Self {
            api_version: node.text_at(&["apiVersion"])?.to_owned(),
            kind: node.text_at(&["kind"])?.to_owned(),
            name: metadata("name")
                .or_else(|| metadata("generateName"))
                .unwrap_or_default()
                .to_owned(),
            namespace: metadata("namespace").filter(|n| !n.is_empty()).map(str::to_owned),
            node: node.clone(),
        })
    }

    /// The objects of a document: itself, or the items if it is a list of a kind.
    pub fn all_of(node: &Arc<Node>) -> Vec<Self> {
        let Some(object) = Self::of(node) else {
            return Vec::new();
        };
        match node.get("items") {
            Some(items) if object.kind.ends_with("List") && matches!(items.value, Value::List(_)) => {
                items.items().iter().flat_map(Self::all_of).collect()
            }
            _ => vec![object],
        }
    }

    /// Group, without the version; empty for the core.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Version, without the group.
    pub fn version(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or(&self.api_version, |(_, version)| version)
    }

    /// Whether it is of this group and kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group() == group && self.kind == kind
    }

    /// Where it stands.
    pub fn mark(&self) -> Mark {
        // The mapping of an item begins at its first key, a document maybe at a comment.
        self.node
            .entries()
            .first()
            .map_or(self.node.mark, |(key, _)| key.mark)
    }

    /// The same object with another content.
    #[must_use]
    pub fn with(&self, node: Arc<Node>) -> Self {
        Self::of(&node).unwrap_or_else(|| Self { node, ..self.clone() })
    }
}

/// Where the pod template of a kind is, as a path to what has `metadata` and `spec`. Empty stands for the object.
pub fn template_path(object: &Object) -> Option<&'static [&'static str]> {
    template_path_of(object.group(), &object.kind)
}

/// The same for a group and a kind.
pub fn template_path_of(group: &str, kind: &str) -> Option<&'static [&'static str]> {
    const TEMPLATE: &[&str] = &["spec", "template"];
    match (group, kind) {
        ("", "Pod") => Some(&[]),
        ("batch", "CronJob") => Some(&["spec", "jobTemplate", "spec", "template"]),
        ("keda.sh", "ScaledJob") => Some(&["spec", "jobTargetRef", "template"]),
        ("", "ReplicationController" | "PodTemplate")
        | ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job")
        | ("argoproj.io", "Rollout")
        | ("apps.kruise.io", "CloneSet" | "StatefulSet" | "DaemonSet")
        | ("serving.knative.dev", "Service") => Some(TEMPLATE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::yaml::parse;

    #[test]
    fn lists_within_lists_are_opened() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n\
                    - {apiVersion: v1, kind: PodList, items: [{apiVersion: v1, kind: Pod, metadata: {name: b}}]}\n";
        let node = parse(0, text).remove(0).content.unwrap().unwrap();
        let names: Vec<_> = Object::all_of(&node)
            .into_iter()
            .map(|o| (o.name.clone(), o.mark().line))
            .collect();
        assert_eq!(names, [("a".to_owned(), 4), ("b".to_owned(), 7)]);
    }
}
