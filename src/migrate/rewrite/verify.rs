//! Reads what was rewritten as if it were a repository, and compares it with what was promised.

use std::collections::{BTreeMap, BTreeSet};

use super::Until;
use super::changes::{FileChange, Problem};
use super::units::Units;
use crate::migrate::finding::{Code, Finding};
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

/// What is not as it should be, if anything.
pub fn wrong(
    before: &Analysis<'_, '_>,
    defaults: &Defaults,
    until: Until,
    units: &Units,
    files: &[FileChange],
    progress: &dyn Progress,
) -> Option<Problem> {
    if files.is_empty() {
        return None;
    }
    let sources = applied(before.sources, files);
    analyse(&sources, defaults, progress, |after| {
        let had: BTreeSet<_> = findings(before).map(key).collect();
        if let Some(new) = findings(&after).find(|finding| !had.contains(&key(finding))) {
            let at = &new.place;
            return Some(Problem {
                file: before.sources.index_of(&at.file),
                reason: format!("it would bring about: {}:{}: {}", at.file, at.line, new.reason),
            });
        }
        let made = units.made();
        let switches = before
            .report
            .plan
            .switches
            .iter()
            .zip(made)
            .filter(|(_, made)| *made);
        for (switch, _) in switches {
            if let Some(reason) = missing(switch, after.models, until) {
                let file = switch
                    .workload
                    .label
                    .as_ref()
                    .and_then(|label| usize::try_from(label.mark.file).ok());
                return Some(Problem { file, reason });
            }
        }
        changed_beside(before, &units.made(), after.models)
    })
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
    let mut after = Sources::default();
    let changes: BTreeMap<&str, &FileChange> = files
        .iter()
        .map(|change| (change.path.as_str(), change))
        .collect();
    for source in &sources.files {
        let text = match changes.get(source.path.as_str()) {
            Some(FileChange { after: None, .. }) => continue,
            Some(FileChange {
                after: Some(text), ..
            }) => Some(text.as_str()),
            None => source.text.as_deref(),
        };
        if let Some(text) = text {
            after.add(File {
                path: source.path.clone(),
                asked: source.asked,
                content: Ok(text.as_bytes().to_vec()),
            });
        }
    }
    for change in files.iter().filter(|change| change.before.is_none()) {
        after.add(File {
            path: change.path.clone(),
            asked: true,
            content: Ok(change.after.clone().unwrap_or_default().into_bytes()),
        });
    }
    after
}

/// A workload that is not switched and would change all the same, through a base that others share with it.
fn changed_beside(before: &Analysis<'_, '_>, made: &[bool], after: &[Model]) -> Option<Problem> {
    let seen = |environment: &'_ Option<String>, at: &Reference| {
        let environment = environment.clone();
        (
            environment,
            at.kind.clone(),
            at.namespace.clone(),
            at.name.clone(),
        )
    };
    let switched: BTreeSet<_> = (before.report.plan.switches.iter().zip(made))
        .filter(|(_, made)| **made)
        .map(|(switch, _)| seen(&switch.environment, &switch.workload.at))
        .collect();
    let now: BTreeMap<_, &Workload> = after
        .iter()
        .flat_map(|model| model.workloads.iter().map(move |workload| (model, workload)))
        .map(|(model, workload)| (seen(&model.environment, &workload.at), workload))
        .collect();
    for model in before.models.iter().filter(|model| model.environment.is_some()) {
        for workload in &model.workloads {
            let key = seen(&model.environment, &workload.at);
            let Some(now) = now.get(&key).filter(|_| !switched.contains(&key)) else {
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
            return Some(Problem {
                file: usize::try_from(at.mark.file).ok(),
                reason: format!(
                    "the pods of {at}, seen through {environment}, are not switched and would {what}: move what \
                     differs out of the base that they share"
                ),
            });
        }
    }
    None
}

/// What a workload that was rewritten does not have.
fn missing(switch: &Switch, models: &[Model], until: Until) -> Option<String> {
    let wanted = &switch.workload;
    let model = models
        .iter()
        .find(|model| model.environment == switch.environment);
    let plain = models.iter().find(|model| model.environment.is_none());
    let key = (wanted.at.namespace.clone(), switch.account.clone());
    let bound = |model: &Model| model.bound.get(&key).cloned().unwrap_or_default();
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
    let same = |at: &Reference| {
        (&at.kind, &at.namespace, &at.name) == (&wanted.at.kind, &wanted.at.namespace, &wanted.at.name)
    };
    let now = model.and_then(|model| model.workloads.iter().find(|workload| same(&workload.at)));
    let Some(now) = now else {
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
