//! Reads a cluster into files, which everything else of `wib migrate` understands already.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use super::client::{Error, Kubernetes, title};
use super::kinds::{KINDS, Kind, Role, speaks_for_its_pods};
use super::object::{Template, file, is_finished, manifest, path};
use crate::migrate::finding::{Code, Finding, Place};
use crate::migrate::model::LABEL;
use crate::migrate::source::{CLUSTER, File};

/// Which namespaces a run is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    /// The namespace, unless it is all.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Namespace(name) => Some(name),
        }
    }

    /// Whether something is within it.
    pub fn holds(&self, namespace: &str) -> bool {
        self.namespace().is_none_or(|own| own == namespace)
    }
}

/// Pods, or what makes pods, that have to do with pod identity or workload identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `Deployment shop/web`.
    pub title: String,
    pub namespace: String,
    /// Value of pod identity's label.
    pub label: Option<String>,
    /// Whether the webhook is asked for.
    pub uses: bool,
    pub account: String,
}

/// What a cluster holds.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub files: Vec<File>,
    pub findings: Vec<Finding>,
    pub users: Vec<User>,
    /// Bindings and identities of pod identity.
    pub pod_identity: Vec<DynamicObject>,
    /// Labels of pods whose owners are of kinds that are not read.
    strange: BTreeMap<(String, String, String, String), String>,
}

/// Reads what a scope needs. `progress` is told of each kind.
///
/// # Errors
/// If the API server fails. A right that is missing is a finding.
pub async fn read(
    kubernetes: &Kubernetes,
    scope: &Scope,
    progress: &mut (dyn FnMut(u64, &str) + Send),
) -> Result<Snapshot, Error> {
    let mut snapshot = Snapshot::default();
    let kinds: Vec<&Kind> = KINDS
        .iter()
        .filter(|k| k.role != Role::Named && kubernetes.resource(k.group, k.kind).is_some())
        .collect();
    for kind in &kinds {
        progress(kinds.len() as u64, kind.kind);
        let objects = snapshot.list(kubernetes, kind, scope).await?;
        for object in objects {
            snapshot.take(kind, &object);
        }
    }
    if *scope != Scope::All {
        snapshot.installation(kubernetes).await?;
    }
    snapshot.strangers();
    Ok(snapshot)
}

impl Snapshot {
    /// The manifest at a path; null if there is none.
    pub fn manifest(&self, path: &str) -> Value {
        let file = self.files.iter().find(|file| file.path == path);
        let content = file.and_then(|file| file.content.as_ref().ok());
        content
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default()
    }

    async fn list(
        &mut self,
        kubernetes: &Kubernetes,
        kind: &Kind,
        scope: &Scope,
    ) -> Result<Vec<DynamicObject>, Error> {
        let everything = ListParams::default();
        let wide = kind.role == Role::PodIdentity;
        let own = scope.namespace();
        let namespace = own.filter(|_| !wide);
        let mut answer = kubernetes
            .list(kind.group, kind.kind, namespace, &everything)
            .await;
        if let (true, Some(own), Err(error)) = (wide, own, &answer)
            && error.is_forbidden()
        {
            let action = "If pod identity does not run in namespaced mode, bindings of other namespaces may give these \
                          pods more identities: run it with the right to list them.";
            let reason = format!("Only those of namespace {own} were read: {error}.");
            self.find(Code::OtherNamespaces, kind.kind, own, reason, action);
            answer = kubernetes
                .list(kind.group, kind.kind, Some(own), &everything)
                .await;
        }
        match answer {
            Err(error) if error.is_forbidden() && own.is_some() && kind.kind.starts_with("Cluster") => {
                let action = "Look at these yourself, or run it with the right to list them.";
                self.find(Code::OtherNamespaces, kind.kind, "", sentence(&error), action);
                Ok(Vec::new())
            }
            Err(error) if error.is_forbidden() => {
                let own = own.unwrap_or_default();
                let action =
                    "Nothing can be applied without it: docs/migrate.md lists the rights that are needed.";
                self.find(Code::ClusterForbidden, kind.kind, own, sentence(&error), action);
                Ok(Vec::new())
            }
            other => other,
        }
    }

    fn find(&mut self, code: Code, kind: &str, namespace: &str, reason: String, action: &str) {
        let place = Place {
            file: format!("{CLUSTER}{namespace}/{kind}"),
            ..Place::default()
        };
        self.findings.push(Finding::new(code, place, reason, action));
    }

    fn take(&mut self, kind: &Kind, object: &DynamicObject) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let namespace = object.metadata.namespace.clone();
        let value = json!(object);
        if is_finished(kind.kind, &value) {
            return;
        }
        if kind.kind == "AzureAssignedIdentity" {
            return self.assigned(&title(kind.kind, namespace.as_deref(), &name));
        }
        let owner = controller(object);
        if let Some(template) = Template::of(kind.group, kind.kind) {
            let pods = template.read(&value);
            if pods.label.is_some() || pods.uses.is_some() {
                self.users.push(User {
                    title: title(kind.kind, namespace.as_deref(), &name),
                    namespace: namespace.clone().unwrap_or_default(),
                    label: pods.label.clone(),
                    uses: pods.uses.as_deref() == Some("true"),
                    account: pods.account.clone().unwrap_or_else(|| "default".to_owned()),
                });
                // What a Deployment has kept for going back runs nothing.
                if kind.kind == "ReplicaSet" && owner.is_some() && value["spec"]["replicas"] == 0 {
                    self.users.pop();
                }
            }
            if let Some((api_version, owner_kind, owner_name)) = owner {
                let group = api_version.split_once('/').map_or("", |(group, _)| group);
                let known = speaks_for_its_pods(group, &owner_kind);
                if let Some(label) = pods.label.filter(|_| !known) {
                    let key = (namespace.unwrap_or_default(), api_version, owner_kind, owner_name);
                    self.strange.insert(key, label);
                }
                return;
            }
        }
        if kind.role == Role::PodIdentity {
            self.pod_identity.push(object.clone());
        }
        let path = path(kind.group, kind.kind, namespace.as_deref(), &name);
        self.files.push(file(path, &manifest(object)));
    }

    /// MIC writes one for each pod and identity: one is enough to say that there are some.
    fn assigned(&mut self, title: &str) {
        if self.findings.iter().any(|f| f.code == Code::AssignedIdentity) {
            return;
        }
        let action = "They must be gone before MIC is removed, or their finalizers hold up everything.";
        let reason = format!("MIC has assigned identities to pods, {title} among them.");
        self.find(
            Code::AssignedIdentity,
            "AzureAssignedIdentity",
            "",
            reason,
            action,
        );
    }

    /// MIC and NMI of any namespace: they tell whether identities serve pods of their own namespace only.
    async fn installation(&mut self, kubernetes: &Kubernetes) -> Result<(), Error> {
        for kind in KINDS
            .iter()
            .filter(|k| ["Deployment", "DaemonSet"].contains(&k.kind) && k.group == "apps")
        {
            for select in [
                ListParams::default().labels("app.kubernetes.io/name=aad-pod-identity"),
                ListParams::default().labels("component in (mic,nmi)"),
                ListParams::default().fields("metadata.name=mic"),
                ListParams::default().fields("metadata.name=nmi"),
            ] {
                match kubernetes.list(kind.group, kind.kind, None, &select).await {
                    Ok(found) => found.into_iter().for_each(|object| self.take(kind, &object)),
                    Err(error) if error.is_forbidden() => {
                        let action = "Say --namespaced if identities serve pods of their own namespace only.";
                        let reason = format!("MIC and NMI were not looked at: {error}.");
                        self.find(Code::OtherNamespaces, kind.kind, "", reason, action);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Owners of labelled pods that are of kinds which nobody here knows: what is known of them are their pods.
    fn strangers(&mut self) {
        for ((namespace, api_version, kind, name), label) in std::mem::take(&mut self.strange) {
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            let path = path(group, &kind, Some(&namespace), &name);
            let value = json!({
                "apiVersion": api_version, "kind": kind,
                "metadata": { "namespace": namespace, "name": name },
                "pods": { "metadata": { "labels": { LABEL: label } } },
            });
            self.files.push(file(path, &value));
        }
    }
}

/// The controller of an object: version, kind and name.
fn controller(object: &DynamicObject) -> Option<(String, String, String)> {
    let owners = object.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    Some((owner.api_version.clone(), owner.kind.clone(), owner.name.clone()))
}

/// An error as a sentence of its own.
pub fn sentence(error: &Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    first.map_or_else(String::new, |first| {
        format!("{}{}.", first.collect::<String>(), chars.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(kind: &str, value: Value) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let kind = KINDS.iter().find(|k| k.kind == kind).unwrap();
        snapshot.take(kind, &serde_json::from_value(value).unwrap());
        snapshot.strangers();
        snapshot
    }

    fn pod(owner: &Value, phase: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": "shop", "name": "web-1", "uid": "1", "labels": { LABEL: "web" },
                "ownerReferences": owner, "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "x" },
            },
            "status": { "phase": phase },
        })
    }

    fn owner(api_version: &str, kind: &str) -> Value {
        json!([{ "apiVersion": api_version, "kind": kind, "name": "web", "uid": "1", "controller": true }])
    }

    fn paths(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn pods_are_read_unless_what_makes_them_is() {
        let bare = taken("Pod", pod(&json!([]), "Running"));
        assert_eq!(paths(&bare), ["cluster://shop/Pod/web-1"]);
        let text = String::from_utf8(bare.files[0].content.clone().unwrap()).unwrap();
        assert!(
            !text.contains("last-applied") && !text.contains("uid") && !text.contains("status"),
            "{text}"
        );
        assert_eq!(
            paths(&taken("Pod", pod(&owner("apps/v1", "ReplicaSet"), "Running"))),
            [""; 0]
        );
        assert_eq!(paths(&taken("Pod", pod(&json!([]), "Succeeded"))), [""; 0]);
    }

    #[test]
    fn an_owner_that_nobody_knows_stands_for_its_pods() {
        let snapshot = taken("Pod", pod(&owner("example.com/v1", "Cluster"), "Running"));
        assert_eq!(paths(&snapshot), ["cluster://shop/Cluster.example.com/web"]);
        assert_eq!(snapshot.users.len(), 1);
    }

    #[test]
    fn what_a_deployment_keeps_for_going_back_uses_nothing() {
        let replica_set = |replicas: u32| {
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": { "namespace": "shop", "name": "web-1", "ownerReferences": owner("apps/v1", "Deployment") },
                "spec": { "replicas": replicas, "template": { "metadata": { "labels": { LABEL: "web" } } } },
            })
        };
        assert_eq!(taken("ReplicaSet", replica_set(0)).users.len(), 0);
        assert_eq!(taken("ReplicaSet", replica_set(1)).users.len(), 1);
    }
}
