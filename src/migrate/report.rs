//! Everything together: from files to the report. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::components::Group;
use super::finding::{Code, Finding, Severity};
use super::join::{Index, Joined};
use super::model::Model;
use super::plan::{Chosen, Plan};
use super::progress::Progress;
use super::source::Sources;
use super::yaml::Mark;
use super::{checks, components, kustomize, model, plan};

/// How many there are of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Files that were read, and such that could not be.
    pub files: usize,
    /// Documents in them.
    pub documents: usize,
    /// Of these, the ones that were searched as text only.
    pub text_only: usize,
    /// Kustomizations that were built, and such that could not be.
    pub kustomizations: usize,
    /// AzureIdentities and AzureIdentityBindings.
    pub identities: usize,
    /// Bindings of pod identity.
    pub bindings: usize,
    /// Workloads whose pods carry the label.
    pub workloads: usize,
    /// Of these, the ones that are planned completely.
    pub planned: usize,
    /// Findings that are errors.
    pub errors: usize,
    /// Findings that are warnings.
    pub warnings: usize,
    /// The other findings.
    pub infos: usize,
}

/// What the command has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many there are of what.
    pub summary: Summary,
    /// What to do.
    #[serde(flatten)]
    pub plan: Plan,
    /// What to know.
    pub findings: Vec<Finding>,
}

/// How to read what has no words for itself.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Namespace of objects that name none.
    pub namespace: String,
    /// Whether pod identity runs in namespaced mode, where no file says so.
    pub namespaced: bool,
    /// ServiceAccounts that have been chosen, where a journal says what a migration has done already.
    pub journal: Option<Chosen>,
}

/// What the report was made from.
pub struct Analysis<'a, 'm> {
    /// What was read.
    pub sources: &'a Sources,
    /// The models of all environments.
    pub models: &'m [Model],
    /// Bindings and identities.
    pub index: &'a Index<'m>,
    /// Workloads that carry the label.
    pub joined: &'a [Joined<'m>],
    /// Changes of components.
    pub components: Vec<Group>,
    /// The report.
    pub report: Report,
}

/// Makes the report of what was read.
pub fn report(sources: &Sources, defaults: &Defaults, progress: &dyn Progress) -> Report {
    analyse(sources, defaults, progress, |analysis| analysis.report)
}

#[cfg(test)]
thread_local!(static ANALYSES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

/// How often this thread has made a report.
#[cfg(test)]
pub fn analyses() -> usize {
    ANALYSES.with(std::cell::Cell::get)
}

/// Makes the report of what was read, and hands it on with what it was made from.
pub fn analyse<T>(
    sources: &Sources,
    defaults: &Defaults,
    progress: &dyn Progress,
    then: impl FnOnce(Analysis<'_, '_>) -> T,
) -> T {
    #[cfg(test)]
    ANALYSES.with(|count| count.set(count.get() + 1));
    let (environments, unresolved) = kustomize::environments(sources, progress);
    let (models, notes) = model::models(&environments, sources, &defaults.namespace, progress);
    let installed = models.iter().flat_map(|model| &model.installation);
    let forced = defaults.namespaced || installed.into_iter().any(|part| part.namespaced.is_some());
    let index = Index::new(&models, forced);
    let workloads = models
        .iter()
        .flat_map(|model| model.workloads.iter().map(move |workload| (model, workload)));
    let joined: Vec<Joined<'_>> = workloads
        .filter_map(|(model, workload)| index.workload(model, workload))
        .collect();
    let mut plan = plan::plan(sources, &models, &index, &joined, defaults.journal.as_ref());
    let groups = components::groups(sources, &models, &index, &joined, &plan);
    if defaults.journal.is_none() {
        let items = components::items(sources, &groups, &plan);
        plan.beside_pods(items);
    }
    let mut findings = sources.findings.clone();
    findings.extend(unresolved);
    findings.extend(notes);
    findings.extend(checks::check(sources, &models, &index, &joined));
    findings.extend(plan.findings.iter().cloned());
    checks::explain(&models, &index, &mut findings);
    // What goes in a step of the plan is no longer a question.
    let going: BTreeSet<Mark> = plan.removals.iter().map(|at| at.mark).collect();
    let going: BTreeSet<String> = models
        .iter()
        .flat_map(Model::pod_identity)
        .filter(|at| going.contains(&at.mark))
        .map(ToString::to_string)
        .collect();
    let orphan = [Code::OrphanBinding, Code::OrphanIdentity];
    findings.retain(|finding| !(orphan.contains(&finding.code) && going.contains(&finding.subject)));
    // A base is seen through each of its overlays: what is the same through all of them is said once.
    findings.sort();
    findings.dedup_by(|b, a| {
        let same = (a.code, &a.place, &a.subject, &a.reason) == (b.code, &b.place, &b.subject, &b.reason);
        if same && a.environment != b.environment {
            a.environment = None;
        }
        same
    });
    let documents = || sources.files.iter().flat_map(|source| &source.documents);
    let summary = Summary {
        files: sources.files.len(),
        documents: documents().count(),
        text_only: documents().filter(|document| document.broken).count(),
        kustomizations: environments.len().saturating_sub(1),
        identities: models.iter().map(|model| model.identities.len()).sum(),
        bindings: models.iter().map(|model| model.bindings.len()).sum(),
        workloads: plan.workloads.len(),
        planned: plan.switches.len(),
        ..Summary::default()
    };
    let mut report = Report {
        summary,
        plan,
        findings,
    };
    report.count();
    then(Analysis {
        sources,
        models: &models,
        index: &index,
        joined: &joined,
        components: groups,
        report,
    })
}

impl Report {
    /// Counts the findings.
    pub fn count(&mut self) {
        let of = |severity| self.findings.iter().filter(|f| f.severity == severity).count();
        let (errors, warnings, infos) = (of(Severity::Error), of(Severity::Warning), of(Severity::Info));
        (self.summary.errors, self.summary.warnings, self.summary.infos) = (errors, warnings, infos);
    }

    /// Whether a person has to decide or repair something.
    pub fn has_errors(&self) -> bool {
        self.summary.errors > 0
    }

    /// Whether there is something to migrate or to look at.
    pub fn has_work(&self) -> bool {
        !self.plan.workloads.is_empty()
            || !self.plan.steps.is_empty()
            || self.summary.errors + self.summary.warnings > 0
    }
}
