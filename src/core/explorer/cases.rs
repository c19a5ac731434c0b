//! The cases that are explored: who is there, and what may go wrong.

use super::explore::explore;
use super::state::{Budget, Operator, WorldState, grant};
use super::tenant::{Kind, fresh};
use super::universe::{No, Universe};
use crate::api::ManagedIdentityStatus;
use crate::core::{Credential, Holdings};

/// A case before anything has happened.
struct ExplorerCase {
    universe: Universe,
    /// By slot: the account that a binding names, where there is one.
    bindings: Vec<Option<No>>,
    /// By process: its cluster; the first of a cluster leads.
    operators: Vec<No>,
    /// All of them are one process, which goes through several passes at a time.
    is_one_process: bool,
    /// On the first identity.
    azure: Vec<Credential>,
    budget: Budget,
}

impl ExplorerCase {
    /// Bindings of one cluster on one identity, and one operator.
    fn new(bindings: &[Option<No>], budget: Budget) -> Self {
        Self {
            universe: Universe::new(1, &vec![0; bindings.len()]),
            bindings: bindings.to_vec(),
            operators: vec![0],
            is_one_process: false,
            azure: Vec::new(),
            budget,
        }
    }

    fn tenant(mut self, kinds: &[Kind]) -> Self {
        self.universe.tenant = kinds.to_vec();
        self
    }

    fn state(&self) -> WorldState {
        let universe = &self.universe;
        let identities = universe.identities.len();
        let first = universe.list(Holdings::from(self.azure.clone()));
        let mut azure = vec![universe.list(Holdings::default()); identities];
        azure[0] = first;
        let none = vec![universe.record(ManagedIdentityStatus::default()); identities];
        let binding = |(slot, account): (usize, &Option<No>)| {
            let mut object = fresh(universe, u8::try_from(slot).expect("few slots"));
            object.account = (*account)?;
            Some(object)
        };
        let objects: Vec<_> = self.bindings.iter().enumerate().map(binding).collect();
        let operator = |(at, cluster): (usize, &No)| {
            let own = objects.iter().enumerate();
            Operator {
                cluster: *cluster,
                leads: self.is_one_process || !self.operators[..at].contains(cluster),
                objects: own
                    .map(|(slot, object)| object.clone().filter(|_| universe.slots[slot] == *cluster))
                    .collect(),
                records: none.clone(),
                reviewed: vec![None; objects.len()],
                unwanted: 0,
                ripe: 0,
                recent: vec![universe.steps.share(Vec::new()); identities],
                lists: vec![None; identities],
                is_troubled: false,
                work: None,
            }
        };
        let all = |cluster, identity| grant(cluster, identity, 0) | grant(cluster, identity, 1);
        let granted = (0..2)
            .flat_map(|cluster| (0..2).map(move |identity| all(cluster, identity)))
            .fold(0, |a, b| a | b);
        WorldState {
            before: azure.clone(),
            sent: vec![None; identities],
            operators: self.operators.iter().enumerate().map(operator).collect(),
            records: vec![none.clone(), none.clone()],
            objects,
            azure,
            carries: [[None; 2]; 2],
            granted,
            granted_before: granted,
            issuers: [0, 0],
            clock: 0,
            uids: 10,
            budget: self.budget,
        }
    }

    /// Explores it, and expects every rule to hold.
    fn holds(self, name: &str) {
        let began = std::time::Instant::now();
        let explored =
            explore(&self.universe, self.state()).unwrap_or_else(|violation| panic!("{name}: {violation}"));
        println!(
            "explorer {name}: {} states, {} of them quiet, {} moves of the tenant, {} s",
            explored.states,
            explored.quiet,
            explored.tenant,
            began.elapsed().as_secs()
        );
        assert!(explored.quiet > 0);
    }
}

const CALM: Budget = Budget {
    tenant: 0,
    admin: 0,
    people: 0,
    crashes: 0,
    takeovers: 0,
    losses: 0,
    stale_lists: 0,
    stale_watches: 0,
    stale_reviews: 0,
    issuer_changes: 0,
    retentions: 0,
};

const EVERYTHING: [Kind; 10] = [
    Kind::Strip,
    Kind::Delete,
    Kind::Create,
    Kind::Retarget,
    Kind::Release,
    Kind::Suspend,
    Kind::Retain,
    Kind::Wipe,
    Kind::Forge,
    Kind::Patch,
];

/// What leads to other ways of the operator: neither a status nor a label does.
const EFFECTIVE: [Kind; 7] = [
    Kind::Strip,
    Kind::Delete,
    Kind::Create,
    Kind::Retarget,
    Kind::Release,
    Kind::Suspend,
    Kind::Retain,
];

#[test]
fn a_tenant_who_does_everything() {
    let budget = Budget {
        tenant: 3,
        admin: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0)], budget)
        .tenant(&EVERYTHING)
        .holds("a tenant");
}

#[test]
fn a_tenant_and_crashes() {
    let budget = Budget {
        tenant: 2,
        admin: 1,
        crashes: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0)], budget)
        .tenant(&EFFECTIVE)
        .holds("a tenant and a crash");
}

#[test]
fn a_tenant_and_lost_answers() {
    let budget = Budget {
        tenant: 2,
        admin: 1,
        losses: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0)], budget)
        .tenant(&EFFECTIVE)
        .holds("a tenant and a lost answer");
}

#[test]
fn a_tenant_and_a_late_watch() {
    let budget = Budget {
        tenant: 2,
        admin: 1,
        stale_watches: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0)], budget)
        .tenant(&EVERYTHING)
        .holds("a tenant and a late watch");
}

#[test]
fn an_authorizer_that_lags() {
    let budget = Budget {
        tenant: 1,
        admin: 2,
        stale_reviews: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0)], budget)
        .tenant(&[Kind::Strip, Kind::Delete, Kind::Retarget])
        .holds("an authorizer that lags");
}

#[test]
fn two_bindings_of_one_pair() {
    let kinds = [
        Kind::Strip,
        Kind::Delete,
        Kind::Create,
        Kind::Retarget,
        Kind::Release,
        Kind::Retain,
    ];
    let budget = Budget {
        tenant: 2,
        admin: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0), Some(0)], budget)
        .tenant(&kinds)
        .holds("two bindings of one pair");
}

#[test]
fn two_bindings_and_a_crash() {
    let kinds = [Kind::Strip, Kind::Delete, Kind::Retarget];
    let budget = Budget {
        tenant: 2,
        crashes: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0), Some(1)], budget)
        .tenant(&kinds)
        .holds("two bindings and a crash");
}

#[test]
fn people_in_azure() {
    let budget = Budget {
        people: 2,
        crashes: 1,
        admin: 1,
        ..CALM
    };
    let mut case = ExplorerCase::new(&[Some(0)], budget);
    case.universe.people = true;
    case.holds("people in Azure");
}

#[test]
fn people_and_stale_lists() {
    let budget = Budget {
        tenant: 1,
        people: 2,
        stale_lists: 1,
        losses: 1,
        ..CALM
    };
    let mut case = ExplorerCase::new(&[Some(0)], budget).tenant(&[Kind::Delete]);
    case.universe.people = true;
    case.holds("people and stale lists");
}

#[test]
fn somebody_elses_credentials() {
    let budget = Budget {
        tenant: 1,
        people: 1,
        admin: 1,
        ..CALM
    };
    for (name, theirs) in [
        ("equal", Universe::equal()),
        ("conflicting", Universe::conflicting()),
    ] {
        let mut case = ExplorerCase::new(&[Some(0)], budget).tenant(&EVERYTHING);
        case.universe.people = true;
        case.azure = vec![theirs];
        case.holds(&format!("somebody else's {name} credential"));
    }
}

#[test]
fn a_second_operator_takes_over() {
    let budget = Budget {
        tenant: 1,
        admin: 1,
        takeovers: 1,
        ..CALM
    };
    let mut case = ExplorerCase::new(&[Some(0)], budget).tenant(&[Kind::Strip, Kind::Delete, Kind::Retarget]);
    case.operators = vec![0, 0];
    case.holds("a second operator");
}

/// A process with two passes at a time: of bindings, of records, or one of each.
fn two_at_a_time(bindings: &[Option<No>], budget: Budget, kinds: &[Kind]) -> ExplorerCase {
    let mut case = ExplorerCase::new(bindings, budget).tenant(kinds);
    case.operators = vec![0, 0];
    case.is_one_process = true;
    case
}

#[test]
fn two_passes_at_a_time_and_grants_that_come_and_go() {
    let budget = Budget { admin: 2, ..CALM };
    two_at_a_time(&[Some(0)], budget, &[]).holds("two passes at a time, grants");
}

#[test]
fn two_passes_at_a_time_and_a_tenant() {
    let budget = Budget {
        tenant: 1,
        admin: 1,
        ..CALM
    };
    let kinds = [Kind::Strip, Kind::Delete, Kind::Retarget, Kind::Release];
    two_at_a_time(&[Some(0)], budget, &kinds).holds("two passes at a time, a tenant");
}

#[test]
fn two_passes_at_a_time_and_two_bindings_of_one_pair() {
    let budget = Budget { admin: 1, ..CALM };
    two_at_a_time(&[Some(0), Some(0)], budget, &[]).holds("two passes at a time, two bindings of one pair");
}

#[test]
fn two_clusters_on_one_identity() {
    let deletes = Budget {
        tenant: 1,
        crashes: 1,
        ..CALM
    };
    let revokes = Budget {
        admin: 1,
        losses: 1,
        ..CALM
    };
    for (name, fillers, budget) in [
        ("room for both, and one deletes", 0, deletes),
        ("room for one, and one is revoked", 19, revokes),
    ] {
        let mut case = ExplorerCase::new(&[Some(0), Some(0)], budget).tenant(&[Kind::Delete]);
        case.universe.slots = vec![0, 1];
        case.operators = vec![0, 1];
        case.azure = (0..fillers).map(Universe::filler).collect();
        case.holds(&format!("two clusters, {name}"));
    }
}

#[test]
fn the_issuer_changes() {
    let kinds = [Kind::Strip, Kind::Delete, Kind::Retarget, Kind::Release];
    let budget = Budget {
        tenant: 1,
        admin: 1,
        issuer_changes: 1,
        retentions: 1,
        ..CALM
    };
    for (name, fillers) in [("with room", 0), ("on a full identity", 19)] {
        let mut case = ExplorerCase::new(&[Some(0)], budget).tenant(&kinds);
        case.azure = (0..fillers).map(Universe::filler).collect();
        case.holds(&format!("the issuer changes, {name}"));
    }
}

#[test]
fn the_issuer_changes_and_a_crash() {
    let budget = Budget {
        tenant: 1,
        issuer_changes: 2,
        crashes: 1,
        retentions: 1,
        ..CALM
    };
    ExplorerCase::new(&[Some(0)], budget)
        .tenant(&[Kind::Strip, Kind::Delete])
        .holds("the issuer changes and a crash");
}

#[test]
fn another_identity() {
    let kinds = [
        Kind::Strip,
        Kind::Delete,
        Kind::Reidentify,
        Kind::Retain,
        Kind::Suspend,
    ];
    let budget = Budget {
        tenant: 2,
        admin: 1,
        ..CALM
    };
    let mut case = ExplorerCase::new(&[Some(0)], budget).tenant(&kinds);
    case.universe = Universe::new(2, &[0]);
    case.universe.tenant = kinds.to_vec();
    case.holds("another identity");
}

#[test]
fn two_bindings_on_two_identities() {
    let kinds = [Kind::Strip, Kind::Delete, Kind::Reidentify];
    let budget = Budget {
        tenant: 2,
        admin: 1,
        ..CALM
    };
    let mut case = ExplorerCase::new(&[Some(0), Some(0)], budget).tenant(&kinds);
    case.universe = Universe::new(2, &[0, 0]);
    case.universe.tenant = kinds.to_vec();
    case.holds("two bindings on two identities");
}
