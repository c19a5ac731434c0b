//! What lies beside apps that use pod identity.

use serde_json::{Value, json};

use super::app::{KINDS, resource_id};
use super::objects::{binding, identity, metadata, service_account, workload};
use super::style::Form;
use super::{Maker, Truth};

impl Maker {
    /// An app in a file that no kustomization uses.
    pub(super) fn plain(&mut self, number: usize) {
        let name = format!("plain-{number}");
        let namespace = format!("plain-{}", number % 7);
        let at = Some(namespace.as_str());
        let (id, client) = (resource_id(&mut self.rng, "shared", &name), self.client_id());
        let mut documents = vec![
            identity(&name, at, &id, &client),
            binding(&name, at, &name, &name),
        ];
        for role in 0..self.rng.usize(1..=3) {
            let kind = self.pick(&KINDS);
            let workload_name = format!("{name}-{role}");
            let account = match self.rng.u8(..3) {
                0 => None,
                1 => Some(format!("{name}-sa")),
                _ => Some(workload_name.clone()),
            };
            let labels = json!({ "app": workload_name, "aadpodidbinding": name });
            documents.push(workload(
                kind,
                metadata(&workload_name, at),
                account.as_deref(),
                &labels,
                &json!({ "app": workload_name }),
            ));
            self.made.truth.push(Truth {
                environment: None,
                namespace: namespace.clone(),
                kind: kind.to_owned(),
                workload: workload_name,
                account_before: account,
                account: String::new(),
                identities: [id.to_ascii_lowercase()].into(),
                label_in_selector: false,
            });
        }
        documents.push(service_account(&format!("{name}-sa"), at));
        self.rng.shuffle(&mut documents);
        self.put(&format!("plain/{namespace}"), &name, Form::Manifests, &documents);
    }

    /// An app that has left pod identity.
    pub(super) fn migrated(&mut self, number: usize) {
        let name = format!("migrated-{number}");
        let (id, client) = (resource_id(&mut self.rng, "shared", &name), self.client_id());
        let at = Some("migrated");
        let mut account = service_account(&name, at);
        account["metadata"]["annotations"] = json!({ "azure.workload.identity/client-id": client });
        let labels = json!({ "app": name, "azure.workload.identity/use": "true" });
        let documents = [
            account,
            workload(
                "Deployment",
                metadata(&name, at),
                Some(&name),
                &labels,
                &json!({ "app": name }),
            ),
            json!({
                "apiVersion": "workload-identity.io/v1alpha1", "kind": "WorkloadIdentityBinding",
                "metadata": metadata(&name, at),
                "spec": { "identity": { "resourceId": id }, "serviceAccount": { "name": name } },
            }),
        ];
        self.put("migrated", &name, Form::Manifests, &documents);
    }

    /// Something that has nothing to do with identities.
    pub(super) fn unrelated(&mut self, number: usize) {
        let name = format!("other-{number}");
        if self.chance(10) {
            let text =
                format!("replicas: {{{{ .Values.replicas }}}}\nname: {{{{ include \"{name}\" . }}}}\n");
            let path = format!("charts/{name}/templates/deployment.yaml");
            self.made.files.insert(path, text.into_bytes());
            return;
        }
        if self.chance(10) {
            let values = json!({
                "image": { "repository": "example/app", "tag": "1.2.3" }, "podLabels": { "app": name },
                "resources": { "limits": { "cpu": "100m", "memory": "128Mi" } },
            });
            self.put(&format!("charts/{name}"), "values", Form::Settings, &[values]);
            return;
        }
        let documents: Vec<Value> = (0..self.rng.usize(2..=7))
            .map(|part| self.other_object(&format!("{name}-{part}")))
            .collect();
        self.put("other", &name, Form::Manifests, &documents);
    }

    fn other_object(&mut self, name: &str) -> Value {
        let metadata = metadata(name, Some("other"));
        match self.rng.u8(..4) {
            0 => json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
                "data": { "app.properties": "a=b\n# c\n\nd: [e\n", "mode": "on" },
            }),
            1 => json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
            }),
            2 => json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
                "spec": { "rules": [{ "host": format!("{name}.example.com"), "http": { "paths": [{
                    "path": "/", "pathType": "Prefix",
                    "backend": { "service": { "name": name, "port": { "name": "http" } } },
                }] } }] },
            }),
            _ => workload(
                "Deployment",
                metadata,
                Some("other"),
                &json!({ "app": name }),
                &json!({ "app": name }),
            ),
        }
    }
}
