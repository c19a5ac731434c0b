//! A binding that is being deleted. Needs neither the ServiceAccount nor events: in a terminating
//! namespace both are gone.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, CustomResourceExt, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use super::authorize::{self, Decision};
use super::context::id;
use super::error::Error;
use super::visit::Visit;
use super::{annotate, confirm, events, revoke, status};
use crate::api::{
    CredentialOrigin, DeletionPolicy, Disposition, RELEASE_ANNOTATION, Reason, ServiceAccountOrigin,
    Superseded, WorkloadIdentityBinding,
};
use crate::azure::AzureError;
use crate::domain::{Desired, Fault, Outcome, Verdict, conditions, desired, ownership};

/// Takes back what the binding stands for. When this returns, the finalizer goes.
///
/// # Errors
/// [`Error::Remains`] while something stands in the way; the object stays, with the reason in its
/// status.
pub(super) async fn run(context: &Visit<'_>, cached: &WorkloadIdentityBinding) -> Result<(), Error> {
    let name = cached.name_any();
    let namespace = cached.namespace().unwrap_or_default();
    // The status is the list of what to remove: it has to be the latest.
    let api = context.api(&namespace);
    let (live, _) = confirm::from_storage(context, api.get_opt(&name)).await;
    let live = live.map_err(|e| Error::kube("read the binding", e))?;
    let Some(mut binding) = live.filter(|b| b.uid() == cached.uid()) else {
        return Ok(());
    };
    context.memory.refresh(&mut binding);

    if let Some(why) = keeps_trust(context, &binding).await? {
        disown(context, &binding).await?;
        info!(binding = %id(&binding), "let go without touching Azure: {why}");
        context.memory.forget(&binding.uid().unwrap_or_default());
        return Ok(());
    }
    let remembered = ownership::remembered(&binding.status.clone().unwrap_or_default());
    if revoke::awaits_heir(context, &binding.uid().unwrap_or_default(), &remembered) {
        return Err(Error::Outdated);
    }
    match take_back(context, &binding).await {
        Ok(()) => {
            info!(binding = %id(&binding), "trust taken back");
            context.memory.forget(&binding.uid().unwrap_or_default());
            Ok(())
        }
        Err((verdict, wait)) => {
            report(context, &mut binding, &verdict).await;
            Err(Error::Remains {
                reason: verdict.reason,
                message: verdict.message,
                wait,
            })
        }
    }
}

/// Why Azure is to be left alone, if it is.
async fn keeps_trust(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
) -> Result<Option<&'static str>, Error> {
    if binding
        .annotations()
        .get(RELEASE_ANNOTATION)
        .is_some_and(|v| v == "true")
    {
        return Ok(Some("the release annotation is set"));
    }
    let policy = binding
        .spec
        .deletion_policy
        .unwrap_or(context.parts.defaults.deletion_policy);
    // Whoever may edit a binding must not keep by it what an administrator has revoked.
    if policy == DeletionPolicy::Retain && !revoke::any_revoked(context, binding).await {
        return Ok(Some("the deletion policy is Retain"));
    }
    // Nobody deletes a CRD to take every workload's access away at one stroke.
    let crds: Api<CustomResourceDefinition> = Api::all(context.parts.client.clone());
    let crd = crds.get_metadata_opt(WorkloadIdentityBinding::crd_name()).await;
    let crd = crd.map_err(|e| Error::kube("read the CustomResourceDefinition", e))?;
    let going = crd.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some());
    Ok(going.then_some("the CustomResourceDefinition is being deleted"))
}

/// A ServiceAccount that `create: true` made would be collected with its owner. Where access is to
/// stay, it stays.
async fn disown(context: &Visit<'_>, binding: &WorkloadIdentityBinding) -> Result<(), Error> {
    let account = binding.status.as_ref().and_then(|s| s.service_account.as_ref());
    // The name is part of an address, and a status can be forged.
    let account = account
        .filter(|a| a.origin == ServiceAccountOrigin::Created && desired::is_service_account_name(&a.name));
    let Some(account) = account else {
        return Ok(());
    };
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
        Err(error) => Err(Error::kube("let go of the ServiceAccount", error)),
    }
}

type Obstacle = (Verdict, Option<std::time::Duration>);

async fn take_back(context: &Visit<'_>, binding: &WorkloadIdentityBinding) -> Result<(), Obstacle> {
    let memory = binding.status.clone().unwrap_or_default();
    let remembered = ownership::remembered(&memory);
    take_back_what_the_spec_names(context, binding, &remembered).await?;
    for remembered in remembered {
        revoke::unless_shared(context, binding, &remembered)
            .await
            .map_err(|error| obstacle(&error))?;
    }
    annotate::withdraw_all(context, binding, None)
        .await
        .map_err(|refused| (Verdict::no(refused.reason, refused.message), None))
}

/// A status can get lost or be forged; the spec still names what we would have made.
async fn take_back_what_the_spec_names(
    context: &Visit<'_>,
    binding: &WorkloadIdentityBinding,
    remembered: &[Superseded],
) -> Result<(), Obstacle> {
    let namespace = binding.namespace().unwrap_or_default();
    let desired = Desired::new(
        &namespace,
        &binding.spec,
        &context.parts.defaults,
        &context.issuer(),
    );
    let Ok(desired) = desired else { return Ok(()) };
    // One that was refused and remembers nothing never had anything: Azure is not asked for it. That
    // it was refused is asked again, since a status can be forged.
    let status = binding.status.as_ref();
    let refused = status.and_then(conditions::ready_reason) == Some(Reason::NotAuthorized.as_str());
    if refused && remembered.is_empty() && is_refused(context, &desired).await {
        return Ok(());
    }
    let made = ownership::record(&desired.credential, CredentialOrigin::Created);
    if remembered
        .iter()
        .any(|r| r.credential == made && ownership::is_on(r, &desired.identity))
    {
        return Ok(());
    }
    let Err(error) = revoke::desired(context, binding, &desired).await else {
        return Ok(());
    };
    // Every write is put on record first. A status that has conditions and remembers nothing says
    // that nothing was made: a binding that never worked out must be deletable.
    let conditions = binding.status.as_ref().is_some_and(|s| !s.conditions.is_empty());
    let never_worked_out = conditions && remembered.is_empty();
    let passes = error.fault.reason().disposition() == Disposition::RetrySoon;
    if passes || !(never_worked_out || error.fault == Fault::SubscriptionNotFound) {
        return Err(obstacle(&error));
    }
    Ok(())
}

async fn is_refused(context: &Visit<'_>, desired: &Desired) -> bool {
    let authorization = context.parts.authorization;
    let decision = authorize::check(&context.parts.client, authorization, &desired.grant()).await;
    matches!(decision, Ok(Decision::Denied))
}

fn obstacle(error: &AzureError) -> Obstacle {
    if error.fault == Fault::Queued {
        return (
            Verdict::no(Reason::Queued, format!("the operator {error}")),
            error.retry_after,
        );
    }
    let message = format!(
        "the operator {error}. To let the binding go without touching Azure, annotate it with {RELEASE_ANNOTATION}: \"true\""
    );
    (Verdict::no(error.fault.reason(), message), error.retry_after)
}

async fn report(context: &Visit<'_>, binding: &mut WorkloadIdentityBinding, verdict: &Verdict) {
    let memory = binding.status.clone().unwrap_or_default();
    let known = memory
        .conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.reason == verdict.reason.as_str());
    let outcome = Outcome {
        credential_synced: verdict.clone(),
        overall: Some(verdict.clone()),
        identity: memory.identity,
        credential: memory.credential,
        service_account: memory.service_account,
        superseded: memory.superseded,
        authorized: Verdict::unknown(Reason::Deleting, "The binding is being deleted."),
        identity_resolved: Verdict::unknown(Reason::Deleting, "The binding is being deleted."),
        annotated: Verdict::unknown(Reason::Deleting, "The binding is being deleted."),
        ..Outcome::default()
    };
    if let Err(error) = status::write(context, binding, &outcome).await {
        warn!(binding = %id(binding), %error, "the reason could not be written into the status");
    } else if !known {
        events::publish(context, binding, verdict.reason, &verdict.message).await;
    }
}
