//! Where the new objects of a workload belong: to the kustomization that gives it its name.
//!
//! kustomize renames a ServiceAccount together with what refers to it only if both are below the same prefix. The
//! objects therefore stand in the innermost kustomization that has one, or else in the environment's own.

use std::collections::BTreeSet;

use crate::migrate::kustomize::Kustomization;
use crate::migrate::model::Model;
use crate::migrate::source::Sources;

/// A kustomization, and what is added to the names of its objects on the way to the environment.
#[derive(Clone)]
pub struct Home<'a> {
    /// The kustomization.
    pub kustomization: Kustomization<'a>,
    prefix: String,
    suffix: String,
    /// The namespace that it, or one below it, gives to the workload.
    namespace: Option<String>,
}

impl<'a> Home<'a> {
    /// The home of the objects for a workload that stands in a file, within an environment; of those of the environment
    /// itself without a file.
    pub fn of(sources: &'a Sources, environment: &str, file: Option<&str>) -> Option<Self> {
        let folder = if environment == "." { "" } else { environment };
        let root = Kustomization::in_folder(sources, folder)?;
        let chain = file
            .and_then(|file| chain(sources, root, file, 0))
            .unwrap_or_else(|| vec![root]);
        let affix = |k: &Kustomization<'a>, key: &str| k.node.text_at(&[key]).unwrap_or_default().to_owned();
        let has_affix =
            |k: &&Kustomization<'a>| !(affix(k, "namePrefix") + &affix(k, "nameSuffix")).is_empty();
        let at = chain.iter().rposition(|k| has_affix(&k)).unwrap_or(0);
        let below = chain.get(at..).unwrap_or_default();
        Some(Self {
            kustomization: chain.get(at).copied().unwrap_or(root),
            namespace: below
                .iter()
                .map(|k| affix(k, "namespace"))
                .find(|namespace| !namespace.is_empty()),
            prefix: chain.iter().map(|k| affix(k, "namePrefix")).collect(),
            suffix: chain.iter().rev().map(|k| affix(k, "nameSuffix")).collect(),
        })
    }

    /// The name that becomes this one through the prefixes and suffixes; none if there is no such name.
    pub fn written<'b>(&self, name: &'b str) -> Option<&'b str> {
        let stripped = name.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        Some(stripped).filter(|name| !name.is_empty())
    }

    /// Whether names change on the way. kustomize then sees that two objects belong together only if they are in the
    /// same namespace at that point.
    pub fn changes_names(&self) -> bool {
        !(self.prefix.is_empty() && self.suffix.is_empty())
    }

    /// The namespace, if any, in which a workload is there that is written with this one.
    pub fn namespace(&self, written: Option<String>) -> Option<String> {
        self.namespace.clone().or(written)
    }

    /// What becomes of a name.
    pub fn built(&self, name: &str) -> String {
        format!("{}{name}{}", self.prefix, self.suffix)
    }
}

/// Files that several environments lead to, whose objects are different ones.
pub fn shared<'a>(sources: &'a Sources, models: &[Model]) -> BTreeSet<&'a str> {
    let environments = models.iter().filter_map(|model| model.environment.as_deref());
    let roots = environments
        .filter_map(|name| Kustomization::in_folder(sources, if name == "." { "" } else { name }));
    let mut seen = BTreeSet::new();
    let reached = roots.flat_map(|root| root.reach(sources));
    reached.filter(|path| !seen.insert(*path)).collect()
}

/// The kustomizations that lead to a file, the outermost first.
fn chain<'a>(
    sources: &'a Sources,
    from: Kustomization<'a>,
    file: &str,
    depth: usize,
) -> Option<Vec<Kustomization<'a>>> {
    // They may lead back to themselves.
    if depth > 50 {
        return None;
    }
    let items = ["resources", "bases"]
        .into_iter()
        .flat_map(|key| from.node.get(key).map_or(&[][..], |list| list.items()));
    let paths: Vec<String> = items
        .filter_map(|item| Some(from.path_of(item.as_text()?)))
        .collect();
    if paths.iter().any(|path| path == file) {
        return Some(vec![from]);
    }
    paths.iter().find_map(|path| {
        let below = Kustomization::in_folder(sources, path)?;
        let mut chain = chain(sources, below, file, depth + 1)?;
        chain.insert(0, from);
        Some(chain)
    })
}
