//! The credential step of a live binding: plan it, put the intent on record, carry it out.

use tracing::info;

use super::context::id;
use super::error::Error;
use super::visit::Visit;
use super::{confirm, revoke, status};
use crate::api::{
    CredentialOrigin, IdentityStatus, Reason, Superseded, WorkloadIdentityBinding,
    WorkloadIdentityBindingStatus,
};
use crate::azure::{AzureError, Snapshot};
use crate::domain::plan::{Plan, Step, Trust, Wish, plan};
use crate::domain::{Credential, Desired, Fault, IdentityId, Outcome, Verdict, conditions, ownership};
use crate::fairness::Urgency;
use kube::ResourceExt;

/// What is obsolete on the lane's identity: ours, superseded, and wanted by no other binding.
fn obsolete(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    superseded: &[Superseded],
    desired: &Desired,
    found: &[Credential],
) -> Vec<Credential> {
    let uid = binding.uid().unwrap_or_default();
    let here = superseded
        .iter()
        .filter(|s| ownership::is_on(s, &desired.identity));
    let free = here.filter(|s| !revoke::is_shared(context, &uid, s));
    let ours = free.filter_map(|s| ownership::removable(found, &s.credential, &desired.namespace));
    ours.cloned().collect()
}

/// The record of an identity in a status.
pub(super) fn resolved(desired: &Desired, snapshot: &Snapshot) -> IdentityStatus {
    IdentityStatus {
        resource_id: desired.identity.to_string(),
        client_id: Some(snapshot.identity.client_id.clone()),
        principal_id: Some(snapshot.identity.principal_id.clone()),
        tenant_id: Some(snapshot.identity.tenant_id.clone()),
    }
}

/// Makes the identity trust the ServiceAccount, and takes back there what is `superseded`. Returns
/// whether it does trust; `outcome` says why not.
///
/// # Errors
/// Only when the status, which records the intent, could not be written, or the binding is no longer
/// what the visit goes by.
pub(super) async fn establish(
    context: &Visit<'_>,
    binding: &mut WorkloadIdentityBinding,
    desired: &Desired,
    snapshot: &Snapshot,
    superseded: Vec<Superseded>,
    outcome: &mut Outcome,
) -> Result<bool, Error> {
    let memory = binding.status.clone().unwrap_or_default();
    let remembered = ownership::memory_of(&memory, &desired.identity).cloned();
    let decide = |context: &Visit<'_>, binding: &WorkloadIdentityBinding, found: &[Credential]| -> Plan {
        let obsolete = obsolete(context, binding, &superseded, desired, found);
        let wish = Wish {
            credential: &desired.credential,
            adoption: desired.adoption,
            memory: remembered.as_ref(),
            obsolete: &obsolete,
        };
        plan(wish, found)
    };

    let planned = decide(context, binding, &snapshot.credentials);
    let identity = resolved(desired, snapshot);
    let credential = match planned.trust {
        Trust::Refused(reason, message) => {
            outcome.credential_synced = refused(context, binding, &desired.identity, reason, message);
            return Ok(false);
        }
        Trust::By(credential, origin) => ownership::record(&credential, origin),
    };
    outcome.identity = Some(identity);
    outcome.credential = Some(credential);
    outcome.superseded.clone_from(&superseded);

    let mut steps = planned.steps;
    if !steps.is_empty() {
        // The intent is on record before Azure is written: whatever happens in between, the next
        // visit knows what to look for.
        outcome.credential_synced = Verdict::unknown(Reason::Progressing, "The credential is being written.");
        let puts = steps.iter().any(|step| matches!(step, Step::Put(_)));
        let unrecorded = puts && !on_record(&memory, outcome);
        let live = async {
            if unrecorded {
                status::write(context, binding, outcome).await
            } else {
                confirm::current(context, binding).await
            }
        };
        confirm::decision(context, &desired.grant(), false, live).await?;
        let repair = memory.credential == outcome.credential
            && conditions::is_ready(&memory, binding.metadata.generation);
        match act(context, binding, &desired.identity, &decide).await {
            Ok(Plan {
                trust: Trust::Refused(reason, message),
                ..
            }) => {
                outcome.credential_synced = refused(context, binding, &desired.identity, reason, message);
                return Ok(false);
            }
            Ok(Plan {
                trust: Trust::By(credential, origin),
                steps: taken,
            }) => {
                outcome.credential = Some(ownership::record(&credential, origin));
                report(context, binding, &desired.identity, &taken, repair);
                steps = taken;
            }
            Err(error) => {
                outcome.credential_synced = Verdict::no(error.fault.reason(), error.to_string());
                outcome.wait = error.retry_after;
                return Ok(false);
            }
        }
    }
    // What stood on this identity and was obsolete is gone now. The rest is still to be removed, and
    // that is also what no list has shown: its write may still be on its way.
    let uid = binding.uid().unwrap_or_default();
    outcome.superseded.retain(|s| {
        let deleted = steps.contains(&Step::Delete(s.credential.name.clone()));
        let gone = deleted && ownership::is_on(s, &desired.identity);
        !gone && !revoke::is_shared(context, &uid, s)
    });
    let adopted = outcome
        .credential
        .as_ref()
        .is_some_and(|c| c.origin == CredentialOrigin::Adopted);
    outcome.credential_synced = if adopted {
        Verdict::yes(
            Reason::Adopted,
            "A credential that somebody else made trusts the ServiceAccount.",
        )
    } else {
        Verdict::yes(Reason::Created, "The credential trusts the ServiceAccount.")
    };
    Ok(true)
}

/// Whether `status` already says what is about to be written at Azure.
fn on_record(memory: &WorkloadIdentityBindingStatus, outcome: &Outcome) -> bool {
    memory.credential == outcome.credential
        && memory.superseded == outcome.superseded
        && memory.identity.as_ref().map(|i| &i.resource_id)
            == outcome.identity.as_ref().map(|i| &i.resource_id)
}

/// Carries the plan out. When Azure knows better than our list did, it is read and planned again,
/// once.
async fn act(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    identity: &IdentityId,
    decide: &(impl Fn(&Visit<'_>, &WorkloadIdentityBinding, &[Credential]) -> Plan + Sync),
) -> Result<Plan, AzureError> {
    let fresh = context.fresh(true);
    let once = || {
        context.act(identity, fresh, Urgency::Usual, |found| {
            decide(context, binding, found)
        })
    };
    match once().await {
        Err(error) if matches!(error.fault, Fault::Duplicate | Fault::LimitReached) => once().await,
        result => result,
    }
}

fn refused(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    identity: &IdentityId,
    reason: Reason,
    message: String,
) -> Verdict {
    if reason == Reason::CredentialLimitReached {
        context.slots.wait(identity, binding);
    }
    Verdict::no(reason, message)
}

fn report(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    identity: &IdentityId,
    steps: &[Step],
    repair: bool,
) {
    for step in steps {
        match step {
            Step::Put(credential) => {
                info!(binding = %id(binding), credential = credential.name, repair, "credential written");
            }
            Step::Delete(name) => {
                info!(binding = %id(binding), credential = name, "obsolete credential deleted");
                context.slots.freed(identity);
            }
        }
    }
    if repair {
        context.parts.observer.repaired();
    }
}
