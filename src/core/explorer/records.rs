//! The records of identities, as `controller::records` keeps and writes them.

use super::state::{PassFrame, Work, WorldState};
use super::universe::{No, Universe};
use crate::api::ManagedIdentityStatus;
use crate::core::plan::Step;
use crate::core::reconcile::Answer;
use crate::core::record::{self, Change};

/// The works of the other passes of this process.
fn others(state: &WorldState, operator: usize) -> impl Iterator<Item = &Work> {
    let cluster = state.operators[operator].cluster;
    let all = state.operators.iter().enumerate();
    let others = all.filter(move |(other, mind)| *other != operator && mind.leads && mind.cluster == cluster);
    others.filter_map(|(_, mind)| mind.work.as_ref())
}

/// Whether another pass deletes this credential, and has not taken it off the record yet.
pub(super) fn is_leaving(state: &WorldState, operator: usize, identity: No, name: &str) -> bool {
    let mut frames = others(state, operator).flat_map(|work| &work.frames);
    frames.any(|frame| {
        frame
            .leaving
            .iter()
            .any(|leaving| *leaving == (identity, name.to_owned()))
    })
}

/// `Records::begin_leave`: what no other pass is writing may leave the record after its deletion.
pub(super) fn begin_leave(state: &mut WorldState, operator: usize, identity: No, names: &[String]) {
    let is_written = |name: &String| {
        others(state, operator).any(|work| {
            let call = work.call.as_ref().filter(|call| call.identity == identity);
            let mut steps = call.into_iter().flat_map(|call| call.steps.iter());
            steps.any(|step| matches!(step, Step::Put(credential) if credential.name == *name))
        })
    };
    let free = names.iter().filter(|name| !is_written(name));
    let free = free.map(|name| (identity, name.clone())).collect();
    frame(state, operator).leaving = free;
}

fn frame(state: &mut WorldState, operator: usize) -> &mut PassFrame {
    let frames = &mut super::driver::work(state, operator).frames;
    frames.last_mut().expect("a pass under way")
}

/// `Records::commit`: on what is known, and where storage knows better, on that. What somebody is writing
/// stays on record.
pub(super) fn commit(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    identity: No,
    changes: &[Change],
) -> Answer {
    let cluster = state.operators[operator].cluster;
    let leaving = frame(state, operator).leaving.clone();
    let allowed = record::allowed(changes, |name| leaving.contains(&(identity, name.to_owned())));
    let answer = if allowed.len() == changes.len() {
        Answer::Done
    } else {
        Answer::Outdated
    };
    let changes = allowed;
    let stored = state.records[cluster][identity].clone();
    let known = state.operators[operator].records[identity].clone();
    let after = |base: &ManagedIdentityStatus| {
        let mut status = base.clone();
        record::apply(&mut status, &changes);
        universe.record(status)
    };
    let from_known = after(&known.0);
    let needs_no_write = from_known == known;
    let written = if known == stored || needs_no_write {
        from_known
    } else {
        after(&stored.0)
    };
    if !needs_no_write {
        state.records[cluster][identity] = written.clone();
    }
    for mind in state.operators.iter_mut().filter(|mind| mind.cluster == cluster) {
        mind.records[identity] = if needs_no_write {
            mind.records[identity].clone()
        } else {
            written.clone()
        };
    }
    answer
}
