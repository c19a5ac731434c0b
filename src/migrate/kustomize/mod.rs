//! Kustomizations, built as `kustomize build` does, so far as pod identity is concerned: what decides about
//! identities, bindings, labels, names and namespaces. A kustomization that uses more than that is reported and not
//! built: nothing is guessed. Pure.

mod build;
mod flux;
mod json_patch;
mod merge;
mod patch;
mod transform;

pub use patch::inline;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::files::normal;
use super::finding::{Code, Finding};
use super::object::Object;
use super::progress::Progress;
use super::source::{Source, Sources};
use super::yaml::{Mark, Node};

/// Names that kustomize looks for in a folder.
pub const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Objects that are applied together.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Folder of the kustomization; none for files that no kustomization uses.
    pub name: Option<String>,
    /// Why it could not be built. Its objects are then as they stand in the files.
    pub unresolved: Option<String>,
    /// Its objects.
    pub objects: Vec<Object>,
}

/// The kustomization of a folder.
#[derive(Clone, Copy)]
pub struct Kustomization<'a> {
    /// The folder.
    pub folder: &'a str,
    /// Its file.
    pub source: &'a Source,
    /// What it says.
    pub node: &'a Arc<Node>,
}

impl<'a> Kustomization<'a> {
    /// What a file holds, if it is named like a kustomization.
    pub fn of(source: &'a Source) -> Option<Self> {
        let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        let node = source
            .documents
            .iter()
            .find_map(|document| document.content.as_ref());
        let node = node.filter(|_| FILE_NAMES.contains(&name))?;
        Some(Self { folder, source, node })
    }

    /// All of them.
    pub fn all(sources: &'a Sources) -> impl Iterator<Item = Self> {
        sources.files.iter().filter_map(Self::of)
    }

    /// That of a folder.
    pub fn in_folder(sources: &'a Sources, folder: &str) -> Option<Self> {
        FILE_NAMES
            .iter()
            .find_map(|name| sources.by_path(&join(folder, name)))
            .and_then(Self::of)
    }

    /// Files and folders that it is made of, and the patches that it applies; with where it names them.
    fn references(&self) -> Vec<(&'a str, Mark)> {
        let mut found = Vec::new();
        for key in ["resources", "bases", "components", "patchesStrategicMerge"] {
            let items = self.node.get(key).map_or(&[][..], |list| list.items());
            found.extend(items.iter().filter_map(|item| Some((item.as_text()?, item.mark))));
        }
        for key in ["patches", "patchesJson6902"] {
            let items = self.node.get(key).map_or(&[][..], |list| list.items());
            let paths = items.iter().filter_map(|item| item.get("path"));
            found.extend(paths.filter_map(|path| Some((path.as_text()?, path.mark))));
        }
        // An inline patch stands in the same list as the names of files.
        found.retain(|(text, _)| !text.contains('\n'));
        found
    }

    /// Paths of all files that it leads to, its own among them.
    pub fn reach(self, sources: &'a Sources) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        claim(sources, self, &mut reached);
        reached
    }

    /// The path that a reference leads to.
    pub fn path_of(&self, reference: &str) -> String {
        normal(&Path::new(self.folder).join(reference))
    }
}

/// The path of a name in a folder.
pub fn join(folder: &str, name: &str) -> String {
    normal(&Path::new(folder).join(name))
}

/// Whether a reference leads out of the file system.
fn is_remote(reference: &str) -> bool {
    reference.contains("://")
        || reference.starts_with("git@")
        || reference.contains("?ref=")
        || reference.starts_with("github.com/")
}

/// Local paths that kustomizations name and that have not been read.
pub fn wanted(sources: &Sources) -> BTreeSet<String> {
    let known = sources.files.iter().filter_map(Kustomization::of);
    known
        .flat_map(|k| {
            let local = k.references().into_iter().filter(|(text, _)| !is_remote(text));
            local.map(|(text, _)| k.path_of(text)).collect::<Vec<_>>()
        })
        .filter(|path| sources.by_path(path).is_none() && Kustomization::in_folder(sources, path).is_none())
        .collect()
}

/// The environments of what was read: one for each kustomization that no other one uses, and the rest of the files.
pub fn environments(sources: &Sources, progress: &dyn Progress) -> (Vec<Environment>, Vec<Finding>) {
    let all: Vec<Kustomization<'_>> = sources.files.iter().filter_map(Kustomization::of).collect();
    let used: BTreeSet<String> = all
        .iter()
        .flat_map(|k| k.references().into_iter().map(|(text, _)| k.path_of(text)))
        .collect();
    let mut findings = Vec::new();
    let mut environments = Vec::new();
    let mut claimed: BTreeSet<&str> = BTreeSet::new();
    let mut builder = build::Builder::new(sources);
    let flux = flux::Flux::of(sources);
    progress.begin("building", all.len());
    for root in &all {
        progress.step();
        let component = root.node.text_at(&["kind"]) == Some("Component");
        if used.contains(root.folder) || !root.source.asked || component {
            continue;
        }
        claim(sources, *root, &mut claimed);
        let name = Some(if root.folder.is_empty() { "." } else { root.folder }.to_owned());
        match builder.applied(root.folder, &flux, root.node.mark) {
            Ok(resources) => environments.push(Environment {
                name,
                unresolved: None,
                objects: resources.iter().map(|resource| resource.object.clone()).collect(),
            }),
            Err(unresolved) => {
                let reason = format!("The kustomization cannot be built: {}.", unresolved.reason);
                let action = "Run wib migrate on the output of kustomize build for this folder.";
                let finding = Finding::new(
                    Code::KustomizationUnresolved,
                    sources.place(unresolved.mark),
                    reason,
                    action,
                );
                findings.push(finding.about(format!("Kustomization {}", root.source.path)));
                let mut reached = BTreeSet::new();
                claim(sources, *root, &mut reached);
                let files = reached.iter().filter_map(|path| sources.by_path(path));
                environments.push(Environment {
                    name,
                    unresolved: Some(unresolved.reason),
                    objects: files.flat_map(objects).collect(),
                });
            }
        }
    }
    claimed.extend(all.iter().map(|k| k.source.path.as_str()));
    // What only a base or component that nobody uses names stays with the rest.
    let rest = sources
        .files
        .iter()
        .filter(|source| source.asked && !claimed.contains(source.path.as_str()));
    let objects: Vec<Object> = rest
        .flat_map(|source| {
            let namespace = flux.namespace_of_file(&source.path);
            objects(source)
                .into_iter()
                .map(move |object| transform::placed(object, namespace.as_ref()))
        })
        .collect();
    environments.insert(
        0,
        Environment {
            objects,
            ..Environment::default()
        },
    );
    (environments, findings)
}

/// The objects of a file, as they stand there.
fn objects(source: &Source) -> Vec<Object> {
    let contents = source
        .documents
        .iter()
        .filter_map(|document| document.content.as_ref());
    contents.flat_map(Object::all_of).collect()
}

/// Adds all files that a kustomization leads to; what is there already has been followed.
fn claim<'a>(sources: &'a Sources, root: Kustomization<'a>, reached: &mut BTreeSet<&'a str>) {
    let mut open = vec![root];
    while let Some(kustomization) = open.pop() {
        if !reached.insert(kustomization.source.path.as_str()) {
            continue;
        }
        for (reference, _) in kustomization.references() {
            let path = kustomization.path_of(reference);
            match sources.by_path(&path) {
                Some(source) => {
                    reached.insert(source.path.as_str());
                }
                None => open.extend(Kustomization::in_folder(sources, &path)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
