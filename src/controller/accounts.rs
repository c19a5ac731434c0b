//! ServiceAccounts, as the watch knows them and as we left them, and bringing annotations there.

use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tracing::info;

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
    let Some(found) = latest(context, namespace, name) else {
        return Ok(None);
    };
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
