//! Everything that can happen next.

use super::azure;
use super::driver::{self, AnswerMode, Violation};
use super::state::{Budget, WorldState};
use super::tenant::{self, Kind};
use super::universe::{No, Universe};

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Begin {
        operator: usize,
        slot: usize,
    },
    BeginRecord {
        operator: usize,
        identity: No,
    },
    Step {
        operator: usize,
    },
    Stale {
        operator: usize,
        mode: AnswerMode,
    },
    /// Azure has carried its write out.
    Commit {
        identity: No,
    },
    /// Lists show what there is.
    TimePasses,
    /// The watch has caught up.
    Watch {
        operator: usize,
    },
    /// The grace period of orphans is over.
    GraceEnds {
        operator: usize,
    },
    /// The retention of former issuers is over.
    RetentionEnds,
    Crash {
        operator: usize,
    },
    /// The lease goes to this one; the other has not noticed yet.
    Takeover {
        operator: usize,
    },
    IssuerChanges {
        cluster: No,
    },
    Tenant {
        slot: usize,
        kind: Kind,
        is_seen: bool,
    },
    Admin {
        cluster: No,
        identity: No,
        account: No,
    },
    Person(String),
}

impl Event {
    /// Whether it happens by itself and soon, without faults and without people.
    pub fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Begin { .. }
                | Self::BeginRecord { .. }
                | Self::Step { .. }
                | Self::Commit { .. }
                | Self::TimePasses
                | Self::Watch { .. }
        )
    }
}

/// Everything that can happen next, with what it leads to.
pub(super) fn successors(
    universe: &Universe,
    state: &WorldState,
) -> Result<Vec<(Event, WorldState)>, (Event, Violation)> {
    let mut next = Vec::new();
    let mut take = |event: Event, result: Option<Result<WorldState, Violation>>| match result {
        Some(Ok(state)) => {
            next.push((event, state));
            Ok(())
        }
        Some(Err(violation)) => Err((event, violation)),
        None => Ok(()),
    };
    for operator in 0..state.operators.len() {
        for slot in 0..state.objects.len() {
            take(
                Event::Begin { operator, slot },
                driver::begin(universe, state, operator, slot),
            )?;
        }
        for identity in 0..universe.identities.len() {
            let begun = driver::begin_record(universe, state, operator, identity);
            take(Event::BeginRecord { operator, identity }, begun)?;
        }
        take(
            Event::Step { operator },
            driver::step(universe, state, operator, AnswerMode::Plain),
        )?;
        for mode in [AnswerMode::StaleList, AnswerMode::StaleReview, AnswerMode::Lost] {
            if let Some(misled) = spend(state, mode) {
                take(
                    Event::Stale { operator, mode },
                    driver::step(universe, &misled, operator, mode),
                )?;
            }
        }
    }
    for identity in 0..universe.identities.len() {
        take(
            Event::Commit { identity },
            azure::commit(universe, state, identity),
        )?;
    }
    faults(universe, state, &mut next);
    time(universe, state, &mut next);
    tenant::moves(universe, state, &mut next);
    Ok(next)
}

fn spend(state: &WorldState, mode: AnswerMode) -> Option<WorldState> {
    let budget = |budget: &mut Budget| match mode {
        AnswerMode::StaleList => budget
            .stale_lists
            .checked_sub(1)
            .map(|left| budget.stale_lists = left),
        AnswerMode::StaleReview => budget
            .stale_reviews
            .checked_sub(1)
            .map(|left| budget.stale_reviews = left),
        AnswerMode::Lost => budget.losses.checked_sub(1).map(|left| budget.losses = left),
        AnswerMode::Plain => Some(()),
    };
    let mut left = state.budget;
    budget(&mut left)?;
    Some(WorldState {
        budget: left,
        ..state.clone()
    })
}

fn faults(universe: &Universe, state: &WorldState, next: &mut Vec<(Event, WorldState)>) {
    for (operator, mind) in state.operators.iter().enumerate() {
        // One that has lost the lease ends; it does not come back into the middle of a pass.
        if !mind.leads && mind.work.is_none() && state.budget.takeovers > 0 {
            let mut taken = state.clone();
            taken.budget.takeovers -= 1;
            for other in taken.operators.iter_mut().filter(|o| o.cluster == mind.cluster) {
                other.leads = false;
            }
            taken.operators[operator].leads = true;
            taken.operators[operator].forget(universe);
            taken.refresh(universe, operator);
            next.push((Event::Takeover { operator }, taken));
        }
        if state.budget.crashes > 0 && mind.work.is_some() {
            let mut crashed = state.clone();
            crashed.budget.crashes -= 1;
            driver::lose(&mut crashed, operator);
            crashed.operators[operator].forget(universe);
            crashed.refresh(universe, operator);
            next.push((Event::Crash { operator }, crashed));
        }
    }
}

fn time(universe: &Universe, state: &WorldState, next: &mut Vec<(Event, WorldState)>) {
    let is_recent = |o: &super::state::Operator| o.recent.iter().any(|recent| !recent.is_empty());
    if state.before != state.azure || state.operators.iter().any(is_recent) {
        next.push((Event::TimePasses, settled(universe, state)));
    }
    for (operator, mind) in state.operators.iter().enumerate() {
        if !state.sees_all(universe, operator) {
            let mut seen = state.clone();
            seen.refresh(universe, operator);
            next.push((Event::Watch { operator }, seen));
        }
        if mind.ripe != mind.unwanted {
            let mut over = state.clone();
            over.operators[operator].ripe = mind.unwanted;
            next.push((Event::GraceEnds { operator }, over));
        }
    }
    if state.budget.retentions > 0 {
        let mut over = state.clone();
        over.budget.retentions -= 1;
        over.clock += 1;
        over.disturb();
        next.push((Event::RetentionEnds, over));
    }
    if state.budget.issuer_changes > 0 {
        let mut changed = state.clone();
        changed.budget.issuer_changes -= 1;
        changed.issuers[0] = 1 - changed.issuers[0];
        changed.disturb();
        next.push((Event::IssuerChanges { cluster: 0 }, changed));
    }
}

/// Lists show what there is.
pub(super) fn settled(universe: &Universe, state: &WorldState) -> WorldState {
    let mut later = state.clone();
    later.before.clone_from(&later.azure);
    for operator in &mut later.operators {
        operator
            .recent
            .iter_mut()
            .for_each(|recent| *recent = universe.steps.share(Vec::new()));
    }
    later
}
