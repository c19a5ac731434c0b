//! The rules that a state has to keep.

use super::driver::Violation;
use super::state::{BindingObject, Operator, WorldState};
use super::universe::{No, Universe};
use super::view;
use crate::api::{CredentialState, RecordedCredential};
use crate::core::credential::MAX_PER_IDENTITY;
use crate::core::{Credential, Holdings};

/// What must hold in every state.
pub(super) fn always(state: &WorldState) -> Result<(), Violation> {
    if state.azure.iter().any(|held| held.len() > MAX_PER_IDENTITY) {
        return Err("more credentials than Azure allows".to_owned());
    }
    Ok(())
}

/// What must hold in a state that no pass changes.
pub(super) fn quiet(universe: &Universe, state: &WorldState) -> Result<(), Violation> {
    for operator in state.operators.iter().filter(|operator| operator.leads) {
        for (slot, object) in own_objects(universe, state, operator.cluster) {
            if object.deleting {
                return Err(format!("never gone: {} {object:?}", view::name(slot)));
            }
            trusted(universe, state, operator.cluster, object)?;
        }
        for identity in 0..universe.identities.len() {
            for standing in &state.azure[identity].credentials {
                if let Some((issuer, account)) = Universe::of_name(operator.cluster, &standing.name) {
                    is_due(universe, state, operator, identity, standing, (issuer, account))?;
                }
            }
        }
    }
    Ok(())
}

fn own_objects<'a>(
    universe: &'a Universe,
    state: &'a WorldState,
    cluster: No,
) -> impl Iterator<Item = (usize, &'a BindingObject)> {
    let all = state.objects.iter().enumerate();
    let own = all.filter(move |(slot, _)| universe.slots[*slot] == cluster);
    own.filter_map(|(slot, object)| Some((slot, object.as_ref()?)))
}

/// A binding that is granted, and that nothing stands in the way of, is trusted.
fn trusted(
    universe: &Universe,
    state: &WorldState,
    cluster: No,
    object: &BindingObject,
) -> Result<(), Violation> {
    let want = Universe::ours(cluster, state.issuers[cluster], object.account);
    let held = &state.azure[object.identity];
    let is_trusted = held.credentials.iter().any(|c| c.tuple == want.tuple);
    let is_granted = state.is_granted(cluster, object.identity, object.account);
    if is_granted && !object.suspend && !is_trusted && !is_blocked(universe, state, cluster, object, &want) {
        return Err(format!("no trust, and nothing in the way: {object:?}"));
    }
    Ok(())
}

/// Whether something stands in the way that only a person may remove.
fn is_blocked(
    universe: &Universe,
    state: &WorldState,
    cluster: No,
    object: &BindingObject,
    want: &Credential,
) -> bool {
    let held: &Holdings = &state.azure[object.identity];
    let record = &state.records[cluster][object.identity].0;
    let is_recorded = |name: &String| record.credentials.iter().any(|entry| entry.name == *name);
    let has_room = held.len() < MAX_PER_IDENTITY || held.named(&want.name).is_some();
    let is_taken = held.named(&want.name).is_some() && !is_recorded(&want.name);
    let conflicts = |c: &Credential| c.name != want.name && c.tuple.collides_with(&want.tuple);
    // An older binding puts the ids of another identity on the ServiceAccount.
    let is_older = |other: &BindingObject| {
        let is_granted = state.is_granted(cluster, other.identity, other.account);
        let writes = is_granted && !other.deleting && !other.suspend;
        writes
            && other.uid < object.uid
            && other.account == object.account
            && other.identity != object.identity
    };
    let is_contended = own_objects(universe, state, cluster).any(|(_, other)| is_older(other));
    !has_room || is_taken || is_contended || held.credentials.iter().any(conflicts)
}

/// A credential of ours stands: it is granted, on record, and wanted or about to go.
fn is_due(
    universe: &Universe,
    state: &WorldState,
    operator: &Operator,
    identity: No,
    standing: &Credential,
    (issuer, account): (No, No),
) -> Result<(), Violation> {
    let cluster = operator.cluster;
    if !state.is_granted(cluster, identity, account) {
        return Err(format!("stands without a grant: {standing:?}"));
    }
    let record = &state.records[cluster][identity].0;
    let Some(entry) = record
        .credentials
        .iter()
        .find(|entry| entry.name == standing.name)
    else {
        return Err(format!("leaked: not on record: {standing:?}"));
    };
    let mut own = own_objects(universe, state, cluster);
    if own.any(|(_, object)| object.wants(identity, account)) {
        return Ok(());
    }
    match entry.state {
        CredentialState::Retained | CredentialState::Released => Ok(()),
        CredentialState::Orphaned => {
            let is_over = operator.ripe & super::state::bit(identity, issuer, account) != 0;
            if is_over && !entry.binding.is_empty() {
                return Err(format!("an orphan stays: {entry:?}"));
            }
            Ok(())
        }
        CredentialState::Wanted if is_kept(universe, state, cluster, entry) => Ok(()),
        CredentialState::Wanted => Err(format!("leaked: wanted by nobody: {entry:?}")),
    }
}

/// Its binding has moved on, and has not got what it wants now: it keeps what it had.
fn is_kept(universe: &Universe, state: &WorldState, cluster: No, entry: &RecordedCredential) -> bool {
    own_objects(universe, state, cluster).any(|(slot, object)| {
        let want = Universe::ours(cluster, state.issuers[cluster], object.account);
        let is_denied = !state.is_granted(cluster, object.identity, object.account);
        view::name(slot) == entry.binding
            && (object.suspend || is_denied || is_blocked(universe, state, cluster, object, &want))
    })
}
