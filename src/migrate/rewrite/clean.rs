//! Takes out bindings and identities of pod identity, and what kustomizations say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;

use super::changes::{Changes, Problem};
use crate::migrate::edit::Change;
use crate::migrate::kustomize::Kustomization;
use crate::migrate::model::{Model, POD_IDENTITY, Reference};
use crate::migrate::object::Object;
use crate::migrate::source::Sources;
use crate::migrate::yaml::{Mark, Node, parse};

/// Kinds that go.
const KINDS: [&str; 2] = ["AzureIdentity", "AzureIdentityBinding"];

/// Lists of a kustomization that name files and folders.
const NAMES: [&str; 4] = ["resources", "bases", "components", "patchesStrategicMerge"];

/// Lists of a kustomization whose entries have a path, a text or a target.
const PATCHES: [&str; 2] = ["patches", "patchesJson6902"];

/// What makes a kustomization worth to be built.
const CONTENT: [&str; 8] = [
    "resources",
    "bases",
    "components",
    "configMapGenerator",
    "secretGenerator",
    "generators",
    "helmCharts",
    "transformers",
];

/// An object that goes, by all names that kustomizations may have for it.
struct Gone<'a> {
    at: &'a Reference,
    file: String,
    names: BTreeSet<String>,
}

/// Takes out the objects, and everything that names them.
///
/// # Errors
/// If that cannot be done; the problem names the file.
pub fn remove<'a>(
    sources: &Sources,
    models: &'a [Model],
    removals: &[&'a Reference],
    changes: &mut Changes<'_>,
) -> Result<(), Problem> {
    let known = all_names(sources, models);
    let object = |at: &'a Reference| Gone {
        at,
        file: sources.place(at.mark).file,
        names: known.get(&at.mark).cloned().unwrap_or_default(),
    };
    let gone: Vec<Gone<'_>> = removals.iter().map(|at| object(at)).collect();
    for gone in &gone {
        changes.remove(gone.at.mark)?;
    }
    let marks: BTreeSet<Mark> = removals.iter().map(|at| at.mark).collect();
    lists(sources, &marks, changes);
    let stays: Vec<Gone<'_>> = models
        .iter()
        .flat_map(Model::pod_identity)
        .filter(|at| !marks.contains(&at.mark))
        .map(object)
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let (gone_in, stays_in) = (by_file(&gone), by_file(&stays));
    let references = References::of(sources);
    for kustomization in Kustomization::all(sources) {
        let reach = kustomization.reach(sources);
        let meant = Names {
            gone: within(&reach, &gone_in),
            stays: within(&reach, &stays_in),
        };
        if !meant.gone.is_empty() {
            variables(kustomization, &meant)?;
            patches(sources, &references, kustomization, &meant, changes)?;
        }
    }
    emptied(sources, &references, changes)
}

/// What stands in some files.
fn within<'a>(files: &BTreeSet<&str>, all: &BTreeMap<&str, Vec<&'a Gone<'a>>>) -> Vec<&'a Gone<'a>> {
    files
        .iter()
        .filter_map(|path| all.get(path))
        .flatten()
        .copied()
        .collect()
}

fn by_file<'a>(all: &'a [Gone<'a>]) -> BTreeMap<&'a str, Vec<&'a Gone<'a>>> {
    let mut files: BTreeMap<&str, Vec<&Gone<'_>>> = BTreeMap::new();
    for gone in all {
        files.entry(&gone.file).or_default().push(gone);
    }
    files
}

/// Takes out lists of which no object is left: kustomize takes an empty one for an object.
fn lists(sources: &Sources, gone: &BTreeSet<Mark>, changes: &mut Changes<'_>) {
    let documents: BTreeSet<(u32, u32)> = gone.iter().map(|mark| (mark.file, mark.document)).collect();
    for (file, document) in documents {
        let source = usize::try_from(file)
            .ok()
            .and_then(|file| sources.files.get(file));
        let root = source
            .zip(usize::try_from(document).ok())
            .and_then(|(source, document)| source.documents.get(document)?.content.as_ref());
        let objects = root.map(Object::all_of).unwrap_or_default();
        if !objects.is_empty() && objects.iter().all(|object| gone.contains(&object.mark())) {
            changes.remove_document(file, document);
        }
    }
}

/// All names of the objects of pod identity, by their places.
fn all_names(sources: &Sources, models: &[Model]) -> BTreeMap<Mark, BTreeSet<String>> {
    let mut names: BTreeMap<Mark, BTreeSet<String>> = BTreeMap::new();
    for model in models {
        for at in model.pod_identity() {
            names.entry(at.mark).or_default().insert(at.name.clone());
        }
    }
    let documents = sources.files.iter().flat_map(|source| &source.documents);
    for object in documents
        .filter_map(|document| document.content.as_ref())
        .flat_map(Object::all_of)
    {
        if let Some(names) = names.get_mut(&object.mark()) {
            names.insert(object.name);
        }
    }
    names
}

/// What goes and what stays, of what a kustomization reaches.
struct Names<'a> {
    gone: Vec<&'a Gone<'a>>,
    stays: Vec<&'a Gone<'a>>,
}

impl Names<'_> {
    /// Whether something is meant that goes, and nothing that stays.
    fn only_gone(&self, kind: &str, meets: impl Fn(&str) -> bool) -> bool {
        let any = |all: &[&Gone<'_>]| {
            all.iter()
                .any(|g| g.at.kind == kind && g.names.iter().any(|name| meets(name)))
        };
        any(&self.gone) && !any(&self.stays)
    }

    fn is_gone(&self, object: &Object) -> bool {
        object.group() == POD_IDENTITY && self.only_gone(&object.kind, |name| name == object.name)
    }
}

/// Variables and replacements take values out of objects: whoever wrote them has to decide.
fn variables(kustomization: Kustomization<'_>, names: &Names<'_>) -> Result<(), Problem> {
    for (list, source) in [("vars", "objref"), ("replacements", "source")] {
        let items = kustomization
            .node
            .get(list)
            .map_or(&[][..], |items| items.items());
        for object in items.iter().filter_map(|item| item.get(source)) {
            let (kind, name) = (object.text_at(&["kind"]), object.text_at(&["name"]));
            let (Some(kind), Some(name)) = (kind, name) else {
                continue;
            };
            if names
                .gone
                .iter()
                .any(|g| g.at.kind == kind && g.names.contains(name))
            {
                let reason = format!(
                    "{}:{} takes a value out of {kind} {name}",
                    kustomization.source.path, object.mark.line
                );
                return Err(Problem {
                    file: names
                        .gone
                        .first()
                        .and_then(|g| usize::try_from(g.at.mark.file).ok()),
                    reason,
                });
            }
        }
    }
    Ok(())
}

fn patches(
    sources: &Sources,
    references: &References,
    kustomization: Kustomization<'_>,
    names: &Names<'_>,
    changes: &mut Changes<'_>,
) -> Result<(), Problem> {
    for list in PATCHES {
        for entry in kustomization
            .node
            .get(list)
            .map_or(&[][..], |items| items.items())
        {
            let target = entry.get("target").map(|target| is_for_gone(target, names));
            let path = entry.text_at(&["path"]).map(|path| kustomization.path_of(path));
            let inline = entry.text_at(&["patch"]);
            let goes = match (target, &path, inline) {
                (Some(goes), _, _) => goes,
                (None, Some(path), _) => {
                    documents(sources, path, names, changes)?;
                    false
                }
                (None, None, Some(text)) => are_gone(text, names),
                (None, None, None) => false,
            };
            if goes {
                changes.remove(entry.mark)?;
                if let Some(path) = path.filter(|path| references.count(path) == 1) {
                    remove_file(sources, &path, changes);
                }
            }
        }
    }
    let merges = kustomization
        .node
        .get("patchesStrategicMerge")
        .map_or(&[][..], |items| items.items());
    for entry in merges {
        let text = entry.as_text().unwrap_or_default();
        if !text.contains('\n') {
            documents(sources, &kustomization.path_of(text), names, changes)?;
        } else if are_gone(text, names) {
            changes.remove(entry.mark)?;
        }
    }
    Ok(())
}

/// Whether the target of a patch is one of what goes, and nothing else.
fn is_for_gone(target: &Node, names: &Names<'_>) -> bool {
    let (Some(kind), name) = (target.text_at(&["kind"]), target.text_at(&["name"])) else {
        return false;
    };
    let expression = name.map(|name| Regex::new(&format!("^(?:{name})$")));
    KINDS.contains(&kind)
        && match expression {
            None => names.only_gone(kind, |_| true),
            Some(Ok(expression)) => names.only_gone(kind, |name| expression.is_match(name)),
            Some(Err(_)) => false,
        }
}

/// Takes out the documents of a patch file that are for what goes.
fn documents(
    sources: &Sources,
    path: &str,
    names: &Names<'_>,
    changes: &mut Changes<'_>,
) -> Result<(), Problem> {
    let contents = sources.by_path(path).map_or(&[][..], |source| &source.documents);
    for object in contents
        .iter()
        .filter_map(|document| Object::of(document.content.as_ref()?))
    {
        if names.is_gone(&object) {
            changes.remove(object.mark())?;
        }
    }
    Ok(())
}

/// Whether a patch in a text is for what goes, and for nothing else.
fn are_gone(text: &str, names: &Names<'_>) -> bool {
    // A part that cannot be parsed may be for anything.
    let contents: Result<Vec<Option<Arc<Node>>>, _> = parse(0, text).into_iter().map(|d| d.content).collect();
    let contents = contents.map(|all| all.into_iter().flatten().collect::<Vec<_>>());
    contents.is_ok_and(|all| {
        !all.is_empty()
            && all
                .iter()
                .all(|node| Object::of(node).is_some_and(|object| names.is_gone(&object)))
    })
}

/// Entries of kustomizations that name a file or folder, by the path that they lead to.
struct References(BTreeMap<String, Vec<Mark>>);

impl References {
    fn of(sources: &Sources) -> Self {
        let mut all: BTreeMap<String, Vec<Mark>> = BTreeMap::new();
        for kustomization in Kustomization::all(sources) {
            let items = |key: &&str| kustomization.node.get(key).map_or(&[][..], |list| list.items());
            let names = NAMES
                .iter()
                .flat_map(items)
                .map(|item| (item.mark, item.as_text()));
            let paths = PATCHES
                .iter()
                .flat_map(items)
                .map(|item| (item.mark, item.text_at(&["path"])));
            for (mark, text) in names.chain(paths) {
                if let Some(text) = text {
                    all.entry(kustomization.path_of(text)).or_default().push(mark);
                }
            }
        }
        Self(all)
    }

    /// The entries that lead to a path.
    fn to(&self, path: &str) -> &[Mark] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }

    /// How many lead to it.
    fn count(&self, path: &str) -> usize {
        self.to(path).len()
    }
}

fn remove_file(sources: &Sources, path: &str, changes: &mut Changes<'_>) {
    let asked = |file: &usize| sources.files.get(*file).is_some_and(|source| source.asked);
    let file = sources.index_of(path).filter(asked);
    if let Some(file) = file {
        changes.remove_file(file);
    }
}

/// Takes out what names files that are left empty, and kustomizations that are left without anything to build.
fn emptied(sources: &Sources, references: &References, changes: &mut Changes<'_>) -> Result<(), Problem> {
    let mut done = BTreeSet::new();
    loop {
        let mut paths: Vec<String> = Vec::new();
        for file in changes.emptied() {
            paths.extend(sources.files.get(file).map(|source| source.path.clone()));
        }
        for kustomization in Kustomization::all(sources) {
            if left(kustomization, changes) == Some(false) {
                let folder = kustomization.folder.to_owned();
                if references.count(&folder) == 0 {
                    return Err(Problem {
                        file: None,
                        reason: format!("nothing would be left of {}", kustomization.source.path),
                    });
                }
                remove_file(sources, &kustomization.source.path, changes);
                paths.push(folder);
            }
        }
        let news: Vec<String> = paths
            .into_iter()
            .filter(|path| done.insert(path.clone()))
            .collect();
        if news.is_empty() {
            return Ok(());
        }
        for mark in news.iter().flat_map(|path| references.to(path)) {
            changes.edit(*mark, Change::Remove)?;
        }
    }
}

/// Whether a kustomization that had content has some still; none if it changes nothing about it.
fn left(kustomization: Kustomization<'_>, changes: &Changes<'_>) -> Option<bool> {
    let text = changes.text_of(kustomization.source)?;
    let component = kustomization.node.text_at(&["kind"]) == Some("Component");
    // What a component does to others is content as well.
    let has = |node: &Node| {
        let mut keys = node.entries().iter().filter_map(|(key, _)| key.as_text());
        keys.any(|key| {
            CONTENT.contains(&key) || component && !["apiVersion", "kind", "metadata"].contains(&key)
        })
    };
    let now = parse(0, &text)
        .into_iter()
        .find_map(|document| document.content.ok().flatten());
    has(kustomization.node).then(|| now.is_some_and(|node| has(&node)))
}
