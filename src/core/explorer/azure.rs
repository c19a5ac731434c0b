//! Azure: one write at a time on an identity, and what it refuses.

use super::driver::{self, Violation, heard};
use super::state::{Sent, WorldState, grant};
use super::universe::{No, Universe};
use super::view::RETENTION;
use crate::core::credential::MAX_PER_IDENTITY;
use crate::core::plan::{self, Step};
use crate::core::{Credential, Fault, Holdings};

/// An operator sends the next step of its call.
pub(super) fn send(
    universe: &Universe,
    mut state: WorldState,
    operator: usize,
) -> Result<WorldState, Violation> {
    // The claim is checked at the moment of writing; without it the process ends.
    if !state.operators[operator].leads {
        state.operators[operator].forget(universe);
        return Ok(state);
    }
    let cluster = state.operators[operator].cluster;
    let work = driver::work(&mut state, operator);
    let during = work.during;
    let call = work.call.as_ref().expect("a call under way");
    let (identity, is_planned) = (call.identity, call.plan.is_some());
    let step = call.steps[call.results.len()].clone();
    let is_busy = state.sent[identity].is_some();
    if is_busy {
        return heard(universe, state, operator, Err(Fault::Contended));
    }
    if let Some(call) = &mut driver::work(&mut state, operator).call {
        call.is_sent = true;
    }
    if let Step::Put(credential) = &step {
        let record = &state.records[cluster][identity].0;
        if !record
            .credentials
            .iter()
            .any(|entry| entry.name == credential.name)
        {
            return Err(format!("sent to Azure without being on record: {credential:?}"));
        }
    }
    state.sent[identity] = Some(Sent {
        operator: Some(operator),
        cluster,
        step: universe.steps.share(vec![step]),
        is_planned,
        during,
    });
    Ok(state)
}

/// Azure carries out the write that it works on, and its sender hears of it.
pub(super) fn commit(
    universe: &Universe,
    state: &WorldState,
    identity: No,
) -> Option<Result<WorldState, Violation>> {
    let mut next = state.clone();
    let sent = next.sent[identity].take()?;
    let step = &sent.step[0];
    let result = match allowed(universe, state, identity, &sent, step) {
        Ok(()) => take(&state.azure[identity], step),
        Err(violation) => return Some(Err(violation)),
    };
    if result.is_ok() {
        change(universe, &mut next, identity, step);
    }
    Some(match sent.operator {
        Some(operator) => heard(universe, next, operator, result),
        None => Ok(next),
    })
}

/// What an identity holds changes.
pub(super) fn change(universe: &Universe, state: &mut WorldState, identity: No, step: &Step) {
    let mut held = (*state.azure[identity]).clone();
    plan::apply(&mut held, step);
    let held = universe.list(held);
    if held != state.azure[identity] {
        let before = if state.budget.stale_lists > 0 {
            &state.azure[identity]
        } else {
            &held
        };
        state.before[identity] = before.clone();
        state.azure[identity] = held;
    }
}

/// What Azure says to a write.
pub(super) fn take(held: &Holdings, step: &Step) -> Result<(), Fault> {
    let Step::Put(put) = step else { return Ok(()) };
    let mut others = held.credentials.iter().filter(|c| c.name != put.name);
    if others.any(|c| c.tuple.collides_with(&put.tuple)) {
        return Err(Fault::Duplicate);
    }
    if held.named(&put.name).is_none() && held.len() >= MAX_PER_IDENTITY {
        return Err(Fault::LimitReached);
    }
    Ok(())
}

/// Whether an operator may do this.
fn allowed(
    universe: &Universe,
    state: &WorldState,
    identity: No,
    sent: &Sent,
    step: &Step,
) -> Result<(), Violation> {
    let (Step::Put(Credential { name, .. }) | Step::Delete(name)) = step;
    let Some((issuer, account)) = Universe::of_name(sent.cluster, name) else {
        return Err(format!("strikes what is not ours: {step:?}"));
    };
    let is_granted = state.is_granted(sent.cluster, identity, account);
    let was_withdrawn = sent.during.withdrawn & grant(sent.cluster, identity, account) != 0;
    match step {
        Step::Put(credential) => {
            if *credential != Universe::ours(sent.cluster, issuer, account) {
                return Err(format!("not as the operator names them: {credential:?}"));
            }
            if !is_granted && !was_withdrawn {
                return Err(format!("written without a grant: {credential:?}"));
            }
            Ok(())
        }
        Step::Delete(_) if !is_granted || was_withdrawn => Ok(()),
        Step::Delete(_) => {
            let standing = state.azure[identity].named(name);
            let is_whole = standing.is_some_and(|c| *c == Universe::ours(sent.cluster, issuer, account));
            if is_whole
                && !sent.during.is_disturbed
                && !may_go(universe, state, identity, sent, (issuer, account))
            {
                return Err(format!(
                    "deleted though a binding wants it and it is granted: {name}"
                ));
            }
            Ok(())
        }
    }
}

/// A credential that is granted and that a binding wants goes only with its issuer: when that has been a
/// former one for long enough, or when its place is needed.
fn may_go(
    universe: &Universe,
    state: &WorldState,
    identity: No,
    sent: &Sent,
    (issuer, account): (No, No),
) -> bool {
    let objects = state.objects.iter().enumerate();
    let mut own = objects.filter(|(slot, _)| universe.slots[*slot] == sent.cluster);
    let is_wanted = own.any(|(_, o)| o.as_ref().is_some_and(|o| o.wants(identity, account)));
    let is_former = issuer != state.issuers[sent.cluster];
    if !is_wanted || (is_former && sent.is_planned) {
        return true;
    }
    let name = Universe::issuer(sent.cluster, issuer);
    let former = &state.records[sent.cluster][identity].0.former_issuers;
    let since = former
        .iter()
        .find(|f| f.issuer == name)
        .map(|f| f.retired_at.0.as_second());
    is_former && since.is_some_and(|since| i64::from(state.clock) * RETENTION - since >= RETENTION)
}
