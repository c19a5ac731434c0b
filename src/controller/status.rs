//! Writing `status`: by server-side apply, only when it changed, and only on the version it was
//! worked out from.

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::context::Context;
use super::error::Error;
use crate::api::{FIELD_MANAGER, GROUP, WorkloadIdentityBinding};
use crate::domain::{Outcome, conditions};

/// Writes the status that `outcome` makes, unless it stands already, and takes it into `binding`.
///
/// The resourceVersion goes along: `status` is the memory of what is to be cleaned up, so one
/// worked out from an older object must not replace a newer one.
///
/// # Errors
/// [`Error::Outdated`] when the object has changed meanwhile; the watch brings the new one.
pub(super) async fn write(
    context: &Context,
    binding: &mut WorkloadIdentityBinding,
    outcome: &Outcome,
) -> Result<(), Error> {
    let previous = binding.status.clone().unwrap_or_default();
    let now = context.parts.clock.now();
    let status = conditions::status(outcome, &previous, binding.metadata.generation, now);
    if binding.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let name = binding.name_any();
    let namespace = binding.namespace().unwrap_or_default();
    let body = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "WorkloadIdentityBinding",
        "metadata": { "name": name, "resourceVersion": binding.resource_version(), "uid": binding.uid() },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let written = context
        .api(&namespace)
        .patch_status(&name, &params, &Patch::Apply(body))
        .await;
    match written {
        Ok(written) => {
            binding.metadata.resource_version = written.metadata.resource_version;
            binding.status = Some(status);
            context.memory.wrote(binding);
            Ok(())
        }
        Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_not_found() => {
            Err(Error::Outdated)
        }
        Err(error) => Err(Error::kube("write the binding's status", error)),
    }
}
