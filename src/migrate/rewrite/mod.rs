//! The sources, rewritten: what the plan says, done to the files that it was made from. Pure.
//!
//! Workloads that share a pod template, and components that belong to them, are a *unit*: it is rewritten as a whole
//! or not at all. What came out is read again, as any repository would be, and has to be what the plan promised;
//! whatever is not is left as it was, with the reason.

mod changes;
mod clean;
mod diff;
mod file;
mod group;
mod home;
mod objects;
mod place;
mod pods;
mod units;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

pub use changes::FileChange;
pub use diff::unified;
use place::Place;
use serde::Serialize;

use self::changes::{Changes, Problem};
use self::file::Made;
use self::units::Units;
use self::verify::Unbuilt;
use super::kustomize::Kustomization;
use super::model::Reference;
use super::plan::State;
use super::progress::Progress;
use super::report::{Analysis, Defaults, Summary, analyse};
use super::source::Sources;
use super::yaml::Mark;

/// How far the files are rewritten. Each step brings the ones before it along, if they have not been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// ServiceAccounts, bindings and grants are there.
    Grant,
    /// Pods and components use them.
    Switch,
    /// Bindings and identities of pod identity are gone.
    Clean,
}

/// Something that stays as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// What.
    pub object: String,
    /// Kustomization that it was seen through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Why.
    pub reason: String,
}

/// What becomes of the files.
#[derive(Clone, Debug, Default)]
pub struct Rewriting {
    /// What was read.
    pub read: Summary,
    /// Files that change, by path.
    pub files: Vec<FileChange>,
    /// Workloads and components that are rewritten.
    pub done: Vec<String>,
    /// What is left as it was, of what could have been rewritten.
    pub left: Vec<Left>,
}

/// Rewrites the sources.
pub fn rewrite(sources: &Sources, defaults: &Defaults, until: Until, progress: &dyn Progress) -> Rewriting {
    analyse(sources, defaults, progress, |analysis| {
        Run::new(&analysis, defaults, until).run(progress)
    })
}

/// A rewriting on its way: what turns out to be impossible is left out, and the rest begins again.
struct Run<'a, 'm> {
    analysis: &'a Analysis<'a, 'm>,
    defaults: &'a Defaults,
    until: Until,
    units: Units,
    made: Made,
    /// Bindings and identities that could not be removed.
    kept: BTreeMap<Mark, (Reference, String)>,
}

impl<'a, 'm> Run<'a, 'm> {
    fn new(analysis: &'a Analysis<'a, 'm>, defaults: &'a Defaults, until: Until) -> Self {
        let made = Made::default();
        Self {
            analysis,
            defaults,
            until,
            units: Units::of(analysis, &made),
            made,
            kept: BTreeMap::new(),
        }
    }

    fn run(mut self, progress: &dyn Progress) -> Rewriting {
        // Kustomizations that could not be built in an earlier attempt, the next one last.
        let mut unbuilt = Vec::new();
        loop {
            let problems = match self.attempt() {
                Ok(files) => {
                    let known = unbuilt.pop().and_then(|last: Unbuilt| last.again(&files));
                    let problems = if let Some(problem) = known {
                        vec![problem]
                    } else {
                        let (problems, others) = verify::wrong(
                            self.analysis,
                            self.defaults,
                            self.until,
                            &self.units,
                            &files,
                            progress,
                        );
                        unbuilt = others;
                        unbuilt.reverse();
                        problems
                    };
                    if problems.is_empty() {
                        return self.finish(files);
                    }
                    problems
                }
                Err(problem) => vec![problem],
            };
            if !self.leave_out(&problems) {
                return self.finish(Vec::new());
            }
        }
    }

    fn attempt(&self) -> Result<Vec<FileChange>, Problem> {
        let Analysis {
            sources,
            models,
            report,
            ..
        } = self.analysis;
        let mut changes = Changes::new(sources, &self.made);
        objects::add(sources, models, &report.plan, &self.units.made(), &mut changes)?;
        if self.until >= Until::Switch {
            for (mark, change) in self.units.edits() {
                changes.edit(*mark, change.clone())?;
            }
        }
        if self.until >= Until::Clean {
            clean::remove(sources, models, &self.removals(), &mut changes)?;
        }
        changes.finish()
    }

    /// What can go: nobody uses it but workloads that are rewritten.
    fn removals(&self) -> Vec<&'a Reference> {
        let stays = self.units.still_used(self.analysis);
        let all = self.analysis.report.plan.removals.iter();
        all.filter(|at| !stays.contains(&at.mark) && !self.kept.contains_key(&at.mark))
            .collect()
    }

    /// Takes out what problems are about: first what is changed where they are, then what is removed there, and in the
    /// end all that is removed, and all. Says whether there was something to take out.
    fn leave_out(&mut self, problems: &[Problem]) -> bool {
        let removals = if self.until >= Until::Clean {
            self.removals()
        } else {
            Vec::new()
        };
        let mut some = false;
        for problem in problems {
            some |= self.units.leave_out(problem);
        }
        if some {
            return true;
        }
        let mut kept: BTreeMap<Mark, (Reference, String)> = BTreeMap::new();
        let mut keep = |at: &Reference, problem: &Problem| {
            kept.entry(at.mark)
                .or_insert_with(|| (at.clone(), problem.reason.clone()));
        };
        for problem in problems {
            for at in self.removed_there(problem, &removals) {
                keep(at, problem);
            }
        }
        let Some(first) = problems.first() else {
            return false;
        };
        if kept.is_empty() {
            for at in &removals {
                kept.insert(at.mark, ((*at).clone(), first.reason.clone()));
            }
        }
        let some = !kept.is_empty();
        self.kept.extend(kept);
        some || self.units.leave_out_all(&first.reason)
    }

    /// What is removed in the file of a problem, or else in what the kustomization of a problem is made of.
    fn removed_there(&self, problem: &Problem, removals: &[&'a Reference]) -> Vec<&'a Reference> {
        let sources = self.analysis.sources;
        let in_file = |at: &&&Reference| usize::try_from(at.mark.file).ok() == problem.file;
        let found: Vec<&Reference> = removals.iter().filter(in_file).copied().collect();
        let source = problem.file.and_then(|file| sources.files.get(file));
        let Some(kustomization) = source.and_then(Kustomization::of).filter(|_| found.is_empty()) else {
            return found;
        };
        let reach = kustomization.reach(sources);
        let reached = |at: &&&Reference| reach.contains(sources.place(at.mark).file.as_str());
        removals.iter().filter(reached).copied().collect()
    }

    fn finish(self, files: Vec<FileChange>) -> Rewriting {
        let unplanned = self.analysis.report.plan.workloads.iter();
        let unplanned =
            unplanned.filter(|workload| workload.state != State::NoIdentity && !workload.is_switched());
        let mut left: Vec<Left> = unplanned
            .map(|workload| Left {
                object: format!("{} {}/{}", workload.kind, workload.namespace, workload.name),
                environment: workload.environment.clone(),
                reason: workload.why.join("; "),
            })
            .collect();
        left.extend(self.units.left());
        left.extend(self.kept.into_values().map(|(at, reason)| Left {
            object: at.to_string(),
            environment: None,
            reason,
        }));
        let mut seen = BTreeSet::new();
        left.retain(|left| seen.insert(left.clone()));
        let done = if self.until >= Until::Switch {
            self.units.done()
        } else {
            Vec::new()
        };
        Rewriting {
            read: self.analysis.report.summary.clone(),
            files,
            done,
            left,
        }
    }
}

#[cfg(test)]
mod tests;
