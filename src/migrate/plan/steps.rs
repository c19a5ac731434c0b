//! The steps: grant, switch the pods, remove bindings and identities, remove MIC and NMI.

use std::collections::BTreeSet;

use serde::Serialize;
use strum::IntoStaticStr;

use super::leftover::Leftover;
use super::{Draft, Output, Plan};
use crate::migrate::finding::{Code, Place};
use crate::migrate::model::{LABEL, Model, Reference, USE_LABEL};
use crate::migrate::source::Sources;

/// Users of an object that are named where it has to stay.
const SHOWN: usize = 5;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// It is deleted and made anew.
    Recreate,
    /// It goes.
    Remove,
    /// It has to stay.
    Keep,
}

/// A part of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What is done.
    pub action: Action,
    /// To what.
    pub object: String,
    /// Where that stands; nothing for what is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Kustomization that it was seen through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// How, or why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// A step. The next one begins when all of it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `grant`, `switch`, `clean` or `uninstall`.
    pub name: &'static str,
    /// What it is for.
    pub title: &'static str,
    /// Its parts.
    pub items: Vec<Item>,
}

impl Plan {
    /// Adds what changes together with the pods.
    pub fn beside_pods(&mut self, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        if let Some(step) = self.steps.iter_mut().find(|step| step.name == SWITCH.0) {
            step.items.extend(items);
            return;
        }
        let (name, title) = SWITCH;
        let after = self.steps.iter().position(|step| step.name != "grant");
        let step = Step { name, title, items };
        self.steps.insert(after.unwrap_or(self.steps.len()), step);
    }
}

/// Name and title of the step that changes pods.
const SWITCH: (&str, &str) = ("switch", "Switch the pods, and see that they work");

pub fn steps(
    sources: &Sources,
    models: &[Model],
    drafts: &[Draft<'_>],
    outputs: &[Output],
    leftover: &[Leftover],
) -> Vec<Step> {
    let step = |name, title, items| Step { name, title, items };
    let all = [
        step(
            "grant",
            "Create what the identities need, and wait until every binding is Ready",
            grant(models, outputs),
        ),
        step(SWITCH.0, SWITCH.1, switch(sources, drafts)),
        step(
            "clean",
            "Remove bindings and identities of pod identity",
            clean(sources, leftover),
        ),
        step(
            "uninstall",
            "Remove pod identity itself, when nothing uses it any more",
            uninstall(sources, models, drafts),
        ),
    ];
    all.into_iter().filter(|step| !step.items.is_empty()).collect()
}

fn grant(models: &[Model], outputs: &[Output]) -> Vec<Item> {
    let present: BTreeSet<&String> = models.iter().flat_map(|model| &model.present).collect();
    let missing = |output: &&Output| !present.contains(&output.title);
    let item = |output: &Output| Item {
        action: Action::Create,
        object: output.title.clone(),
        place: None,
        environment: output.environment.clone(),
        detail: String::new(),
    };
    outputs.iter().filter(missing).map(item).collect()
}

fn switch(sources: &Sources, drafts: &[Draft<'_>]) -> Vec<Item> {
    let planned = drafts.iter().filter(|draft| draft.is_switched());
    let item = |draft: &Draft<'_>| {
        let workload = draft.joined.workload;
        let mut parts = Vec::new();
        if !workload.uses_workload_identity {
            parts.push(format!("label the pods {USE_LABEL}: \"true\""));
        }
        parts.push(if workload.in_selector.is_some() {
            format!("leave the label {LABEL}, which the selector holds")
        } else {
            format!("remove their label {LABEL}")
        });
        if draft.account != workload.account() || workload.service_account.is_none() {
            parts.push(format!("set serviceAccountName: {}", draft.account));
        }
        let label = workload
            .label
            .as_ref()
            .map_or(workload.at.mark, |label| label.mark);
        Item {
            action: if workload.is_immutable() {
                Action::Recreate
            } else {
                Action::Change
            },
            object: workload.at.to_string(),
            place: Some(sources.place(label)),
            environment: draft.joined.model.environment.clone(),
            detail: parts.join(", "),
        }
    };
    planned.map(item).collect()
}

fn clean(sources: &Sources, leftover: &[Leftover]) -> Vec<Item> {
    let item = |old: &Leftover| Item {
        action: if old.is_removable() {
            Action::Remove
        } else {
            Action::Keep
        },
        object: old.at.to_string(),
        place: Some(sources.place(old.at.mark)),
        environment: None,
        detail: until(&old.others),
    };
    leftover.iter().map(item).collect()
}

/// What something has to wait for; a few of them.
fn until(users: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = users.iter().take(SHOWN).map(String::as_str).collect();
    let more = users.len().saturating_sub(SHOWN);
    match users.len() {
        0 => String::new(),
        1 => format!("until it is migrated: {}", shown.join(", ")),
        2..=SHOWN => format!("until they are migrated: {}", shown.join(", ")),
        _ => format!("until they are migrated: {} and {more} more", shown.join(", ")),
    }
}

fn uninstall(sources: &Sources, models: &[Model], drafts: &[Draft<'_>]) -> Vec<Item> {
    // What is labelled and not planned may use it still, whatever the input shows.
    let workloads = drafts
        .iter()
        .filter(|draft| !draft.is_switched())
        .map(|draft| draft.joined.workload.at.to_string());
    let elsewhere = models
        .iter()
        .flat_map(|model| &model.elsewhere)
        .map(|found| found.holder.to_string());
    let texts = sources
        .findings
        .iter()
        .filter(|finding| finding.code == Code::TextOnly)
        .map(|finding| finding.place.file.clone());
    let users: BTreeSet<String> = workloads.chain(elsewhere).chain(texts).collect();
    let detail = until(&users);
    let remove = |at: &Reference, environment: Option<&String>| Item {
        action: if users.is_empty() {
            Action::Remove
        } else {
            Action::Keep
        },
        object: at.to_string(),
        place: Some(sources.place(at.mark)),
        environment: environment.cloned(),
        detail: detail.clone(),
    };
    let mut items = Vec::new();
    for model in models {
        let environment = model.environment.as_ref();
        items.extend(
            model
                .installation
                .iter()
                .map(|part| remove(&part.at, environment)),
        );
        items.extend(
            model
                .exceptions
                .iter()
                .map(|exception| remove(&exception.at, environment)),
        );
    }
    items
}
