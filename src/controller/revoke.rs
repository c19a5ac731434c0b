//! Taking trust back: after a grant was withdrawn, after a change of spec, and on deletion.

use kube::ResourceExt;
use tracing::info;

use super::authorize::{self, Decision};
use super::context::id;
use super::error::Error;
use super::visit::Visit;
use super::{annotate, confirm};
use crate::api::{CredentialOrigin, Disposition, Reason, Superseded, WorkloadIdentityBinding};
use crate::azure::AzureError;
use crate::domain::plan::{Plan, Step, Trust};
use crate::domain::{Credential, Desired, IdentityId, Outcome, Verdict, grant, ownership, text};
use crate::fairness::Urgency;
use std::time::Duration;

/// How old the list may be that a deletion is decided on.
const FRESH: Duration = Duration::from_secs(10);

/// Whether another live binding wants this very credential.
pub(super) fn is_shared(context: &Visit<'_>, uid: &str, superseded: &Superseded) -> bool {
    let pair = pair(superseded);
    pair.is_some_and(|p| (context.index).shared(uid, &p.namespace, &p.service_account, &p.identity))
}

/// Whether one of these is left to a binding that has not been visited yet.
pub(super) fn awaits_heir(context: &Visit<'_>, uid: &str, superseded: &[Superseded]) -> bool {
    let mut pairs = superseded.iter().filter_map(pair);
    pairs.any(|p| (context.index).awaits_heir(uid, &p.namespace, &p.service_account, &p.identity))
}

/// The ServiceAccount and the identity that a remembered credential is for.
fn pair(superseded: &Superseded) -> Option<grant::Request> {
    let tuple = ownership::tuple_of(&superseded.credential);
    let (namespace, account) = tuple.service_account()?;
    Some(grant::Request {
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        identity: superseded.resource_id.parse().ok()?,
    })
}

/// Deletes one remembered credential, if it is there and ours, unless another binding wants it.
pub(super) async fn unless_shared(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    superseded: &Superseded,
) -> Result<(), AzureError> {
    let shared = is_shared(context, &binding.uid().unwrap_or_default(), superseded);
    // What is granted no longer is refused to the other as well, and nobody else would remove it.
    if shared && revoked(context, superseded, None).await.is_none() {
        return Ok(());
    }
    one(context, binding, superseded).await
}

/// Deletes one remembered credential, if it is there and ours. Where the grant is gone it does not
/// matter who else wants it: the same pair is refused to every binding.
async fn one(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    superseded: &Superseded,
) -> Result<(), AzureError> {
    // A status that names no identity names nothing that we could have made.
    let Ok(identity) = superseded.resource_id.parse::<IdentityId>() else {
        return Ok(());
    };
    if superseded.credential.origin == CredentialOrigin::Adopted {
        return Ok(());
    }
    let namespace = binding.namespace().unwrap_or_default();
    let mut unseen = false;
    let deleted = delete(context, binding, &identity, |found| {
        let name = ownership::doomed(found, &superseded.credential, &namespace)?;
        unseen = found.iter().all(|c| c.name != name);
        Some(name)
    })
    .await;
    match deleted {
        // No list shows it, and what forbids to delete it forbade to make it.
        Err(error) if unseen && error.fault.reason().disposition() != Disposition::RetrySoon => Ok(()),
        result => result,
    }
}

/// Deletes the credential that the spec asks for, if it is there exactly as we would make it, and
/// wanted by no other binding.
pub(super) async fn desired(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    desired: &Desired,
) -> Result<(), AzureError> {
    let (uid, account) = (binding.uid().unwrap_or_default(), &desired.service_account.name);
    if context
        .index
        .shared(&uid, &desired.namespace, account, &desired.identity)
    {
        return Ok(());
    }
    delete(context, binding, &desired.identity, |found| {
        let made = found.iter().find(|c| **c == desired.credential);
        made.map(|c| c.name.clone())
    })
    .await
}

async fn delete(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    identity: &IdentityId,
    pick: impl FnOnce(&[Credential]) -> Option<String> + Send,
) -> Result<(), AzureError> {
    let plan = move |found: &[Credential]| Plan {
        steps: pick(found).map(Step::Delete).into_iter().collect(),
        trust: Trust::Refused(Reason::Deleting, String::new()),
    };
    match context.act(identity, FRESH, Urgency::First, plan).await {
        Ok(plan) => {
            for step in &plan.steps {
                if let Step::Delete(name) = step {
                    info!(binding = %id(binding), credential = name, "credential deleted");
                    context.slots.freed(identity);
                }
            }
            Ok(())
        }
        Err(error) if error.fault.is_gone() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The answer for the pair that the spec asks for: it is not asked a second time in one visit.
pub(super) struct Asked {
    pub request: grant::Request,
    pub denied: bool,
}

/// The pair that the spec asks for is not granted. It is taken back, suspended or not: otherwise
/// whoever may edit the binding could keep what an administrator has revoked. A pair of an earlier
/// spec stands for as long as it is granted itself.
pub(super) async fn denied(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    desired: &Desired,
    mut outcome: Outcome,
) -> Result<Outcome, Error> {
    let made = ownership::remembered(&binding.status.clone().unwrap_or_default());
    let asked = Asked {
        request: desired.grant(),
        denied: true,
    };
    if let Err(failed) = earlier(context, binding, made, Some(asked), &mut outcome).await? {
        outcome.overall = Some(failed);
        return Ok(outcome);
    }
    if outcome.credential.is_none() {
        outcome.identity = None;
        match annotate::withdraw_all(context, binding, Some(&desired.identity)).await {
            Ok(()) => outcome.service_account = None,
            Err(refused) => outcome.overall = Some(Verdict::no(refused.reason, refused.message)),
        }
    }
    Ok(outcome)
}

/// Takes back at once, whether or not the spec works out, what the binding has made and that is no
/// longer granted. Returns what is left, or what stands in the way.
///
/// # Errors
/// When the binding is no longer what the visit goes by, or nobody can say.
pub(super) async fn earlier(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    made: Vec<Superseded>,
    asked: Option<Asked>,
    outcome: &mut Outcome,
) -> Result<Result<Vec<Superseded>, Verdict>, Error> {
    let mut standing = Vec::new();
    for superseded in made {
        let Some(request) = revoked(context, &superseded, asked.as_ref()).await else {
            standing.push(superseded);
            continue;
        };
        confirm::decision(context, &request, true, confirm::current(context, binding)).await?;
        if let Err(error) = one(context, binding, &superseded).await {
            outcome.wait = error.retry_after;
            let message = format!("the grant is gone, but the operator {error}");
            return Ok(Err(Verdict::no(error.fault.reason(), message)));
        }
        outcome.superseded.retain(|s| *s != superseded);
        if outcome.credential.as_ref() == Some(&superseded.credential) {
            outcome.credential = None;
            let identity = superseded.resource_id.parse().ok();
            if let Err(refused) = annotate::withdraw_all(context, binding, identity.as_ref()).await {
                return Ok(Err(Verdict::no(refused.reason, refused.message)));
            }
        }
    }
    Ok(Ok(standing))
}

/// Whether a pair that the binding has made is no longer granted.
pub(super) async fn any_revoked(context: &Visit<'_>, binding: &WorkloadIdentityBinding) -> bool {
    for remembered in ownership::remembered(&binding.status.clone().unwrap_or_default()) {
        if revoked(context, &remembered, None).await.is_some() {
            return true;
        }
    }
    false
}

/// What is no longer granted of a pair that was. A check that fails is no denial.
async fn revoked(
    context: &Visit<'_>,
    superseded: &Superseded,
    asked: Option<&Asked>,
) -> Option<grant::Request> {
    let request = pair(superseded)?;
    let denied = match asked.filter(|asked| asked.request == request) {
        Some(asked) => asked.denied,
        None => matches!(
            authorize::check(&context.parts.client, context.parts.authorization, &request).await,
            Ok(Decision::Denied)
        ),
    };
    denied.then_some(request)
}

/// Removes what an earlier spec or issuer left on other identities, now that the new trust stands.
pub(super) async fn superseded(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    outcome: &mut Outcome,
) -> Result<(), Verdict> {
    while let Some(old) = outcome.superseded.first() {
        if let Err(error) = unless_shared(context, binding, old).await {
            outcome.wait = error.retry_after;
            return Err(old_stands(&error));
        }
        outcome.superseded.remove(0);
    }
    Ok(())
}

fn old_stands(error: &AzureError) -> Verdict {
    let message = format!(
        "a credential of an earlier spec still stands: {}",
        text::quote(&error.to_string())
    );
    Verdict::no(error.fault.reason(), message)
}
