//! The reconcile of one record: what is on it and no longer due is taken back, and what nobody wants is told.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::context::Context;
use super::driver::{Driver, FRESH, PassTarget};
use super::events;
use super::index::Guarded;
use super::metrics::{PassProgress, PassStage};
use super::permit::Working;
use super::reconcile::Never;
use super::records::Share;
use crate::api::{CredentialState, ManagedIdentity, REMOVE_ORPHANS_ANNOTATION, Reason, RecordedCredential};
use crate::core::reconcile::revoke::{Orphans, OwnedEntry, Owner, Situation};
use crate::core::reconcile::{Due, End, Revoked};
use crate::core::record::{self, Change};
use crate::core::{IdentityId, text};
use crate::fairness::{Flow, Priority};

/// Longest pass over one record.
const DEADLINE: Duration = Duration::from_mins(5);

/// How old a record without an entry is that nobody is about to fill any more: no write takes longer. Another
/// operator of the cluster may have made it.
const EMPTY_FOR: Duration = Duration::from_secs(20);

/// Flow of the passes over records: they are nobody's, and before everybody's.
const OPERATOR: &str = "";

/// Reconciles the record of one identity.
pub(super) async fn reconcile(object: Arc<ManagedIdentity>, context: Arc<Context>) -> Result<Action, Never> {
    // Until all bindings are known, nobody would seem to want anything.
    let _ = context.synced.clone().wait_for(|synced| *synced).await;
    let Ok(identity) = object.spec.resource_id.parse::<IdentityId>() else {
        warn!(
            name = object.name_any(),
            "a ManagedIdentity whose spec.resourceId is no ARM id of an identity; it is left alone"
        );
        return Ok(Action::await_change());
    };
    match context.records.share(&identity) {
        Share::Some => {}
        // Of an operator that looks after other namespaces, or gone.
        Share::None => return Ok(Action::await_change()),
        // Whoever made it is about to write the first entry, or has come to its end before that.
        Share::Empty => {
            let left = EMPTY_FOR.saturating_sub(age(&context, &object));
            if !left.is_zero() {
                return Ok(Action::requeue(left));
            }
            if let Err(error) = context.records.commit(&identity, Vec::new()).await {
                warn!("{error}");
                return Ok(Action::requeue(retry(&context, &identity, None)));
            }
            return Ok(Action::await_change());
        }
    }
    let flow = Flow {
        namespace: OPERATOR,
        priority: Priority::First,
    };
    let progress = PassProgress::new(&context.parts.metrics, PassStage::Queued);
    let permit = tokio::select! {
        biased;
        () = context.stopping.cancelled() => return Ok(Action::await_change()),
        permit = context.permits.take(flow) => permit,
    };
    let working = Working::new(&context, OPERATOR.to_owned(), permit, progress);
    let driver = Driver {
        context: &context,
        working: &working,
        target: PassTarget::Record(&identity),
    };
    let end = timeout(DEADLINE, Box::pin(driver.revoke(&identity, Due::All))).await;
    let next = match end {
        Ok(End::Revoked(revoked)) => {
            announce(&context, &identity, &revoked, None).await;
            tell_orphans(&context, &object, &identity, &revoked).await;
            after(&context, &identity, &revoked)
        }
        Ok(End::Failed(refusal)) => {
            warn!(identity = identity.key(), "{}", refusal.message);
            context.expectations.trouble();
            retry(&context, &identity, None)
        }
        Ok(_) => retry(&context, &identity, None),
        Err(_) => {
            warn!(
                identity = identity.key(),
                "the reconcile of the record took longer than {} s",
                DEADLINE.as_secs()
            );
            retry(&context, &identity, None)
        }
    };
    Ok(Action::requeue(next))
}

/// How long ago an object was made. A clock that is behind makes it younger.
fn age(context: &Context, object: &ManagedIdentity) -> Duration {
    let made = object.metadata.creation_timestamp.as_ref();
    let age = made.map(|made| context.parts.clock.now().duration_since(made.0));
    age.and_then(|age| age.try_into().ok()).unwrap_or_default()
}

/// When to look again.
fn after(context: &Context, identity: &IdentityId, revoked: &Revoked) -> Duration {
    if revoked.unsure || !revoked.obstacles.is_empty() {
        return retry(context, identity, revoked.wait());
    }
    failures(context).remove(identity.key());
    let drift = context.parts.intervals.drift;
    revoked.next.map_or(drift, |next| next.min(drift))
}

fn retry(context: &Context, identity: &IdentityId, wait: Option<Duration>) -> Duration {
    let attempt = {
        let mut failures = failures(context);
        let count = failures.entry(identity.key().to_owned()).or_default();
        *count = count.saturating_add(1);
        *count - 1
    };
    let intervals = &context.parts.intervals;
    let jitter = context.parts.jitter.draw();
    let next = intervals.next(Reason::AzureUnavailable, attempt, jitter, wait, Duration::ZERO);
    next.unwrap_or(intervals.retry_base)
}

fn failures(context: &Context) -> MutexGuard<'_, std::collections::HashMap<String, u32>> {
    context
        .identity_failures
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// What a pass over the record of an identity goes by.
pub(super) fn situation(context: &Context, identity: &IdentityId) -> Situation {
    let entries = context.records.entries(identity).into_iter();
    let mine: Vec<_> = entries
        .filter(|entry| context.records.looks_after(entry))
        .collect();
    let entries = mine.into_iter().map(|recorded| {
        let owner = context.index.owner(&recorded, identity);
        OwnedEntry {
            unwanted_for: unwanted_for(context, identity, &recorded.name, owner),
            owner,
            recorded,
        }
    });
    let entries: Vec<OwnedEntry> = entries.collect();
    // Only where there are some: that takes a look at all records.
    let orphans = if entries.iter().any(|entry| entry.owner == Owner::Absent) {
        orphans(context, identity)
    } else {
        Orphans::Held
    };
    let status = context
        .records
        .get(identity)
        .map(|record| super::records::status(&record))
        .unwrap_or_default();
    let now = context.parts.clock.now();
    let since = |former: &crate::api::FormerIssuer| {
        let since = now.duration_since(former.retired_at.0);
        // A clock that was set back makes them stay longer.
        (former.issuer.clone(), since.try_into().unwrap_or_default())
    };
    Situation {
        identity: identity.clone(),
        entries,
        issuer: context.issuer(),
        alternating_issuers: context.alternating_issuers(),
        former_issuers: status.former_issuers.iter().map(since).collect(),
        former_issuer_retention: context.parts.retention.former_issuers,
        orphan_grace_period: context.parts.retention.orphans,
        orphans,
        now: now.as_second(),
        fresh: FRESH,
    }
}

/// For how long nobody has been known to want a credential. Counted by this process: a restart begins anew.
fn unwanted_for(context: &Context, identity: &IdentityId, name: &str, owner: Owner) -> Duration {
    let key = (identity.key().to_owned(), name.to_owned());
    let mut unwanted = context.unwanted.lock().unwrap_or_else(PoisonError::into_inner);
    if owner == Owner::Absent {
        unwanted.entry(key).or_insert_with(Instant::now).elapsed()
    } else {
        unwanted.remove(&key);
        Duration::ZERO
    }
}

/// What is to become of orphans: a person's word on this identity, else by how many there are in all.
fn orphans(context: &Context, identity: &IdentityId) -> Orphans {
    let record = context.records.get(identity);
    let confirmed = record.is_some_and(|record| {
        let said = record.annotations().get(REMOVE_ORPHANS_ANNOTATION);
        said.is_some_and(|value| value == "true")
    });
    if confirmed {
        return Orphans::Confirmed;
    }
    let (all, orphans) = context
        .records
        .count(|identity, entry| is_orphan(context, identity, entry));
    Orphans::of(orphans, all)
}

/// Whether a credential of ours is wanted by no binding, and nobody has said that it is to stay.
fn is_orphan(context: &Context, identity: &IdentityId, entry: &RecordedCredential) -> bool {
    matches!(entry.state, CredentialState::Wanted | CredentialState::Orphaned)
        && context.index.owner(entry, identity) == Owner::Absent
}

/// One line in the log for each credential that is gone or stays. The bindings of its ServiceAccount are
/// woken, except the one whose pass this was: they may want it back, or have something to take off.
pub(super) async fn announce(
    context: &Context,
    identity: &IdentityId,
    revoked: &Revoked,
    but: Option<&ObjectRef<Guarded>>,
) {
    let record = context.records.get(identity);
    let mut unwanted = HashSet::new();
    for (entry, why) in &revoked.gone {
        info!(
            identity = identity.key(),
            credential = entry.name,
            subject = entry.subject,
            "credential deleted: {}",
            why.as_str()
        );
        unwanted.insert((identity.key().to_owned(), entry.name.clone()));
        if let Some((namespace, account)) = record::service_account(entry) {
            let naming = context.index.naming(namespace, account).into_iter();
            context.wake(naming.filter(|binding| but.is_none_or(|but| binding != but)));
        }
    }
    {
        let mut known = context.unwanted.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|key, _| !unwanted.contains(key));
    }
    for (obstacle, name) in &revoked.obstacles {
        warn!(
            identity = identity.key(),
            credential = name,
            reason = obstacle.fault.reason().as_str(),
            "a credential that is no longer due stands: the operator {}",
            obstacle.message
        );
    }
    if let (Some(record), Some((obstacle, _))) = (record, revoked.first_obstacle()) {
        let note = format!(
            "A credential that is no longer due stands: the operator {}",
            text::quote(&revoked.told())
        );
        events::on_record(context, &record, obstacle.fault.reason().as_str(), &note).await;
    }
}

/// Credentials with our mark that were not on record, and that no binding wants, are told.
pub(super) async fn announce_found(context: &Context, identity: &IdentityId, changes: &[Change]) {
    for change in changes {
        let Change::Found(credential) = change else {
            continue;
        };
        let entries = context.records.entries(identity);
        let entry = entries.iter().find(|entry| entry.name == credential.name);
        let (Some(entry), Some(record)) = (entry, context.records.get(identity)) else {
            continue;
        };
        if context.index.owner(entry, identity) != Owner::Absent {
            continue;
        }
        warn!(
            identity = identity.key(),
            credential = entry.name,
            subject = entry.subject,
            "a credential with the operator's mark was not on record, and no binding wants it"
        );
        let note = format!(
            "Credential {} (subject {}) has the mark of this cluster's operator, was not on record, and is wanted by no binding. It is not deleted by itself. To let it go: kubectl annotate managedidentity {} {REMOVE_ORPHANS_ANNOTATION}=true",
            entry.name,
            entry.subject,
            record.name_any()
        );
        events::on_record(context, &record, "CredentialOrphaned", &note).await;
    }
}

/// Orphans are told at once, and so is that they are not removed by themselves.
async fn tell_orphans(context: &Context, record: &ManagedIdentity, identity: &IdentityId, revoked: &Revoked) {
    let grace = context.parts.retention.orphans;
    for entry in &revoked.orphaned {
        warn!(
            identity = identity.key(),
            credential = entry.name,
            subject = entry.subject,
            "no binding wants the credential any more"
        );
        let note = format!(
            "No binding wants credential {} (subject {}) any more. Entra still accepts its ServiceAccount. It is deleted after {} s, unless a binding for it is made again or its grant is withdrawn before.",
            entry.name,
            entry.subject,
            grace.as_secs()
        );
        events::on_record(context, record, "CredentialOrphaned", &note).await;
    }
    let entries = context.records.entries(identity).into_iter();
    let held = entries
        .filter(|entry| context.records.looks_after(entry) && is_orphan(context, identity, entry))
        .count();
    if held > 0 && orphans(context, identity) == Orphans::Held {
        let note = format!(
            "{held} credentials of this identity are wanted by no binding, and more in all than an accident allows; none is deleted by itself. To let those of this identity go: kubectl annotate managedidentity {} {REMOVE_ORPHANS_ANNOTATION}=true",
            record.name_any()
        );
        events::on_record(context, record, "OrphansHeld", &note).await;
    }
}

/// There is no error to decide on.
pub(super) fn never(_: &Never) -> Action {
    Action::await_change()
}
