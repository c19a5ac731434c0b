//! The cases that are explored: who is there, and what may go wrong.

use super::explore::explore;
use super::universe::{CONFLICT, EQUAL, Id, Set, Universe};
use super::{Binding, Budget, Memory, Operator, State};

const CALM: Budget = Budget {
    edits: 0,
    takeovers: 0,
    crashes: 0,
    losses: 0,
    stale_lists: 0,
};

/// Bindings, by cluster and account, and operators, by cluster; the first of a cluster leads.
fn state(bindings: &[(usize, usize)], operators: &[usize], azure: &[Id], budget: Budget) -> State {
    let azure = azure.iter().fold(Set::default(), |set, id| set.with(*id));
    let binding = |(cluster, account): &(usize, usize)| {
        Some(Binding {
            cluster: *cluster,
            account: *account,
            deleting: false,
            finalizer: false,
            status: Memory::default(),
        })
    };
    let operator = |(at, cluster): (usize, &usize)| Operator {
        cluster: *cluster,
        leads: !operators[..at].contains(cluster),
        visit: None,
        recent: Vec::new(),
    };
    State {
        azure,
        before: azure,
        slot: None,
        bindings: bindings.iter().map(binding).collect(),
        operators: operators.iter().enumerate().map(operator).collect(),
        granted: [[true; 2]; 2],
        in_flight: 0,
        budget,
    }
}

fn holds(name: &str, fillers: usize, start: State) {
    let explored = explore(&Universe::with_fillers(fillers), start);
    println!(
        "model {name}: {} states, {} of them quiet",
        explored.states, explored.quiet
    );
    assert!(explored.quiet > 0);
}

#[test]
fn one_cluster_and_a_person() {
    let budget = Budget { edits: 3, ..CALM };
    holds("one cluster and a person", 0, state(&[(0, 0)], &[0], &[], budget));
}

#[test]
fn one_cluster_with_crashes_and_lost_answers() {
    let budget = Budget {
        edits: 2,
        crashes: 1,
        losses: 1,
        ..CALM
    };
    holds("crashes and lost answers", 0, state(&[(0, 0)], &[0], &[], budget));
}

#[test]
fn one_cluster_with_stale_lists() {
    let budget = Budget {
        edits: 2,
        crashes: 1,
        stale_lists: 1,
        ..CALM
    };
    holds("stale lists", 0, state(&[(0, 0)], &[0], &[], budget));
}

#[test]
fn somebody_elses_credentials() {
    let budget = Budget {
        edits: 2,
        crashes: 1,
        ..CALM
    };
    for (name, theirs) in [("equal", EQUAL), ("conflicting", CONFLICT)] {
        let start = state(&[(0, 0)], &[0], &[theirs], budget);
        holds(&format!("somebody else's {name} credential"), 0, start);
    }
}

#[test]
fn two_bindings_of_one_pair() {
    let budget = Budget {
        edits: 2,
        losses: 1,
        ..CALM
    };
    holds(
        "two bindings of one pair",
        0,
        state(&[(0, 0), (0, 0)], &[0], &[], budget),
    );
}

#[test]
fn two_clusters_on_one_identity() {
    let budget = Budget {
        edits: 1,
        crashes: 1,
        ..CALM
    };
    holds("two clusters", 0, state(&[(0, 0), (1, 0)], &[0, 1], &[], budget));
}

#[test]
fn two_clusters_and_one_slot() {
    let budget = Budget {
        edits: 1,
        losses: 1,
        ..CALM
    };
    holds(
        "two clusters, one slot",
        19,
        state(&[(0, 0), (1, 0)], &[0, 1], &[], budget),
    );
}

#[test]
fn one_cluster_twice() {
    let budget = Budget {
        edits: 1,
        takeovers: 2,
        losses: 1,
        ..CALM
    };
    holds("one cluster twice", 0, state(&[(0, 0)], &[0, 0], &[], budget));
}
