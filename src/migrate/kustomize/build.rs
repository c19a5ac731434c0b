//! Builds one folder, and what it is built on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::flux::Flux;
use super::patch::Patch;
use super::{Kustomization, is_remote, transform};
use crate::migrate::object::Object;
use crate::migrate::source::Sources;
use crate::migrate::yaml::{Mark, Node};

/// Fields that change nothing that is of interest here.
const HARMLESS: [&str; 17] = [
    "apiVersion",
    "kind",
    "metadata",
    "images",
    "replicas",
    "commonAnnotations",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "buildMetadata",
    "sortOptions",
    "configurations",
    "crds",
    "openapi",
    "vars",
    "helmGlobals",
    "validators",
];

/// Fields that are carried out.
const UNDERSTOOD: [&str; 11] = [
    "resources",
    "bases",
    "components",
    "namespace",
    "namePrefix",
    "nameSuffix",
    "commonLabels",
    "labels",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
];

/// Most folders that one run builds; components can lead to exponentially many.
const MAX_STEPS: usize = 100_000;

/// An object on its way through kustomizations.
#[derive(Clone, Debug)]
pub struct Resource {
    /// As it is by now.
    pub object: Object,
    /// Names and namespaces that it had before: patches and references may use them.
    pub before: Vec<(String, Option<String>)>,
}

/// Why a kustomization cannot be built.
#[derive(Clone, Debug)]
pub struct Unresolved {
    /// The line that says it.
    pub mark: Mark,
    /// What is the matter.
    pub reason: String,
}

impl Unresolved {
    pub fn new(mark: Mark, reason: impl Into<String>) -> Self {
        Self {
            mark,
            reason: reason.into(),
        }
    }
}

type Built = Result<Arc<Vec<Resource>>, Unresolved>;

/// Builds folders; each is built once.
pub struct Builder<'a> {
    sources: &'a Sources,
    done: BTreeMap<String, Built>,
    open: Vec<String>,
    steps: usize,
}

impl<'a> Builder<'a> {
    pub fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            done: BTreeMap::new(),
            open: Vec::new(),
            steps: 0,
        }
    }

    /// What `kustomize build` of a folder gives.
    pub fn folder(&mut self, folder: &str) -> Built {
        if let Some(done) = self.done.get(folder) {
            return done.clone();
        }
        let built = match Kustomization::in_folder(self.sources, folder) {
            Some(kustomization) => self.add(kustomization, Vec::new()).map(Arc::new),
            None => Err(Unresolved::new(
                Mark::default(),
                format!("{folder} has no kustomization"),
            )),
        };
        self.done.insert(folder.to_owned(), built.clone());
        built
    }

    /// What a Kustomization of Flux makes of a folder.
    pub fn applied(&mut self, folder: &str, flux: &Flux, mark: Mark) -> Built {
        let built = self.folder(folder)?;
        let several = "several Kustomizations of Flux apply it, each in its own way";
        let Some(applied) = flux.to(folder).map_err(|()| Unresolved::new(mark, several))? else {
            return Ok(built);
        };
        let mut all = built.as_ref().clone();
        for item in applied.patches() {
            let text = item.get("patch");
            let text = text.ok_or_else(|| Unresolved::new(item.mark, "a patch of Flux has no text"))?;
            let nodes = super::patch::inline(self.sources, text, text.as_text().unwrap_or_default())?;
            for patch in Patch::all(nodes, item.get("target"), item.mark)? {
                patch.apply(&mut all)?;
            }
        }
        if let Some(namespace) = applied.namespace() {
            transform::namespace(&mut all, namespace);
        }
        Ok(Arc::new(all))
    }

    /// Adds what a kustomization names to what is there, and carries out its changes on all of it. A component
    /// begins with what its user has.
    fn add(
        &mut self,
        kustomization: Kustomization<'a>,
        mut all: Vec<Resource>,
    ) -> Result<Vec<Resource>, Unresolved> {
        let mark = kustomization.node.mark;
        self.steps += 1;
        if self.open.iter().any(|open| open == kustomization.folder) {
            let reason = format!("{} leads back to itself", kustomization.folder);
            return Err(Unresolved::new(mark, reason));
        }
        if self.steps > MAX_STEPS || self.open.len() > 50 {
            return Err(Unresolved::new(
                mark,
                "too many kustomizations lead to each other",
            ));
        }
        check_fields(kustomization.node)?;
        self.open.push(kustomization.folder.to_owned());
        let built = self.accumulate(kustomization, &mut all);
        self.open.pop();
        built?;
        for patch in self.patches(kustomization)? {
            patch.apply(&mut all)?;
        }
        transform::apply(kustomization.node, &mut all);
        for patch in self.late_patches(kustomization)? {
            patch.apply(&mut all)?;
        }
        Ok(all)
    }

    fn accumulate(
        &mut self,
        kustomization: Kustomization<'a>,
        all: &mut Vec<Resource>,
    ) -> Result<(), Unresolved> {
        let mut known: BTreeSet<Id> = all.iter().map(|resource| id(&resource.object)).collect();
        for key in ["resources", "bases", "components"] {
            let items = kustomization.node.get(key).map_or(&[][..], |list| list.items());
            for item in items {
                let text = item.as_text().unwrap_or_default();
                if is_remote(text) {
                    let reason = format!("{text} is not a local file");
                    return Err(Unresolved::new(item.mark, reason));
                }
                let path = kustomization.path_of(text);
                let found = match self.sources.by_path(&path) {
                    Some(_) => self.file(&path, item.mark)?,
                    None => match Kustomization::in_folder(self.sources, &path) {
                        Some(component) if key == "components" => {
                            *all = self.add(component, std::mem::take(all))?;
                            known = all.iter().map(|resource| id(&resource.object)).collect();
                            continue;
                        }
                        Some(_) => self.folder(&path)?.as_ref().clone(),
                        None => {
                            let reason = format!("{text} is missing");
                            return Err(Unresolved::new(item.mark, reason));
                        }
                    },
                };
                for resource in found {
                    if !known.insert(id(&resource.object)) {
                        let reason =
                            format!("{} {} is there twice", resource.object.kind, resource.object.name);
                        return Err(Unresolved::new(item.mark, reason));
                    }
                    all.push(resource);
                }
            }
        }
        Ok(())
    }

    fn file(&self, path: &str, mark: Mark) -> Result<Vec<Resource>, Unresolved> {
        let contents = self.contents(path, mark)?;
        let mut found = Vec::new();
        for node in contents {
            let objects = Object::all_of(&node);
            if objects.is_empty() && node.get("items").is_none() {
                return Err(Unresolved::new(
                    mark,
                    format!("{path} holds something that is no object"),
                ));
            }
            found.extend(objects.into_iter().map(|object| Resource {
                object,
                before: Vec::new(),
            }));
        }
        Ok(found)
    }

    /// The documents of a file, if all of them could be parsed.
    fn contents(&self, path: &str, mark: Mark) -> Result<Vec<Arc<Node>>, Unresolved> {
        let missing = || Unresolved::new(mark, format!("{path} is missing"));
        let source = self.sources.by_path(path).ok_or_else(missing)?;
        if source.text.is_none() || source.documents.iter().any(|document| document.broken) {
            return Err(Unresolved::new(mark, format!("{path} cannot be parsed")));
        }
        Ok(source
            .documents
            .iter()
            .filter_map(|d| d.content.clone())
            .collect())
    }

    fn patches(&self, kustomization: Kustomization<'_>) -> Result<Vec<Patch>, Unresolved> {
        let mut found = Vec::new();
        let items = |key: &str| kustomization.node.get(key).map_or(&[][..], |list| list.items());
        for item in items("patchesStrategicMerge") {
            let text = item.as_text().unwrap_or_default();
            let nodes = if text.contains('\n') {
                super::patch::inline(self.sources, item, text)?
            } else {
                self.contents(&kustomization.path_of(text), item.mark)?
            };
            found.extend(Patch::all(nodes, None, item.mark)?);
        }
        for item in items("patches") {
            found.extend(self.patch(kustomization, item)?);
        }
        Ok(found)
    }

    /// Patches that kustomize carries out after names and namespaces have changed.
    fn late_patches(&self, kustomization: Kustomization<'_>) -> Result<Vec<Patch>, Unresolved> {
        let items = kustomization
            .node
            .get("patchesJson6902")
            .map_or(&[][..], |list| list.items());
        let mut found = Vec::new();
        for item in items {
            found.extend(self.patch(kustomization, item)?);
        }
        Ok(found)
    }

    fn patch(&self, kustomization: Kustomization<'_>, item: &Arc<Node>) -> Result<Vec<Patch>, Unresolved> {
        let nodes = match (item.get("path"), item.get("patch")) {
            (Some(path), _) => {
                let path = path.as_text().unwrap_or_default();
                self.contents(&kustomization.path_of(path), item.mark)?
            }
            (None, Some(patch)) => {
                super::patch::inline(self.sources, patch, patch.as_text().unwrap_or_default())?
            }
            (None, None) => return Err(Unresolved::new(item.mark, "a patch has neither path nor patch")),
        };
        Patch::all(nodes, item.get("target"), item.mark)
    }
}

/// Group, kind, namespace and name: what no two objects may share.
type Id = (String, String, Option<String>, String);

fn id(object: &Object) -> Id {
    (
        object.group().to_owned(),
        object.kind.clone(),
        object.namespace.clone(),
        object.name.clone(),
    )
}

fn check_fields(node: &Node) -> Result<(), Unresolved> {
    let has = |key: &str| node.get(key).is_some();
    for (key, value) in node.entries() {
        let name = key.as_text().unwrap_or_default();
        let known = HARMLESS.contains(&name) || UNDERSTOOD.contains(&name);
        if !known && !value.is_null() {
            return Err(Unresolved::new(
                key.mark,
                format!("it uses {name}, which is not understood here"),
            ));
        }
        if name == "configurations" && (has("namePrefix") || has("nameSuffix")) {
            let reason = "it changes names by its own configurations";
            return Err(Unresolved::new(key.mark, reason));
        }
    }
    Ok(())
}
