//! The reconcile of one binding: a permit before it, a deadline over it, and what comes after it.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::context::Context;
use super::driver::{Driver, PassTarget};
use super::index::Guarded;
use super::metrics::{Ended, PassProgress, PassStage};
use super::permit::Working;
use super::status::Written;
use super::{events, invalid, status, subject};
use crate::api::{Disposition, Reason, WorkloadIdentityBinding};
use crate::core::reconcile::{End, Refusal};
use crate::core::{ConditionState, Outcome, conditions, text};
use crate::fairness::{Flow, Priority};

/// How many transient failures in a row leave a ready binding ready: the credential does not go
/// away because nobody could look at it.
const PATIENCE: u32 = 8;

/// After how many failures in a row a binding that cannot be worked on says so in its status.
const TELL_AFTER: u32 = 3;

/// First wait after a pass that another change came in between; the watch mostly is faster.
const OUTDATED: Duration = Duration::from_millis(200);

/// Longest pass. It is no measure of Azure's rate limits, whose waits have bounds of their own, but keeps
/// one that hangs from hanging for ever.
const DEADLINE: Duration = Duration::from_mins(5);

/// Never constructed: a reconcile has no error that the library could do anything about.
#[derive(Debug, thiserror::Error)]
pub(super) enum Never {}

/// When to come back, and what the binding said.
struct Settled {
    action: Action,
    reason: Option<Reason>,
    ended: Ended,
}

/// Reconciles one binding.
pub(super) async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Never> {
    let metrics = &context.parts.metrics;
    metrics.added();
    let (queued, progress) = (Instant::now(), PassProgress::new(metrics, PassStage::Queued));
    // Until everything is known, what is there would look missing.
    let _ = context.synced.clone().wait_for(|synced| *synced).await;
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let flow = Flow {
        namespace: &namespace,
        priority: Priority::Usual,
    };
    let permit = tokio::select! {
        biased;
        // The next run goes on with it.
        () = context.stopping.cancelled() => return Ok(Action::await_change()),
        permit = context.permits.take(flow) => permit,
    };
    // It may have waited for long.
    let Some(object) = context.bindings.get(&ObjectRef::from_obj(&*object)) else {
        return Ok(Action::await_change());
    };
    metrics.began(queued.elapsed());
    let working = Working::new(&context, namespace.clone(), permit, progress);
    let started = Instant::now();
    // On the heap: thousands may be waiting for their permit, and need little until it comes.
    let settled = Box::pin(pass(&object, &context, &working)).await;
    if settled.reason == Some(Reason::KubernetesUnavailable) {
        context.expectations.trouble();
    }
    metrics.ended(started.elapsed(), settled.reason, settled.ended);
    Ok(settled.action)
}

async fn pass(object: &Guarded, context: &Context, working: &Working<'_>) -> Settled {
    let mut binding = match &object.0 {
        Ok(binding) => binding.clone(),
        Err(invalid) => return of_invalid(object, context, invalid::report(context, invalid).await),
    };
    context.expectations.refresh(&mut binding);
    let uid = binding.uid().unwrap_or_default();
    if binding.status.as_ref().is_none_or(|s| s.conditions.is_empty()) {
        context.expectations.is_new(&uid);
    }
    let (subject, known) = subject::of(context, &binding);
    let end = {
        let driver = Driver {
            context,
            working,
            target: PassTarget::Binding(&binding),
        };
        timeout(DEADLINE, driver.binding(subject, known)).await
    };
    match end {
        Ok(End::Report(outcome)) => settle(context, &mut binding, *outcome).await,
        Ok(End::Nothing | End::Revoked(_)) => {
            if binding.metadata.deletion_timestamp.is_some() {
                info!(binding = %id(&binding), "let go");
            }
            context.expectations.settled(&uid);
            Settled {
                action: Action::await_change(),
                reason: None,
                ended: Ended::AwaitsChange,
            }
        }
        Ok(End::Outdated) => outdated(context, &mut binding).await,
        Ok(End::Failed(refusal)) => failed(context, &mut binding, refusal, Ended::ComesBack).await,
        Err(_) => {
            let message = format!("the reconcile took longer than {} s", DEADLINE.as_secs());
            let refusal = Refusal {
                reason: Reason::KubernetesUnavailable,
                message,
            };
            failed(context, &mut binding, refusal, Ended::TimedOut).await
        }
    }
}

fn of_invalid(object: &Guarded, context: &Context, reported: kube::Result<()>) -> Settled {
    let Err(error) = reported else {
        return Settled {
            action: Action::await_change(),
            reason: Some(Reason::InvalidSpec),
            ended: Ended::AwaitsChange,
        };
    };
    let uid = object.meta().uid.clone().unwrap_or_default();
    warn!(
        error = text::cause(&error),
        "the status of a binding that cannot be read was not written"
    );
    Settled {
        action: Action::requeue(after_failure(context, &uid, Reason::KubernetesUnavailable, None)),
        reason: Some(Reason::KubernetesUnavailable),
        ended: Ended::ComesBack,
    }
}

/// Says what came of a pass, and when the next one is due.
async fn settle(context: &Context, binding: &mut WorkloadIdentityBinding, mut outcome: Outcome) -> Settled {
    let uid = binding.uid().unwrap_or_default();
    let before = binding.status.clone().unwrap_or_default();
    let is_deleting = binding.metadata.deletion_timestamp.is_some();
    let ready = outcome.ready();
    let transient = outcome.disposition() == Disposition::RetrySoon;
    let failures = context.expectations.failures(&uid);
    let waiting = ready.reason == Reason::Queued;
    if outcome.credential_synced.reason == Reason::CredentialLimitReached {
        subject::wait_for_capacity(context, binding);
    }
    if outcome.client_id_replaced {
        events::client_id_changed(context, binding).await;
    }
    if outcome.is_repair && conditions::is_ready(&before, binding.metadata.generation) {
        context.parts.metrics.repaired();
    }

    // Who could look and found the credential missing knows better.
    let missing =
        outcome.identity_resolved.holds == Some(true) && outcome.credential_synced.holds == Some(false);
    let unseen = !is_deleting
        && (transient || waiting)
        && outcome.credential == before.credential
        && !missing
        && conditions::is_not_known_bad(&before, binding.metadata.generation);
    if unseen {
        // It was in order and may well be so still; nobody could look.
        outcome.overall = Some(ConditionState::unknown(ready.reason, ready.message.clone()));
    }
    if unseen && waiting {
        debug!(binding = %id(binding), "{}", ready.message);
    } else if unseen && failures < PATIENCE {
        warn!(binding = %id(binding), reason = ready.reason.as_str(), failures, "{}", ready.message);
    } else {
        match status::write(context, binding, &outcome).await {
            Ok(Written::Yes) => {}
            Ok(Written::Gone) => {
                return Settled {
                    action: Action::requeue(OUTDATED),
                    reason: None,
                    ended: Ended::Outdated,
                };
            }
            Err(error) => {
                let message = format!(
                    "cannot write the binding's status: {}",
                    text::quote(&text::cause(&error))
                );
                warn!(binding = %id(binding), "{message}");
                let wait = after_failure(context, &uid, Reason::KubernetesUnavailable, outcome.wait);
                return Settled {
                    action: Action::requeue(wait),
                    reason: Some(Reason::KubernetesUnavailable),
                    ended: Ended::ComesBack,
                };
            }
        }
        if conditions::ready_reason(&before) != Some(ready.reason.as_str()) {
            announce(context, binding, ready.reason, &ready.message).await;
        }
        if ready.holds == Some(true) && context.expectations.ready_at_last(&uid) {
            ready_at_last(context, binding);
        }
    }

    if transient || is_deleting {
        context.expectations.failed(&uid);
    } else if !waiting {
        context.expectations.settled(&uid);
    }
    let intervals = &context.parts.intervals;
    let jitter = context.parts.jitter.draw();
    let next = intervals.next(ready.reason, failures, jitter, outcome.wait, outcome.age);
    Settled {
        ended: if next.is_none() {
            Ended::AwaitsChange
        } else {
            Ended::ComesBack
        },
        action: next.map_or_else(Action::await_change, Action::requeue),
        reason: Some(ready.reason),
    }
}

fn ready_at_last(context: &Context, binding: &WorkloadIdentityBinding) {
    if let Some(created) = &binding.metadata.creation_timestamp {
        let time = context.parts.clock.now().duration_since(created.0);
        // The API server's clock may be ahead of ours.
        let time = time.try_into().unwrap_or_default();
        context.parts.metrics.ready_after(time);
    }
}

/// One line in the log and one event for each change of the reason.
async fn announce(context: &Context, binding: &WorkloadIdentityBinding, reason: Reason, message: &str) {
    match reason.disposition() {
        Disposition::Done | Disposition::Working => {
            info!(binding = %id(binding), reason = reason.as_str(), "{message}");
        }
        _ => warn!(binding = %id(binding), reason = reason.as_str(), "{}", text::quote(message)),
    }
    events::publish(context, binding, reason, message).await;
}

/// Something changed under a pass. The watch may have told of it before the pass began, or may be late.
/// One that meets changes again and again says so.
async fn outdated(context: &Context, binding: &mut WorkloadIdentityBinding) -> Settled {
    let uid = binding.uid().unwrap_or_default();
    let failures = context.expectations.failures(&uid);
    context.expectations.failed(&uid);
    debug!(binding = %id(binding), failures, "the object has changed meanwhile; the reconcile is repeated");
    if failures >= TELL_AFTER {
        let message = "The binding changes again and again while the operator works on it: see who writes it (kubectl get -o yaml --show-managed-fields).";
        tell(
            context,
            binding,
            ConditionState::unknown(Reason::ObjectChanging, message),
        )
        .await;
    }
    let wait = OUTDATED.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    Settled {
        action: Action::requeue(wait.min(context.parts.intervals.retry_max)),
        reason: None,
        ended: Ended::Outdated,
    }
}

/// Kubernetes refused or failed a call. What lasts is told: by a condition and an event after a few tries.
async fn failed(
    context: &Context,
    binding: &mut WorkloadIdentityBinding,
    refusal: Refusal,
    ended: Ended,
) -> Settled {
    let uid = binding.uid().unwrap_or_default();
    let failures = context.expectations.failures(&uid);
    warn!(binding = %id(binding), reason = refusal.reason.as_str(), failures, "{}", refusal.message);
    if failures >= TELL_AFTER {
        let before = binding.status.clone().unwrap_or_default();
        let state = if conditions::is_not_known_bad(&before, binding.metadata.generation) {
            ConditionState::unknown
        } else {
            ConditionState::no
        };
        tell(context, binding, state(refusal.reason, refusal.message)).await;
    }
    Settled {
        action: Action::requeue(after_failure(context, &uid, refusal.reason, None)),
        reason: Some(refusal.reason),
        ended,
    }
}

/// Puts one sentence on the whole object and leaves the rest of the status as it is.
async fn tell(context: &Context, binding: &mut WorkloadIdentityBinding, state: ConditionState) {
    let before = binding.status.clone().unwrap_or_default();
    let outcome = Outcome {
        overall: Some(state.clone()),
        ..conditions::outcome(&before)
    };
    match status::write(context, binding, &outcome).await {
        Ok(_) if conditions::ready_reason(&before) != Some(state.reason.as_str()) => {
            announce(context, binding, state.reason, &state.message).await;
        }
        Ok(_) => {}
        Err(error) => {
            warn!(binding = %id(binding), error = text::cause(&error), "the reason could not be written into the status");
        }
    }
}

/// Counts a failure, and says how long to wait after it.
fn after_failure(context: &Context, uid: &str, reason: Reason, wait: Option<Duration>) -> Duration {
    let failures = context.expectations.failures(uid);
    context.expectations.failed(uid);
    let intervals = &context.parts.intervals;
    let next = intervals.next(
        reason,
        failures,
        context.parts.jitter.draw(),
        wait,
        Duration::ZERO,
    );
    next.unwrap_or(intervals.retry_base)
}

/// `namespace/name`, as it stands in logs.
fn id(binding: &WorkloadIdentityBinding) -> String {
    format!(
        "{}/{}",
        binding.namespace().unwrap_or_default(),
        binding.name_any()
    )
}

/// There is no error to decide on.
pub(super) fn never(_: &Never) -> Action {
    Action::await_change()
}
