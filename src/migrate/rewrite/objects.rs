//! The objects of the first step, in files of their own beside what uses them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::changes::{Changes, Problem};
use crate::migrate::edit::Change;
use crate::migrate::kustomize::{Kustomization, join};
use crate::migrate::model::Model;
use crate::migrate::plan::{Output, Plan};
use crate::migrate::source::Sources;

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
    let mut files: BTreeMap<(String, &str, bool), Vec<Json>> = BTreeMap::new();
    for output in &plan.outputs {
        let user = output
            .switches
            .iter()
            .find(|switch| made.get(**switch) == Some(&true));
        let Some(user) = user.and_then(|user| plan.switches.get(*user)) else {
            continue;
        };
        let kustomization = output
            .environment
            .as_deref()
            .and_then(|folder| Kustomization::in_folder(sources, folder_of(folder)));
        let value = named_as_written(output, kustomization);
        if is_present(models, output, &value, kustomization) {
            continue;
        }
        let folder = match &output.environment {
            Some(folder) => folder_of(folder).to_owned(),
            None => {
                let place = sources.place(user.workload.at.mark);
                let folder = place.file.rsplit_once('/').map(|(folder, _)| folder.to_owned());
                folder.unwrap_or_default()
            }
        };
        let name = if output.title.starts_with("ClusterRole") {
            GRANTS
        } else {
            BINDINGS
        };
        let listed = output.environment.is_some();
        files.entry((folder, name, listed)).or_default().push(value);
    }
    for ((folder, name, listed), objects) in files {
        let path = join(&folder, name);
        let known = sources.by_path(&path).is_some();
        changes.add(&path, &text(name, known, &objects));
        if let Some(kustomization) = Kustomization::in_folder(sources, &folder).filter(|_| listed) {
            list(kustomization, name, changes)?;
        }
    }
    Ok(())
}

/// The folder of an environment, as paths have it.
fn folder_of(environment: &str) -> &str {
    if environment == "." { "" } else { environment }
}

/// Names a file among the resources of a kustomization.
fn list(kustomization: Kustomization<'_>, name: &str, changes: &mut Changes<'_>) -> Result<(), Problem> {
    match kustomization.node.get("resources") {
        Some(list) => {
            let named = |item: &str| kustomization.path_of(item) == join(kustomization.folder, name);
            if list.items().iter().filter_map(|item| item.as_text()).any(named) {
                return Ok(());
            }
            changes.edit(list.mark, Change::Push(name.into()))
        }
        None => changes.edit(
            kustomization.node.mark,
            Change::Insert {
                key: "resources".to_owned(),
                value: Json::Array(vec![name.into()]),
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

/// The object with the name that its kustomization makes the planned one of, if there is such a name.
fn named_as_written(output: &Output, kustomization: Option<Kustomization<'_>>) -> Json {
    let mut value = output.value.clone();
    let (prefix, suffix) = affixes(kustomization);
    if let Some(Json::String(name)) = value.pointer_mut("/metadata/name") {
        let stripped = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(suffix));
        if let Some(stripped) = stripped.filter(|name| !name.is_empty()) {
            *name = stripped.to_owned();
        }
    }
    value
}

fn affixes<'a>(kustomization: Option<Kustomization<'a>>) -> (&'a str, &'a str) {
    let text = |key| {
        kustomization
            .and_then(|k| k.node.text_at(&[key]))
            .unwrap_or_default()
    };
    (text("namePrefix"), text("nameSuffix"))
}

/// Whether the environment, or a plain file, has the object already.
fn is_present(
    models: &[Model],
    output: &Output,
    written: &Json,
    kustomization: Option<Kustomization<'_>>,
) -> bool {
    let (prefix, suffix) = affixes(kustomization);
    let name = written
        .pointer("/metadata/name")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let head = output
        .title
        .rfind(['/', ' '])
        .map_or("", |at| &output.title[..=at]);
    let built = format!("{head}{prefix}{name}{suffix}");
    let reached = |model: &&Model| model.environment.is_none() || model.environment == output.environment;
    models
        .iter()
        .filter(reached)
        .any(|model| model.present.contains(&built) || model.present.contains(&output.title))
}
