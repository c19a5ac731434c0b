//! What people do meanwhile, in Azure and in Kubernetes.

use super::universe::{CONFLICT, EQUAL, Id, Universe};
use super::{Event, State, operator};

/// A deed of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Makes a credential in Azure.
    Make(Id),
    /// Deletes one, whoever has made it.
    Remove(Id),
    /// Edits one that an operator has made.
    Edit(Id),
    /// Grants or revokes, by cluster and account.
    Turn(usize, usize),
    /// Gives a binding the other ServiceAccount.
    Change(usize),
    /// Deletes a binding.
    Delete(usize),
}

/// Every deed that is possible now.
pub(super) fn deeds(universe: &Universe, state: &State, next: &mut Vec<(Event, State)>) {
    if state.budget.edits == 0 {
        return;
    }
    let mut after = |deed: Deed, act: &dyn Fn(&mut State)| {
        let mut done = state.clone();
        done.budget.edits -= 1;
        act(&mut done);
        next.push((Event::Person(deed), done));
    };
    // Azure takes one write at a time from people, too.
    if state.slot.is_none() {
        for id in [EQUAL, CONFLICT] {
            if !state.azure.has(id) && !universe.collides(state.azure, id) && !universe.is_full(state.azure) {
                after(Deed::Make(id), &|s| {
                    s.before = s.azure;
                    s.azure = s.azure.with(id);
                });
            }
        }
        for id in state.azure.iter() {
            after(Deed::Remove(id), &|s| {
                s.before = s.azure;
                s.azure = s.azure.without(id);
            });
            if id < 4 {
                after(Deed::Edit(id), &|s| {
                    s.before = s.azure;
                    s.azure = s.azure.without(id).with(Universe::edited(id));
                });
            }
        }
    }
    for (at, binding) in state.bindings.iter().enumerate() {
        let Some(binding) = binding.as_ref().filter(|b| !b.deleting) else {
            continue;
        };
        let (cluster, account) = (binding.cluster, binding.account);
        after(Deed::Turn(cluster, account), &|s| {
            s.granted[cluster][account] = !s.granted[cluster][account];
            let visits = s.operators.iter().filter(|o| o.visit.is_some()).count();
            s.in_flight = visits + usize::from(matches!(s.slot, Some((None, ..))));
        });
        after(Deed::Change(at), &|s| {
            if let Some(binding) = &mut s.bindings[at] {
                binding.account = 1 - binding.account;
            }
            operator::changed(s, at);
        });
        after(Deed::Delete(at), &|s| {
            s.bindings[at] = s.bindings[at].take().filter(|b| b.finalizer);
            if let Some(binding) = &mut s.bindings[at] {
                binding.deleting = true;
            }
            operator::changed(s, at);
        });
    }
}
