//! What was there before each change, in a ConfigMap of each namespace, written before the change is made. So every step
//! can be undone from any machine, and it is known afterwards which bindings belonged to which workload.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::client::{Error, Kubernetes, is_conflict, is_not_found, title};
use super::object::{Pods, Template};
use super::read::Scope;
use crate::migrate::plan::bounded;

/// Name of the ConfigMaps.
pub const NAME: &str = "wib-migration";

/// Most that Kubernetes takes as data of a ConfigMap.
const LIMIT: usize = 1024 * 1024;

/// Tries when somebody else writes at the same time.
pub const TRIES: usize = 8;

/// Something that was done, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// A workload is to get this ServiceAccount.
    Account(Account),
    /// An object was created.
    Created(Created),
    /// A workload was switched.
    Switched(Box<Switched>),
    /// A SecretProviderClass was switched.
    Class(SwitchedClass),
    /// An object was removed.
    Removed(Removed),
}

/// A workload is to get this ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    pub kind: String,
    pub name: String,
    pub account: String,
    /// ARM ids of its identities.
    pub resource_ids: Vec<String>,
}

/// An object was created, for a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    pub group: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    pub accounts: Vec<String>,
}

/// A workload was switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switched {
    pub group: String,
    pub kind: String,
    pub name: String,
    pub before: State,
    pub after: State,
    /// AzureIdentityBindings that gave it its identities, as `namespace/name`.
    pub bindings: Vec<String>,
    /// These AzureIdentities.
    pub identities: Vec<String>,
}

/// The pods of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aadpodidbinding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

/// A SecretProviderClass was switched, with the workloads that mount it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchedClass {
    pub name: String,
    pub before: Parameters,
    pub after: Parameters,
    /// As `Deployment shop/web`.
    pub users: Vec<String>,
}

/// What the migration changes of the parameters of a SecretProviderClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_pod_identity: Option<String>,
    #[serde(rename = "clientID", default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// An object was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    pub object: Value,
}

impl From<Pods> for State {
    fn from(pods: Pods) -> Self {
        Self {
            aadpodidbinding: pods.label,
            workload_identity: pods.uses,
            service_account_name: pods.account,
        }
    }
}

impl From<State> for Pods {
    fn from(state: State) -> Self {
        Self {
            label: state.aadpodidbinding,
            uses: state.workload_identity,
            account: state.service_account_name,
        }
    }
}

impl Switched {
    /// Where its pods are described.
    pub fn template(&self) -> Result<Template, Error> {
        Template::of(&self.group, &self.kind)
            .ok_or_else(|| Error::Other(format!("the journal names {}, which has no pods", self.kind)))
    }
}

impl Entry {
    /// The key of the entry: one for each object and kind of change.
    pub fn key(&self) -> String {
        let (what, group, kind, name) = match self {
            Self::Account(a) => ("account", "", &a.kind, &a.name),
            Self::Created(c) => ("created", c.group.as_str(), &c.kind, &c.name),
            Self::Switched(s) => ("switched", s.group.as_str(), &s.kind, &s.name),
            Self::Class(c) => return key("class", "", "", &c.name),
            Self::Removed(r) => return removed_key(&r.object),
        };
        key(what, group, kind, name)
    }
}

fn removed_key(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    key(
        "removed",
        "",
        &text(&object["kind"]),
        &text(&object["metadata"]["name"]),
    )
}

fn key(what: &str, group: &str, kind: &str, name: &str) -> String {
    let group = group.split('.').next().unwrap_or_default();
    let names: Vec<&str> = [what, group, kind, name]
        .into_iter()
        .filter(|n| !n.is_empty())
        .collect();
    bounded(&names.join("_"), 253)
}

/// The journals of some namespaces: entries by namespace and key.
pub type Entries = BTreeMap<String, BTreeMap<String, Entry>>;

/// All journals of a scope.
pub async fn load(kubernetes: &Kubernetes, scope: &Scope) -> Result<Entries, Error> {
    let select = ListParams::default().fields(&format!("metadata.name={NAME}"));
    let found = kubernetes
        .list("", "ConfigMap", scope.namespace(), &select)
        .await?;
    let mut journals = Entries::new();
    for map in found {
        let namespace = map.metadata.namespace.clone().unwrap_or_default();
        let entries = entries(&map)?;
        journals.insert(namespace, entries);
    }
    Ok(journals)
}

fn entries(map: &DynamicObject) -> Result<BTreeMap<String, Entry>, Error> {
    let namespace = map.metadata.namespace.as_deref().unwrap_or_default();
    let data = map.data["data"].as_object().into_iter().flatten();
    data.map(|(key, text)| {
        let entry = serde_json::from_str(text.as_str().unwrap_or_default()).map_err(|e| {
            Error::Other(format!(
                "the journal, ConfigMap {namespace}/{NAME}, has an entry {key} that cannot be understood ({e}): \
                 correct it or remove it"
            ))
        })?;
        Ok((key.clone(), entry))
    })
    .collect()
}

/// Writes an entry, and returns when it is stored.
pub async fn put(kubernetes: &Kubernetes, namespace: &str, entry: &Entry) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(entry).map_err(|e| Error::Other(e.to_string()))?;
    change(kubernetes, namespace, &entry.key(), Some(text)).await
}

/// Removes an entry, and the ConfigMap with its last one.
pub async fn remove(kubernetes: &Kubernetes, namespace: &str, key: &str) -> Result<(), Error> {
    change(kubernetes, namespace, key, None).await
}

async fn change(
    kubernetes: &Kubernetes,
    namespace: &str,
    key: &str,
    text: Option<String>,
) -> Result<(), Error> {
    let api = kubernetes.api("", "ConfigMap", Some(namespace))?;
    let what = || format!("write the journal, {}", title("ConfigMap", Some(namespace), NAME));
    let mut tries = 0;
    loop {
        tries += 1;
        let there = kubernetes.get("", "ConfigMap", Some(namespace), NAME).await?;
        let data = there
            .as_ref()
            .and_then(|map| map.data["data"].as_object())
            .cloned()
            .unwrap_or_default();
        if data.get(key).and_then(Value::as_str) == text.as_deref() {
            return Ok(());
        }
        let sizes = data.iter().filter(|(other, _)| *other != key);
        let size: usize = sizes
            .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
            .sum();
        if size + key.len() + text.as_ref().map_or(0, String::len) > LIMIT {
            return Err(Error::Other(format!(
                "the journal, ConfigMap {namespace}/{NAME}, is full: Kubernetes takes 1 MiB. Finish what it holds \
                 (all steps, or --rollback), delete it, and go on"
            )));
        }
        let metadata = there.as_ref().map(|map| map.metadata.clone());
        let answer = match (metadata, &text) {
            (None, Some(text)) => {
                let made = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": { "name": NAME, "namespace": namespace },
                    "data": { key: text },
                });
                let made = serde_json::from_value(made).map_err(|e| Error::Other(e.to_string()))?;
                let parameters = PostParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PostParams::default()
                };
                api.create(&parameters, &made).await.map(drop)
            }
            (None, None) => return Ok(()),
            (Some(metadata), None) if data.len() == 1 => {
                let same = Preconditions {
                    uid: metadata.uid,
                    resource_version: metadata.resource_version,
                };
                let parameters = DeleteParams {
                    preconditions: Some(same),
                    ..DeleteParams::default()
                };
                api.delete(NAME, &parameters).await.map(drop)
            }
            (Some(metadata), text) => {
                let patch = json!({
                    "metadata": { "resourceVersion": metadata.resource_version }, "data": { key: text },
                });
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                api.patch(NAME, &parameters, &Patch::Merge(&patch))
                    .await
                    .map(drop)
            }
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if tries < TRIES && (is_conflict(&error) || is_not_found(&error)) => {}
            Err(error) => return Err(Error::call(what(), error)),
        }
    }
}
