//! The objects of the first step, in files of their own beside what uses them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::changes::{Changes, Problem};
use super::home::{self, Home};
use super::pods;
use crate::migrate::edit::Change;
use crate::migrate::kustomize::{Kustomization, join};
use crate::migrate::model::Model;
use crate::migrate::plan::{Output, Plan};
use crate::migrate::source::{Source, Sources};

/// ServiceAccounts and bindings: they belong to whoever owns the workloads.
const BINDINGS: &str = "workload-identity.yaml";

/// Grants: they belong to whoever owns the identities.
const GRANTS: &str = "workload-identity-grants.yaml";

const ABOUT_GRANTS: &str = "\
# Which ServiceAccounts may use which identities. This is for whoever owns the identities to decide and to apply:
# move the file where their manifests are, if that is somebody else.
";

/// Adds what the switches that are made need, and the kustomizations do not hold yet.
pub fn add(
    sources: &Sources,
    models: &[Model],
    plan: &Plan,
    made: &[bool],
    changes: &mut Changes<'_>,
) -> Result<(), Problem> {
    let mut files: BTreeMap<(String, &str, bool), (usize, Vec<Json>)> = BTreeMap::new();
    let mut homes: BTreeMap<(Option<String>, Option<usize>), Option<Home<'_>>> = BTreeMap::new();
    let shared = home::shared(sources, models);
    let by_environment: BTreeMap<Option<&str>, &Model> = models
        .iter()
        .map(|model| (model.environment.as_deref(), model))
        .collect();
    for output in &plan.outputs {
        let Some(user) = output
            .switches
            .iter()
            .copied()
            .find(|switch| made.get(*switch) == Some(&true))
        else {
            continue;
        };
        let Some(switch) = plan.switches.get(user) else {
            continue;
        };
        let file = sources.place(switch.workload.at.mark).file;
        let grant = output.title.starts_with("ClusterRole");
        // Grants are for the whole environment: they may be shared by workloads that are named differently.
        let key = (output.environment.clone(), (!grant).then_some(user));
        let home = homes.entry(key).or_insert_with(|| {
            let environment = output.environment.as_deref()?;
            Home::of(sources, environment, (!grant).then_some(&*file))
        });
        let mut value = output.value.clone();
        let own = [None, output.environment.as_deref()].map(|name| by_environment.get(&name).copied());
        if is_present(&own, output, &mut value, home.as_ref()) {
            continue;
        }
        if let Some(home) = home.as_ref().filter(|home| !grant && home.changes_names()) {
            let written = pods::written(sources, &switch.workload).and_then(|object| object.namespace);
            place(&mut value, home.namespace(written));
        }
        let folder = match home {
            Some(home) => {
                let environment = output.environment.as_deref();
                let own = environment.is_some_and(|name| name == home.kustomization.folder);
                if !own && shared.contains(home.kustomization.source.path.as_str()) {
                    let path = &home.kustomization.source.path;
                    return Err(Problem {
                        file: usize::try_from(switch.workload.at.mark.file).ok(),
                        reason: format!(
                            "{path} adds to its name, and several environments with different objects share it"
                        ),
                    });
                }
                home.kustomization.folder.to_owned()
            }
            None => file
                .rsplit_once('/')
                .map_or_else(String::new, |(folder, _)| folder.to_owned()),
        };
        let name = if grant { GRANTS } else { BINDINGS };
        files
            .entry((folder, name, home.is_some()))
            .or_insert_with(|| (user, Vec::new()))
            .1
            .push(value);
    }
    let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for ((folder, name, listed), (user, objects)) in files {
        let path = join(&folder, name);
        let known = sources.by_path(&path);
        let user = plan.switches.get(user).map(|switch| switch.workload.at.mark);
        let user = user.and_then(|mark| usize::try_from(mark.file).ok());
        if let Some(known) = known.filter(|known| !can_be_added_to(known)) {
            return Err(Problem {
                file: user,
                reason: format!(
                    "{} holds something that cannot be parsed: repair or rename it",
                    known.path
                ),
            });
        }
        let mut text = text(name, known.is_some(), &objects);
        let like = known.or_else(|| sources.files.get(user?));
        if like.is_some_and(|like| like.text.as_ref().is_some_and(|text| text.contains("\r\n"))) {
            text = text.replace('\n', "\r\n");
        }
        changes.add(&path, &text);
        if listed {
            names.entry(folder).or_default().push(name);
        }
    }
    for (folder, names) in names {
        if let Some(kustomization) = Kustomization::in_folder(sources, &folder) {
            list(kustomization, &names, changes)?;
        }
    }
    Ok(())
}

/// Whether documents can be added to a file that is there.
fn can_be_added_to(source: &Source) -> bool {
    source.text.is_some() && source.documents.iter().all(|document| !document.broken)
}

/// Names files among the resources of a kustomization.
fn list(kustomization: Kustomization<'_>, names: &[&str], changes: &mut Changes<'_>) -> Result<(), Problem> {
    let resources = kustomization.node.get("resources").filter(|list| !list.is_null());
    let items = resources.map_or(&[][..], |list| list.items());
    let is_there = |name: &&str| {
        let path = join(kustomization.folder, name);
        let mut paths = items.iter().filter_map(|item| item.as_text());
        paths.any(|item| kustomization.path_of(item) == path)
    };
    let new: Vec<&str> = names.iter().copied().filter(|name| !is_there(name)).collect();
    match resources {
        Some(list) => {
            let push = |name: &str| changes.edit(list.mark, Change::Push(name.into()));
            new.into_iter().try_for_each(push)
        }
        None if new.is_empty() => Ok(()),
        None => changes.edit(
            kustomization.node.mark,
            Change::Insert {
                key: "resources".to_owned(),
                value: new.into(),
                before: None,
            },
        ),
    }
}

fn text(name: &str, known: bool, objects: &[Json]) -> String {
    let mut text = if name == GRANTS && !known {
        ABOUT_GRANTS.to_owned()
    } else {
        String::new()
    };
    for (number, object) in objects.iter().enumerate() {
        if number > 0 {
            text.push_str("---\n");
        }
        // Objects of the plan are trees of texts: that cannot fail.
        text.push_str(&serde_yaml::to_string(object).unwrap_or_default());
    }
    text
}

/// Gives an object the namespace that it is to be written with.
fn place(value: &mut Json, namespace: Option<String>) {
    if let Some(Json::Object(metadata)) = value.pointer_mut("/metadata") {
        metadata.remove("namespace");
        metadata.extend(namespace.map(|namespace| ("namespace".to_owned(), namespace.into())));
    }
}

/// Whether the environment, or a plain file, has the object already. Gives it the name that becomes the planned one.
fn is_present(models: &[Option<&Model>], output: &Output, value: &mut Json, home: Option<&Home<'_>>) -> bool {
    let mut built = output.title.clone();
    if let (Some(home), Some(Json::String(name))) = (home, value.pointer_mut("/metadata/name")) {
        if let Some(written) = home.written(name) {
            *name = written.to_owned();
        }
        let head = built.rfind(['/', ' ']).map_or("", |at| &built[..=at]);
        built = format!("{head}{}", home.built(name));
    }
    let has = |model: &&Model| model.present.contains(&built) || model.present.contains(&output.title);
    models.iter().flatten().any(has)
}
