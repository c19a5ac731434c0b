//! Events: one for each turn that a person wants to see, best effort.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use tracing::debug;

use super::context::Context;
use crate::api::{Disposition, ManagedIdentity, Reason, WorkloadIdentityBinding};

/// Longest note that the API takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Publishes an event on the binding. Never fails a pass: a terminating namespace takes no
/// events at all.
pub(super) async fn publish(
    context: &Context,
    binding: &WorkloadIdentityBinding,
    reason: Reason,
    note: &str,
) {
    let warning = matches!(
        reason.disposition(),
        Disposition::Stalled | Disposition::RetrySlowly | Disposition::RetrySoon
    );
    send(context, binding, reason.as_str(), note, warning).await;
}

/// The client id on the ServiceAccount has changed: running pods still have the old one.
pub(super) async fn client_id_changed(context: &Context, binding: &WorkloadIdentityBinding) {
    let note = "The identity's client id has changed; pods that run already keep the old one until they are restarted.";
    send(context, binding, "ClientIdChanged", note, true).await;
}

/// Publishes a warning on the record of an identity.
pub(super) async fn on_record(context: &Context, record: &ManagedIdentity, reason: &str, note: &str) {
    publish_on(context, &record.object_ref(&()), reason, note, true).await;
}

async fn send(context: &Context, binding: &WorkloadIdentityBinding, reason: &str, note: &str, warning: bool) {
    publish_on(context, &binding.object_ref(&()), reason, note, warning).await;
}

async fn publish_on(context: &Context, on: &ObjectReference, reason: &str, note: &str, warning: bool) {
    let event = Event {
        type_: if warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.to_owned(),
        note: Some(cut(note).to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, on).await {
        debug!(%error, "event not published");
    }
}

fn cut(note: &str) -> &str {
    let mut end = note.len().min(MAX_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}
