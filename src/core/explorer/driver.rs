//! Runs passes as `controller::driver` does: one effect after the other, watched over by the safeguard.

use super::effects::{self, Answered};
use super::state::{During, PassFrame, Work, WorkTarget, WorldState};
use super::universe::{No, PassMachine, Universe};
use super::view;
use crate::core::plan::Step;
use crate::core::reconcile::{
    Answer, BindingPass, Due, Effect, End, ReportedStatus, RevocationPass, Safeguard,
};
use crate::core::{Fault, Outcome};

/// A way in which a rule is broken.
pub(super) type Violation = String;

/// How the world answers the next effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerMode {
    Plain,
    /// A list of Azure shows what was before.
    StaleList,
    /// The API server's authorizer has missed the last change of grants.
    StaleReview,
    /// The effect has come about, and the answer is lost.
    Lost,
}

/// Begins a pass of a binding, if the operator sees one.
pub(super) fn begin(
    universe: &Universe,
    state: &WorldState,
    operator: usize,
    slot: usize,
) -> Option<Result<WorldState, Violation>> {
    let mind = &state.operators[operator];
    let object = mind.objects[slot].clone()?;
    if !mind.leads || mind.work.is_some() {
        return None;
    }
    let subject = view::subject(universe, state, mind.cluster, slot, &object);
    let known = view::known(universe, state, mind, slot, &object);
    let safeguard = Safeguard::of_binding(&subject, &known);
    let mut next = state.clone();
    next.operators[operator].work = Some(Work {
        target: WorkTarget::Binding(slot, object),
        frames: Vec::new(),
        call: None,
        during: since(universe, state, operator),
    });
    let machine = PassMachine::Binding(BindingPass::new(subject, known));
    Some(push(universe, next, operator, machine, safeguard))
}

/// Begins a pass over a record, if the operator sees one.
pub(super) fn begin_record(
    universe: &Universe,
    state: &WorldState,
    operator: usize,
    identity: No,
) -> Option<Result<WorldState, Violation>> {
    let mind = &state.operators[operator];
    if !mind.leads || mind.work.is_some() || mind.records[identity].0.credentials.is_empty() {
        return None;
    }
    let mut next = state.clone();
    next.operators[operator].work = Some(Work {
        target: WorkTarget::SeenRecord(identity),
        frames: Vec::new(),
        call: None,
        during: since(universe, state, operator),
    });
    Some(push_revocation(universe, next, operator, identity, Due::All))
}

fn since(universe: &Universe, state: &WorldState, operator: usize) -> During {
    During {
        is_disturbed: !state.sees_all(universe, operator),
        withdrawn: 0,
    }
}

pub(super) fn push_revocation(
    universe: &Universe,
    mut state: WorldState,
    operator: usize,
    identity: No,
    due: Due,
) -> Result<WorldState, Violation> {
    let situation = view::situation(universe, &mut state, operator, identity);
    let id = situation.identity.clone();
    let entries = situation.entries.iter().map(|entry| (&id, &entry.recorded));
    let safeguard = Safeguard::new(entries);
    let machine = PassMachine::Revocation(RevocationPass::new(situation, due));
    push(universe, state, operator, machine, safeguard)
}

fn push(
    universe: &Universe,
    mut state: WorldState,
    operator: usize,
    machine: PassMachine,
    safeguard: Safeguard,
) -> Result<WorldState, Violation> {
    let machine = universe.machines.share(machine);
    let frame = PassFrame {
        effect: universe.effects.share(Effect::End(End::Nothing)),
        machine,
        safeguard: universe.safeguards.share(safeguard),
        leaving: Vec::new(),
    };
    work(&mut state, operator).frames.push(frame);
    answer(universe, state, operator, Answer::Begin)
}

pub(super) fn work(state: &mut WorldState, operator: usize) -> &mut Work {
    state.operators[operator].work.as_mut().expect("a pass under way")
}

/// Gives an answer to the innermost pass, and carries out what nobody else could come in between.
pub(super) fn answer(
    universe: &Universe,
    mut state: WorldState,
    operator: usize,
    answer: Answer,
) -> Result<WorldState, Violation> {
    let frame = work(&mut state, operator)
        .frames
        .last_mut()
        .expect("a pass under way");
    let mut safeguard = (*frame.safeguard).clone();
    safeguard.learn(&answer);
    let (machine, effect) = universe.next(&frame.machine, answer);
    let checked = safeguard.check(&effect);
    *frame = PassFrame {
        machine,
        effect: effect.clone(),
        safeguard: universe.safeguards.share(safeguard),
        leaving: std::mem::take(&mut frame.leaving),
    };
    if let Err(violation) = checked {
        return Err(format!("{violation}"));
    }
    match &*effect {
        Effect::End(end) => ended(universe, state, operator, end.clone()),
        Effect::Revoke(identity, due) => {
            let identity = universe.identity(identity);
            push_revocation(universe, state, operator, identity, due.clone())
        }
        effect => match effects::at_once(universe, &mut state, operator, effect) {
            Some(found) => self::answer(universe, state, operator, found),
            None => Ok(state),
        },
    }
}

/// The innermost pass has ended.
fn ended(
    universe: &Universe,
    mut state: WorldState,
    operator: usize,
    end: End,
) -> Result<WorldState, Violation> {
    let current = work(&mut state, operator);
    current.frames.pop();
    if !current.frames.is_empty() {
        let result = match end {
            End::Revoked(revoked) => {
                announce(&mut state, operator, &revoked.gone);
                Answer::Revoked(revoked)
            }
            End::Failed(refusal) => Answer::Failed(refusal),
            _ => Answer::Outdated,
        };
        return answer(universe, state, operator, result);
    }
    let target = current.target.clone();
    match (target, end) {
        (WorkTarget::Binding(slot, seen), End::Report(outcome)) => {
            settle(universe, &mut state, slot, seen.uid, &outcome);
        }
        (WorkTarget::SeenRecord(_), End::Revoked(revoked)) => announce(&mut state, operator, &revoked.gone),
        _ => {}
    }
    leave(&mut state, operator);
    Ok(state)
}

/// What is gone is counted no longer.
fn announce(
    state: &mut WorldState,
    operator: usize,
    gone: &[(
        crate::api::RecordedCredential,
        crate::core::reconcile::revoke::Why,
    )],
) {
    let mind = &mut state.operators[operator];
    for (entry, _) in gone {
        for identity in 0..mind.records.len() {
            let is_left = mind.records[identity]
                .0
                .credentials
                .iter()
                .any(|e| e.name == entry.name);
            if !is_left {
                let bit = view::bit_of(mind.cluster, identity, &entry.name);
                mind.unwanted &= !bit;
                mind.ripe &= !bit;
            }
        }
    }
}

pub(super) fn leave(state: &mut WorldState, operator: usize) {
    let mind = &mut state.operators[operator];
    mind.work = None;
    mind.is_troubled = false;
    mind.lists.iter_mut().for_each(|list| *list = None);
}

/// What the status reports from now on.
fn settle(universe: &Universe, state: &mut WorldState, slot: usize, uid: u8, outcome: &Outcome) {
    if let Some(object) = state.objects[slot].as_mut().filter(|o| o.uid == uid) {
        object.status = universe.statuses.share(ReportedStatus {
            identity: outcome.identity.clone(),
            credential: outcome.credential.clone(),
            service_account: outcome.service_account.clone(),
        });
        let status = object.status.clone();
        let cluster = universe.slots[slot];
        for operator in state.operators.iter_mut().filter(|o| o.cluster == cluster) {
            if let Some(seen) = operator.objects[slot].as_mut().filter(|o| o.uid == uid) {
                seen.status = status.clone();
            }
        }
    }
}

/// Carries the next effect of an operator's pass out. `None` when it waits for Azure, or when this mode
/// makes no difference.
pub(super) fn step(
    universe: &Universe,
    state: &WorldState,
    operator: usize,
    mode: AnswerMode,
) -> Option<Result<WorldState, Violation>> {
    let work = state.operators[operator].work.as_ref()?;
    let mut next = state.clone();
    if let Some(call) = &work.call {
        return match (call.is_sent, mode) {
            (true, AnswerMode::Lost) => {
                lose(&mut next, operator);
                Some(heard(universe, next, operator, Err(Fault::Unavailable)))
            }
            (false, AnswerMode::Plain) => Some(super::azure::send(universe, next, operator)),
            _ => None,
        };
    }
    let effect = work.frames.last()?.effect.clone();
    match effects::perform(universe, &mut next, operator, &effect, mode)? {
        Answered::Now(found) => Some(answer(universe, next, operator, found)),
        Answered::ByAzure => Some(super::azure::send(universe, next, operator)),
    }
}

/// Whoever waits for Azure no longer does.
pub(super) fn lose(state: &mut WorldState, operator: usize) {
    for sent in state.sent.iter_mut().flatten() {
        if sent.operator == Some(operator) {
            sent.operator = None;
        }
    }
}

/// What came of a step at Azure.
pub(super) fn heard(
    universe: &Universe,
    mut state: WorldState,
    operator: usize,
    result: Result<(), Fault>,
) -> Result<WorldState, Violation> {
    let keeps = state.budget.stale_lists > 0;
    let mind = &mut state.operators[operator];
    let call = mind
        .work
        .as_mut()
        .and_then(|w| w.call.as_mut())
        .expect("a call under way");
    let step = call.steps[call.results.len()].clone();
    let identity = call.identity;
    call.is_sent = false;
    call.results.push(result);
    match result {
        Ok(()) => {
            let mut held = (*call.held).clone();
            crate::core::plan::apply(&mut held, &step);
            call.held = universe.list(held);
            mind.lists[identity] = Some(call.held.clone());
            if keeps {
                let mut recent: Vec<Step> = (*mind.recent[identity]).clone();
                recent.push(step);
                mind.recent[identity] = universe.steps.share(recent);
            }
        }
        Err(fault) if fault.leaves_write_open() => mind.lists[identity] = None,
        Err(_) => {}
    }
    let ends = call.results.len() == call.steps.len() || (result.is_err() && call.plan.is_some());
    if !ends {
        return Ok(state);
    }
    let call = mind
        .work
        .as_mut()
        .and_then(|w| w.call.take())
        .expect("a call under way");
    answer(universe, state, operator, effects::outcome(&call))
}
