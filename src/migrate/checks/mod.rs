//! Everything that will not work by itself, as findings. Pure.

mod binding;
mod component;
mod identity;
mod text;
mod workload;

pub use text::explain;

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Code, Finding};
use super::join::{Index, Joined, MAX_IDENTITIES, Miss, Use};
use super::model::{Elsewhere, Model, Reference, Text, Workload};
use super::source::Sources;
use super::yaml::Mark;

/// Collects findings of one environment.
pub struct Notes<'a> {
    sources: &'a Sources,
    found: Vec<Finding>,
}

impl Notes<'_> {
    fn add(
        &mut self,
        model: &Model,
        code: Code,
        mark: Mark,
        at: &Reference,
        reason: impl Into<String>,
        action: impl Into<String>,
    ) {
        let finding = Finding::new(code, self.sources.place(mark), reason, action);
        self.found
            .push(finding.about(at.to_string()).within(model.environment.as_deref()));
    }
}

/// All findings about models and their join.
pub fn check<'a>(
    sources: &Sources,
    models: &'a [Model],
    index: &Index<'a>,
    joined: &[Joined<'a>],
) -> Vec<Finding> {
    let mut notes = Notes {
        sources,
        found: Vec::new(),
    };
    let labels: BTreeSet<&str> = joined
        .iter()
        .filter_map(|joined| joined.workload.label.as_ref())
        .chain(
            models
                .iter()
                .flat_map(|model| &model.elsewhere)
                .filter_map(|found| found.value.as_ref()),
        )
        .map(|label| label.text.as_str())
        .collect();
    // A label in text can be any.
    let unseen = sources
        .findings
        .iter()
        .any(|finding| finding.code == Code::TextOnly);
    let mut by_namespace: BTreeMap<&str, Vec<&Workload>> = BTreeMap::new();
    for workload in models.iter().flat_map(|model| &model.workloads) {
        by_namespace
            .entry(&workload.at.namespace)
            .or_default()
            .push(workload);
    }
    for model in models {
        identity::check(model, index, &mut notes);
        binding::check(model, index, &labels, unseen, &mut notes);
        for found in &model.elsewhere {
            elsewhere(model, index, found, &mut notes);
        }
        for workload in &model.workloads {
            workload::ineffective(model, workload, &mut notes);
        }
        workload::exceptions(model, &by_namespace, &mut notes);
        for part in &model.installation {
            let action = "Remove it last, when no pod uses pod identity any more.";
            notes.add(
                model,
                Code::Installation,
                part.at.mark,
                &part.at,
                "It is a part of pod identity itself.",
                action,
            );
            if let Some(mark) = part.namespaced {
                let reason = "Pod identity runs in namespaced mode: identities serve pods of their own namespace only.";
                notes.add(
                    model,
                    Code::NamespacedMode,
                    mark,
                    &part.at,
                    reason,
                    "Nothing; the plan heeds it.",
                );
            }
        }
    }
    for one in joined {
        misses(one, &mut notes);
        workload::check(one, &mut notes);
    }
    workload::classes(models, joined, &mut notes);
    component::check(models, joined, &mut notes);
    notes.found
}

fn misses(joined: &Joined<'_>, notes: &mut Notes<'_>) {
    let label = joined.workload.label.as_ref();
    for miss in &joined.misses {
        one_miss(joined.model, &joined.workload.at, label, miss, notes);
    }
    let own = &joined.workload.at.namespace;
    let foreign = joined
        .uses
        .iter()
        .filter(|used| used.binding.at.namespace != *own);
    let names: Vec<String> = foreign.map(|used| used.identity.at.to_string()).collect();
    let (model, at) = (joined.model, &joined.workload.at);
    if !names.is_empty() {
        let reason = format!("It uses {}, of another namespace.", some(&names));
        let action = "Nothing: the binding that is planned stands in the namespace of the workload. If pod identity \
                      runs in namespaced mode, say --namespaced.";
        notes.add(model, Code::CrossNamespace, mark(label), at, reason, action);
    }
    let other = joined
        .uses
        .iter()
        .filter_map(|used| Some((used.binding, used.other?)));
    let names: Vec<String> = other
        .map(|(binding, from)| format!("{} in {from}", binding.at))
        .collect();
    if !names.is_empty() {
        let reason = format!("Its binding is in another kustomization: {}.", some(&names));
        let action = "See to it that both are applied to the same cluster.";
        notes.add(model, Code::OtherKustomization, mark(label), at, reason, action);
    }
}

/// A few of them.
fn some(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(5)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        0..=5 => shown,
        more => format!("{shown} and {} more", more - 5),
    }
}

fn mark(label: Option<&Text>) -> Mark {
    label.map(|label| label.mark).unwrap_or_default()
}

fn one_miss(model: &Model, at: &Reference, label: Option<&Text>, miss: &Miss<'_>, notes: &mut Notes<'_>) {
    let value = label.map(|label| label.text.as_str()).unwrap_or_default();
    let mark = mark(label);
    match miss {
        Miss::DeadLabel => {
            let reason = format!("No AzureIdentityBinding of the input selects the label {value}.");
            let action =
                "Read the files that hold the binding as well, or remove the label: it has no effect.";
            notes.add(model, Code::DeadLabel, mark, at, reason, action);
        }
        // These have findings of their own.
        Miss::Dangling(_) | Miss::Unbuilt(_) => {}
        Miss::Namespace(binding) => {
            let reason = format!(
                "{} selects it, but is namespaced and in another namespace: pod identity gave it nothing.",
                binding.at
            );
            let action =
                "Nothing, if it does not need the identity; else write a WorkloadIdentityBinding for it.";
            notes.add(model, Code::NamespaceMismatch, mark, at, reason, action);
        }
        Miss::Ambiguous(environments) => {
            let reason = format!(
                "The label {value} leads to different identities in {}.",
                some(environments)
            );
            let action = "Run wib migrate with the paths of one environment.";
            notes.add(model, Code::AmbiguousEnvironment, mark, at, reason, action);
        }
        Miss::TooMany(bindings) => {
            let reason = format!(
                "{bindings} bindings of several namespaces select the label {value}, and lead to more than \
                 {MAX_IDENTITIES} identities: its pods have all of them, unless pod identity runs in namespaced mode."
            );
            let action = "Say --namespaced if it does. Else give the workload a label of its own, with bindings for \
                          the identities that it needs.";
            notes.add(model, Code::TooManyIdentities, mark, at, reason, action);
        }
        Miss::Different(binding, all) => {
            let places: Vec<String> = all
                .iter()
                .map(|i| notes.sources.place(i.at.mark).to_string())
                .collect();
            let reason = format!(
                "The AzureIdentity of {} is defined differently in {}.",
                binding.at,
                some(&places)
            );
            let action = "Run wib migrate with the paths of one environment, or keep one definition.";
            notes.add(model, Code::DefinedDifferently, mark, at, reason, action);
        }
    }
}

fn elsewhere<'a>(model: &'a Model, index: &Index<'a>, found: &'a Elsewhere, notes: &mut Notes<'_>) {
    use super::model::Form;
    let (code, reason, action) = match found.form {
        Form::ObjectLabel => (
            Code::LabelNotOnPods,
            NOT_ON_PODS.0.to_owned(),
            NOT_ON_PODS.1.to_owned(),
        ),
        Form::Annotation => (
            Code::LabelAsAnnotation,
            AS_ANNOTATION.0.to_owned(),
            AS_ANNOTATION.1.to_owned(),
        ),
        // The setting has a finding of its own.
        Form::Setting => return,
        Form::Label => {
            let reached = index.elsewhere(model, found);
            if reached.uses.is_empty()
                && let Some(miss) = reached.misses.first()
            {
                return one_miss(model, &found.holder, found.value.as_ref(), miss, notes);
            }
            let place = if found.path.is_empty() {
                "the top"
            } else {
                &found.path
            };
            let (mut reason, mut action) = match &found.doubt {
                None => (
                    format!("The label stands at {place}: the pods and their ServiceAccount are made elsewhere."),
                    "Set the label azure.workload.identity/use: \"true\" there as well, find out the ServiceAccount of the \
                     pods, and give it a WorkloadIdentityBinding."
                        .to_owned(),
                ),
                Some(doubt) => (
                    format!("The label stands at {place}, and the ServiceAccount of the pods is not certain: {doubt}."),
                    "Name the ServiceAccount in the values (name, with create: true) and run wib migrate again.".to_owned(),
                ),
            };
            if let [only] = reached.uses.as_slice()
                && let Some(client) = &only.identity.client_id
            {
                action = format!(
                    "{action} If the chart can annotate it: azure.workload.identity/client-id: \"{}\".",
                    client.text.trim()
                );
            }
            reason += &identities(&reached.uses);
            (Code::LabelElsewhere, reason, action)
        }
    };
    notes.add(model, code, found.mark, &found.holder, reason, action);
}

fn identities(uses: &[Use<'_>]) -> String {
    let names: Vec<String> = uses.iter().map(|used| used.identity.at.to_string()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" It leads to {}.", some(&names))
}

/// Of a label on the object instead of its pods.
const NOT_ON_PODS: (&str, &str) = (
    "The label stands on the object, not on its pods: it has no effect.",
    "Remove it. If the pods should have the identity, label the pod template.",
);

/// Of a label that is an annotation.
const AS_ANNOTATION: (&str, &str) = (
    "The label is written as an annotation: it has no effect.",
    "Remove it. If the pods should have the identity, label the pod template.",
);
