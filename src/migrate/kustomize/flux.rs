//! Kustomizations of Flux: each applies a folder, and may put it into a namespace and patch it.

use std::path::Path;
use std::sync::Arc;

use crate::migrate::files::normal;
use crate::migrate::object::Object;
use crate::migrate::source::Sources;
use crate::migrate::yaml::Node;

/// Group of the kind.
const GROUP: &str = "kustomize.toolkit.fluxcd.io";

/// All Kustomizations of Flux among what was read.
pub struct Flux {
    all: Vec<Applied>,
}

/// A folder and what is done to it.
#[derive(Clone)]
pub struct Applied {
    /// From the root of its repository, wherever that is here.
    folder: String,
    /// `spec` of the Kustomization.
    pub spec: Arc<Node>,
}

impl Applied {
    /// The namespace that everything is put into.
    pub fn namespace(&self) -> Option<&Arc<Node>> {
        let namespace = self.spec.get("targetNamespace");
        namespace.filter(|node| node.as_text().is_some_and(|text| !text.is_empty()))
    }

    /// Patches, as in a kustomization.
    pub fn patches(&self) -> &[Arc<Node>] {
        self.spec.get("patches").map_or(&[], |list| list.items())
    }

    fn changes_nothing(&self) -> bool {
        self.namespace().is_none() && self.patches().is_empty()
    }

    fn is_for(&self, folder: &str) -> bool {
        let rest = folder.strip_suffix(self.folder.as_str());
        rest.is_some_and(|rest| rest.is_empty() || !self.folder.is_empty() && rest.ends_with('/'))
    }

    fn does_as(&self, other: &Self) -> bool {
        let patches = |applied: &Self| -> Vec<Option<String>> {
            let text = |patch: &Arc<Node>| patch.text_at(&["patch"]).map(str::to_owned);
            applied.patches().iter().map(text).collect()
        };
        let namespace = |applied: &Self| applied.namespace().and_then(|n| n.as_text().map(str::to_owned));
        namespace(self) == namespace(other) && patches(self) == patches(other)
    }
}

impl Flux {
    pub fn of(sources: &Sources) -> Self {
        let documents = sources.files.iter().flat_map(|source| &source.documents);
        let objects = documents
            .filter_map(|document| document.content.as_ref())
            .flat_map(Object::all_of);
        let all = objects
            .filter(|object| object.is(GROUP, "Kustomization"))
            .filter_map(|object| {
                let spec = object.node.get("spec")?.clone();
                let folder = normal(Path::new(spec.text_at(&["path"])?.trim_start_matches('/')));
                Some(Applied { folder, spec })
            })
            .collect();
        Self { all }
    }

    /// What is done to a folder: nothing, one thing, or several, which go into different clusters or namespaces.
    pub fn to(&self, folder: &str) -> Result<Option<Applied>, ()> {
        let mut found = self.all.iter().filter(|applied| applied.is_for(folder));
        let Some(first) = found.next() else {
            return Ok(None);
        };
        if found.all(|other| first.does_as(other)) {
            Ok(Some(first.clone()).filter(|applied| !applied.changes_nothing()))
        } else {
            Err(())
        }
    }

    /// The namespace of a file that no kustomization uses: Flux takes a folder without one as a whole.
    pub fn namespace_of_file(&self, path: &str) -> Option<Arc<Node>> {
        let mut folders = path.rmatch_indices('/').map(|(at, _)| &path[..at]);
        let nearest = folders.find(|folder| self.all.iter().any(|applied| applied.is_for(folder)))?;
        self.to(nearest).ok()??.namespace().cloned()
    }
}
