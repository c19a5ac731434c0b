//! A live binding: authorize, observe, plan, act. Each step either goes on or ends the visit with
//! an outcome that says why.

use kube::ResourceExt;

use super::authorize::{self, Decision};
use super::error::Error;
use super::service_account::Refused;
use super::visit::Visit;
use super::{annotate, confirm, events, revoke, trust};
use crate::api::{
    IdentityStatus, Reason, Superseded, WorkloadIdentityBinding, WorkloadIdentityBindingStatus,
};
use crate::azure::{AzureError, Snapshot};
use crate::domain::plan::{Trust, Wish, plan};
use crate::domain::{Desired, Fault, Outcome, Verdict, conditions, ownership};

/// Works on a live binding until there is nothing left to do or something stands in the way.
///
/// # Errors
/// Only when Kubernetes fails or the object changed; everything else is an outcome.
pub(super) async fn run(
    context: &Visit<'_>,
    binding: &mut WorkloadIdentityBinding,
) -> Result<Outcome, Error> {
    let namespace = binding.namespace().unwrap_or_default();
    let memory = binding.status.clone().unwrap_or_default();
    let issuer = context.issuer();
    let desired = match Desired::new(&namespace, &binding.spec, &context.parts.defaults, &issuer) {
        Ok(desired) => desired,
        Err(invalid) => return not_understood(context, binding, &memory, invalid.to_string()).await,
    };

    // Authorization comes first: without it Azure is not even asked, so that nobody learns from a
    // binding which identities exist.
    let mut outcome = remembering(&memory, Outcome::default());
    match authorize::check(
        &context.parts.client,
        context.parts.authorization,
        &desired.grant(),
    )
    .await
    {
        Ok(Decision::Allowed) => outcome.authorized = Verdict::yes(Reason::Granted, "A grant allows it."),
        Ok(Decision::Disabled) => {
            outcome.authorized = Verdict::yes(
                Reason::AuthorizationDisabled,
                "The operator runs with --authorization=none.",
            );
        }
        Ok(Decision::Denied) => {
            outcome.authorized = Verdict::no(Reason::NotAuthorized, desired.grant().how_to_grant());
            return revoke::denied(context, binding, &desired, outcome).await;
        }
        Err(error) => {
            let message = format!(
                "cannot check the grant: {}",
                crate::domain::text::quote(&error.to_string())
            );
            outcome.authorized = Verdict::unknown(Reason::AuthorizationCheckFailed, message);
            return Ok(outcome);
        }
    }
    let earlier = ownership::superseded(&memory, &desired);
    if revoke::awaits_heir(context, &binding.uid().unwrap_or_default(), &earlier) {
        return Err(Error::Outdated);
    }
    let asked = revoke::Asked {
        request: desired.grant(),
        denied: false,
    };
    let superseded = match revoke::earlier(context, binding, earlier, Some(asked), &mut outcome).await? {
        Ok(superseded) => superseded,
        Err(failed) => {
            outcome.overall = Some(failed);
            return Ok(outcome);
        }
    };
    if let Some(other) = taken(context, binding, &desired) {
        outcome.annotated = Verdict::no(Reason::ServiceAccountTaken, other);
        outcome.overall = Some(outcome.annotated.clone());
        return Ok(outcome);
    }

    let was_ready = conditions::is_ready(&memory, binding.metadata.generation);
    let fresh = context.fresh(was_ready);
    let snapshot = match context.observe(&desired.identity, fresh).await {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok(unresolved(&desired, outcome, &error)),
    };
    outcome.identity_resolved = Verdict::yes(Reason::Found, "The identity exists.");
    outcome.age = snapshot.age;

    if desired.suspend {
        return Ok(suspended(
            context, binding, &desired, &snapshot, superseded, outcome,
        ));
    }
    if !trust::establish(context, binding, &desired, &snapshot, superseded, &mut outcome).await? {
        return Ok(outcome);
    }
    match annotate::service_account(context, binding, &desired, &snapshot.identity).await {
        Ok(annotated) => {
            outcome.annotated = annotated.verdict;
            outcome.service_account = annotated.account.or(outcome.service_account);
            if annotated.replaced {
                events::client_id_changed(context, binding).await;
            }
        }
        Err(Refused { reason, message }) => outcome.annotated = Verdict::no(reason, message),
    }
    if outcome.annotated.holds == Some(true) && !outcome.superseded.is_empty() {
        confirm::current(context, binding).await?;
        if let Err(failed) = revoke::superseded(context, binding, &mut outcome).await {
            outcome.credential_synced = failed;
        }
    }
    Ok(outcome)
}

/// The spec cannot be understood. What an earlier one made stands, for as long as it is granted.
async fn not_understood(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    memory: &WorkloadIdentityBindingStatus,
    message: String,
) -> Result<Outcome, Error> {
    let mut outcome = remembering(memory, conditions::whole(Reason::InvalidSpec, message));
    let made = ownership::remembered(memory);
    if let Err(failed) = revoke::earlier(context, binding, made, None, &mut outcome).await? {
        outcome.overall = Some(failed);
    }
    Ok(outcome)
}

/// Starts from what is remembered, so that no outcome loses what is to be cleaned up.
fn remembering(memory: &WorkloadIdentityBindingStatus, outcome: Outcome) -> Outcome {
    Outcome {
        identity: memory.identity.clone(),
        credential: memory.credential.clone(),
        service_account: memory.service_account.clone(),
        superseded: memory.superseded.clone(),
        ..outcome
    }
}

fn taken(context: &Visit<'_>, binding: &WorkloadIdentityBinding, desired: &Desired) -> Option<String> {
    if !desired.service_account.annotate {
        return None;
    }
    let created = binding.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let other = context
        .index
        .taken_by(&binding.uid().unwrap_or_default(), created, desired)?;
    Some(format!(
        "binding {other} is older and annotates ServiceAccount {} already; set annotate: false here, or remove that one",
        desired.service_account.name
    ))
}

/// The identity could not be read.
fn unresolved(desired: &Desired, mut outcome: Outcome, error: &AzureError) -> Outcome {
    let gone = error.fault.is_gone();
    let verdict = if gone { Verdict::no } else { Verdict::unknown };
    outcome.identity_resolved = match error.fault {
        Fault::IdentityGone => Verdict::no(
            Reason::IdentityNotFound,
            format!(
                "managed identity {} does not exist in resource group {}; create it, or name another one. Ids on the ServiceAccount stay as they are until then",
                desired.identity.name(),
                desired.identity.resource_group()
            ),
        ),
        fault => verdict(fault.reason(), error.to_string()),
    };
    if gone && let Some(identity) = &mut outcome.identity {
        // The place stays, for cleaning up; the ids are nobody's any more.
        *identity = IdentityStatus {
            resource_id: identity.resource_id.clone(),
            ..IdentityStatus::default()
        };
    }
    outcome.wait = error.retry_after;
    outcome
}

/// `suspend: true`: says what differs, and changes nothing.
fn suspended(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    desired: &Desired,
    snapshot: &Snapshot,
    superseded: Vec<Superseded>,
    mut outcome: Outcome,
) -> Outcome {
    let memory = binding.status.clone().unwrap_or_default();
    let wish = Wish {
        credential: &desired.credential,
        adoption: desired.adoption,
        memory: ownership::memory_of(&memory, &desired.identity),
        obsolete: &[],
    };
    let planned = plan(wish, &snapshot.credentials);
    outcome.credential_synced = match planned.trust {
        Trust::Refused(reason, message) => Verdict::no(reason, message),
        Trust::By(credential, origin) if planned.steps.is_empty() => {
            // What stands is on record, suspended or not: it may have to be taken back.
            outcome.identity = Some(trust::resolved(desired, snapshot));
            outcome.credential = Some(ownership::record(&credential, origin));
            outcome.superseded = superseded;
            Verdict::yes(Reason::Suspended, "The credential trusts the ServiceAccount.")
        }
        Trust::By(..) => Verdict::no(
            Reason::Suspended,
            "The credential is missing or differs; it is not written while suspended.",
        ),
    };
    outcome.annotated = annotate::look(context, desired, &snapshot.identity);
    let in_order = outcome
        .steps()
        .iter()
        .all(|(_, verdict)| verdict.holds == Some(true));
    outcome.overall = Some(if in_order {
        Verdict::yes(
            Reason::Suspended,
            "Everything is in place; suspended, nothing is written.",
        )
    } else {
        Verdict::no(
            Reason::Suspended,
            "Something differs from what is asked for (see the other conditions); suspended, nothing is written.",
        )
    });
    outcome
}
