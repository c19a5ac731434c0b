//! What a state of the world consists of.

use super::pool::Shared;
use super::universe::{No, PassMachine, SeenRecord, Universe};
use crate::core::plan::{Plan, Step};
use crate::core::reconcile::{Effect, ReportedStatus, Safeguard};
use crate::core::{Fault, Holdings};

/// A binding in the storage of Kubernetes.
// Each of them is a mark of its own on the object.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BindingObject {
    pub uid: u8,
    pub generation: u8,
    pub identity: No,
    pub account: No,
    pub finalizer: bool,
    pub deleting: bool,
    pub released: bool,
    pub retain: bool,
    pub suspend: bool,
    /// Changes of what nobody looks at.
    pub patches: u8,
    pub status: Shared<ReportedStatus>,
}

impl BindingObject {
    pub fn wants(&self, identity: No, account: No) -> bool {
        !self.deleting && self.identity == identity && self.account == account
    }
}

/// What a pass is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum WorkTarget {
    /// A binding, as it was seen when the pass began.
    Binding(usize, BindingObject),
    SeenRecord(No),
}

/// A pass, and the effect that it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PassFrame {
    pub machine: Shared<PassMachine>,
    pub effect: Shared<Effect>,
    pub safeguard: Shared<Safeguard>,
    /// By identity and name: what it deletes at Azure, and may take off the record after that.
    pub leaving: Vec<(No, String)>,
}

/// Writes at Azure that an effect asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub identity: No,
    pub held: Shared<Holdings>,
    pub steps: Shared<Vec<Step>>,
    /// Of a write; a deletion has none.
    pub plan: Option<Shared<Plan>>,
    /// What came of the steps so far.
    pub results: Vec<Result<(), Fault>>,
    /// Azure has the next one.
    pub is_sent: bool,
}

/// The work of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Work {
    pub target: WorkTarget,
    /// The pass, and within it the one over a record.
    pub frames: Vec<PassFrame>,
    pub call: Option<Call>,
    pub during: During,
}

/// What has happened since a pass began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct During {
    /// Somebody has done something, or the view was late.
    pub is_disturbed: bool,
    /// Grants that were withdrawn, as in [`WorldState::granted`].
    pub withdrawn: u8,
}

/// A process of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Operator {
    pub cluster: No,
    /// Holds the lease of its cluster.
    pub leads: bool,
    /// By slot: what the watch has shown.
    pub objects: Vec<Option<BindingObject>>,
    /// By identity: what the watch has shown, or we have written.
    pub records: Vec<Shared<SeenRecord>>,
    /// By slot: what the last review of its pair said.
    pub reviewed: Vec<Option<bool>>,
    /// By identity and name, see [`bit`]: credentials that nobody has been known to want.
    pub unwanted: u16,
    /// Those of them whose grace period is over.
    pub ripe: u16,
    /// By identity: our last writes, for as long as a list may lack them.
    pub recent: Vec<Shared<Vec<Step>>>,
    /// By identity: the list that this work has read.
    pub lists: Vec<Option<Shared<Holdings>>>,
    /// Kubernetes was in trouble.
    pub is_troubled: bool,
    pub work: Option<Work>,
}

/// Bit of a credential in [`Operator::unwanted`].
pub(super) fn bit(identity: No, issuer: No, account: No) -> u16 {
    1 << (identity * 4 + issuer * 2 + account)
}

/// A write that Azure works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    /// Unless it has gone away.
    pub operator: Option<usize>,
    pub cluster: No,
    /// The first of these.
    pub step: Shared<Vec<Step>>,
    /// Part of a plan, not of a revocation.
    pub is_planned: bool,
    pub during: During,
}

/// What may still happen, so that there is an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub tenant: u8,
    pub admin: u8,
    pub people: u8,
    pub crashes: u8,
    pub takeovers: u8,
    pub losses: u8,
    pub stale_lists: u8,
    pub stale_watches: u8,
    pub stale_reviews: u8,
    pub issuer_changes: u8,
    pub retentions: u8,
}

/// The world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WorldState {
    /// By identity.
    pub azure: Vec<Shared<Holdings>>,
    /// What a stale list shows.
    pub before: Vec<Shared<Holdings>>,
    /// By identity.
    pub sent: Vec<Option<Sent>>,
    /// By slot.
    pub objects: Vec<Option<BindingObject>>,
    /// By cluster and identity.
    pub records: Vec<Vec<Shared<SeenRecord>>>,
    /// By cluster and account: the identity whose ids the ServiceAccount carries.
    pub carries: [[Option<No>; 2]; 2],
    /// By cluster, identity and account, see [`grant`].
    pub granted: u8,
    /// As it was before the last change.
    pub granted_before: u8,
    /// By cluster.
    pub issuers: [No; 2],
    /// In retention periods of former issuers.
    pub clock: u8,
    pub uids: u8,
    pub operators: Vec<Operator>,
    pub budget: Budget,
}

/// Bit of a grant in [`WorldState::granted`].
pub(super) fn grant(cluster: No, identity: No, account: No) -> u8 {
    1 << (cluster * 4 + identity * 2 + account)
}

impl WorldState {
    pub fn is_granted(&self, cluster: No, identity: No, account: No) -> bool {
        self.granted & grant(cluster, identity, account) != 0
    }

    /// A slot has changed in storage, and every operator of its cluster sees it at once.
    pub fn show(&mut self, universe: &Universe, slot: usize) {
        let cluster = universe.slots[slot];
        for operator in self.operators.iter_mut().filter(|o| o.cluster == cluster) {
            operator.see(slot, self.objects[slot].clone());
        }
    }

    /// Somebody beside the operators does something.
    pub fn disturb(&mut self) {
        let works = self
            .operators
            .iter_mut()
            .filter_map(|o| o.work.as_mut().map(|w| &mut w.during));
        for during in works.chain(self.sent.iter_mut().flatten().map(|s| &mut s.during)) {
            during.is_disturbed = true;
        }
    }

    /// Whether an operator sees what is in storage.
    pub fn sees_all(&self, universe: &Universe, operator: usize) -> bool {
        let operator = &self.operators[operator];
        let mut slots = universe
            .slots
            .iter()
            .enumerate()
            .filter(|(_, cluster)| **cluster == operator.cluster);
        operator.records == self.records[operator.cluster]
            && slots.all(|(slot, _)| operator.objects[slot] == self.objects[slot])
    }

    /// The watch of an operator catches up.
    pub fn refresh(&mut self, universe: &Universe, operator: usize) {
        let cluster = self.operators[operator].cluster;
        for slot in 0..self.objects.len() {
            if universe.slots[slot] == cluster {
                let object = self.objects[slot].clone();
                self.operators[operator].see(slot, object);
            }
        }
        self.operators[operator]
            .records
            .clone_from(&self.records[cluster]);
    }
}

impl Operator {
    /// Takes in what the watch shows.
    pub fn see(&mut self, slot: usize, object: Option<BindingObject>) {
        let pair = |object: &Option<BindingObject>| object.as_ref().map(|o| (o.identity, o.account));
        if pair(&self.objects[slot]) != pair(&object) {
            self.reviewed[slot] = None;
        }
        self.objects[slot] = object;
    }

    /// The process ends, and a new one knows nothing of what it knew.
    pub fn forget(&mut self, universe: &Universe) {
        self.work = None;
        self.unwanted = 0;
        self.ripe = 0;
        self.is_troubled = false;
        self.reviewed.iter_mut().for_each(|r| *r = None);
        self.lists.iter_mut().for_each(|l| *l = None);
        self.recent
            .iter_mut()
            .for_each(|r| *r = universe.steps.share(Vec::new()));
    }
}
