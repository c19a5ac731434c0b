//! Applying manifests as a platform team does: by server-side apply, from the files that the project ships.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, discovery};
use serde::Deserialize;
use serde_json::Value;

/// Root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Applies every document of a YAML file of the project.
pub async fn apply_file(client: &Client, path: &str) -> Result<()> {
    apply_file_with(client, path, |_| {}).await
}

/// The same, each document changed before.
pub async fn apply_file_with(client: &Client, path: &str, change: impl Fn(&mut Value)) -> Result<()> {
    let text = std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
    let documents: Result<Vec<Value>, _> = serde_yaml::Deserializer::from_str(&text)
        .map(Value::deserialize)
        .collect();
    let documents = documents.with_context(|| format!("cannot understand {path}"))?;
    for mut object in documents.into_iter().filter(|object| !object.is_null()) {
        change(&mut object);
        apply(client, &object)
            .await
            .with_context(|| format!("cannot apply {path}"))?;
    }
    Ok(())
}

/// Applies one object.
pub async fn apply(client: &Client, object: &Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object
        .types
        .clone()
        .context("the object has no apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) if capabilities.scope == discovery::Scope::Namespaced => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        _ => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().context("the object has no name")?;
    let params = PatchParams::apply("platform-team").force();
    Ok(api.patch(&name, &params, &Patch::Apply(&object)).await?)
}
