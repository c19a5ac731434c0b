//! Which changes are made together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Left, changes::Problem, file::Made, group, pods};
use crate::migrate::components::Group;
use crate::migrate::edit::Change;
use crate::migrate::finding::{Finding, Severity};
use crate::migrate::join::{Joined, Miss};
use crate::migrate::model::{ArmId, Reference};
use crate::migrate::report::Analysis;
use crate::migrate::yaml::Mark;

/// Changes that are made together or not at all.
struct Unit {
    groups: Vec<Group>,
    /// Switches of the plan, by number.
    switches: Vec<usize>,
    left: Option<String>,
}

/// All units of a plan.
pub struct Units(Vec<Unit>);

impl Units {
    /// The units of a plan: what shares a place in a file, or has to switch together, is one.
    pub fn of(analysis: &Analysis<'_, '_>, made: &Made) -> Self {
        let sources = analysis.sources;
        let switches = &analysis.report.plan.switches;
        let unplanned = unplanned(analysis);
        let doubts = doubts(analysis);
        let mut groups: Vec<Group> = switches
            .iter()
            .map(|switch| pods::group(sources, switch))
            .collect();
        let dead = analysis
            .joined
            .iter()
            .filter(|joined| has_only_a_dead_label(joined));
        groups.extend(
            dead.map(|joined| {
                pods::without_label(sources, joined.workload, joined.model.environment.as_ref())
            }),
        );
        group::check(sources, &mut groups, made);
        for (group, switch) in groups.iter_mut().zip(switches) {
            let label = switch.workload.label.as_ref();
            let shared = label.and_then(|label| unplanned.get(&label.mark));
            let doubt = doubts.get(&(&switch.environment, &switch.workload.at));
            if let Some(reason) = doubt.or(shared) {
                group.blocked.get_or_insert_with(|| reason.clone());
            }
        }
        let numbers = (0..switches.len()).map(Some).chain(std::iter::repeat(None));
        let mut groups: Vec<(Group, Option<usize>)> = groups.into_iter().zip(numbers).collect();
        groups.extend(analysis.components.iter().map(|group| (group.clone(), None)));
        let mut union = Union((0..groups.len()).collect());
        let mut first: BTreeMap<Mark, usize> = BTreeMap::new();
        let mut workloads: BTreeMap<(Option<String>, Reference), usize> = BTreeMap::new();
        for (at, (group, switch)) in groups.iter().enumerate() {
            for (mark, change) in &group.edits {
                // Several may add to one list or mapping without disturbing each other.
                if !matches!(change, Change::Push(_)) {
                    union.join(at, *first.entry(*mark).or_insert(at));
                }
            }
            if switch.is_some() {
                workloads.insert((group.environment.clone(), group.subject.clone()), at);
            }
        }
        // A template that is blocked in one environment has no edits to share: its label has a place all the same.
        let mut labels: BTreeMap<Mark, usize> = BTreeMap::new();
        for (at, switch) in switches.iter().enumerate() {
            if let Some(label) = &switch.workload.label {
                union.join(at, *labels.entry(label.mark).or_insert(at));
            }
        }
        for (at, (group, _)) in groups.iter().enumerate() {
            for with in &group.with {
                if let Some(workload) = workloads.get(&(group.environment.clone(), with.clone())) {
                    union.join(at, *workload);
                }
            }
        }
        let mut units: BTreeMap<usize, Unit> = BTreeMap::new();
        for (at, (group, switch)) in groups.into_iter().enumerate() {
            let unit = units.entry(union.root(at)).or_insert_with(|| Unit {
                groups: Vec::new(),
                switches: Vec::new(),
                left: None,
            });
            if let Some(reason) = &group.blocked {
                unit.left.get_or_insert_with(|| reason.clone());
            }
            unit.switches.extend(switch);
            unit.groups.push(group);
        }
        Self(units.into_values().collect())
    }

    fn live(&self) -> impl Iterator<Item = &Unit> {
        self.0.iter().filter(|unit| unit.left.is_none())
    }

    /// All changes of those that are rewritten.
    pub fn edits(&self) -> impl Iterator<Item = &(Mark, Change)> {
        self.live()
            .flat_map(|unit| &unit.groups)
            .flat_map(|group| &group.edits)
    }

    /// Of each switch of the plan whether it is made.
    pub fn made(&self) -> Vec<bool> {
        let count = self
            .0
            .iter()
            .flat_map(|unit| &unit.switches)
            .max()
            .map_or(0, |last| last + 1);
        let mut made = vec![false; count];
        for switch in self.live().flat_map(|unit| &unit.switches) {
            if let Some(made) = made.get_mut(*switch) {
                *made = true;
            }
        }
        made
    }

    /// Places of bindings and identities that workloads use which are not rewritten.
    pub fn still_used(&self, analysis: &Analysis<'_, '_>) -> BTreeSet<Mark> {
        let made = self.made();
        let switches = &analysis.report.plan.switches;
        let made: BTreeSet<(&Option<String>, &Reference)> = switches
            .iter()
            .zip(&made)
            .filter(|(_, made)| **made)
            .map(|(switch, _)| (&switch.environment, &switch.workload.at))
            .collect();
        let others = analysis
            .joined
            .iter()
            .filter(|joined| !made.contains(&(&joined.model.environment, &joined.workload.at)));
        others
            .flat_map(|joined| &joined.uses)
            .flat_map(|used| [used.binding.at.mark, used.identity.at.mark])
            .collect()
    }

    /// Leaves out whatever changes the file of a problem. Says whether there was something.
    pub fn leave_out(&mut self, problem: &Problem) -> bool {
        let Some(file) = problem.file else { return false };
        let touches = |unit: &Unit| {
            let marks = unit
                .groups
                .iter()
                .flat_map(|group| &group.edits)
                .map(|(mark, _)| mark);
            marks
                .into_iter()
                .any(|mark| usize::try_from(mark.file) == Ok(file))
        };
        self.leave(&problem.reason, touches)
    }

    /// Leaves out everything. Says whether there was something.
    pub fn leave_out_all(&mut self, reason: &str) -> bool {
        self.leave(reason, |_| true)
    }

    fn leave(&mut self, reason: &str, which: impl Fn(&Unit) -> bool) -> bool {
        let mut some = false;
        for unit in self
            .0
            .iter_mut()
            .filter(|unit| unit.left.is_none() && which(unit))
        {
            unit.left = Some(reason.to_owned());
            some = true;
        }
        some
    }

    /// What is not rewritten, and why.
    pub fn left(&self) -> Vec<Left> {
        let mut all = Vec::new();
        for unit in &self.0 {
            let Some(reason) = &unit.left else { continue };
            all.extend(unit.groups.iter().map(|group| Left {
                object: group.subject.to_string(),
                environment: group.environment.clone(),
                reason: group.blocked.clone().unwrap_or_else(|| reason.clone()),
            }));
        }
        all
    }

    /// What is rewritten.
    pub fn done(&self) -> Vec<String> {
        let all: BTreeSet<String> = self
            .live()
            .flat_map(|unit| &unit.groups)
            .map(|group| group.subject.to_string())
            .collect();
        all.into_iter().collect()
    }
}

/// Whether its pods use workload identity, and no binding of the input selects their old label.
fn has_only_a_dead_label(joined: &Joined<'_>) -> bool {
    let dead = joined.uses.is_empty() && joined.misses.iter().all(|miss| matches!(miss, Miss::DeadLabel));
    dead && joined.workload.uses_workload_identity && joined.workload.in_selector.is_none()
}

/// Errors among the findings about workloads and their identities: a person has to decide first.
fn doubts<'a>(analysis: &'a Analysis<'_, '_>) -> BTreeMap<(&'a Option<String>, &'a Reference), String> {
    let report = &analysis.report;
    let errors = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    let errors: BTreeMap<&str, &Finding> = errors
        .map(|finding| (finding.subject.as_str(), finding))
        .collect();
    let full = report
        .plan
        .credentials
        .iter()
        .filter(|counted| counted.planned > counted.limit);
    let full: BTreeSet<&str> = full.map(|counted| counted.resource_id.as_str()).collect();
    let mut doubts = BTreeMap::new();
    for joined in analysis.joined {
        let uses = joined
            .uses
            .iter()
            .flat_map(|used| [&used.binding.at, &used.identity.at]);
        let mut subjects = uses.chain([&joined.workload.at]);
        let found = subjects.find_map(|at| errors.get(at.to_string().as_str()).copied());
        let found = found.map(|finding| {
            let at = &finding.place;
            format!("{}:{}: {} {}", at.file, at.line, finding.reason, finding.action)
        });
        let over = joined.uses.iter().any(|used| match used.identity.arm_id() {
            ArmId::Known(id) => full.contains(id.to_string().as_str()),
            _ => false,
        });
        let over =
            over.then(|| "one of its identities would get more credentials than Azure allows".to_owned());
        if let Some(reason) = found.or(over) {
            doubts.insert((&joined.model.environment, &joined.workload.at), reason);
        }
    }
    doubts
}

/// Of each pod template, by the place of its label, who uses it and is not planned: it cannot change for one of them
/// only.
fn unplanned(analysis: &Analysis<'_, '_>) -> BTreeMap<Mark, String> {
    let switches = &analysis.report.plan.switches;
    let planned: BTreeSet<_> = switches
        .iter()
        .map(|switch| (&switch.environment, &switch.workload.at))
        .collect();
    let mut others = BTreeMap::new();
    for joined in analysis.joined {
        let (environment, at) = (&joined.model.environment, &joined.workload.at);
        if let Some(label) = &joined.workload.label
            && !planned.contains(&(environment, at))
        {
            let through = environment.as_deref().unwrap_or("plain files");
            let reason =
                format!("{at} has the same pod template, seen through {through}, and is not planned");
            others.entry(label.mark).or_insert(reason);
        }
    }
    others
}

/// A union-find without ranks: units are small.
struct Union(Vec<usize>);

impl Union {
    fn root(&self, mut at: usize) -> usize {
        while let Some(up) = self.0.get(at).copied().filter(|up| *up != at) {
            at = up;
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if let Some(up) = self.0.get_mut(a.max(b)) {
            *up = a.min(b);
        }
    }
}
