//! The ServiceAccount's annotations, by server-side apply: our keys only, never forced over
//! another's value, and always with the uid, since an apply without it would bring a deleted ServiceAccount back to life.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::api::{FIELD_MANAGER, Reason, WorkloadIdentityBinding};
use crate::core::annotations::{self, Annotations, Present};
use crate::core::reconcile::Refusal;
use crate::core::text;

/// A ServiceAccount as the controller knows it.
pub(super) type AccountMeta = PartialObjectMeta<ServiceAccount>;

/// What stands on a ServiceAccount.
pub(super) fn present(meta: &ObjectMeta) -> Present {
    let ours = meta
        .managed_fields
        .iter()
        .flatten()
        .filter(|entry| is_ours(entry));
    Present {
        all: meta.annotations.clone().unwrap_or_default(),
        ours: ours.flat_map(annotation_keys).collect(),
    }
}

/// Keeps what the controller reads of a ServiceAccount, and drops the rest as it arrives.
pub(super) fn prune(object: &mut AccountMeta) {
    let meta = &mut object.metadata;
    meta.labels = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|key, _| key.starts_with("azure.workload.identity/"));
    }
    if let Some(fields) = &mut meta.managed_fields {
        fields.retain(is_ours);
    }
}

/// Another manager's entries must not be mistaken for ours, and neither a plain update under our
/// name: only what was applied goes with an apply.
fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply")
}

fn annotation_keys(entry: &ManagedFieldsEntry) -> Vec<String> {
    let fields = entry
        .fields_v1
        .as_ref()
        .map(|f| &f.0["f:metadata"]["f:annotations"]);
    let keys = fields
        .and_then(|f| f.as_object())
        .into_iter()
        .flat_map(|map| map.keys());
    keys.filter_map(|key| key.strip_prefix("f:"))
        .map(str::to_owned)
        .collect()
}

/// Applies exactly these annotations as ours to the ServiceAccount that was seen; an empty set takes
/// ours back and leaves the rest.
pub(super) async fn apply(
    client: &Client,
    seen: &ObjectMeta,
    annotations: &Annotations,
) -> Result<AccountMeta, Refusal> {
    let (name, namespace) = (
        seen.name.clone().unwrap_or_default(),
        seen.namespace.clone().unwrap_or_default(),
    );
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::apply(FIELD_MANAGER);
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": namespace, "uid": seen.uid, "annotations": annotations },
    });
    let mut result = api.patch_metadata(&name, &params, &Patch::Apply(&body)).await;
    if let Err(error) = &result
        && is_about_the_map_alone(error)
        && !has_other_values(seen, annotations)
    {
        // No value is taken from anybody: there is none in what was seen, and the version makes sure
        // that none has come since.
        body["metadata"]["resourceVersion"] = json!(seen.resource_version);
        result = api
            .patch_metadata(&name, &params.force(), &Patch::Apply(&body))
            .await;
    }
    let mut written = result.map_err(|error| refused(&namespace, &name, &error))?;
    prune(&mut written);
    Ok(written)
}

fn has_other_values(seen: &ObjectMeta, annotations: &Annotations) -> bool {
    let present = seen.annotations.iter().flatten();
    present
        .into_iter()
        .any(|(key, value)| annotations.get(key).is_some_and(|wanted| wanted != value))
}

/// Whoever applies an empty `annotations: {}`, as many charts do, owns the map itself and conflicts
/// with every key that another applies, though nobody disagrees on a value.
fn is_about_the_map_alone(error: &kube::Error) -> bool {
    let mut fields = conflicts(error).peekable();
    fields.peek().is_some() && fields.all(|field| field == ".metadata.annotations")
}

/// The fields that a server-side apply conflicts on.
fn conflicts(error: &kube::Error) -> impl Iterator<Item = &str> {
    let status = if let kube::Error::Api(status) = error {
        Some(status)
    } else {
        None
    };
    let causes = status
        .and_then(|s| s.details.as_ref())
        .into_iter()
        .flat_map(|details| &details.causes);
    causes
        .filter(|cause| cause.reason == "FieldManagerConflict")
        .map(|cause| cause.field.as_str())
}

/// Creates the ServiceAccount, owned by the binding, with the annotations on it.
pub(super) async fn create(
    client: &Client,
    binding: &WorkloadIdentityBinding,
    name: &str,
    annotations: &Annotations,
) -> Result<ServiceAccount, Refusal> {
    let namespace = binding.namespace().unwrap_or_default();
    let owner = OwnerReference {
        // Only whoever may set finalizers may block the owner's deletion; nobody needs to.
        block_owner_deletion: Some(false),
        controller: Some(false),
        ..binding.owner_ref(&()).unwrap_or_default()
    };
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let created = api
        .create(&params, &account)
        .await
        .map_err(|error| refused(&namespace, name, &error))?;
    if !annotations.is_empty() {
        apply(client, &created.metadata, annotations).await?;
    }
    Ok(created)
}

fn refused(namespace: &str, name: &str, error: &kube::Error) -> Refusal {
    let kube::Error::Api(status) = error else {
        return Refusal {
            reason: Reason::KubernetesUnavailable,
            message: format!(
                "cannot write ServiceAccount {namespace}/{name}: {}",
                text::quote(&error.to_string())
            ),
        };
    };
    let said = text::quote(&status.message);
    if conflicts(error).next().is_some() {
        return Refusal {
            reason: Reason::FieldConflict,
            message: format!(
                "another manager holds a different value on ServiceAccount {namespace}/{name}: {said}. \
                 Take the azure.workload.identity annotations out of what that manager applies, or set annotate: false. \
                 If nobody applies them any more, as after a restore from a backup, remove them once: \
                 kubectl annotate serviceaccount {name} -n {namespace} {}- {}-",
                annotations::CLIENT_ID,
                annotations::TENANT_ID
            ),
        };
    }
    let message = match status.code {
        // Deleted, or deleted and made again, since we looked: the watch brings it along.
        404 | 409 => format!("ServiceAccount {namespace}/{name} is changing"),
        _ => format!("cannot write ServiceAccount {namespace}/{name}: {said}"),
    };
    Refusal {
        reason: Reason::KubernetesUnavailable,
        message,
    }
}
