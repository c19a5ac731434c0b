//! Visits every state that can be reached, and shows the way to one that breaks a rule.

use std::collections::HashMap;

use super::universe::Universe;
use super::{Event, State, check, check_quiet, commit, operator, successors};

/// What was explored.
#[derive(Debug)]
pub(super) struct Explored {
    pub states: usize,
    pub quiet: usize,
}

#[derive(Default)]
struct Graph {
    numbers: HashMap<State, usize>,
    /// By number: where it was first reached from.
    from: Vec<Option<(usize, Event)>>,
    /// By number: what leads to it without faults and people.
    before: Vec<Vec<usize>>,
}

impl Graph {
    fn number(&mut self, state: &State, from: Option<(usize, Event)>) -> (usize, bool) {
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
    fn story(&self, mut number: usize) -> String {
        let mut events = Vec::new();
        while let Some((from, event)) = self.from[number] {
            events.push(format!("{event:?}"));
            number = from;
        }
        events.reverse();
        events.join("\n  ")
    }

    fn state(&self, number: usize) -> &State {
        let found = self.numbers.iter().find(|(_, n)| **n == number);
        found.map(|(state, _)| state).expect("a known state")
    }
}

/// Explores all that can come of a start.
pub(super) fn explore(universe: &Universe, start: State) -> Explored {
    let mut graph = Graph::default();
    graph.number(&start, None);
    let mut open = std::collections::VecDeque::from([(0, start)]);
    let mut quiet = Vec::new();
    while let Some((number, state)) = open.pop_front() {
        let fail = |what: String, graph: &Graph| panic!("{what}\n  {}\n{state:#?}", graph.story(number));
        if let Err(violation) = check(universe, &state) {
            fail(violation, &graph);
        }
        if is_quiet(universe, &state) {
            if let Err(violation) = check_quiet(universe, &state) {
                fail(violation, &graph);
            }
            quiet.push(number);
        }
        let next = match successors(universe, &state) {
            Ok(next) => next,
            Err(violation) => return fail(violation, &graph),
        };
        for (event, next) in next {
            let (to, new) = graph.number(&next, Some((number, event)));
            if event.is_progress() {
                graph.before[to].push(number);
            }
            if new {
                open.push_back((to, next));
            }
        }
    }
    assert_always_quiet_in_the_end(&graph, &quiet);
    Explored {
        states: graph.from.len(),
        quiet: quiet.len(),
    }
}

/// From every state a quiet one can be reached, by the operators' own steps.
fn assert_always_quiet_in_the_end(graph: &Graph, quiet: &[usize]) {
    let mut reaches = vec![false; graph.from.len()];
    let mut open = quiet.to_vec();
    while let Some(number) = open.pop() {
        if !std::mem::replace(&mut reaches[number], true) {
            open.extend(&graph.before[number]);
        }
    }
    if let Some(stuck) = reaches.iter().position(|reaches| !reaches) {
        panic!(
            "never quiet again\n  {}\n{:#?}",
            graph.story(stuck),
            graph.state(stuck)
        );
    }
}

/// Nothing is under way, and no visit of any binding changes anything.
fn is_quiet(universe: &Universe, state: &State) -> bool {
    let idle = state.slot.is_none()
        && state.before == state.azure
        && state
            .operators
            .iter()
            .all(|o| o.visit.is_none() && o.recent.is_empty());
    let all = (0..state.operators.len()).flat_map(|o| (0..state.bindings.len()).map(move |b| (o, b)));
    idle && all.into_iter().all(|(operator, binding)| {
        visited(universe, state, operator, binding).is_none_or(|after| after == *state)
    })
}

/// What one visit without disturbance leads to.
fn visited(universe: &Universe, state: &State, operator: usize, binding: usize) -> Option<State> {
    let mut now = operator::begin(universe, state, operator, binding)?;
    while now.operators[operator].visit.is_some() {
        now = match operator::step(universe, &now, operator, false) {
            Some(next) => next,
            None => commit(universe, &now).ok()?,
        };
    }
    Some(now)
}
