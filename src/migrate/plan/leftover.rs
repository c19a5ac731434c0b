//! Bindings and identities of pod identity: which of them nothing uses once the planned workloads have switched.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Draft;
use crate::migrate::finding::Code;
use crate::migrate::join::{Found, Index, Selected};
use crate::migrate::model::{ArmId, Identity, Model, Reference};
use crate::migrate::source::Sources;
use crate::migrate::yaml::Mark;

/// A binding or identity of pod identity that planned workloads use, and who else does.
pub struct Leftover {
    pub at: Reference,
    pub others: Rc<BTreeSet<String>>,
}

impl Leftover {
    /// Whether nothing uses it once the planned workloads have switched.
    pub fn is_removable(&self) -> bool {
        self.others.is_empty()
    }
}

/// What a label selects, by number, in a namespace; none stands for all.
type Scope<'a> = (usize, Option<&'a str>);

/// Who uses what a label selects.
#[derive(Default)]
struct Users {
    planned: bool,
    others: BTreeSet<String>,
}

impl Users {
    fn add(&mut self, other: Option<&str>) {
        match other {
            Some(other) => drop(self.others.insert(other.to_owned())),
            None => self.planned = true,
        }
    }
}

/// All bindings, and then all identities, that planned workloads use.
///
/// Users are counted by what their label selects, and not by binding: a label can have thousands of both.
pub fn leftover<'a>(models: &'a [Model], index: &Index<'a>, drafts: &[Draft<'a>]) -> Vec<Leftover> {
    let mut selections: BTreeMap<usize, Rc<Selected<'a>>> = BTreeMap::new();
    let mut users: BTreeMap<Scope<'_>, Users> = BTreeMap::new();
    let mut note = |selected: Option<&Rc<Selected<'a>>>, namespace: &'a str, other: Option<&str>| {
        let Some(selected) = selected else { return };
        selections
            .entry(selected.number)
            .or_insert_with(|| selected.clone());
        for scope in [None, Some(namespace)] {
            users.entry((selected.number, scope)).or_default().add(other);
        }
    };
    for draft in drafts {
        let at = &draft.joined.workload.at;
        let name = (!draft.is_switched()).then(|| at.to_string());
        note(draft.joined.selected.as_ref(), &at.namespace, name.as_deref());
    }
    for model in models {
        // The label on objects that make no pods, and as an annotation, has no effect.
        for found in model.elsewhere.iter().filter(|found| found.form.reaches_pods()) {
            let reached = index.elsewhere(model, found);
            let name = found.holder.to_string();
            note(reached.selected.as_ref(), &found.namespace, Some(&name));
        }
    }
    let mut bindings: BTreeMap<Mark, (&Reference, BTreeSet<Scope<'_>>)> = BTreeMap::new();
    let mut identities = bindings.clone();
    for (number, selected) in &selections {
        for used in &selected.all {
            let scope = used
                .identity
                .namespaced
                .then_some(used.binding.at.namespace.as_str());
            for (map, at) in [
                (&mut bindings, &used.binding.at),
                (&mut identities, &used.identity.at),
            ] {
                map.entry(at.mark)
                    .or_insert((at, BTreeSet::new()))
                    .1
                    .insert((*number, scope));
            }
        }
    }
    let mut merged: BTreeMap<_, Option<Rc<BTreeSet<String>>>> = BTreeMap::new();
    let mut leftover = Vec::new();
    for (at, scopes) in bindings.into_values().chain(identities.into_values()) {
        let others = merged.entry(scopes).or_insert_with_key(|scopes| {
            let all: Vec<&Users> = scopes.iter().filter_map(|scope| users.get(scope)).collect();
            let others = || {
                all.iter()
                    .flat_map(|users| users.others.iter().cloned())
                    .collect()
            };
            all.iter().any(|users| users.planned).then(|| Rc::new(others()))
        });
        leftover.extend(others.clone().map(|others| Leftover {
            at: at.clone(),
            others,
        }));
    }
    leftover
}

/// Adds bindings and identities whose pods have switched.
pub fn add_orphans<'a>(
    sources: &Sources,
    models: &'a [Model],
    index: &Index<'a>,
    leftover: &mut Vec<Leftover>,
) {
    let mut known: BTreeSet<Mark> = leftover.iter().map(|old| old.at.mark).collect();
    for (at, user) in orphans(sources, models, index) {
        if known.insert(at.mark) {
            leftover.push(Leftover {
                at: at.clone(),
                others: Rc::new(user.into_iter().collect()),
            });
        }
    }
    // Bindings go before the identities that they name.
    leftover.sort_by_key(|old| old.at.kind == "AzureIdentity");
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
            ArmId::Unresolved(text) => bound.contains(text.as_str()),
            ArmId::Missing | ArmId::Invalid(_) => false,
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
