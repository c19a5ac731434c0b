//! Writes on the binding itself, and on what it owns.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::confirm::{self, Live};
use super::context::Context;
use crate::api::{FINALIZER, ServiceAccountStatus, WorkloadIdentityBinding};

/// How often a patch is made again that met a change of the object.
const TRIES: usize = 5;

/// Puts our finalizer on. The answer comes from storage, so it says as well whether the binding is still
/// the one that the pass goes by.
pub(super) async fn add_finalizer(
    context: &Context,
    binding: &WorkloadIdentityBinding,
) -> kube::Result<Live> {
    change_finalizers(context, binding, |finalizers| {
        if finalizers.iter().any(|f| f == FINALIZER) {
            return None;
        }
        let mut with = finalizers.to_vec();
        with.push(FINALIZER.to_owned());
        Some(with)
    })
    .await
}

/// Takes our finalizer off. A binding that is gone by then needs nothing.
pub(super) async fn remove_finalizer(
    context: &Context,
    binding: &WorkloadIdentityBinding,
) -> kube::Result<Live> {
    change_finalizers(context, binding, |finalizers| {
        let without: Vec<String> = finalizers.iter().filter(|f| *f != FINALIZER).cloned().collect();
        (without.len() != finalizers.len()).then_some(without)
    })
    .await
}

/// Changes the finalizers of exactly this object, and loses none that somebody else puts there meanwhile.
///
/// Tests the list and not the version: whoever patches a label without end holds nothing up. The API server
/// answers a test that fails as it answers what it refuses for good, so the object is looked at then.
async fn change_finalizers(
    context: &Context,
    binding: &WorkloadIdentityBinding,
    change: impl Fn(&[String]) -> Option<Vec<String>>,
) -> kube::Result<Live> {
    let api = context.api(&binding.namespace().unwrap_or_default());
    let name = binding.name_any();
    let mut finalizers = binding.metadata.finalizers.clone();
    for attempt in 1.. {
        let Some(changed) = change(finalizers.as_deref().unwrap_or_default()) else {
            return confirm::binding(context, binding).await;
        };
        let operations = json!([
            { "op": "test", "path": "/metadata/uid", "value": binding.uid() },
            { "op": "test", "path": "/metadata/finalizers", "value": finalizers },
            { "op": "add", "path": "/metadata/finalizers", "value": changed },
        ]);
        let patch = Patch::Json::<()>(serde_json::from_value(operations).map_err(kube::Error::SerdeError)?);
        let patched = api.patch_metadata(&name, &PatchParams::default(), &patch).await;
        let error = match patched {
            Ok(live) => return Ok(confirm::compare(binding, &live)),
            Err(error) => error,
        };
        let may_be_outdated = matches!(&error, kube::Error::Api(status)
            if status.is_conflict() || status.is_invalid() || status.is_not_found());
        if !may_be_outdated || attempt >= TRIES {
            return Err(error);
        }
        match api.get_metadata_opt(&name).await? {
            Some(live) if confirm::compare(binding, &live) == Live::Current => {
                let is_conflict = matches!(&error, kube::Error::Api(status) if status.is_conflict());
                if live.metadata.finalizers == finalizers && !is_conflict {
                    // Nothing has changed that would explain it: it is refused.
                    return Err(error);
                }
                finalizers = live.metadata.finalizers;
            }
            _ => return Ok(Live::Changed),
        }
    }
    Ok(Live::Changed)
}

/// Takes the binding's ownership off a ServiceAccount that `create: true` made: it would be collected with
/// its owner.
pub(super) async fn disown(
    context: &Context,
    binding: &WorkloadIdentityBinding,
    account: &ServiceAccountStatus,
) -> kube::Result<()> {
    let api: Api<ServiceAccount> = Api::namespaced(
        context.parts.client.clone(),
        &binding.namespace().unwrap_or_default(),
    );
    let body = json!({
        "metadata": { "uid": account.uid, "ownerReferences": [{ "$patch": "delete", "uid": binding.uid() }] },
    });
    match api
        .patch(&account.name, &PatchParams::default(), &Patch::Strategic(body))
        .await
    {
        Ok(_) => Ok(()),
        // Gone, or another one under its name: nothing of ours.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}
