//! From a binding to what its pass goes by: parsed once, here.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::context::Context;
use crate::api::{FINALIZER, RELEASE_ANNOTATION, WorkloadIdentityBinding};
use crate::core::reconcile::{Held, Known, Reported, Subject};
use crate::core::{Desired, conditions, record};

/// The binding, and what is known beside it.
pub(super) fn of(context: &Context, binding: &WorkloadIdentityBinding) -> (Subject, Known) {
    let subject = subject(context, binding);
    let known = known(context, binding, &subject);
    (subject, known)
}

/// The identity has no room for the binding: it is woken when there is.
pub(super) fn wait_for_capacity(context: &Context, binding: &WorkloadIdentityBinding) {
    if let Ok(desired) = desired(context, binding) {
        context
            .capacity
            .wait(&desired.identity, (desired.namespace, binding.name_any()));
    }
}

fn desired(context: &Context, binding: &WorkloadIdentityBinding) -> Result<Desired, String> {
    let namespace = binding.namespace().unwrap_or_default();
    let defaults = &context.parts.defaults;
    Desired::new(&namespace, &binding.spec, defaults, &context.issuer()).map_err(|e| e.to_string())
}

fn subject(context: &Context, binding: &WorkloadIdentityBinding) -> Subject {
    let released = binding.annotations().get(RELEASE_ANNOTATION);
    Subject {
        namespace: binding.namespace().unwrap_or_default(),
        name: binding.name_any(),
        generation: binding.metadata.generation,
        has_finalizer: binding.finalizers().iter().any(|f| f == FINALIZER),
        is_deleting: binding.metadata.deletion_timestamp.is_some(),
        is_released: released.is_some_and(|value| value == "true"),
        deletion_policy: binding
            .spec
            .deletion_policy
            .unwrap_or(context.parts.defaults.deletion_policy),
        service_account: binding.spec.service_account.name.clone(),
        desired: desired(context, binding),
    }
}

fn known(context: &Context, binding: &WorkloadIdentityBinding, subject: &Subject) -> Known {
    let status = binding.status.clone().unwrap_or_default();
    let was_ready = conditions::is_ready(&status, binding.metadata.generation);
    let (index, records) = (&context.index, &context.records);
    let mut known = Known {
        of_binding: held(context, subject),
        issuers: issuers(context),
        alternating_issuers: context.alternating_issuers(),
        namespace: context.parts.namespace.clone(),
        fresh: context.fresh(was_ready),
        reported: Reported::new(&status, was_ready),
        ..Known::default()
    };
    if let Ok(desired) = &subject.desired {
        let account = &desired.service_account.name;
        let created = binding.metadata.creation_timestamp.as_ref().map(|t| t.0);
        known.contenders = index.contenders(&binding.uid().unwrap_or_default(), created, desired);
        known.recorded = records.entries(&desired.identity);
        known.co_owners = index.wanting(&subject.name, &subject.namespace, account, &desired.identity);
        known.annotated_by_another = index.annotated_by_another(&subject.name, &subject.namespace, account);
    }
    known
}

/// What the binding answers for: what it was the last to want, and what is left for its own pair by a
/// binding that has gone or moved on.
fn held(context: &Context, subject: &Subject) -> Vec<Held> {
    let mut held = context.records.of_binding(&subject.namespace, &subject.name);
    if let Ok(desired) = &subject.desired {
        let pair = &desired.credential.tuple.subject;
        let others = context.index.wanting(
            &subject.name,
            &subject.namespace,
            &desired.service_account.name,
            &desired.identity,
        );
        let others: BTreeSet<String> = others.into_iter().collect();
        let known: BTreeSet<String> = held.iter().map(|held| held.entry.name.clone()).collect();
        let entries = context.records.entries(&desired.identity).into_iter();
        let left = entries.filter(|entry| {
            entry.subject == *pair && !known.contains(&entry.name) && !others.contains(&entry.binding)
        });
        held.extend(left.map(|entry| Held {
            identity: desired.identity.clone(),
            entry,
            heir: None,
        }));
    }
    for held in &mut held {
        let wanting = record::service_account(&held.entry).map(|(namespace, account)| {
            context
                .index
                .wanting(&subject.name, namespace, account, &held.identity)
        });
        held.heir = wanting.into_iter().flatten().next();
    }
    held
}

fn issuers(context: &Context) -> Vec<String> {
    let mut issuers = context.records.former_issuers();
    issuers.push(context.issuer());
    issuers.extend(context.alternating_issuers());
    issuers
}
