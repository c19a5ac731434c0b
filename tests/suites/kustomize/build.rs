//! Building with kustomize, and applying what comes out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wib_harness::Tool;

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `config/` and what it refers to: as it is, or a copy that a test edits as a user does.
pub struct Configuration {
    root: PathBuf,
    _copy: Option<tempfile::TempDir>,
}

impl Configuration {
    pub fn shipped() -> Self {
        Self {
            root: root(),
            _copy: None,
        }
    }

    pub fn copy() -> Result<Self> {
        let copy = tempfile::tempdir()?;
        for directory in ["config", "crds"] {
            copy_all(&root().join(directory), &copy.path().join(directory))?;
        }
        Ok(Self {
            root: copy.path().to_owned(),
            _copy: Some(copy),
        })
    }

    /// Every folder with a `kustomization.yaml`.
    pub fn kustomizations(&self) -> Result<Vec<PathBuf>> {
        let mut open = vec![self.root.join("config")];
        let mut found = Vec::new();
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.ends_with("kustomization.yaml") {
                    found.push(directory.clone());
                }
            }
        }
        ensure!(found.len() > 5, "only {found:?}");
        Ok(found)
    }

    /// Takes the comment sign from a line.
    pub fn uncomment(&self, file: &str, line: &str) -> Result<()> {
        self.edit(file, &format!("# {line}\n"), &format!("{line}\n"))
    }

    /// Names the operator's own identity, as the first lines of the file ask for.
    pub fn settings(&self, client_id: &str, tenant_id: &str) -> Result<()> {
        let text = format!("AZURE_CLIENT_ID={client_id}\nAZURE_TENANT_ID={tenant_id}\n");
        Ok(fs::write(self.root.join("config/default/settings.env"), text)?)
    }

    fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.root.join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file} has no line {from:?}");
        Ok(fs::write(path, text.replace(from, to))?)
    }

    pub async fn text(&self, directory: &str) -> Result<String> {
        run(&self.root.join(directory)).await
    }

    pub async fn build(&self, directory: &str) -> Result<Vec<Value>> {
        built(&self.root.join(directory)).await
    }
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

async fn run(directory: &Path) -> Result<String> {
    let directory = directory.display().to_string();
    Tool::Kustomize.run(&["build", &directory], "").await
}

/// The objects that kustomize builds from a folder, in its order.
pub async fn built(directory: &Path) -> Result<Vec<Value>> {
    documents(&run(directory).await?)
}

pub fn documents(text: &str) -> Result<Vec<Value>> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}

/// The one object of a kind.
pub fn object<T: DeserializeOwned>(objects: &[Value], kind: &str) -> Result<T> {
    let mut of_kind = objects.iter().filter(|o| o["kind"] == kind);
    let object = of_kind.next().with_context(|| format!("no {kind}"))?;
    ensure!(of_kind.next().is_none(), "several of {kind}");
    Ok(serde_json::from_value(object.clone())?)
}

/// Applies an object as `kubectl apply --server-side --validate=strict` does.
pub async fn apply(client: &Client, object: &Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.as_ref().context("no apiVersion and kind")?;
    let name = object.metadata.name.as_deref().context("no name")?;
    let (resource, capabilities) =
        discovery::pinned_kind(client, &GroupVersionKind::try_from(types)?).await?;
    let api: Api<DynamicObject> = match (&capabilities.scope, &object.metadata.namespace) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
        (Scope::Namespaced, None) => anyhow::bail!("{} {name} names no namespace", types.kind),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    let params = PatchParams::apply("kubectl").validation_strict();
    let applied = api.patch(name, &params, &Patch::Apply(&object)).await;
    applied.with_context(|| format!("cannot apply {} {name}", types.kind))
}
