//! What everybody beside the operators does: a tenant, an administrator of the cluster, people in Azure.

use super::azure;
use super::moves::Event;
use super::state::{BindingObject, WorldState, grant};
use super::universe::{ACCOUNTS, No, Universe};
use crate::api::{
    CredentialOrigin, CredentialStatus, IdentityStatus, ServiceAccountOrigin, ServiceAccountStatus,
};
use crate::core::plan::Step;
use crate::core::reconcile::ReportedStatus;

/// Kinds of what a tenant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Takes the finalizer off.
    Strip,
    Delete,
    /// Makes a binding where none is.
    Create,
    /// Gives the binding the other ServiceAccount.
    Retarget,
    /// Gives the binding the other identity.
    Reidentify,
    /// Sets the release annotation.
    Release,
    Suspend,
    Retain,
    /// Wipes the status.
    Wipe,
    /// Writes lies into the status.
    Forge,
    /// Changes a label.
    Patch,
}

/// What everybody can do now.
pub(super) fn moves(universe: &Universe, state: &WorldState, next: &mut Vec<(Event, WorldState)>) {
    if state.budget.tenant > 0 {
        for slot in 0..state.objects.len() {
            for kind in &universe.tenant {
                tenant(universe, state, slot, *kind, next);
            }
        }
    }
    if state.budget.admin > 0 {
        for (cluster, identity, account) in pairs(universe) {
            let bit = grant(cluster, identity, account);
            let mut done = state.clone();
            done.budget.admin -= 1;
            if state.budget.stale_reviews > 0 {
                done.granted_before = done.granted;
            }
            done.granted ^= bit;
            done.disturb();
            let works = done
                .operators
                .iter_mut()
                .filter_map(|o| o.work.as_mut().map(|w| &mut w.during));
            for during in works.chain(done.sent.iter_mut().flatten().map(|s| &mut s.during)) {
                if state.granted & bit != 0 {
                    during.withdrawn |= bit;
                }
            }
            next.push((
                Event::Admin {
                    cluster,
                    identity,
                    account,
                },
                done,
            ));
        }
    }
    if state.budget.people > 0 && universe.people {
        people(universe, state, next);
    }
}

/// Every pair that a binding may come to name.
fn pairs(universe: &Universe) -> Vec<(No, No, No)> {
    let mut clusters = universe.slots.clone();
    clusters.dedup();
    let accounts = if universe.tenant.contains(&Kind::Retarget) {
        2
    } else {
        1
    };
    let identities = universe.identities.len();
    let mut pairs = Vec::new();
    for cluster in clusters {
        for identity in 0..identities {
            pairs.extend((0..accounts).map(|account| (cluster, identity, account)));
        }
    }
    pairs
}

fn tenant(
    universe: &Universe,
    state: &WorldState,
    slot: usize,
    kind: Kind,
    next: &mut Vec<(Event, WorldState)>,
) {
    let mut done = state.clone();
    done.budget.tenant -= 1;
    match &mut done.objects[slot] {
        None if kind == Kind::Create => {
            done.uids += 1;
            done.objects[slot] = Some(fresh(universe, done.uids));
        }
        None => return,
        Some(object) => {
            if !change(universe, object, kind) {
                return;
            }
            if !object.finalizer && object.deleting {
                done.objects[slot] = None;
            }
        }
    }
    done.disturb();
    if state.budget.stale_watches > 0 {
        let mut unseen = done.clone();
        unseen.budget.stale_watches -= 1;
        next.push((
            Event::Tenant {
                slot,
                kind,
                is_seen: false,
            },
            unseen,
        ));
    }
    done.show(universe, slot);
    next.push((
        Event::Tenant {
            slot,
            kind,
            is_seen: true,
        },
        done,
    ));
}

/// A binding as it is made: of the first account and identity.
pub(super) fn fresh(universe: &Universe, uid: u8) -> BindingObject {
    BindingObject {
        uid,
        generation: 1,
        identity: 0,
        account: 0,
        finalizer: false,
        deleting: false,
        released: false,
        retain: false,
        suspend: false,
        patches: 0,
        status: universe.statuses.share(ReportedStatus::default()),
    }
}

/// Whether it makes a difference.
fn change(universe: &Universe, object: &mut BindingObject, kind: Kind) -> bool {
    let before = object.clone();
    let is_live = !object.deleting;
    match kind {
        Kind::Strip => object.finalizer = false,
        Kind::Delete => object.deleting = true,
        Kind::Retarget if is_live => object.account = 1 - object.account,
        Kind::Reidentify if is_live => object.identity = 1 - object.identity,
        Kind::Create | Kind::Retarget | Kind::Reidentify => return false,
        Kind::Release => object.released = true,
        Kind::Suspend => object.suspend = !object.suspend,
        Kind::Retain => object.retain = !object.retain,
        Kind::Patch => object.patches += 1,
        Kind::Wipe => object.status = universe.statuses.share(ReportedStatus::default()),
        Kind::Forge => object.status = universe.statuses.share(lies(universe)),
    }
    // The status and the metadata are no part of the spec; a deletion counts as a change.
    if matches!(
        kind,
        Kind::Delete | Kind::Retarget | Kind::Reidentify | Kind::Suspend | Kind::Retain
    ) && *object != before
    {
        object.generation += 1;
    }
    *object != before
}

/// The credential was there before, is on another identity, and the ServiceAccount is ours.
fn lies(universe: &Universe) -> ReportedStatus {
    let credential = Universe::ours(0, 0, 1);
    ReportedStatus {
        identity: Some(IdentityStatus {
            resource_id: universe.identities[0].to_string().replace("web-one", "elsewhere"),
            ..IdentityStatus::default()
        }),
        credential: Some(CredentialStatus {
            name: credential.name,
            issuer: credential.tuple.issuer,
            subject: credential.tuple.subject,
            audience: credential.tuple.audience,
            origin: CredentialOrigin::Adopted,
        }),
        service_account: Some(ServiceAccountStatus {
            name: ACCOUNTS[1].to_owned(),
            uid: Some("forged".to_owned()),
            origin: ServiceAccountOrigin::Created,
        }),
    }
}

/// Azure takes one write at a time from people, too.
fn people(universe: &Universe, state: &WorldState, next: &mut Vec<(Event, WorldState)>) {
    let mut steps = Vec::new();
    for made in [Universe::equal(), Universe::conflicting()] {
        if state.azure[0].named(&made.name).is_none() {
            steps.push(Step::Put(made));
        }
    }
    for standing in &state.azure[0].credentials {
        if standing.name.starts_with("filler") {
            continue;
        }
        steps.push(Step::Delete(standing.name.clone()));
        if *standing == Universe::ours(0, 0, 0) {
            let mut edited = standing.clone();
            edited.tuple.issuer = "https://edited/".to_owned();
            steps.push(Step::Put(edited));
        }
    }
    for step in steps {
        if state.sent[0].is_some() || azure::take(&state.azure[0], &step).is_err() {
            continue;
        }
        let mut done = state.clone();
        done.budget.people -= 1;
        azure::change(universe, &mut done, 0, &step);
        done.disturb();
        next.push((Event::Person(format!("{step:?}")), done));
    }
}
