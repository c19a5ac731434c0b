//! The ServiceAccount step of a live binding: what has to stand on it, and bringing it there.

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::sync::Arc;
use tracing::info;

use super::context::{Context, id};
use super::service_account::{self, Account, Refused};
use crate::api::{Reason, ServiceAccountOrigin, ServiceAccountStatus, WorkloadIdentityBinding};
use crate::azure::Identity;
use crate::domain::annotations::{self, Annotations};
use crate::domain::{Desired, IdentityId, Verdict};

/// The ServiceAccount as the watch knows it, or as we have left it if the watch has not got there yet:
/// what was just written on it must not look missing.
fn find(context: &Context, namespace: &str, name: &str) -> Option<Arc<Account>> {
    let reference = ObjectRef::new(name).within(namespace);
    let seen = context.service_accounts.get(&reference)?;
    Some(context.memory.latest(seen))
}

fn wanted(desired: &Desired, identity: &Identity) -> Annotations {
    let account = &desired.service_account;
    annotations::wanted(
        &identity.client_id,
        &identity.tenant_id,
        account.token_expiration_seconds,
    )
}

/// What has been done to a ServiceAccount.
pub(super) struct Annotated {
    pub verdict: Verdict,
    /// Goes into `status.serviceAccount`; nothing when there is none and none is needed.
    pub account: Option<ServiceAccountStatus>,
    /// Another client id of ours stood there: pods that run already still have it.
    pub replaced: bool,
}

/// Brings the ids onto the ServiceAccount, creates it when asked to, and takes ours back from the
/// one that an earlier spec named.
pub(super) async fn service_account(
    context: &Context,
    binding: &WorkloadIdentityBinding,
    desired: &Desired,
    identity: &Identity,
) -> Result<Annotated, Refused> {
    let client = &context.parts.client;
    let (namespace, account) = (&desired.namespace, &desired.service_account);
    let wanted = if account.annotate {
        wanted(desired, identity)
    } else {
        Annotations::new()
    };
    let memory = binding.status.as_ref().and_then(|s| s.service_account.clone());
    let mut replaced = false;

    let status = match find(context, namespace, &account.name) {
        Some(found) => {
            let uid = found.uid().unwrap_or_default();
            // Nothing to annotate ourselves; another binding may, under the same field manager.
            let idle = !account.annotate
                && context.index.annotated_by_another(
                    &binding.uid().unwrap_or_default(),
                    namespace,
                    &account.name,
                    None,
                );
            let present = service_account::present(&found.metadata);
            if !idle && present.needs_apply(&wanted) {
                let written = service_account::apply(client, &found.metadata, &wanted).await?;
                context.memory.annotated(written);
                info!(binding = %id(binding), service_account = account.name, "ServiceAccount annotated");
                replaced = account.annotate && present.has_other_client_id(&identity.client_id);
            }
            let made_by_us = found
                .owner_references()
                .iter()
                .any(|owner| Some(&owner.uid) == binding.uid().as_ref());
            Some(ServiceAccountStatus {
                name: account.name.clone(),
                uid: Some(uid),
                origin: if made_by_us {
                    ServiceAccountOrigin::Created
                } else {
                    ServiceAccountOrigin::Existing
                },
            })
        }
        None if account.create => {
            let created = service_account::create(client, binding, &account.name, &wanted).await?;
            info!(binding = %id(binding), service_account = account.name, "ServiceAccount created");
            Some(ServiceAccountStatus {
                name: account.name.clone(),
                uid: created.uid(),
                origin: ServiceAccountOrigin::Created,
            })
        }
        None if account.annotate => {
            return Err(Refused {
                reason: Reason::ServiceAccountNotFound,
                message: format!(
                    "ServiceAccount {namespace}/{} does not exist; create it, or set spec.serviceAccount.create: true",
                    account.name
                ),
            });
        }
        None => None,
    };
    if let Some(earlier) = memory.filter(|m| m.name != account.name) {
        withdraw(
            context,
            &binding.uid().unwrap_or_default(),
            namespace,
            &earlier.name,
            None,
        )
        .await?;
    }
    let verdict = if account.annotate {
        Verdict::yes(
            Reason::Annotated,
            "The ServiceAccount carries client id and tenant id; pods get them when they start.",
        )
    } else {
        Verdict::yes(
            Reason::NotRequested,
            "annotate is false: nothing is written on the ServiceAccount.",
        )
    };
    Ok(Annotated {
        verdict,
        account: status,
        replaced,
    })
}

/// Takes our annotations back from the ServiceAccount that the binding names, and from the one that
/// its status remembers. `revoked` is an identity that no binding may use any more.
pub(super) async fn withdraw_all(
    context: &Context,
    binding: &WorkloadIdentityBinding,
    revoked: Option<&IdentityId>,
) -> Result<(), Refused> {
    let remembered = binding.status.as_ref().and_then(|s| s.service_account.as_ref());
    let names = remembered
        .map(|s| &s.name)
        .into_iter()
        .chain([&binding.spec.service_account.name]);
    let (uid, namespace) = (
        binding.uid().unwrap_or_default(),
        binding.namespace().unwrap_or_default(),
    );
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        withdraw(context, &uid, &namespace, name, revoked).await?;
    }
    Ok(())
}

/// Takes our annotations back from a ServiceAccount, unless another binding still puts them there.
/// One that is gone needs nothing.
async fn withdraw(
    context: &Context,
    uid: &str,
    namespace: &str,
    name: &str,
    revoked: Option<&IdentityId>,
) -> Result<(), Refused> {
    if context.index.annotated_by_another(uid, namespace, name, revoked) {
        return Ok(());
    }
    let Some(found) = find(context, namespace, name) else {
        return Ok(());
    };
    let none = Annotations::new();
    if !service_account::present(&found.metadata).needs_apply(&none) {
        return Ok(());
    }
    let written = service_account::apply(&context.parts.client, &found.metadata, &none).await?;
    context.memory.annotated(written);
    info!(service_account = %format!("{namespace}/{name}"), "annotations taken back");
    Ok(())
}

/// Says whether the ServiceAccount is as it should be, and changes nothing.
pub(super) fn look(context: &Context, desired: &Desired, identity: &Identity) -> Verdict {
    let account = &desired.service_account;
    if !account.annotate {
        return Verdict::yes(
            Reason::NotRequested,
            "annotate is false: nothing is written on the ServiceAccount.",
        );
    }
    match find(context, &desired.namespace, &account.name) {
        None => Verdict::no(
            Reason::ServiceAccountNotFound,
            "The ServiceAccount does not exist.",
        ),
        Some(found) if service_account::present(&found.metadata).needs_apply(&wanted(desired, identity)) => {
            Verdict::no(
                Reason::Suspended,
                "The ids are missing or differ; they are not written while suspended.",
            )
        }
        Some(_) => Verdict::yes(
            Reason::Annotated,
            "The ServiceAccount carries client id and tenant id.",
        ),
    }
}
