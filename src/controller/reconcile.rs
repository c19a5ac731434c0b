//! One visit of one binding: finalizer around it, deadline over it, and what comes after it.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::context::{Context, id};
use super::error::{DEADLINE, Error};
use super::index::Guarded;
use super::observe::{Ended, Progress, Stage};
use super::visit::Visit;
use super::{cleanup, events, flow, status, undecodable};
use crate::api::{Disposition, FINALIZER, Reason, WorkloadIdentityBinding};
use crate::domain::{Outcome, Verdict, conditions, text};
use crate::fairness::{Party, Urgency};

/// How many transient failures in a row leave a ready binding ready: the credential does not go
/// away because nobody could look at it.
const PATIENCE: u32 = 8;

/// First wait after a visit that another change came in between; the watch mostly is faster.
const OUTDATED: Duration = Duration::from_millis(200);

/// Visits one binding.
pub(super) async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let observer = &*context.parts.observer;
    observer.added();
    let (queued, progress) = (Instant::now(), Progress::new(observer, Stage::Queued));
    // Until all ServiceAccounts are known, one that is there would look missing.
    let _ = context.synced.clone().wait_for(|synced| *synced).await;
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    let party = Party {
        namespace: &namespace,
        urgency: Urgency::Usual,
    };
    let turn = tokio::select! {
        biased;
        // The next run goes on with it.
        () = context.stopping.cancelled() => return Ok(Action::await_change()),
        turn = context.turns.take(party) => turn,
    };
    // It may have waited for long.
    let Some(object) = context.bindings.get(&ObjectRef::from_obj(&*object)) else {
        return Ok(Action::await_change());
    };
    observer.began(queued.elapsed());
    let visit = Visit::new(&context, namespace.clone(), turn, progress);
    // On the heap: thousands may be waiting for their turn, and need little until it comes.
    Box::pin(visited(&object, &visit)).await
}

async fn visited(object: &Guarded, context: &Visit<'_>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = timeout(DEADLINE, visit(object, context))
        .await
        .unwrap_or(Err(Error::Deadline));
    let reason = match &result {
        Ok((_, reason)) => *reason,
        Err(error) => error.reason(),
    };
    if reason == Some(Reason::KubernetesUnavailable) {
        context.memory.trouble();
    }
    let ended = match &result {
        Ok((action, _)) if *action == Action::await_change() => Ended::AwaitsChange,
        Err(Error::Outdated) => Ended::Outdated,
        Err(Error::Deadline) => Ended::TimedOut,
        Ok(_) | Err(_) => Ended::ComesBack,
    };
    context.parts.observer.visited(started.elapsed(), reason, ended);
    result.map(|(action, _)| action)
}

type Visited = (Action, Option<Reason>);

async fn visit(object: &Guarded, context: &Visit<'_>) -> Result<Visited, Error> {
    let mut binding = match &object.0 {
        Ok(binding) => binding.clone(),
        Err(invalid) => {
            return undecodable::report(context, invalid)
                .await
                .map(|action| (action, Some(Reason::InvalidSpec)));
        }
    };
    context.memory.refresh(&mut binding);
    if binding.status.as_ref().is_none_or(|s| s.conditions.is_empty()) {
        context.memory.is_new(&binding.uid().unwrap_or_default());
    }
    let api = context.api(&binding.namespace().unwrap_or_default());
    let mut reason = None;
    let seen = &mut reason;
    let result = finalizer(&api, FINALIZER, Arc::new(binding), |event| async move {
        match event {
            Event::Apply(binding) => {
                let mut binding = Arc::unwrap_or_clone(binding);
                let outcome = flow::run(context, &mut binding).await?;
                *seen = Some(outcome.ready().reason);
                settle(context, &mut binding, outcome).await
            }
            Event::Cleanup(binding) => {
                cleanup::run(context, &binding).await?;
                Ok(Action::await_change())
            }
        }
    })
    .await;
    match result {
        Ok(action) => Ok((action, reason)),
        Err(finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error)) => Err(error),
        // Gone already, or another finalizer was changed at the same moment: the watch tells.
        Err(finalizer::Error::AddFinalizer(e) | finalizer::Error::RemoveFinalizer(e)) if is_passing(&e) => {
            Err(Error::Outdated)
        }
        Err(finalizer::Error::AddFinalizer(e)) => Err(Error::Finalizer("add", Some(Box::new(e)))),
        Err(finalizer::Error::RemoveFinalizer(e)) => Err(Error::Finalizer("remove", Some(Box::new(e)))),
        Err(finalizer::Error::UnnamedObject | finalizer::Error::InvalidFinalizer) => {
            Err(Error::Finalizer("address", None))
        }
    }
}

fn is_passing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict() || status.is_invalid())
}

/// Says what came of a visit, and when the next one is due.
async fn settle(
    context: &Context,
    binding: &mut WorkloadIdentityBinding,
    mut outcome: Outcome,
) -> Result<Action, Error> {
    let uid = binding.uid().unwrap_or_default();
    let before = binding.status.clone().unwrap_or_default();
    let ready = outcome.ready();
    let transient = outcome.disposition() == Disposition::RetrySoon;
    let failures = context.memory.failures(&uid);

    let remembered = outcome.credential == before.credential && outcome.superseded == before.superseded;
    let waiting = ready.reason == Reason::Queued;
    // Who could look and found the credential missing knows better.
    let missing =
        outcome.identity_resolved.holds == Some(true) && outcome.credential_synced.holds == Some(false);
    let unseen = (transient || waiting)
        && remembered
        && !missing
        && conditions::is_not_known_bad(&before, binding.metadata.generation);
    if unseen {
        // It was in order and may well be so still; nobody could look.
        outcome.overall = Some(Verdict::unknown(ready.reason, ready.message.clone()));
    }
    if unseen && waiting {
        debug!(binding = %id(binding), "{}", ready.message);
    } else if unseen && failures < PATIENCE {
        warn!(binding = %id(binding), reason = ready.reason.as_str(), failures, "{}", ready.message);
    } else {
        status::write(context, binding, &outcome).await?;
        if conditions::ready_reason(&before) != Some(ready.reason.as_str()) {
            announce(context, binding, ready.reason, &ready.message).await;
        }
        if ready.holds == Some(true)
            && context.memory.ready_at_last(&uid)
            && let Some(created) = &binding.metadata.creation_timestamp
        {
            let time = context.parts.clock.now().duration_since(created.0);
            // The API server's clock may be ahead of ours.
            context
                .parts
                .observer
                .ready_after(time.try_into().unwrap_or_default());
        }
    }

    if transient {
        context.memory.failed(&uid);
    } else if !waiting {
        context.memory.settled(&uid);
    }
    let next = context.parts.intervals.next(
        ready.reason,
        failures,
        context.parts.jitter.draw(),
        outcome.wait,
        outcome.age,
    );
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// One line in the log and one event for each turn.
async fn announce(context: &Context, binding: &WorkloadIdentityBinding, reason: Reason, message: &str) {
    match reason.disposition() {
        Disposition::Done | Disposition::Working => {
            info!(binding = %id(binding), reason = reason.as_str(), "{message}");
        }
        _ => warn!(binding = %id(binding), reason = reason.as_str(), "{}", text::quote(message)),
    }
    events::publish(context, binding, reason, message).await;
}

/// When to come back after a visit that ended early.
pub(super) fn retry(object: &Guarded, error: &Error, context: &Context) -> Action {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let failures = context.memory.failures(&uid);
    context.memory.failed(&uid);
    let Some(reason) = error.reason() else {
        // The change that we lost against may have been seen before we started. If not, the watch
        // may be late: asking ever faster than it tells would help nobody.
        debug!(%error, failures, "visit to be repeated");
        let wait = OUTDATED.saturating_mul(2_u32.saturating_pow(failures.min(16)));
        return Action::requeue(wait.min(context.parts.intervals.retry_max));
    };
    let wait = if let Error::Remains { wait, .. } = error {
        *wait
    } else {
        None
    };
    let name = object.meta().name.clone().unwrap_or_default();
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    warn!(binding = %format!("{namespace}/{name}"), reason = reason.as_str(), failures, "{error}");
    let next = context.parts.intervals.next(
        reason,
        failures,
        context.parts.jitter.draw(),
        wait,
        Duration::ZERO,
    );
    Action::requeue(next.unwrap_or(context.parts.intervals.retry_base))
}
