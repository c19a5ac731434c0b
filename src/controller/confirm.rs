//! Is what a visit goes by still true? Asked before anything is written in Azure.

use kube::ResourceExt;

use super::context::Context;
use super::error::Error;
use crate::api::WorkloadIdentityBinding;

/// Fails unless the API server's storage holds the binding in the very version that the visit goes by.
///
/// Watches and access reviews are answered from memory, also by an API server that is cut off from
/// its storage and has missed whatever happened since: a binding deleted, a grant given or taken. A
/// read without a resourceVersion is never answered from memory; there it fails, and Azure is left
/// as it is. A write of the status says the same, and needs no question before it.
///
/// # Errors
/// [`Error::Outdated`] when the binding has changed or is gone; the watch tells.
pub(super) async fn current(context: &Context, binding: &WorkloadIdentityBinding) -> Result<(), Error> {
    let api = context.api(&binding.namespace().unwrap_or_default());
    let live = api
        .get_metadata_opt(&binding.name_any())
        .await
        .map_err(|e| Error::kube("read the binding", e))?;
    // Versions are unique in a cluster: the same version is the same object.
    let same = live.is_some_and(|live| live.resource_version() == binding.resource_version());
    if same { Ok(()) } else { Err(Error::Outdated) }
}
