//! The objects of apps, as values.

use serde_json::{Value, json};

/// API group of aad-pod-identity.
const POD_IDENTITY: &str = "aadpodidentity.k8s.io/v1";

/// The label of aad-pod-identity.
pub const LABEL: &str = "aadpodidbinding";

/// Name and, outside of bases, namespace of an object.
pub fn metadata(name: &str, namespace: Option<&str>) -> Value {
    match namespace {
        Some(namespace) => json!({ "name": name, "namespace": namespace }),
        None => json!({ "name": name }),
    }
}

pub fn identity(name: &str, namespace: Option<&str>, resource_id: &str, client_id: &str) -> Value {
    json!({
        "apiVersion": POD_IDENTITY, "kind": "AzureIdentity", "metadata": metadata(name, namespace),
        "spec": { "type": 0, "resourceID": resource_id, "clientID": client_id },
    })
}

pub fn binding(name: &str, namespace: Option<&str>, identity: &str, selector: &str) -> Value {
    json!({
        "apiVersion": POD_IDENTITY, "kind": "AzureIdentityBinding", "metadata": metadata(name, namespace),
        "spec": { "azureIdentity": identity, "selector": selector },
    })
}

pub fn service_account(name: &str, namespace: Option<&str>) -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, namespace) })
}

/// A workload whose pods have these labels.
pub fn workload(
    kind: &str,
    metadata: Value,
    account: Option<&str>,
    labels: &Value,
    selector: &Value,
) -> Value {
    let name = metadata["name"].clone();
    let mut metadata = metadata;
    metadata["labels"] = json!({ "app": name });
    let mut pod = json!({
        "containers": [{
            "name": "main", "image": format!("registry.example.com/{}:1.2.3", name.as_str().unwrap_or_default()),
            "args": ["--listen", ":8080"],
            "env": [{ "name": "LOG_LEVEL", "value": "info" }, { "name": "DEBUG", "value": "false" }],
        }],
    });
    if let Some(account) = account {
        pod["serviceAccountName"] = json!(account);
    }
    let template = json!({ "metadata": { "labels": labels }, "spec": pod });
    let object = |version: &str, spec: Value| json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec });
    match kind {
        "CronJob" => {
            let mut template = template;
            template["spec"]["restartPolicy"] = json!("Never");
            let spec =
                json!({ "schedule": "0 * * * *", "jobTemplate": { "spec": { "template": template } } });
            object("batch/v1", spec)
        }
        "Job" => {
            let mut template = template;
            template["spec"]["restartPolicy"] = json!("Never");
            object("batch/v1", json!({ "template": template }))
        }
        _ => {
            let mut spec = json!({ "selector": { "matchLabels": selector }, "template": template });
            if kind == "StatefulSet" {
                spec["serviceName"] = name;
            }
            object("apps/v1", spec)
        }
    }
}

/// Where the labels of the pods of a kind are.
pub fn labels_path(kind: &str) -> &'static [&'static str] {
    if kind == "CronJob" {
        &["spec", "jobTemplate", "spec", "template", "metadata", "labels"]
    } else {
        &["spec", "template", "metadata", "labels"]
    }
}

/// Group and version of a kind of workload.
pub fn api_version(kind: &str) -> &'static str {
    if kind.ends_with("Job") {
        "batch/v1"
    } else {
        "apps/v1"
    }
}

/// A value at the end of a path of keys.
pub fn nested(path: &[&str], value: Value) -> Value {
    path.iter()
        .rev()
        .fold(value, |value, key| json!({ (*key): value }))
}
