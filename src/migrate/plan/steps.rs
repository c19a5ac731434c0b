//! The steps: grant, switch the pods, remove bindings and identities, remove MIC and NMI.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use strum::IntoStaticStr;

use super::{Draft, Output, State};
use crate::migrate::finding::{Code, Place};
use crate::migrate::join::{Found, Index, Use};
use crate::migrate::model::{ArmId, Identity, LABEL, Model, Reference, USE_LABEL};
use crate::migrate::source::Sources;
use crate::migrate::yaml::Mark;

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
        step(
            "switch",
            "Switch the pods, and see that they work",
            switch(sources, drafts),
        ),
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
    let planned = drafts.iter().filter(|draft| draft.state == State::Planned);
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

/// A binding or identity of pod identity that planned workloads use, and who else does.
pub struct Leftover {
    pub at: Reference,
    others: BTreeSet<String>,
}

impl Leftover {
    /// Whether nothing uses it once the planned workloads have switched.
    pub fn is_removable(&self) -> bool {
        self.others.is_empty()
    }
}

/// All bindings, and then all identities, that planned workloads use.
pub fn leftover<'a>(
    sources: &Sources,
    models: &'a [Model],
    index: &Index<'a>,
    drafts: &[Draft<'a>],
) -> Vec<Leftover> {
    let mut planned: BTreeSet<Mark> = BTreeSet::new();
    let mut bindings: BTreeMap<Mark, Leftover> = BTreeMap::new();
    let mut identities: BTreeMap<Mark, Leftover> = BTreeMap::new();
    let mut note = |used: &Use<'_>, user: Option<String>| {
        for (map, at) in [
            (&mut bindings, &used.binding.at),
            (&mut identities, &used.identity.at),
        ] {
            let old = map.entry(at.mark).or_insert_with(|| Leftover {
                at: at.clone(),
                others: BTreeSet::new(),
            });
            match &user {
                Some(user) => drop(old.others.insert(user.clone())),
                None => drop(planned.insert(at.mark)),
            }
        }
    };
    for draft in drafts {
        for used in &draft.joined.uses {
            note(
                used,
                (draft.state != State::Planned).then(|| draft.joined.workload.at.to_string()),
            );
        }
    }
    for model in models {
        // The label on objects that make no pods, and as an annotation, has no effect.
        for found in model.elsewhere.iter().filter(|found| found.form.reaches_pods()) {
            for used in index.elsewhere(model, found).0 {
                note(&used, Some(found.holder.to_string()));
            }
        }
    }
    for (at, user) in orphans(sources, models, index) {
        let map = if at.kind == "AzureIdentity" {
            &mut identities
        } else {
            &mut bindings
        };
        if let Entry::Vacant(free) = map.entry(at.mark) {
            planned.insert(at.mark);
            let others = user.into_iter().collect();
            free.insert(Leftover {
                at: at.clone(),
                others,
            });
        }
    }
    let used = |old: &Leftover| planned.contains(&old.at.mark);
    bindings
        .into_values()
        .chain(identities.into_values())
        .filter(used)
        .collect()
}

/// Bindings and identities whose pods have switched: no pods of the input have the label any more, and a
/// WorkloadIdentityBinding of the same environment has the identity. What could not be read may use them still.
fn orphans<'a>(
    sources: &Sources,
    models: &'a [Model],
    index: &Index<'a>,
) -> Vec<(&'a Reference, Option<String>)> {
    let unread = sources
        .findings
        .iter()
        .find(|finding| finding.code == Code::TextOnly);
    let user = unread.map(|finding| finding.place.file.clone());
    let mut found = Vec::new();
    for model in models.iter().filter(|model| model.unresolved.is_none()) {
        let reached = models
            .iter()
            .filter(|other| other.environment.is_none() || other.environment == model.environment);
        let bound: BTreeSet<&str> = reached
            .flat_map(|other| other.bound.values().flatten())
            .map(String::as_str)
            .collect();
        let switched = |identity: &Identity| match identity.arm_id() {
            ArmId::Known(id) => bound.contains(id.key()),
            _ => false,
        };
        for binding in &model.bindings {
            if let Found::One(identity) = index.identity(model, binding)
                && switched(identity)
                && !index.is_selected(binding)
            {
                found.push((&binding.at, user.clone()));
            }
        }
        for identity in &model.identities {
            let served = index
                .bindings_of(identity)
                .iter()
                .any(|binding| index.is_selected(binding));
            if switched(identity) && !served {
                found.push((&identity.at, user.clone()));
            }
        }
    }
    found
}

fn clean(sources: &Sources, leftover: &[Leftover]) -> Vec<Item> {
    let item = |old: &Leftover| {
        let others: Vec<&str> = old.others.iter().map(String::as_str).collect();
        Item {
            action: if old.is_removable() {
                Action::Remove
            } else {
                Action::Keep
            },
            object: old.at.to_string(),
            place: Some(sources.place(old.at.mark)),
            environment: None,
            detail: if old.is_removable() {
                String::new()
            } else {
                format!("until it is migrated: {}", others.join(", "))
            },
        }
    };
    leftover.iter().map(item).collect()
}

fn uninstall(sources: &Sources, models: &[Model], drafts: &[Draft<'_>]) -> Vec<Item> {
    // What is labelled and not planned may use it still, whatever the input shows.
    let workloads = drafts
        .iter()
        .filter(|draft| draft.state != State::Planned)
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
    let detail = match users.first() {
        None => String::new(),
        Some(first) if users.len() == 1 => format!("until it is migrated: {first}"),
        Some(first) => format!("until they are migrated: {first} and {} more", users.len() - 1),
    };
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
