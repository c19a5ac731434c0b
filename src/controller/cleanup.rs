//! A binding that is being deleted. Needs neither the ServiceAccount nor events: in a terminating
//! namespace both are gone.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, CustomResourceExt, ResourceExt};
use tracing::{info, warn};

use super::context::{Context, id};
use super::error::Error;
use super::{annotate, events, revoke, status};
use crate::api::{DeletionPolicy, RELEASE_ANNOTATION, Reason, WorkloadIdentityBinding};
use crate::domain::{Outcome, Verdict, ownership};

/// Takes back what the binding stands for. When this returns, the finalizer goes.
///
/// # Errors
/// [`Error::Remains`] while something stands in the way; the object stays, with the reason in its
/// status.
pub(super) async fn run(context: &Context, cached: &WorkloadIdentityBinding) -> Result<(), Error> {
    let name = cached.name_any();
    let namespace = cached.namespace().unwrap_or_default();
    // The status is the list of what to remove: it has to be the latest.
    let live = context.bindings(&namespace).get_opt(&name).await;
    let live = live.map_err(|e| Error::kube("read the binding", e))?;
    let Some(mut binding) = live.filter(|b| b.uid() == cached.uid()) else {
        return Ok(());
    };

    if let Some(why) = keeps_trust(context, &binding).await? {
        info!(binding = %id(&binding), "let go without touching Azure: {why}");
        context.memory.forget(&binding.uid().unwrap_or_default());
        return Ok(());
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
    context: &Context,
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
    if policy == DeletionPolicy::Retain {
        return Ok(Some("the deletion policy is Retain"));
    }
    // Nobody deletes a CRD to take every workload's access away at one stroke.
    let crds: Api<CustomResourceDefinition> = Api::all(context.parts.client.clone());
    let crd = crds.get_metadata_opt(WorkloadIdentityBinding::crd_name()).await;
    let crd = crd.map_err(|e| Error::kube("read the CustomResourceDefinition", e))?;
    let going = crd.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some());
    Ok(going.then_some("the CustomResourceDefinition is being deleted"))
}

async fn take_back(
    context: &Context,
    binding: &WorkloadIdentityBinding,
) -> Result<(), (Verdict, Option<std::time::Duration>)> {
    let memory = binding.status.clone().unwrap_or_default();
    for remembered in ownership::remembered(&memory) {
        revoke::one(context, binding, &remembered).await.map_err(|error| {
            let message = format!(
                "the operator {error}. To let the binding go without touching Azure, annotate it with {RELEASE_ANNOTATION}: \"true\""
            );
            (Verdict::no(error.fault.reason(), message), error.retry_after)
        })?;
    }
    let uid = binding.uid().unwrap_or_default();
    let namespace = binding.namespace().unwrap_or_default();
    let names = memory.service_account.map(|s| s.name);
    for name in names
        .into_iter()
        .chain([binding.spec.service_account.name.clone()])
    {
        annotate::withdraw(context, &uid, &namespace, &name)
            .await
            .map_err(|refused| (Verdict::no(refused.reason, refused.message), None))?;
    }
    Ok(())
}

async fn report(context: &Context, binding: &mut WorkloadIdentityBinding, verdict: &Verdict) {
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
        wait: None,
    };
    if let Err(error) = status::write(context, binding, &outcome).await {
        warn!(binding = %id(binding), %error, "the reason could not be written into the status");
    } else if !known {
        events::publish(context, binding, verdict.reason, &verdict.message).await;
    }
}
