//! What a pass goes by, from what an operator sees: as `controller::subject`, `index` and `identities` work
//! it out.

use std::time::Duration;

use super::state::{BindingObject, Operator, WorldState, bit};
use super::universe::{ACCOUNTS, NAMESPACE, No, Universe};
use crate::api::{CredentialState, DeletionPolicy, RecordedCredential};
use crate::core::reconcile::revoke::{Orphans, OwnedEntry, Owner, Situation};
use crate::core::reconcile::{Contender, Held, Known, Reported, Subject};
use crate::core::{Desired, grant};

const FRESH: Duration = Duration::from_secs(10);
pub(super) const GRACE: Duration = Duration::from_hours(1);
/// In seconds.
pub(super) const RETENTION: i64 = 86_400;

/// Name of the binding in a slot.
pub(super) fn name(slot: usize) -> String {
    format!("binding-{slot}")
}

/// The slot of a binding of this name.
pub(super) fn slot(name: &str) -> Option<usize> {
    name.strip_prefix("binding-")?.parse().ok()
}

pub(super) fn desired(
    universe: &Universe,
    state: &WorldState,
    cluster: No,
    object: &BindingObject,
) -> Desired {
    universe.desired(
        cluster,
        state.issuers[cluster],
        object.identity,
        object.account,
        object.suspend,
    )
}

pub(super) fn subject(
    universe: &Universe,
    state: &WorldState,
    cluster: No,
    slot: usize,
    object: &BindingObject,
) -> Subject {
    Subject {
        namespace: NAMESPACE.to_owned(),
        name: name(slot),
        generation: Some(i64::from(object.generation)),
        has_finalizer: object.finalizer,
        is_deleting: object.deleting,
        is_released: object.released,
        deletion_policy: if object.retain {
            DeletionPolicy::Retain
        } else {
            DeletionPolicy::Delete
        },
        service_account: ACCOUNTS[object.account].to_owned(),
        desired: Ok(desired(universe, state, cluster, object)),
    }
}

pub(super) fn known(
    universe: &Universe,
    state: &WorldState,
    operator: &Operator,
    slot: usize,
    object: &BindingObject,
) -> Known {
    let desired = desired(universe, state, operator.cluster, object);
    let others = wanting(operator, Some(slot), object.identity, object.account);
    Known {
        alternating_issuers: Vec::new(),
        contenders: contenders(universe, operator, slot, object),
        recorded: operator.records[object.identity].0.credentials.clone(),
        of_binding: held(universe, operator, slot, object, &desired),
        issuers: issuers(state, operator),
        namespace: None,
        co_owners: others.iter().map(|slot| name(*slot)).collect(),
        annotated_by_another: is_annotated_by_another(operator, Some(slot), object.account),
        fresh: FRESH,
        reported: Reported {
            status: Box::new((*object.status).clone()),
            was_ready: false,
        },
    }
}

/// `Index::wanting`: live bindings of a pair, the oldest first.
fn wanting(operator: &Operator, but: Option<usize>, identity: No, account: No) -> Vec<usize> {
    let all = operator.objects.iter().enumerate();
    let mut wanting: Vec<(u8, usize)> = all
        .filter(|(slot, _)| Some(*slot) != but)
        .filter_map(|(slot, object)| Some((object.as_ref()?, slot)))
        .filter(|(object, _)| object.wants(identity, account))
        .map(|(object, slot)| (object.uid, slot))
        .collect();
    wanting.sort_unstable();
    wanting.into_iter().map(|(_, slot)| slot).collect()
}

/// `Index::contenders`: all bindings annotate, with the same lifetime of tokens.
fn contenders(
    universe: &Universe,
    operator: &Operator,
    slot: usize,
    object: &BindingObject,
) -> Vec<Contender> {
    let all = operator.objects.iter().enumerate();
    let mut older: Vec<(u8, Contender)> = all
        .filter(|(other, _)| *other != slot)
        .filter_map(|(other, found)| Some((other, found.as_ref()?)))
        .filter(|(other, found)| {
            let may_annotate = !found.deleting && !found.suspend && operator.reviewed[*other] != Some(false);
            may_annotate
                && found.account == object.account
                && found.identity != object.identity
                && found.uid < object.uid
        })
        .map(|(other, found)| {
            let contender = Contender {
                name: name(other),
                request: grant::Request {
                    namespace: NAMESPACE.to_owned(),
                    service_account: ACCOUNTS[found.account].to_owned(),
                    identity: universe.identities[found.identity].clone(),
                },
                granted: operator.reviewed[other],
            };
            (found.uid, contender)
        })
        .collect();
    older.sort_by_key(|(uid, _)| *uid);
    older.into_iter().map(|(_, contender)| contender).collect()
}

/// `Index::annotated_by_another`.
pub(super) fn is_annotated_by_another(operator: &Operator, but: Option<usize>, account: No) -> bool {
    operator.objects.iter().enumerate().any(|(slot, object)| {
        let annotates = object
            .as_ref()
            .is_some_and(|o| o.account == account && !o.deleting && o.finalizer);
        Some(slot) != but && annotates && operator.reviewed[slot] != Some(false)
    })
}

/// `subject::held`: what the binding was the last to want, and what is left for its pair.
fn held(
    universe: &Universe,
    operator: &Operator,
    slot: usize,
    object: &BindingObject,
    desired: &Desired,
) -> Vec<Held> {
    let mut held = Vec::new();
    let mut take = |identity: No, entry: &RecordedCredential| {
        held.push(Held {
            identity: universe.identities[identity].clone(),
            entry: entry.clone(),
            heir: None,
        });
    };
    for (identity, record) in operator.records.iter().enumerate() {
        let own = record
            .0
            .credentials
            .iter()
            .filter(|entry| entry.binding == name(slot));
        own.for_each(|entry| take(identity, entry));
    }
    let others: Vec<String> = wanting(operator, Some(slot), object.identity, object.account)
        .into_iter()
        .map(name)
        .collect();
    for entry in &operator.records[object.identity].0.credentials {
        if entry.subject == desired.credential.tuple.subject
            && entry.binding != name(slot)
            && !others.contains(&entry.binding)
        {
            take(object.identity, entry);
        }
    }
    for held in &mut held {
        let identity = universe.identity(&held.identity);
        let account = Universe::account_of_subject(&held.entry.subject);
        held.heir = account
            .and_then(|account| {
                wanting(operator, Some(slot), identity, account)
                    .into_iter()
                    .next()
            })
            .map(name);
    }
    held
}

fn issuers(state: &WorldState, operator: &Operator) -> Vec<String> {
    let records = operator.records.iter();
    let mut issuers: Vec<String> = records
        .flat_map(|record| record.0.former_issuers.iter().map(|f| f.issuer.clone()))
        .collect();
    issuers.sort();
    issuers.dedup();
    issuers.push(Universe::issuer(operator.cluster, state.issuers[operator.cluster]).to_owned());
    issuers
}

/// `Index::owner`.
pub(super) fn owner(operator: &Operator, identity: No, entry: &RecordedCredential) -> Owner {
    let Some(account) = Universe::account_of_subject(&entry.subject) else {
        return Owner::Absent;
    };
    if !wanting(operator, None, identity, account).is_empty() {
        return Owner::Wants;
    }
    let own = slot(&entry.binding).and_then(|slot| operator.objects.get(slot));
    if own.is_some_and(Option::is_some) {
        Owner::Present
    } else {
        Owner::Absent
    }
}

fn orphans(operator: &Operator) -> Orphans {
    let all = operator.records.iter().enumerate();
    let all: Vec<_> = all
        .flat_map(|(identity, record)| record.0.credentials.iter().map(move |entry| (identity, entry)))
        .collect();
    let orphaned = all.iter().filter(|(identity, entry)| {
        matches!(entry.state, CredentialState::Wanted | CredentialState::Orphaned)
            && owner(operator, *identity, entry) == Owner::Absent
    });
    Orphans::of(orphaned.count(), all.len())
}

pub(super) fn bit_of(cluster: No, identity: No, name: &str) -> u16 {
    Universe::of_name(cluster, name).map_or(0, |(issuer, account)| bit(identity, issuer, account))
}

/// `identities::situation`. Notes what nobody wants, as that does.
pub(super) fn situation(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    identity: No,
) -> Situation {
    let (clock, issuers) = (state.clock, state.issuers);
    let operator = &mut state.operators[operator];
    let cluster = operator.cluster;
    let record = operator.records[identity].clone();
    let mut entries = Vec::new();
    for recorded in &record.0.credentials {
        let owner = owner(operator, identity, recorded);
        let bit = bit_of(cluster, identity, &recorded.name);
        if owner == Owner::Absent {
            operator.unwanted |= bit;
        } else {
            operator.unwanted &= !bit;
            operator.ripe &= !bit;
        }
        entries.push(OwnedEntry {
            unwanted_for: if operator.ripe & bit == 0 {
                Duration::ZERO
            } else {
                GRACE
            },
            owner,
            recorded: recorded.clone(),
        });
    }
    let now = i64::from(clock) * RETENTION;
    let former = record.0.former_issuers.iter().map(|former| {
        let since = now - former.retired_at.0.as_second();
        (
            former.issuer.clone(),
            Duration::from_secs(u64::try_from(since).unwrap_or_default()),
        )
    });
    Situation {
        identity: universe.identities[identity].clone(),
        entries,
        issuer: Universe::issuer(cluster, issuers[cluster]).to_owned(),
        former_issuers: former.collect(),
        alternating_issuers: Vec::new(),
        former_issuer_retention: Duration::from_secs(RETENTION.unsigned_abs()),
        orphan_grace_period: GRACE,
        orphans: orphans(operator),
        now,
        fresh: FRESH,
    }
}
