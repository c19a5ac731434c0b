//! The steps of a visit, as `controller::flow`, `trust`, `revoke` and `cleanup` take them.

use super::universe::{Id, NAMESPACE, Set, Universe};
use super::{Answer, End, Memory, Operator, Removal, Stage, State, Visit, Write, ownership};
use crate::domain::plan::{Trust, Wish, plan};

/// Reads a binding, asks for its grants, and decides what the visit is for.
pub(super) fn begin(universe: &Universe, state: &State, operator: usize, binding: usize) -> Option<State> {
    let seen = state.bindings[binding].as_ref()?;
    let cluster = state.operators[operator].cluster;
    if seen.cluster != cluster || !state.operators[operator].leads {
        return None;
    }
    let mut next = state.clone();
    if let Some(binding) = &mut next.bindings[binding] {
        binding.finalizer = true;
    }
    let status = universe.status(&seen.status);
    let desired = universe.desired(cluster, seen.account);
    let is_revoked = |id: &Id| {
        universe
            .account_of(cluster, *id)
            .is_some_and(|account| !state.granted[cluster][account])
    };
    let all: Vec<Id> = ownership::remembered(&status)
        .iter()
        .map(|entry| universe.remembered(entry))
        .collect();
    // `revoke::awaits_heir`: one that has not been visited yet would go without notice.
    let awaits_heir = state.bindings.iter().flatten().any(|other| {
        let wants = universe.ours(other.cluster, other.account);
        !other.deleting && !other.finalizer && all.contains(&wants) && other != seen
    });
    if awaits_heir && (seen.deleting || all.iter().any(|id| *id != universe.ours(cluster, seen.account))) {
        return None;
    }
    let (removals, end) = if seen.deleting {
        let want = universe.ours(cluster, seen.account);
        let named = (!all.contains(&want)).then_some(Removal::Desired(want));
        let remembered = all.iter().map(|id| Removal::Remembered(*id));
        (named.into_iter().chain(remembered).collect(), End::Finalizer)
    } else {
        let granted = state.granted[cluster][seen.account];
        let old = ownership::superseded(&status, desired);
        let old = old.iter().map(|entry| universe.remembered(entry));
        let made = if granted { old.collect() } else { all };
        let revoked = made.into_iter().filter(is_revoked).map(Removal::Remembered);
        (
            revoked.collect(),
            if granted { End::Establish } else { End::Status },
        )
    };
    next.operators[operator].visit = Some(Visit {
        binding,
        account: seen.account,
        memory: seen.status.clone(),
        fresh: true,
        removals,
        unseen: Vec::new(),
        end,
        again: false,
        stage: Stage::Look,
    });
    Some(next)
}

/// Whether an answer of Azure is awaited.
pub(super) fn waits(operator: &Operator) -> bool {
    let stage = operator.visit.as_ref().map(|v| &v.stage);
    matches!(stage, Some(Stage::Wait(..) | Stage::Hear(..)))
}

/// The visit ends at once; what Azure has begun goes on.
pub(super) fn hang_up(state: &mut State, operator: usize) {
    state.operators[operator].visit = None;
    if let Some((sender, ..)) = &mut state.slot
        && *sender == Some(operator)
    {
        *sender = None;
    }
}

/// The process ends, and what it knew is gone.
pub(super) fn end(state: &mut State, operator: usize) {
    hang_up(state, operator);
    state.operators[operator].recent.clear();
}

/// Azure's answer arrives.
pub(super) fn hear(state: &mut State, operator: usize, answer: Answer) {
    if let Some(visit) = &mut state.operators[operator].visit
        && let Stage::Wait(held, writes) = &visit.stage
    {
        visit.stage = Stage::Hear(*held, writes.clone(), answer);
    }
}

/// Goes on to the next call that leaves the process.
pub(super) fn step(universe: &Universe, state: &State, operator: usize, from_before: bool) -> Option<State> {
    let visit = state.operators[operator].visit.as_ref()?;
    if from_before && visit.stage != Stage::Look {
        return None;
    }
    let mut next = state.clone();
    match visit.stage.clone() {
        Stage::Look if visit.removals.is_empty() && visit.end != End::Establish => {
            set(&mut next, operator, Stage::Report);
        }
        Stage::Look => {
            let mut list = if from_before { state.before } else { state.azure };
            next.budget.stale_lists -= u8::from(from_before);
            for write in &state.operators[operator].recent {
                list = universe.after(list, *write);
            }
            set(&mut next, operator, Stage::Plan(list));
        }
        Stage::Plan(list) if visit.removals.is_empty() => {
            establish(universe, &mut next, operator, visit, list);
        }
        Stage::Plan(list) => remove(universe, &mut next, operator, visit, list),
        // The claim is checked at the moment of writing; without it the process ends.
        Stage::Send(..) if !state.operators[operator].leads => end(&mut next, operator),
        // Azure works on another write: this visit has failed, and a later one tries again.
        Stage::Send(..) if state.slot.is_some() => next.operators[operator].visit = None,
        Stage::Send(held, writes) => {
            let cluster = state.operators[operator].cluster;
            next.slot = Some((Some(operator), cluster, writes[0]));
            set(&mut next, operator, Stage::Wait(held, writes));
        }
        Stage::Wait(..) => return None,
        Stage::Hear(held, writes, answer) => heard(universe, &mut next, operator, held, writes, answer),
        Stage::Report => report(&mut next, operator, visit),
    }
    Some(next)
}

fn set(next: &mut State, operator: usize, stage: Stage) {
    if let Some(visit) = &mut next.operators[operator].visit {
        visit.stage = stage;
    }
}

/// `trust::establish`: plans, and puts the intent on record.
fn establish(universe: &Universe, next: &mut State, operator: usize, visit: &Visit, list: Set) {
    let cluster = next.operators[operator].cluster;
    let desired = universe.desired(cluster, visit.account);
    let status = universe.status(&visit.memory);
    let found = universe.list(list);
    let old = ownership::superseded(&status, desired);
    let free = old
        .iter()
        .filter(|entry| !is_shared(universe, next, visit.binding, universe.remembered(entry)));
    let obsolete: Vec<_> = free
        .filter_map(|entry| ownership::removable(&found, &entry.credential, NAMESPACE).cloned())
        .collect();
    let wish = Wish {
        credential: &desired.credential,
        adoption: desired.adoption,
        memory: ownership::memory_of(&status, &desired.identity),
        obsolete: &obsolete,
    };
    let planned = plan(wish, &found);
    let Trust::By(by, origin) = planned.trust else {
        set(next, operator, Stage::Report);
        return;
    };
    let adopted = origin == crate::api::CredentialOrigin::Adopted;
    let intent = Memory {
        credential: Some((universe.id(&by), adopted)),
        superseded: old.iter().map(|entry| universe.remembered(entry)).collect(),
    };
    let writes: Vec<Write> = planned.steps.iter().map(|step| universe.write(step)).collect();
    let puts = writes.iter().any(|w| matches!(w, Write::Put(_)));
    if puts && !record(next, operator, &intent) {
        return;
    }
    let unseen: Vec<Id> = (intent.superseded.iter())
        .filter(|old| !is_shared(universe, next, visit.binding, **old))
        .filter(|old| found.iter().all(|c| c.name != universe.get(**old).name))
        .copied()
        .collect();
    if let Some(visit) = &mut next.operators[operator].visit {
        visit.memory = intent;
        visit.unseen = unseen;
    }
    proceed(next, operator, list, writes);
}

/// `revoke::delete`: one credential that is remembered, or that the spec names.
fn remove(universe: &Universe, next: &mut State, operator: usize, visit: &Visit, list: Set) {
    let removal = visit.removals[0];
    let found = universe.list(list);
    let (Removal::Remembered(id) | Removal::Desired(id)) = removal;
    // Where the grant is gone it does not matter who else wants it.
    let cluster = next.operators[operator].cluster;
    let granted = universe
        .account_of(cluster, id)
        .is_some_and(|account| next.granted[cluster][account]);
    let kept = granted && visit.end == End::Finalizer && is_shared(universe, next, visit.binding, id);
    let adopted = visit.memory.credential == Some((id, true));
    let doomed = match removal {
        _ if kept || adopted => None,
        Removal::Desired(_) => found.iter().find(|c| *c == universe.get(id)).map(|_| id),
        Removal::Remembered(_) => {
            let made = ownership::record(universe.get(id), crate::api::CredentialOrigin::Created);
            ownership::doomed(&found, &made, NAMESPACE).map(|_| id)
        }
    };
    proceed(
        next,
        operator,
        list,
        doomed.map(Write::Delete).into_iter().collect(),
    );
}

/// `revoke::is_shared`: another live binding wants this very credential.
fn is_shared(universe: &Universe, state: &State, binding: usize, id: Id) -> bool {
    let others = state.bindings.iter().enumerate().filter(|(at, _)| *at != binding);
    others
        .filter_map(|(_, other)| other.as_ref())
        .any(|other| !other.deleting && universe.ours(other.cluster, other.account) == id)
}

fn heard(
    universe: &Universe,
    next: &mut State,
    operator: usize,
    held: Set,
    mut writes: Vec<Write>,
    answer: Answer,
) {
    let Some(visit) = &mut next.operators[operator].visit else {
        return;
    };
    match answer {
        Answer::Refused if visit.again => next.operators[operator].visit = None,
        Answer::Refused => {
            visit.again = true;
            visit.stage = Stage::Look;
        }
        Answer::Done => {
            let write = writes.remove(0);
            next.operators[operator].recent.push(write);
            let held = universe.after(held, write);
            proceed(next, operator, held, writes);
        }
    }
}

/// The next write, or what comes after the last one.
fn proceed(next: &mut State, operator: usize, held: Set, writes: Vec<Write>) {
    if !writes.is_empty() {
        return set(next, operator, Stage::Send(held, writes));
    }
    let Some(visit) = &mut next.operators[operator].visit else {
        return;
    };
    if visit.removals.is_empty() {
        // What stood on this identity and was obsolete is gone now; what no list has shown is not.
        let unseen = std::mem::take(&mut visit.unseen);
        visit.memory.superseded.clone_from(&unseen);
        visit.removals = unseen.into_iter().map(Removal::Remembered).collect();
        visit.end = End::Status;
        visit.stage = Stage::Look;
        return;
    }
    let (Removal::Remembered(id) | Removal::Desired(id)) = visit.removals.remove(0);
    visit.memory.superseded.retain(|s| *s != id);
    if visit.memory.credential.is_some_and(|(current, _)| current == id) {
        visit.memory.credential = None;
    }
    visit.stage = Stage::Look;
}

/// Ends the visit: the status, or the finalizer.
fn report(next: &mut State, operator: usize, visit: &Visit) {
    if visit.end == End::Finalizer {
        next.bindings[visit.binding] = None;
        changed(next, visit.binding);
    } else {
        let memory = visit.memory.clone();
        record(next, operator, &memory);
    }
    next.operators[operator].visit = None;
}

/// Writes the status, on the version that was read. Otherwise the visit is void.
fn record(next: &mut State, operator: usize, memory: &Memory) -> bool {
    let Some(visit) = &next.operators[operator].visit else {
        return false;
    };
    let (binding, fresh) = (visit.binding, visit.fresh);
    let Some(object) = next.bindings[binding].as_mut() else {
        next.operators[operator].visit = None;
        return false;
    };
    if object.status == *memory && visit.memory == *memory {
        return true;
    }
    if !fresh {
        next.operators[operator].visit = None;
        return false;
    }
    object.status = memory.clone();
    changed(next, binding);
    if let Some(visit) = &mut next.operators[operator].visit {
        visit.fresh = true;
    }
    true
}

/// Whoever has read the object has read an older one now.
pub(super) fn changed(state: &mut State, binding: usize) {
    for operator in &mut state.operators {
        if let Some(visit) = operator.visit.as_mut().filter(|v| v.binding == binding) {
            visit.fresh = false;
        }
    }
}
