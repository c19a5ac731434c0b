//! SecretProviderClasses: the client id of the pods that mount them takes the place of `usePodIdentity`.

use std::collections::BTreeSet;

use super::{Context, Decision, Draft, group};
use crate::migrate::edit::Change;
use crate::migrate::join::describe;
use crate::migrate::model::{Model, PodIdentityClass, Reference, Workload};
use crate::migrate::source::Sources;

/// A class of pod identity, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Class {
    /// Which.
    pub at: Reference,
    /// The workloads that mount it.
    pub users: Vec<Reference>,
    /// The client id that takes the place of `usePodIdentity`, or why that is not certain.
    pub client: Result<String, String>,
}

/// All classes of pod identity.
pub fn all(context: &Context<'_, '_>) -> Vec<Class> {
    let models = context.models.iter();
    let classes = models.flat_map(|model| model.classes.iter().map(move |class| (model, class)));
    let planned = classes.map(|(model, class)| {
        let consumers = consumers(context, model, class);
        Class {
            at: class.at.clone(),
            users: consumers
                .iter()
                .map(|(_, workload)| workload.at.clone())
                .collect(),
            client: client(context, model, class, &consumers),
        }
    });
    planned.collect()
}

pub fn groups(context: &Context<'_, '_>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for model in context.models {
        for class in &model.classes {
            let consumers = consumers(context, model, class);
            // What stands in plain files is seen by each environment.
            let mut environments: BTreeSet<&Option<String>> =
                consumers.iter().map(|(from, _)| &from.environment).collect();
            if environments.is_empty() {
                environments.insert(&model.environment);
            }
            for environment in environments {
                let own: Vec<_> = consumers
                    .iter()
                    .copied()
                    .filter(|(from, _)| from.environment == *environment)
                    .collect();
                let decision = decide(context, model, class, &own);
                let with = own.iter().map(|(_, workload)| workload.at.clone()).collect();
                drafts.push((class.mode, group(&class.at, environment.clone(), with, decision)));
            }
        }
    }
    drafts
}

fn is_same(model: &Model, other: &Model) -> bool {
    model.environment.is_none() || model.environment == other.environment
}

/// The workloads that mount a class.
fn consumers<'a>(
    context: &Context<'_, 'a>,
    model: &Model,
    class: &PodIdentityClass,
) -> Vec<(&'a Model, &'a Workload)> {
    let models = context.models.iter().filter(|other| is_same(model, other));
    let all = models.flat_map(|other| other.workloads.iter().map(move |workload| (other, workload)));
    all.filter(|(_, workload)| mounts(workload, class)).collect()
}

/// A workload of files that are built apart, and that has no class of this name beside it: it may mean this one.
fn foreign<'a>(
    context: &Context<'_, 'a>,
    model: &Model,
    class: &PodIdentityClass,
) -> Option<(&'a Model, &'a Workload)> {
    let name = class.at.to_string();
    let mut others = context
        .models
        .iter()
        .filter(|other| !is_same(model, other) && !other.class_names.contains(&name));
    others.find_map(|other| {
        let found = other.workloads.iter().find(|workload| mounts(workload, class))?;
        Some((other, found))
    })
}

fn mounts(workload: &Workload, class: &PodIdentityClass) -> bool {
    workload.at.namespace == class.at.namespace && workload.classes.contains(&class.at.name)
}

/// Names of the classes that are mounted by something that could not be parsed.
pub fn in_text(sources: &Sources) -> BTreeSet<&str> {
    let broken = sources
        .files
        .iter()
        .filter(|source| source.documents.iter().any(|document| document.broken));
    let lines = broken
        .filter_map(|source| source.text.as_ref())
        .flat_map(|text| text.lines());
    lines
        .filter_map(|line| line.split_once("secretProviderClass:"))
        .map(|(_, name)| name.trim().trim_matches(['"', '\'']))
        .collect()
}

/// What a class gets, or why that is not certain.
fn client(
    context: &Context<'_, '_>,
    model: &Model,
    class: &PodIdentityClass,
    consumers: &[(&Model, &Workload)],
) -> Result<String, String> {
    const BY_HAND: &str = "remove usePodIdentity and set clientID by hand, together with the pods";
    let by_hand = |reason: String| format!("{reason}: {BY_HAND}");
    let at = &class.at;
    let elsewhere = context
        .models
        .iter()
        .filter(|other| is_same(model, other) || is_same(other, model));
    let mounted = elsewhere
        .flat_map(|other| &other.mounted)
        .find(|(holder, name)| holder.namespace == at.namespace && name.text == at.name);
    if let Some((holder, _)) = mounted {
        return Err(by_hand(format!("{holder} mounts it, and its pods are not known")));
    }
    if let Some((from, workload)) = foreign(context, model, class) {
        let from = from.environment.as_deref().unwrap_or("plain files");
        return Err(by_hand(format!(
            "{} in {from} mounts a class of this name, and has none there",
            workload.at
        )));
    }
    if context.in_text.contains(class.at.name.as_str()) {
        return Err(by_hand(
            "something that is searched as text only mounts it".to_owned(),
        ));
    }
    if consumers.is_empty() {
        let reason = "no workload of the input mounts it, so that the identity of its pods is not known";
        return Err(by_hand(reason.to_owned()));
    }
    if context
        .models
        .iter()
        .any(|other| other.other_classes.contains(&at.mark))
    {
        let reason = "another environment uses the same document without pod identity and without a clientID";
        return Err(by_hand(reason.to_owned()));
    }
    let mut clients = BTreeSet::new();
    let mut identities = BTreeSet::new();
    for (from, workload) in consumers {
        let identity = context.identity(from, workload).map_err(by_hand)?;
        clients.insert(context.client_id(identity, class.mode.file).map_err(by_hand)?);
        identities.insert(describe(identity));
    }
    let (Some(client), true, 1) = (clients.pop_first(), clients.is_empty(), identities.len()) else {
        return Err(
            "the workloads that mount it have different identities: make one class for each".to_owned(),
        );
    };
    match class.client_id.as_ref().map(|old| old.text.trim()) {
        Some(old) if !old.is_empty() && !old.eq_ignore_ascii_case(&client) => Err(by_hand(format!(
            "it has the clientID {old} already, and its pods have {client}"
        ))),
        _ => Ok(client),
    }
}

/// The changes of a class.
fn decide(
    context: &Context<'_, '_>,
    model: &Model,
    class: &PodIdentityClass,
    consumers: &[(&Model, &Workload)],
) -> Decision {
    let client = client(context, model, class, consumers)?;
    let mode = context.entry(class.mode, "usePodIdentity")?;
    let key = || "clientID".to_owned();
    Ok(match &class.client_id {
        None => {
            let rename = Change::Rename {
                key: key(),
                value: client,
            };
            vec![(mode, rename)]
        }
        Some(old) if old.text.trim().is_empty() => vec![
            (mode, Change::Remove),
            (context.entry(old.mark, "clientID")?, Change::Set(client)),
        ],
        Some(_) => vec![(mode, Change::Remove)],
    })
}
