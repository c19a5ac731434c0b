//! The ways in which GitOps tools write a ServiceAccount.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use wib_harness::World;

pub const CLIENT_ID: &str = "azure.workload.identity/client-id";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A tool with its way of applying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// By server-side apply, by force.
    Flux,
    /// With `ServerSideApply=true`: the same under another name.
    ArgoServerSide,
    /// By default as `kubectl apply` does: a three-way patch against its own annotation.
    ArgoClientSide,
}

pub const TOOLS: [Tool; 3] = [Tool::Flux, Tool::ArgoServerSide, Tool::ArgoClientSide];

impl Tool {
    /// As whom the API server knows it.
    pub const fn manager(self) -> &'static str {
        match self {
            Self::Flux => "kustomize-controller",
            Self::ArgoServerSide => "argocd-controller",
            Self::ArgoClientSide => "kubectl-client-side-apply",
        }
    }

    /// Applies the ServiceAccount with exactly these annotations in Git.
    pub async fn apply(self, world: &World, name: &str, annotations: &Value) -> Result<ServiceAccount> {
        let manifest = manifest(world, name, annotations);
        match self {
            Self::Flux | Self::ArgoServerSide => {
                let params = PatchParams::apply(self.manager()).force();
                let patch = Patch::Apply(manifest);
                Ok(world.service_accounts().patch(name, &params, &patch).await?)
            }
            Self::ArgoClientSide => client_side(world, name, manifest).await,
        }
    }
}

impl Tool {
    /// What would be there after an apply, as the API server says: the tool takes a difference for drift.
    pub async fn dry_run(self, world: &World, name: &str, annotations: &Value) -> Result<ServiceAccount> {
        let params = PatchParams::apply(self.manager()).force().dry_run();
        let patch = Patch::Apply(manifest(world, name, annotations));
        Ok(world.service_accounts().patch(name, &params, &patch).await?)
    }
}

fn manifest(world: &World, name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": world.namespace, "annotations": annotations },
    })
}

async fn client_side(world: &World, name: &str, mut manifest: Value) -> Result<ServiceAccount> {
    let accounts = world.service_accounts();
    let manager = Some(Tool::ArgoClientSide.manager().to_owned());
    let text = manifest.to_string();
    let Some(live) = accounts.get_opt(name).await? else {
        manifest["metadata"]["annotations"][LAST_APPLIED] = text.into();
        let params = PostParams {
            field_manager: manager,
            ..PostParams::default()
        };
        return Ok(accounts
            .create(&params, &serde_json::from_value(manifest)?)
            .await?);
    };
    // What stood in Git the last time and does not any more goes; what was never there stays.
    let mut annotations = BTreeMap::new();
    if let Some(last) = live.annotations().get(LAST_APPLIED) {
        let last: Value = serde_json::from_str(last)?;
        let keys = last["metadata"]["annotations"]
            .as_object()
            .context("no annotations")?;
        annotations.extend(keys.keys().map(|key| (key.clone(), Value::Null)));
    }
    let now = manifest["metadata"]["annotations"]
        .as_object()
        .context("no annotations")?;
    annotations.extend(now.clone());
    annotations.insert(LAST_APPLIED.to_owned(), text.into());
    let params = PatchParams {
        field_manager: manager,
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(json!({ "metadata": { "annotations": annotations } }));
    Ok(accounts.patch(name, &params, &patch).await?)
}

/// Argo CD with `Replace=true`: `kubectl replace`, which leaves nothing of what is not in Git.
pub async fn replace(world: &World, name: &str, annotations: &Value) -> Result<ServiceAccount> {
    let params = PostParams {
        field_manager: Some("kubectl-replace".to_owned()),
        ..PostParams::default()
    };
    let account = serde_json::from_value(manifest(world, name, annotations))?;
    Ok(world.service_accounts().replace(name, &params, &account).await?)
}

/// Before it applies, Flux gives itself the fields of all managers whose name starts with `kubectl`: it then undoes
/// what they wrote and Git does not list.
pub async fn take_over(world: &World, name: &str) -> Result<()> {
    let accounts = world.service_accounts();
    let fields = accounts
        .get(name)
        .await?
        .metadata
        .managed_fields
        .unwrap_or_default();
    let is_kubectls =
        |entry: &ManagedFieldsEntry| entry.manager.as_ref().is_some_and(|m| m.starts_with("kubectl"));
    let (taken, mut fields): (Vec<_>, Vec<_>) = fields.into_iter().partition(is_kubectls);
    let taken = taken.into_iter().reduce(|all, next| ManagedFieldsEntry {
        fields_v1: all
            .fields_v1
            .zip(next.fields_v1)
            .map(|(all, next)| FieldsV1(merged(&all.0, &next.0))),
        ..all
    });
    fields.push(ManagedFieldsEntry {
        manager: Some(Tool::Flux.manager().to_owned()),
        operation: Some("Apply".to_owned()),
        ..taken.context("kubectl wrote nothing")?
    });
    let patch = serde_json::from_value(json!([
        { "op": "replace", "path": "/metadata/managedFields", "value": fields },
    ]))?;
    accounts
        .patch(name, &PatchParams::default(), &Patch::Json::<()>(patch))
        .await?;
    Ok(())
}

/// `live` with everything that the manifest lists.
pub fn merged(live: &Value, manifest: &Value) -> Value {
    match (live, manifest) {
        (Value::Object(live), Value::Object(manifest)) => {
            let mut all = live.clone();
            for (key, value) in manifest {
                let under = live.get(key).unwrap_or(&Value::Null);
                all.insert(key.clone(), merged(under, value));
            }
            Value::Object(all)
        }
        _ => manifest.clone(),
    }
}
