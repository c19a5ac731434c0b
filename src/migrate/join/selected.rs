//! What one label selects.

use std::collections::{BTreeMap, BTreeSet};

use super::{MAX_IDENTITIES, Miss, Use, describe};

/// Everything that a label selects, as seen from one environment.
#[derive(Debug)]
pub struct Selected<'a> {
    /// Tells it from what other labels and environments select.
    pub number: usize,
    /// Each binding that leads to an identity, by namespace and name.
    pub all: Vec<Use<'a>>,
    /// For pods of every namespace; no identity twice.
    everywhere: Vec<Described<'a>>,
    /// For pods of the namespace of the binding only.
    inside: BTreeMap<&'a str, Vec<Described<'a>>>,
    misses: Vec<Miss<'a>>,
}

/// An identity, with what makes it the same as another one.
type Described<'a> = (String, Use<'a>);

impl<'a> Selected<'a> {
    /// Of bindings in order, and of those that lead nowhere.
    pub fn new(number: usize, all: Vec<Use<'a>>, misses: Vec<Miss<'a>>) -> Self {
        let mut seen: BTreeSet<(&str, String)> = BTreeSet::new();
        let mut everywhere = Vec::new();
        let mut inside: BTreeMap<&str, Vec<Described<'_>>> = BTreeMap::new();
        for used in &all {
            let description = describe(used.identity);
            let namespace = used.binding.at.namespace.as_str();
            let (list, scope) = if used.identity.namespaced {
                (inside.entry(namespace).or_default(), namespace)
            } else {
                (&mut everywhere, "")
            };
            if seen.insert((scope, description.clone())) {
                list.push((description, *used));
            }
        }
        Self {
            number,
            all,
            everywhere,
            inside,
            misses,
        }
    }

    /// What of it reaches pods of a namespace.
    pub fn of(&self, namespace: &str) -> (Vec<Use<'a>>, Vec<Miss<'a>>) {
        let inside = self.inside.get(namespace).map_or(&[][..], Vec::as_slice);
        let too_many = || (Vec::new(), vec![Miss::TooMany(self.all.len())]);
        if self.everywhere.len().max(inside.len()) > MAX_IDENTITIES {
            return too_many();
        }
        let mut both: Vec<&Described<'_>> = self.everywhere.iter().chain(inside).collect();
        both.sort_by_key(|(_, used)| (&used.binding.at.namespace, &used.binding.at.name));
        let mut seen = BTreeSet::new();
        both.retain(|(description, _)| seen.insert(description));
        if both.len() > MAX_IDENTITIES {
            return too_many();
        }
        let uses: Vec<Use<'_>> = both.into_iter().map(|(_, used)| *used).collect();
        // The first ones are enough to say what is wrong.
        let mut misses: Vec<Miss<'_>> = self.misses.iter().take(MAX_IDENTITIES).cloned().collect();
        // Where it has an identity, it matters to nobody that others are for other namespaces.
        let foreign = self.inside.values().flatten().next().filter(|_| uses.is_empty());
        misses.extend(foreign.map(|(_, used)| Miss::Namespace(used.binding)));
        (uses, misses)
    }
}
