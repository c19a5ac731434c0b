//! Goes through every state that can be reached, and shows the way to one that breaks a rule.

use std::collections::{HashMap, VecDeque};

use super::driver::{self, AnswerMode};
use super::moves::{Event, settled, successors};
use super::state::{Budget, WorldState};
use super::universe::Universe;
use super::{azure, check};

/// More is no small case.
const MAX_STATES: usize = 400_000;

/// Longest pass without disturbance, in effects.
const MAX_EFFECTS: usize = 200;

/// What was explored.
#[derive(Debug)]
pub(super) struct Explored {
    pub states: usize,
    pub quiet: usize,
    pub tenant: usize,
}

#[derive(Default)]
struct Graph {
    numbers: HashMap<WorldState, usize>,
    /// By number: where it was first reached from.
    from: Vec<Option<(usize, Event)>>,
    /// By number: what leads to it without faults and people.
    before: Vec<Vec<usize>>,
}

impl Graph {
    fn number(&mut self, state: &WorldState, from: Option<(usize, Event)>) -> (usize, bool) {
        if let Some(number) = self.numbers.get(state) {
            return (*number, false);
        }
        let number = self.from.len();
        self.numbers.insert(state.clone(), number);
        self.from.push(from);
        self.before.push(Vec::new());
        (number, true)
    }

    /// How a state comes about.
    fn story(&self, mut number: usize) -> Vec<String> {
        let mut events = Vec::new();
        while let Some((from, event)) = &self.from[number] {
            let effect = match event {
                Event::Step { operator } | Event::Stale { operator, .. } => {
                    awaited(self.state(*from), *operator)
                }
                _ => String::new(),
            };
            events.push(format!("{event:?} {effect}"));
            number = *from;
        }
        events.reverse();
        events
    }

    fn state(&self, number: usize) -> &WorldState {
        let found = self.numbers.iter().find(|(_, n)| **n == number);
        found.map(|(state, _)| state).expect("a known state")
    }
}

/// The effect that is carried out next, in short.
fn awaited(state: &WorldState, operator: usize) -> String {
    let work = state.operators[operator].work.as_ref();
    let effect = work
        .and_then(|work| work.frames.last())
        .map(|frame| format!("{:?}", *frame.effect));
    effect.unwrap_or_default().chars().take(160).collect()
}

/// Explores all that can come of a start.
pub(super) fn explore(universe: &Universe, start: WorldState) -> Result<Explored, String> {
    let mut graph = Graph::default();
    graph.number(&start, None);
    let mut open = VecDeque::from([(0, start)]);
    let mut quiet = Vec::new();
    let mut tenant = 0;
    let mut known_quiet = HashMap::new();
    while let Some((number, state)) = open.pop_front() {
        let fail = |what: String, last: Option<Event>, graph: &Graph| {
            let mut story = graph.story(number);
            story.extend(last.map(|event| {
                format!(
                    "{event:?} {}",
                    match &event {
                        Event::Step { operator } | Event::Stale { operator, .. } =>
                            awaited(&state, *operator),
                        _ => String::new(),
                    }
                )
            }));
            Err(format!("{what}\n  {}\n{state:#?}", story.join("\n  ")))
        };
        if graph.from.len() > MAX_STATES {
            return fail("more states than a case may have".to_owned(), None, &graph);
        }
        if let Err(violation) = check::always(&state) {
            return fail(violation, None, &graph);
        }
        match is_quiet(universe, &state, &mut known_quiet) {
            Ok(true) => {
                if let Err(violation) = check::quiet(universe, &state) {
                    return fail(violation, None, &graph);
                }
                quiet.push(number);
            }
            Ok(false) => {}
            Err(violation) => return fail(violation, None, &graph),
        }
        let next = match successors(universe, &state) {
            Ok(next) => next,
            Err((event, violation)) => return fail(violation, Some(event), &graph),
        };
        for (event, next) in next {
            let is_progress = event.is_progress();
            tenant += usize::from(matches!(event, Event::Tenant { .. }));
            let (to, new) = graph.number(&next, Some((number, event)));
            if is_progress {
                graph.before[to].push(number);
            }
            if new {
                open.push_back((to, next));
            }
        }
    }
    always_quiet_in_the_end(&graph, &quiet)?;
    Ok(Explored {
        states: graph.from.len(),
        quiet: quiet.len(),
        tenant,
    })
}

/// From every state a quiet one can be reached, by the operators' own steps.
fn always_quiet_in_the_end(graph: &Graph, quiet: &[usize]) -> Result<(), String> {
    let mut reaches = vec![false; graph.from.len()];
    let mut open = quiet.to_vec();
    while let Some(number) = open.pop() {
        if !std::mem::replace(&mut reaches[number], true) {
            open.extend(&graph.before[number]);
        }
    }
    match reaches.iter().position(|reaches| !reaches) {
        Some(stuck) => Err(format!(
            "never quiet again\n  {}\n{:#?}",
            graph.story(stuck).join("\n  "),
            graph.state(stuck)
        )),
        None => Ok(()),
    }
}

/// Nothing is under way, every operator sees everything, and no pass changes anything.
fn is_quiet(
    universe: &Universe,
    state: &WorldState,
    known: &mut HashMap<WorldState, bool>,
) -> Result<bool, String> {
    let is_idle = state.sent.iter().all(Option::is_none) && state.operators.iter().all(|o| o.work.is_none());
    if !is_idle || settled(universe, state) != *state {
        return Ok(false);
    }
    // What may still happen is nothing that a pass knows of.
    let calm = WorldState {
        budget: Budget::default(),
        ..state.clone()
    };
    if let Some(known) = known.get(&calm) {
        return Ok(*known);
    }
    let quiet = no_pass_changes(universe, &calm)?;
    known.insert(calm, quiet);
    Ok(quiet)
}

fn no_pass_changes(universe: &Universe, state: &WorldState) -> Result<bool, String> {
    for operator in 0..state.operators.len() {
        if !state.sees_all(universe, operator) {
            return Ok(false);
        }
        let bindings = (0..state.objects.len()).map(|slot| driver::begin(universe, state, operator, slot));
        let records = (0..universe.identities.len())
            .map(|identity| driver::begin_record(universe, state, operator, identity));
        for begun in bindings.chain(records).flatten() {
            if undisturbed(universe, begun?, operator)? != *state {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What a pass leads to that nothing disturbs.
fn undisturbed(universe: &Universe, mut state: WorldState, operator: usize) -> Result<WorldState, String> {
    for _ in 0..MAX_EFFECTS {
        if state.operators[operator].work.is_none() {
            return Ok(settled(universe, &state));
        }
        state = if let Some(next) = driver::step(universe, &state, operator, AnswerMode::Plain) {
            next?
        } else {
            let sent = state.sent.iter().position(Option::is_some);
            let committed = sent.and_then(|identity| azure::commit(universe, &state, identity));
            committed.unwrap_or_else(|| Err("waits for nothing".to_owned()))?
        };
    }
    Err(format!("a pass without an end\n{state:#?}"))
}
