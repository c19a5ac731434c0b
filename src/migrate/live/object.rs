//! Live objects: as files, as workloads, and who keeps them. Pure.

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::migrate::model::{LABEL, USE_LABEL, pod_paths};
use crate::migrate::plan::Switch;
use crate::migrate::source::{CLUSTER, File};

/// Annotations that tell about an object, not of it.
const NOISE: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
];

/// What the API server writes into the metadata of an object.
const SERVER_SET: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// The object as somebody would create it anew.
pub fn recreatable(object: &DynamicObject) -> Value {
    let mut value = json!(object);
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.retain(|key, _| !SERVER_SET.contains(&key.as_str()));
    }
    value
}

/// The same as a manifest: without status, owners and what tools noted.
pub fn manifest(object: &DynamicObject) -> Value {
    let mut value = recreatable(object);
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !NOISE.contains(&key.as_str()));
        }
    }
    value
}

/// The path that stands for an object.
pub fn path(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> String {
    let group = if group.contains('.') {
        format!(".{group}")
    } else {
        String::new()
    };
    format!("{CLUSTER}{}/{kind}{group}/{name}", namespace.unwrap_or_default())
}

/// A manifest as a file. JSON is YAML, and has no styles to choose.
pub fn file(path: String, manifest: &Value) -> File {
    File {
        path,
        asked: true,
        content: Ok(manifest.to_string().into_bytes()),
    }
}

/// Where the pods of an object are described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// JSON pointer to what has `labels`.
    pub metadata: String,
    /// JSON pointer to what has `serviceAccountName`.
    pub spec: String,
}

impl Template {
    /// That of a kind.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        let (metadata, spec) = pod_paths(group, kind)?;
        let pointer = |keys: Vec<&str>| ["/", &keys.join("/")].concat();
        Some(Self {
            metadata: pointer(metadata),
            spec: pointer(spec),
        })
    }

    /// The pods of an object as they are.
    pub fn read(&self, object: &Value) -> Pods {
        let labels = object.pointer(&format!("{}/labels", self.metadata));
        let label = |key: &str| Some(labels?.get(key)?.as_str()?.to_owned());
        let spec = object.pointer(&self.spec);
        let account = |key: &str| Some(spec?.get(key)?.as_str()?.to_owned());
        Pods {
            label: label(LABEL).filter(|label| !label.is_empty()),
            uses: label(USE_LABEL),
            account: account("serviceAccountName")
                .or_else(|| account("serviceAccount"))
                .filter(|account| !account.is_empty()),
        }
    }

    /// The merge patch that leads from some pods to others. Nothing if they are the same.
    pub fn patch(&self, from: &Pods, to: &Pods) -> Option<Value> {
        let mut labels = Map::new();
        for (key, from, to) in [(LABEL, &from.label, &to.label), (USE_LABEL, &from.uses, &to.uses)] {
            if from != to {
                labels.insert(key.to_owned(), json!(to));
            }
        }
        let mut patch = json!({});
        if !labels.is_empty() {
            set(
                &mut patch,
                &format!("{}/labels", self.metadata),
                Value::Object(labels),
            );
        }
        if from.account != to.account {
            // The old name of the field is an alias, which the API server fills in and would fall back to.
            for key in ["serviceAccountName", "serviceAccount"] {
                let alias = key == "serviceAccount" && !self.has_alias();
                if !alias {
                    set(&mut patch, &format!("{}/{key}", self.spec), json!(to.account));
                }
            }
        }
        patch
            .as_object()
            .is_some_and(|map| !map.is_empty())
            .then_some(patch)
    }

    /// Whether the spec is that of a pod, with an alias for the ServiceAccount.
    fn has_alias(&self) -> bool {
        self.metadata.ends_with("/metadata")
    }
}

/// Puts a value at a pointer, making the mappings on the way.
fn set(into: &mut Value, pointer: &str, value: Value) {
    let mut at = into;
    for key in pointer.split('/').filter(|key| !key.is_empty()) {
        at = &mut at[key];
    }
    *at = value;
}

/// Merges a patch into a value, as RFC 7396 has it.
pub fn merge(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        return value.clone_from(patch);
    };
    if !value.is_object() {
        *value = json!({});
    }
    let Some(map) = value.as_object_mut() else { return };
    for (key, part) in patch {
        if part.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), part);
        }
    }
}

/// What the migration changes of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Label of pod identity.
    pub label: Option<String>,
    /// Label of workload identity.
    pub uses: Option<String>,
    /// ServiceAccount, where one is named.
    pub account: Option<String>,
}

impl Pods {
    /// What a switch makes of them. The old label stays where a selector holds it.
    pub fn switched(&self, switch: &Switch) -> Self {
        let held = switch.workload.in_selector.is_some();
        Self {
            label: self.label.clone().filter(|_| held),
            uses: Some("true".to_owned()),
            account: Some(switch.account.clone()),
        }
    }
}

/// Whether it is over for an object, so that its pods run no more.
pub fn is_finished(kind: &str, object: &Value) -> bool {
    match kind {
        "Pod" => ["Succeeded", "Failed"].contains(&object["status"]["phase"].as_str().unwrap_or_default()),
        "Job" => object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["status"] == "True" && (c["type"] == "Complete" || c["type"] == "Failed")),
        _ => false,
    }
}

/// Who keeps an object, so that a change would be undone: Helm, Flux or Argo CD.
pub fn keeper(object: &DynamicObject) -> Option<String> {
    let empty = std::collections::BTreeMap::new();
    let labels = object.metadata.labels.as_ref().unwrap_or(&empty);
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&empty);
    let either = |key: &str| labels.get(key).or_else(|| annotations.get(key));
    if let Some(name) = either("helm.toolkit.fluxcd.io/name") {
        return Some(format!("the HelmRelease {name} of Flux"));
    }
    if let Some(name) = either("kustomize.toolkit.fluxcd.io/name") {
        return Some(format!("the Kustomization {name} of Flux"));
    }
    let argo = |key: &&String| key.starts_with("argocd.argoproj.io/");
    if labels.keys().chain(annotations.keys()).any(|key| argo(&key)) {
        return Some("Argo CD".to_owned());
    }
    if let Some(name) = annotations.get("meta.helm.sh/release-name") {
        return Some(format!("the release {name} of Helm"));
    }
    (labels.get("app.kubernetes.io/managed-by").map(String::as_str) == Some("Helm"))
        .then(|| "a release of Helm".to_owned())
}

/// Whether all that is wanted is there already, whatever else is.
pub fn contains(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| there.get(key).is_some_and(|there| contains(there, wanted))),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(a, b)| contains(a, b))
        }
        _ => there == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn pods(label: Option<&str>, uses: Option<&str>, account: Option<&str>) -> Pods {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Pods {
            label: owned(label),
            uses: owned(uses),
            account: owned(account),
        }
    }

    #[test]
    fn a_patch_says_only_what_changes_and_leads_back() {
        let template = Template::of("batch", "CronJob").unwrap();
        let (before, after) = (
            pods(Some("web"), None, None),
            pods(None, Some("true"), Some("web")),
        );
        let at = |pod: Value| json!({ "spec": { "jobTemplate": { "spec": { "template": pod } } } });
        let labels = json!({ "aadpodidbinding": null, "azure.workload.identity/use": "true" });
        let spec = json!({ "serviceAccountName": "web", "serviceAccount": "web" });
        assert_eq!(
            template.patch(&before, &after),
            Some(at(json!({ "metadata": { "labels": labels }, "spec": spec })))
        );
        let labels = json!({ "aadpodidbinding": "web", "azure.workload.identity/use": null });
        let spec = json!({ "serviceAccountName": null, "serviceAccount": null });
        assert_eq!(
            template.patch(&after, &before),
            Some(at(json!({ "metadata": { "labels": labels }, "spec": spec })))
        );
        assert_eq!(template.patch(&after, &after), None);
    }

    #[test]
    fn pods_of_operators_have_no_alias() {
        let template = Template::of("monitoring.coreos.com", "Prometheus").unwrap();
        let patch = template.patch(&pods(None, None, None), &pods(None, None, Some("a")));
        assert_eq!(patch, Some(json!({ "spec": { "serviceAccountName": "a" } })));
    }

    #[test]
    fn who_would_undo_a_change_is_named() {
        let with =
            |metadata: Value| object(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata }));
        for (metadata, keeper_of_it) in [
            (json!({}), None),
            (
                json!({ "labels": { "app.kubernetes.io/managed-by": "kustomize" } }),
                None,
            ),
            (
                json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } }),
                Some("a release of Helm"),
            ),
            (
                json!({ "annotations": { "meta.helm.sh/release-name": "shop" } }),
                Some("the release shop of Helm"),
            ),
            (
                json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "apps" } }),
                Some("the Kustomization apps of Flux"),
            ),
            (
                json!({
                    "labels": { "helm.toolkit.fluxcd.io/name": "shop", "app.kubernetes.io/managed-by": "Helm" },
                    "annotations": { "meta.helm.sh/release-name": "shop" },
                }),
                Some("the HelmRelease shop of Flux"),
            ),
            (
                json!({ "annotations": { "argocd.argoproj.io/tracking-id": "shop:x" } }),
                Some("Argo CD"),
            ),
        ] {
            assert_eq!(
                keeper(&with(metadata.clone())).as_deref(),
                keeper_of_it,
                "{metadata}"
            );
        }
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        let wanted = json!({ "rules": [{ "verbs": ["use"] }] });
        assert!(contains(
            &json!({ "metadata": { "uid": "1" }, "rules": [{ "verbs": ["use"], "x": 1 }] }),
            &wanted
        ));
        assert!(!contains(
            &json!({ "rules": [{ "verbs": ["use", "get"] }] }),
            &wanted
        ));
        assert!(!contains(&json!({ "rules": [] }), &wanted));
    }
}
