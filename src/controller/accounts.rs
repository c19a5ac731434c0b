//! ServiceAccounts, as the watch knows them and as we left them, and bringing annotations there.

mod sharing;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tracing::info;

use sharing::MADE_AGAIN_WITHIN;
pub(super) use sharing::{Annotating, JustDeleted};

use super::context::Context;
use super::service_account::{self, AccountMeta};
use crate::api::{ServiceAccountOrigin, WorkloadIdentityBinding};
use crate::core::annotations::Annotations;
use crate::core::reconcile::{Account, Refusal};

/// The ServiceAccount as the watch knows it, or as we have left it if the watch has not got there yet:
/// what was just written on it must not look missing.
fn latest(context: &Context, namespace: &str, name: &str) -> Option<Arc<AccountMeta>> {
    let reference = ObjectRef::new(name).within(namespace);
    let seen = context.service_accounts.get(&reference)?;
    Some(context.expectations.latest(seen))
}

/// The watch has shown that a ServiceAccount is deleted: the bindings that name it look when it has been gone for a
/// while.
pub(super) fn deleted(context: &Arc<Context>, account: &AccountMeta) {
    let key = (account.namespace().unwrap_or_default(), account.name_any());
    let deletion = context.just_deleted.begin(key.clone());
    let context = context.clone();
    tokio::spawn(async move {
        tokio::time::sleep(MADE_AGAIN_WITHIN).await;
        context.just_deleted.end(&key, deletion);
        for binding in context.index.naming(&key.0, &key.1) {
            // Fails only when the controller is gone.
            let _ = context.wake_bindings.send(binding).await;
        }
    });
}

/// Waits for a ServiceAccount that has just been deleted, until it is back or is to be missed.
pub(super) async fn expect(context: &Context, namespace: &str, name: &str) {
    while latest(context, namespace, name).is_none()
        && let Some(left) = context.just_deleted.left(namespace, name)
    {
        tokio::time::sleep(left.min(Duration::from_millis(100))).await;
    }
}

/// Looks a ServiceAccount up for a binding.
pub(super) fn find(context: &Context, binding: &WorkloadIdentityBinding, name: &str) -> Option<Account> {
    let found = latest(context, &binding.namespace().unwrap_or_default(), name)?;
    let is_owner = |uid: &String| Some(uid) == binding.uid().as_ref();
    let made_by_us = found.owner_references().iter().any(|owner| is_owner(&owner.uid));
    Some(Account {
        uid: found.uid().unwrap_or_default(),
        present: service_account::present(&found.metadata),
        origin: if made_by_us {
            ServiceAccountOrigin::Created
        } else {
            ServiceAccountOrigin::Existing
        },
    })
}

/// Makes exactly these annotations ours. Answers the ServiceAccount's uid; `None` if it has gone meanwhile.
pub(super) async fn annotate(
    context: &Context,
    namespace: &str,
    name: &str,
    wanted: &Annotations,
) -> Result<Option<String>, Refusal> {
    let lock = context.annotating.of(namespace, name);
    let _alone = lock.lock().await;
    let Some(found) = latest(context, namespace, name) else {
        return Ok(None);
    };
    if !service_account::present(&found.metadata).needs_apply(wanted) {
        return Ok(found.uid());
    }
    let written = service_account::apply(&context.parts.client, &found.metadata, wanted).await?;
    let uid = written.uid();
    context.expectations.annotated(written);
    info!(service_account = %format!("{namespace}/{name}"), "ServiceAccount annotated");
    Ok(uid)
}

/// Creates a ServiceAccount that the binding owns.
pub(super) async fn create(
    context: &Context,
    binding: &WorkloadIdentityBinding,
    name: &str,
    wanted: &Annotations,
) -> Result<Option<String>, Refusal> {
    let created = service_account::create(&context.parts.client, binding, name, wanted).await?;
    let namespace = binding.namespace().unwrap_or_default();
    info!(service_account = %format!("{namespace}/{name}"), "ServiceAccount created");
    Ok(created.uid())
}

/// Takes our annotations off a ServiceAccount, unless a binding other than `but` puts them there. One that
/// is gone needs nothing.
pub(super) async fn withdraw(
    context: &Context,
    but: &str,
    namespace: &str,
    name: &str,
) -> Result<(), Refusal> {
    if context.index.annotated_by_another(but, namespace, name) {
        return Ok(());
    }
    let Some(found) = latest(context, namespace, name) else {
        return Ok(());
    };
    let none = Annotations::new();
    if !service_account::present(&found.metadata).needs_apply(&none) {
        return Ok(());
    }
    let written = service_account::apply(&context.parts.client, &found.metadata, &none).await?;
    context.expectations.annotated(written);
    info!(service_account = %format!("{namespace}/{name}"), "annotations taken back");
    Ok(())
}
