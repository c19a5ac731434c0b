//! An object that the types cannot hold: it is reported, and disturbs no other.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Resource};
use serde_json::json;
use tracing::warn;

use super::context::Context;
use crate::api::{FIELD_MANAGER, GROUP, Reason, WorkloadIdentityBinding, WorkloadIdentityBindingStatus};
use crate::core::conditions;
use crate::core::reconcile::apply;

/// Says in its status that the object cannot be read. Nothing else is done to it: one that carries
/// our finalizer stays until it can be read, since nobody knows what it stands for.
pub(super) async fn report(context: &Context, invalid: &InvalidObject) -> kube::Result<()> {
    let meta = &invalid.metadata;
    let (Some(name), Some(namespace)) = (&meta.name, &meta.namespace) else {
        return Ok(());
    };
    let api: Api<DynamicObject> = Api::namespaced_with(
        context.parts.client.clone(),
        namespace,
        &ApiResource::erase::<WorkloadIdentityBinding>(&()),
    );
    let live = api.get_opt(name).await?;
    let Some(live) = live else {
        return Ok(());
    };
    // The status may be the part that cannot be read.
    let previous: WorkloadIdentityBindingStatus =
        serde_json::from_value(live.data["status"].clone()).unwrap_or_default();

    let outcome = apply::unreadable(&invalid.error);
    let message = outcome.ready().message;
    let mut status = conditions::status(
        &outcome,
        &previous,
        live.metadata.generation,
        context.parts.clock.now(),
    );
    // What it stands for is not forgotten; nor is it taken back, for as long as it is granted.
    status.identity.clone_from(&previous.identity);
    status.credential.clone_from(&previous.credential);
    status.service_account.clone_from(&previous.service_account);
    if status != previous {
        let body = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": WorkloadIdentityBinding::kind(&()),
            "metadata": { "name": name, "uid": live.metadata.uid },
            "status": status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        api.patch_status(name, &params, &Patch::Apply(body)).await?;
        warn!(binding = %format!("{namespace}/{name}"), reason = Reason::InvalidSpec.as_str(), "{message}");
    }
    Ok(())
}
