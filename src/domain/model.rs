//! A model of operators, Azure and people on one identity, explored in full.
//!
//! Every decision is the product's own: [`plan`](super::plan), [`apply`] and [`ownership`]. What stands
//! around them in the controller is mirrored here in small steps, split at each call that leaves the
//! process, so that anything can happen in between: other operators, a person, a crash, a lost answer.
//!
//! Azure works on one write at a time, whoever has sent it, and refuses another meanwhile. A write that it
//! has begun ends, even if its sender has gone away; one that has not reached it is lost with its sender.
//!
//! An explorer of our own, since a checker has to answer two questions that the common ones do not: whether
//! from *every* state, by the operators' own steps, a quiet one can be reached; and what a quiet state is:
//! one that no visit changes.

mod cases;
mod explore;
mod operator;
mod people;
mod universe;

use super::ownership;
use super::plan::apply;
use universe::{Id, Set, Universe};

/// What `status` of a binding remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Memory {
    /// The credential, and whether it was adopted.
    credential: Option<(Id, bool)>,
    superseded: Vec<Id>,
}

/// A binding in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Binding {
    cluster: usize,
    account: usize,
    deleting: bool,
    finalizer: bool,
    status: Memory,
}

/// A write at Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    Put(Id),
    /// By name: that of this credential.
    Delete(Id),
}

/// What Azure answered to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Done,
    /// Issuer and subject stand already, or there are 20.
    Refused,
}

/// Something to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Removal {
    /// What `status` remembers.
    Remembered(Id),
    /// What the spec asks for, exactly.
    Desired(Id),
}

/// How a visit ends once nothing is left to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Establish,
    Status,
    Finalizer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Kubernetes has been asked; Azure's list comes next.
    Look,
    /// The list is there; the plan, and the record of what it is going to do, come next.
    Plan(Set),
    /// Ready to send the first of the writes.
    Send(Set, Vec<Write>),
    /// Azure has it.
    Wait(Set, Vec<Write>),
    /// Azure has answered.
    Hear(Set, Vec<Write>, Answer),
    /// What has come of it is to be written into the status.
    Report,
}

/// One visit of one binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Visit {
    binding: usize,
    account: usize,
    /// What `status` said, with what this visit has found since.
    memory: Memory,
    /// The object has not changed since it was read.
    fresh: bool,
    removals: Vec<Removal>,
    /// Superseded, and on no list: to be removed once the new trust stands.
    unseen: Vec<Id>,
    end: End,
    /// Azure knew better once; it is not asked a third time.
    again: bool,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Operator {
    cluster: usize,
    /// Holds the lease of its cluster.
    leads: bool,
    visit: Option<Visit>,
    /// Own writes that a list may not show yet.
    recent: Vec<Write>,
}

/// What may still go wrong, so that there is an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    edits: u8,
    takeovers: u8,
    crashes: u8,
    losses: u8,
    stale_lists: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    azure: Set,
    /// What a stale list shows.
    before: Set,
    /// The write that Azure works on, and its sender, unless that has gone away.
    slot: Option<(Option<usize>, usize, Write)>,
    bindings: Vec<Option<Binding>>,
    operators: Vec<Operator>,
    /// By cluster and account.
    granted: [[bool; 2]; 2],
    /// How many visits had been let through when a grant was taken back: each may still write.
    in_flight: usize,
    budget: Budget,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Begin {
        operator: usize,
        binding: usize,
    },
    Step {
        operator: usize,
    },
    StaleList {
        operator: usize,
    },
    Commit,
    TimePasses,
    AnswerLost {
        operator: usize,
    },
    Crash {
        operator: usize,
    },
    /// The lease goes to this one; the other has not noticed yet.
    Takeover {
        operator: usize,
    },
    Person(people::Deed),
}

impl Event {
    /// Whether it happens by itself, without faults and without people.
    fn is_progress(self) -> bool {
        matches!(
            self,
            Self::Begin { .. } | Self::Step { .. } | Self::Commit | Self::TimePasses
        )
    }
}

/// A way in which a rule is broken.
type Violation = String;

/// Everything that can happen next, with what it leads to.
fn successors(universe: &Universe, state: &State) -> Result<Vec<(Event, State)>, Violation> {
    let mut next = Vec::new();
    for (operator, mind) in state.operators.iter().enumerate() {
        // One that has lost the lease ends; it does not come back into the middle of a visit.
        if !mind.leads && mind.visit.is_none() && state.budget.takeovers > 0 {
            let mut taken = state.clone();
            taken.budget.takeovers -= 1;
            for other in taken.operators.iter_mut().filter(|o| o.cluster == mind.cluster) {
                other.leads = false;
            }
            taken.operators[operator].leads = true;
            next.push((Event::Takeover { operator }, taken));
        }
        if mind.visit.is_none() {
            for binding in 0..state.bindings.len() {
                let begun = operator::begin(universe, state, operator, binding);
                next.extend(begun.map(|begun| (Event::Begin { operator, binding }, begun)));
            }
            continue;
        }
        let stepped = operator::step(universe, state, operator, false);
        next.extend(stepped.map(|stepped| (Event::Step { operator }, stepped)));
        if state.budget.stale_lists > 0 && state.before != state.azure {
            let misled = operator::step(universe, state, operator, true);
            next.extend(misled.map(|misled| (Event::StaleList { operator }, misled)));
        }
        if state.budget.losses > 0 && operator::waits(mind) {
            let mut lost = state.clone();
            lost.budget.losses -= 1;
            operator::hang_up(&mut lost, operator);
            next.push((Event::AnswerLost { operator }, lost));
        }
        if state.budget.crashes > 0 {
            let mut crashed = state.clone();
            crashed.budget.crashes -= 1;
            operator::end(&mut crashed, operator);
            next.push((Event::Crash { operator }, crashed));
        }
    }
    if state.slot.is_some() {
        next.push((Event::Commit, commit(universe, state)?));
    }
    if state.before != state.azure || state.operators.iter().any(|o| !o.recent.is_empty()) {
        let mut later = state.clone();
        later.before = later.azure;
        later.operators.iter_mut().for_each(|o| o.recent.clear());
        next.push((Event::TimePasses, later));
    }
    people::deeds(universe, state, &mut next);
    Ok(next)
}

/// Azure carries out the write that it works on.
fn commit(universe: &Universe, state: &State) -> Result<State, Violation> {
    let mut next = state.clone();
    let Some((sender, cluster, write)) = next.slot.take() else {
        return Ok(next);
    };
    let (Write::Put(id) | Write::Delete(id)) = write;
    let struck = universe.named_like(next.azure, id);
    if let Some(struck) = struck.filter(|struck| !Universe::may_touch(cluster, *struck)) {
        return Err(format!("{write:?} strikes {:?}", universe.get(struck)));
    }
    let answer = match write {
        Write::Delete(_) => {
            next.before = next.azure;
            next.azure = struck.map_or(next.azure, |struck| next.azure.without(struck));
            Answer::Done
        }
        Write::Put(put) => {
            let rest = struck.map_or(next.azure, |struck| next.azure.without(struck));
            let collides = universe.collides(rest, put);
            if collides || universe.is_full(rest) {
                Answer::Refused
            } else {
                next.before = next.azure;
                next.azure = rest.with(put);
                if let Some(account) = universe.account_of(cluster, put)
                    && !next.granted[cluster][account]
                {
                    let left = next.in_flight.checked_sub(1);
                    next.in_flight =
                        left.ok_or_else(|| format!("written without a grant: {:?}", universe.get(put)))?;
                }
                Answer::Done
            }
        }
    };
    if let Some(operator) = sender {
        operator::hear(&mut next, operator, answer);
    }
    Ok(next)
}

/// What must hold in every state.
fn check(universe: &Universe, state: &State) -> Result<(), Violation> {
    if universe.list(state.azure).len() > super::credential::MAX_PER_IDENTITY {
        return Err("more credentials than Azure allows".to_owned());
    }
    Ok(())
}

/// What must hold in a state that no visit changes.
fn check_quiet(universe: &Universe, state: &State) -> Result<(), Violation> {
    let alive: Vec<&Binding> = state.bindings.iter().flatten().collect();
    if let Some(stuck) = alive.iter().find(|b| b.deleting) {
        return Err(format!("never gone: {stuck:?}"));
    }
    let wanted = |b: &&&Binding| state.granted[b.cluster][b.account];
    for binding in alive.iter().filter(wanted) {
        let want = universe.ours(binding.cluster, binding.account);
        if !universe.trusts(state.azure, want) && !universe.is_blocked(state.azure, binding) {
            return Err(format!("no trust, and nothing in the way: {binding:?}"));
        }
    }
    for id in state.azure.iter().filter(|id| Universe::is_made_by_us(*id)) {
        let tuple = &universe.get(id).tuple;
        let is_wanted = alive.iter().filter(wanted).any(|b| {
            let want = universe.get(universe.ours(b.cluster, b.account));
            want.tuple == *tuple || want.name == universe.get(id).name
        });
        // Denied another pair, a binding keeps the one that it has, for as long as that is granted.
        let is_granted = (0..2).any(|cluster| {
            let account = universe.account_of(cluster, id % 4);
            account.is_some_and(|account| state.granted[cluster][account])
        });
        let is_remembered = alive.iter().any(|b| {
            let current = b.status.credential.map(|(id, _)| id);
            let mut remembered = current.iter().chain(&b.status.superseded);
            is_granted && remembered.any(|r| universe.get(*r).name == universe.get(id).name)
        });
        if !is_wanted && !is_remembered {
            return Err(format!("leaked: {:?}", universe.get(id)));
        }
    }
    Ok(())
}
