//! Is what a visit goes by still true? Asked before anything is written in Azure.
//!
//! Watches and access reviews are answered from memory, also by an API server that is cut off from its
//! storage and has missed whatever happened since: a binding deleted, a grant given or taken. A write,
//! and a read without a resourceVersion, are never answered from memory. There they fail, or come once
//! the storage is back, and then what was answered from memory before may be wrong.

use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use super::authorize::{self, Decision};
use super::context::Context;
use super::error::Error;
use crate::api::WorkloadIdentityBinding;
use crate::domain::grant::Request;

/// An answer from storage that takes longer may be one of a storage that has just come back.
const HESITATION: Duration = Duration::from_millis(500);

/// Time for the API server's authorizer to hear then what it has missed.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How long after trouble with any call the same is assumed.
const TROUBLE: Duration = Duration::from_secs(10);

/// Waits for a call that is answered from storage. Says whether what was asked before has to be asked
/// again: then the API server had time to catch up.
pub(super) async fn from_storage<T>(context: &Context, call: impl Future<Output = T>) -> (T, bool) {
    let began = Instant::now();
    let answer = call.await;
    if began.elapsed() > HESITATION {
        context.memory.trouble();
    }
    let suspicious = context.memory.troubled_within(TROUBLE);
    if suspicious {
        tokio::time::sleep(CATCH_UP).await;
    }
    (answer, suspicious)
}

/// Fails unless the API server's storage holds the binding in the very version that the visit goes by.
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

/// Goes through with `call`, which is answered from storage, and fails unless the review of `request`
/// still says the same afterwards.
///
/// # Errors
/// That of the call, or [`Error::Outdated`] when the decision has changed or cannot be had.
pub(super) async fn decision(
    context: &Context,
    request: &Request,
    denied: bool,
    call: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let (result, suspicious) = from_storage(context, call).await;
    result?;
    if !suspicious {
        return Ok(());
    }
    match authorize::check(&context.parts.client, context.parts.authorization, request).await {
        Ok(decision) if (decision == Decision::Denied) == denied => Ok(()),
        _ => Err(Error::Outdated),
    }
}
