//! Overlays: the ids of an environment, and what else differs in it.

use serde_json::{Value, json};

use super::Maker;
use super::app::{App, Work, resource_id};
use super::objects::{LABEL, api_version, labels_path, metadata, nested};
use super::style::Form;

/// Fields of a kustomization that hold patches.
#[derive(Default)]
struct Patches {
    patches: Vec<Value>,
    strategic: Vec<Value>,
    json: Vec<Value>,
}

impl Maker {
    /// Writes the overlay of an app, and gives the ids that its identities have there.
    pub(super) fn overlay(&mut self, app: &App, environment: &str, folder: &str) -> Vec<String> {
        let mut patches = Patches::default();
        let ids = self.ids(app, environment, folder, &mut patches);
        for work in &app.works {
            if work.late_label {
                self.late_label(work, folder, &mut patches);
            }
            if work.kind == "Deployment" && self.chance(40) {
                let replicas = self.rng.u8(1..9);
                let patch = json!({
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(&work.name, None),
                    "spec": { "replicas": replicas },
                });
                let file = self.put(folder, &format!("replicas-{}", work.name), Form::Patch, &[patch]);
                patches.patches.push(json!({ "path": file }));
            }
        }
        let mut kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "namespace": app.namespace, "resources": ["../../base"],
        });
        if let Some(prefix) = &app.prefix {
            kustomization["namePrefix"] = json!(prefix);
        }
        if self.chance(20) {
            kustomization["components"] = json!(["../../../labels"]);
        }
        let Patches {
            patches,
            strategic,
            json,
        } = patches;
        for (key, list) in [
            ("patches", patches),
            ("patchesStrategicMerge", strategic),
            ("patchesJson6902", json),
        ] {
            if !list.is_empty() {
                kustomization[key] = Value::Array(list);
            }
        }
        self.put(folder, "kustomization", Form::Settings, &[kustomization]);
        ids
    }

    /// Gives the identities of an app the ids of an environment, in one of the many ways to do it.
    fn ids(&mut self, app: &App, environment: &str, folder: &str, patches: &mut Patches) -> Vec<String> {
        if app.prefix.is_some() {
            let (identities, bindings) = self.identities(app, environment, Some(&app.namespace));
            let folder = format!("{}/identities/{environment}", app.folder);
            let ids = identities.iter().map(resource_id_of).collect();
            let file = self.put(
                &folder,
                "identities",
                Form::Manifests,
                &[identities, bindings].concat(),
            );
            self.put(
                &folder,
                "kustomization",
                Form::Settings,
                &[json!({ "resources": [file] })],
            );
            return ids;
        }
        let way = self.rng.u8(..7);
        let mut ids = Vec::new();
        for (number, (name, _)) in app.identities.iter().enumerate() {
            // Without a patch the id is that of the base.
            let (id, client) = if way == 0 {
                (resource_id(&mut self.rng, "base", name), String::new())
            } else {
                (resource_id(&mut self.rng, environment, name), self.client_id())
            };
            let part = json!({
                "apiVersion": "aadpodidentity.k8s.io/v1", "kind": "AzureIdentity", "metadata": metadata(name, None),
                "spec": { "resourceID": id, "clientID": client },
            });
            let operations = json!([
                { "op": "replace", "path": "/spec/resourceID", "value": id },
                { "op": "replace", "path": "/spec/clientID", "value": client },
            ]);
            let target = json!({ "kind": "AzureIdentity", "name": name });
            let full_target = json!({
                "group": "aadpodidentity.k8s.io", "version": "v1", "kind": "AzureIdentity", "name": name,
            });
            let stem = format!("identity-{number}");
            match way {
                0 => {}
                1 => {
                    let file = self.put(folder, &stem, Form::Patch, &[part]);
                    patches.patches.push(json!({ "path": file }));
                }
                2 => patches
                    .strategic
                    .push(json!(self.put(folder, &stem, Form::Patch, &[part]))),
                3 => patches.patches.push(json!({ "patch": yaml(&part) })),
                4 => {
                    let file = self.put(folder, &stem, Form::Patch, &[operations]);
                    patches.patches.push(json!({ "path": file, "target": target }));
                }
                5 => patches
                    .patches
                    .push(json!({ "patch": yaml(&operations).trim_end(), "target": target })),
                _ => patches
                    .json
                    .push(json!({ "patch": yaml(&operations), "target": full_target })),
            }
            ids.push(id);
        }
        ids
    }

    /// Sets the label of a workload whose base has none.
    fn late_label(&mut self, work: &Work, folder: &str, patches: &mut Patches) {
        let mut part = nested(labels_path(work.kind), json!({ LABEL: work.label }));
        part["apiVersion"] = json!(api_version(work.kind));
        part["kind"] = json!(work.kind);
        part["metadata"] = metadata(&work.name, None);
        match self.rng.u8(..3) {
            0 => {
                let file = self.put(folder, &format!("label-{}", work.name), Form::Patch, &[part]);
                patches.strategic.push(json!(file));
            }
            1 => patches.patches.push(json!({ "patch": yaml(&part) })),
            _ => {
                let path = format!("/{}/{LABEL}", labels_path(work.kind).join("/"));
                let operations = json!([{ "op": "add", "path": path, "value": work.label }]);
                let target = json!({ "kind": work.kind, "name": work.name });
                patches
                    .patches
                    .push(json!({ "patch": yaml(&operations).trim_end(), "target": target }));
            }
        }
    }
}

fn resource_id_of(identity: &Value) -> String {
    identity["spec"]["resourceID"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}
