//! Reads what was rewritten as if it were a repository, and compares it with what was promised.

use std::collections::{BTreeMap, BTreeSet};

use super::Until;
use super::changes::{FileChange, Problem};
use super::units::Units;
use crate::migrate::finding::{Code, Finding};
use crate::migrate::kustomize::Kustomization;
use crate::migrate::model::{Model, Reference, Workload};
use crate::migrate::plan::Switch;
use crate::migrate::progress::Progress;
use crate::migrate::report::{Analysis, Defaults, analyse};
use crate::migrate::source::{File, Sources};

/// Findings that a rewriting must not bring about.
const BROKEN: [Code; 6] = [
    Code::NotParseable,
    Code::KustomizationUnresolved,
    Code::DuplicateKey,
    Code::DanglingBinding,
    Code::DeadLabel,
    Code::AmbiguousEnvironment,
];

/// Findings that are about one file, whatever else changes.
const OF_A_FILE: [Code; 2] = [Code::NotParseable, Code::DuplicateKey];

/// A kustomization that cannot be built any more.
pub struct Unbuilt {
    problem: Problem,
    /// Paths of the files that it leads to.
    reach: BTreeSet<String>,
    /// The changes of these.
    made_of: Vec<FileChange>,
}

impl Unbuilt {
    /// What is wrong with it after other changes as well: those of the files that it leads to are the same.
    pub fn again(self, files: &[FileChange]) -> Option<Problem> {
        (within(&self.reach, files) == self.made_of).then_some(self.problem)
    }
}

/// Changes of some files.
fn within(paths: &BTreeSet<String>, files: &[FileChange]) -> Vec<FileChange> {
    let reached = files.iter().filter(|change| paths.contains(&change.path));
    reached.cloned().collect()
}

/// What is not as it should be. What may be the consequence of something else is not among it, but kustomizations that
/// cannot be built are told apart: they can be looked at again without building them.
pub fn wrong(
    before: &Analysis<'_, '_>,
    defaults: &Defaults,
    until: Until,
    units: &Units,
    files: &[FileChange],
    progress: &dyn Progress,
) -> (Vec<Problem>, Vec<Unbuilt>) {
    if files.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let sources = applied(before.sources, files);
    analyse(&sources, defaults, progress, |after| {
        let had: BTreeSet<_> = findings(before).map(key).collect();
        let new: Vec<&Finding> = findings(&after)
            .filter(|finding| !had.contains(&key(finding)))
            .collect();
        let of_a_file = new.iter().any(|finding| OF_A_FILE.contains(&finding.code));
        let problem = |new: &Finding| Problem {
            file: before.sources.index_of(&new.place.file),
            reason: format!(
                "it would bring about: {}:{}: {}",
                new.place.file, new.place.line, new.reason
            ),
        };
        let problems: Vec<Problem> = new
            .iter()
            .filter(|finding| !of_a_file || OF_A_FILE.contains(&finding.code))
            .take(if of_a_file { usize::MAX } else { 1 })
            .map(|new| problem(new))
            .collect();
        if !problems.is_empty() {
            let unbuilt = new.iter().skip(1).filter(|_| !of_a_file);
            let unbuilt = unbuilt.take_while(|finding| finding.code == Code::KustomizationUnresolved);
            let unbuilt = unbuilt.map_while(|new| {
                let reach = reach(&sources, new)?;
                let made_of = within(&reach, files);
                (!made_of.is_empty()).then(|| Unbuilt {
                    problem: problem(new),
                    made_of,
                    reach,
                })
            });
            return (problems, unbuilt.collect());
        }
        let made = units.made();
        let seen = Seen::of(after.models);
        let switches = before.report.plan.switches.iter().zip(&made);
        let problems: Vec<Problem> = switches
            .filter(|(_, made)| **made)
            .filter_map(|(switch, _)| {
                let label = switch.workload.label.as_ref();
                Some(Problem {
                    reason: missing(switch, &seen, until)?,
                    file: label.and_then(|label| usize::try_from(label.mark.file).ok()),
                })
            })
            .collect();
        let problems = if problems.is_empty() {
            changed_beside(before, &made, &seen)
        } else {
            problems
        };
        (problems, Vec::new())
    })
}

/// The files that a kustomization leads to which cannot be built.
fn reach(sources: &Sources, finding: &Finding) -> Option<BTreeSet<String>> {
    let path = finding.subject.strip_prefix("Kustomization ")?;
    let kustomization = Kustomization::of(sources.by_path(path)?)?;
    let reach = kustomization.reach(sources).into_iter();
    Some(reach.map(str::to_owned).collect())
}

/// Which object of which environment.
type Key<'a> = (Option<&'a str>, &'a str, &'a str, &'a str);

fn key_of<'a>(environment: Option<&'a String>, at: &'a Reference) -> Key<'a> {
    (environment.map(String::as_str), &at.kind, &at.namespace, &at.name)
}

/// Models and workloads, by what they are called.
struct Seen<'a> {
    models: BTreeMap<Option<&'a str>, &'a Model>,
    workloads: BTreeMap<Key<'a>, &'a Workload>,
}

impl<'a> Seen<'a> {
    fn of(models: &'a [Model]) -> Self {
        let mut workloads = BTreeMap::new();
        for model in models {
            for workload in &model.workloads {
                workloads
                    .entry(key_of(model.environment.as_ref(), &workload.at))
                    .or_insert(workload);
            }
        }
        let name = |model: &'a Model| (model.environment.as_deref(), model);
        Self {
            models: models.iter().map(name).collect(),
            workloads,
        }
    }
}

fn findings<'a>(analysis: &'a Analysis<'_, '_>) -> impl Iterator<Item = &'a Finding> {
    let all = analysis.report.findings.iter();
    all.filter(|finding| BROKEN.contains(&finding.code))
}

/// What makes a finding the same as one of before: its line may have moved.
fn key(finding: &Finding) -> (Code, &str, &str) {
    (finding.code, &finding.subject, &finding.place.file)
}

/// The sources after changes.
pub fn applied(sources: &Sources, files: &[FileChange]) -> Sources {
    let changed = files
        .iter()
        .map(|change| (change.path.as_str(), change.after.as_deref()));
    let mut after = sources.changed(&changed.collect());
    for change in files.iter().filter(|change| change.before.is_none()) {
        after.add(File {
            path: change.path.clone(),
            asked: true,
            content: Ok(change.after.clone().unwrap_or_default().into_bytes()),
        });
    }
    after
}

/// Workloads that are not switched and would change all the same, through a base that others share with them.
fn changed_beside(before: &Analysis<'_, '_>, made: &[bool], after: &Seen<'_>) -> Vec<Problem> {
    let all = before.report.plan.switches.iter().zip(made);
    let switched: BTreeSet<Key<'_>> = all
        .filter(|(_, made)| **made)
        .map(|(switch, _)| key_of(switch.environment.as_ref(), &switch.workload.at))
        .collect();
    let mut problems = Vec::new();
    for model in before.models.iter().filter(|model| model.environment.is_some()) {
        for workload in &model.workloads {
            let key = key_of(model.environment.as_ref(), &workload.at);
            let now = after.workloads.get(&key);
            let Some(now) = now.filter(|_| !switched.contains(&key)) else {
                continue;
            };
            let account = (workload.account(), now.account());
            let what = if account.0 != account.1 {
                format!("get the ServiceAccount {} instead of {}", account.1, account.0)
            } else if workload.uses_workload_identity != now.uses_workload_identity {
                "get the new label".to_owned()
            } else {
                continue;
            };
            let (at, environment) = (&workload.at, model.environment.as_deref().unwrap_or_default());
            problems.push(Problem {
                file: usize::try_from(at.mark.file).ok(),
                reason: format!(
                    "the pods of {at}, seen through {environment}, are not switched and would {what}: move what \
                     differs out of the base that they share"
                ),
            });
        }
    }
    problems
}

/// What a workload that was rewritten does not have.
fn missing(switch: &Switch, after: &Seen<'_>, until: Until) -> Option<String> {
    let wanted = &switch.workload;
    let environment = switch.environment.as_ref();
    let model = after.models.get(&environment.map(String::as_str));
    let plain = after.models.get(&None);
    let key = (wanted.at.namespace.clone(), switch.account.clone());
    let bound = |model: &&Model| model.bound.get(&key).cloned().unwrap_or_default();
    let ids: BTreeSet<String> = model.into_iter().chain(plain).flat_map(bound).collect();
    if !switch.ids.iter().all(|id| ids.contains(id.key())) {
        return Some(format!(
            "the bindings of {} would not be among its objects",
            switch.account
        ));
    }
    if until < Until::Switch {
        return None;
    }
    let Some(now) = after.workloads.get(&key_of(environment, &wanted.at)) else {
        return Some("it would not be there".to_owned());
    };
    if !now.uses_workload_identity {
        Some("its pods would not have the new label".to_owned())
    } else if now.label.is_some() && wanted.in_selector.is_none() {
        Some("its pods would keep the old label: it stands in several places".to_owned())
    } else if now.account() != switch.account {
        Some(format!(
            "its pods would use the ServiceAccount {}, not {}",
            now.account(),
            switch.account
        ))
    } else {
        None
    }
}
