//! Writing `status`: by server-side apply, and only when it changed.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::context::Context;
use crate::api::{FIELD_MANAGER, GROUP, WorkloadIdentityBinding};
use crate::core::{Outcome, conditions};

/// What has become of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It says what it should.
    Yes,
    /// The binding is gone, or another one has its name.
    Gone,
}

/// Writes the status that `outcome` makes, unless it stands already, and takes it into `binding`.
///
/// A status is a report: the last word of the leader stands, whatever anybody has written there. So no
/// version goes along, and nobody can keep it from being written by patching the object.
///
/// # Errors
/// When Kubernetes refuses or fails the write.
pub(super) async fn write(
    context: &Context,
    binding: &mut WorkloadIdentityBinding,
    outcome: &Outcome,
) -> kube::Result<Written> {
    let previous = binding.status.clone().unwrap_or_default();
    let now = context.parts.clock.now();
    let status = conditions::status(outcome, &previous, binding.metadata.generation, now);
    if binding.status.as_ref() == Some(&status) {
        return Ok(Written::Yes);
    }
    let name = binding.name_any();
    let namespace = binding.namespace().unwrap_or_default();
    let uid = binding.uid().unwrap_or_default();
    let body = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "WorkloadIdentityBinding",
        "metadata": { "name": name, "uid": uid },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let api = context.api(&namespace);
    let before = context.revision.begin();
    match api.patch_status(&name, &params, &Patch::Apply(body)).await {
        Ok(written) => {
            let version = written.metadata.resource_version;
            context.revision.wrote(before, version.as_deref());
            context.expectations.wrote(&uid, version.as_deref(), &status);
            binding.status = Some(status);
            Ok(Written::Yes)
        }
        Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_not_found() => Ok(Written::Gone),
        Err(error) => Err(error),
    }
}
