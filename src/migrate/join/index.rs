//! Bindings by what they select, and identities by name, each by environment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::{Miss, Selected, Use, describe};
use crate::migrate::model::{ArmId, Binding, Identity, Model, Workload};

/// Things by environment; none stands for the files that no kustomization uses.
type ByEnvironment<'a, T> = BTreeMap<Option<&'a str>, Vec<T>>;

/// A binding with where it is from.
type Placed<'a> = (&'a Model, &'a Binding);

/// What a label selects, or why that is not known.
type Selection<'a> = Result<Rc<Selected<'a>>, Miss<'a>>;

/// From where a label is seen: an environment that has bindings for it, or all that have none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum View<'a> {
    Own(Option<&'a str>),
    Others,
}

/// All bindings by selector, in namespaced mode by namespace as well, and all identities by namespace and name.
pub struct Index<'a> {
    bindings: BTreeMap<(&'a str, &'a str), ByEnvironment<'a, Placed<'a>>>,
    selectors: BTreeMap<&'a str, &'a Binding>,
    identities: BTreeMap<(&'a str, &'a str), ByEnvironment<'a, &'a Identity>>,
    named: BTreeMap<(&'a str, &'a str), Vec<&'a Binding>>,
    plain: Option<&'a Model>,
    labels: BTreeSet<&'a str>,
    forced: bool,
    selected: RefCell<BTreeMap<(View<'a>, &'a str, &'a str), Selection<'a>>>,
}

/// What a binding leads to.
pub enum Found<'a> {
    One(&'a Identity),
    None,
    Different(Rc<[&'a Identity]>),
}

impl<'a> Index<'a> {
    /// An index of models. `forced` says that pod identity runs in namespaced mode.
    pub fn new(models: &'a [Model], forced: bool) -> Self {
        let mut index = Self {
            bindings: BTreeMap::new(),
            selectors: BTreeMap::new(),
            identities: BTreeMap::new(),
            named: BTreeMap::new(),
            plain: models.iter().find(|model| model.environment.is_none()),
            labels: BTreeSet::new(),
            forced,
            selected: RefCell::default(),
        };
        for model in models {
            let environment = model.environment.as_deref();
            for binding in &model.bindings {
                let selector = binding.selector.as_ref().map(|selector| selector.text.as_str());
                if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
                    let groups = index.bindings.entry(index.key(selector, &binding.at.namespace));
                    let group = groups.or_default().entry(environment).or_default();
                    group.push((model, binding));
                    index.selectors.entry(selector).or_insert(binding);
                }
                if let Some(name) = &binding.identity {
                    let key = (binding.at.namespace.as_str(), name.text.as_str());
                    index.named.entry(key).or_default().push(binding);
                }
            }
            for identity in &model.identities {
                let key = (identity.at.namespace.as_str(), identity.at.name.as_str());
                let groups = index.identities.entry(key).or_default();
                groups.entry(environment).or_default().push(identity);
            }
        }
        for model in models {
            let workloads = model
                .workloads
                .iter()
                .filter(|workload| !index.has_switched(model, workload));
            let labels = workloads.filter_map(|workload| workload.label.as_ref());
            let elsewhere = model.elsewhere.iter().filter(|found| found.form.reaches_pods());
            let elsewhere = elsewhere.filter_map(|found| found.value.as_ref());
            let labels: Vec<&str> = labels.chain(elsewhere).map(|label| label.text.as_str()).collect();
            index.labels.extend(labels);
        }
        index
    }

    fn key<'k>(&self, label: &'k str, namespace: &'k str) -> (&'k str, &'k str) {
        (label, if self.forced { namespace } else { "" })
    }

    /// The identity that a binding names.
    pub fn identity(&self, model: &'a Model, binding: &'a Binding) -> Found<'a> {
        let Some(name) = &binding.identity else {
            return Found::None;
        };
        let mut all: Vec<&Identity> = self
            .definitions(model, &binding.at.namespace, &name.text)
            .collect();
        if all.is_empty() {
            let key = (binding.at.namespace.as_str(), name.text.as_str());
            all = self
                .identities
                .get(&key)
                .into_iter()
                .flat_map(BTreeMap::values)
                .flatten()
                .copied()
                .collect();
        }
        // A base holds a stub or a placeholder where an overlay, or another file, holds the real thing.
        let real: Vec<&Identity> = all
            .iter()
            .copied()
            .filter(|i| matches!(i.arm_id(), ArmId::Known(_)))
            .collect();
        let candidates = if real.is_empty() { all } else { real };
        match candidates.as_slice() {
            [] => Found::None,
            [one] => Found::One(one),
            [first, rest @ ..] => {
                let description = describe(first);
                if rest.iter().all(|other| describe(other) == description) {
                    Found::One(first)
                } else {
                    Found::Different(candidates.into())
                }
            }
        }
    }

    /// The identities of a name that are applied together with what is in an environment: those of plain files, and
    /// its own.
    pub fn definitions(
        &self,
        model: &'a Model,
        namespace: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Identity> {
        let groups = self.identities.get(&(namespace, name));
        in_reach(groups, model.environment.as_deref())
    }

    /// Whether some binding names this identity.
    pub fn is_named(&self, namespace: &str, name: &str) -> bool {
        self.named.contains_key(&(namespace, name))
    }

    /// Bindings that name an identity.
    pub fn bindings_of<'b>(&'b self, identity: &'b Identity) -> &'b [&'b Binding] {
        let key = (identity.at.namespace.as_str(), identity.at.name.as_str());
        self.named.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whether pods of the input, or what may become pods, have the label that a binding selects.
    pub fn is_selected(&self, binding: &Binding) -> bool {
        let selector = binding.selector.as_ref().map(|selector| selector.text.as_str());
        selector.is_some_and(|selector| self.labels.contains(selector))
    }

    /// What is applied together with an environment: plain files, and its own.
    pub(super) fn reach(&self, model: &'a Model) -> impl Iterator<Item = &'a Model> {
        self.plain.into_iter().chain([model])
    }

    /// Whether the pods of a workload use workload identity, and its selector holds the label of pod identity.
    pub(super) fn has_switched(&self, model: &'a Model, workload: &Workload) -> bool {
        let key = (workload.at.namespace.clone(), workload.account().to_owned());
        workload.uses_workload_identity
            && workload.in_selector.is_some()
            && self.reach(model).any(|from| from.bound.contains_key(&key))
    }

    /// What a label selects: bindings of the same environment and of plain files, or else those of others.
    pub(super) fn select(&self, model: &'a Model, label: &'a str, namespace: &'a str) -> Selection<'a> {
        let (label, namespace) = self.key(label, namespace);
        let groups = self.bindings.get(&(label, namespace));
        let environment = model.environment.as_deref();
        let own = in_reach(groups, environment).next().is_some();
        let view = if own { View::Own(environment) } else { View::Others };
        let key = (view, label, namespace);
        let known = self.selected.borrow().get(&key).cloned();
        known.unwrap_or_else(|| {
            let number = self.selected.borrow().len();
            let selection = match view {
                View::Own(_) => Ok(in_reach(groups, environment).collect()),
                View::Others => self.of_others(groups, label),
            };
            let selection = selection.map(|bindings| Rc::new(self.follow(number, bindings, !own)));
            self.selected.borrow_mut().insert(key, selection.clone());
            selection
        })
    }

    /// The bindings of other environments, as long as they lead to the same identities.
    fn of_others(
        &self,
        groups: Option<&ByEnvironment<'a, Placed<'a>>>,
        label: &str,
    ) -> Result<Vec<Placed<'a>>, Miss<'a>> {
        let Some(groups) = groups else {
            let elsewhere = self.selectors.get(label).copied();
            return Err(elsewhere.map_or(Miss::DeadLabel, Miss::Namespace));
        };
        // What a kustomization that cannot be built would make of them is not known.
        let built: BTreeMap<_, _> = groups
            .iter()
            .filter(|(_, group)| group.iter().all(|(from, _)| from.unresolved.is_none()))
            .collect();
        if built.is_empty() {
            let name = groups.keys().next().copied().flatten();
            return Err(name.map_or(Miss::DeadLabel, Miss::Unbuilt));
        }
        let leads_to = |group: &&Vec<Placed<'a>>| -> BTreeSet<String> {
            group
                .iter()
                .map(|(from, binding)| self.leads_to(from, binding))
                .collect()
        };
        let said: BTreeSet<BTreeSet<String>> = built.values().map(leads_to).collect();
        if said.len() > 1 {
            let names = built.keys().map(|name| name.unwrap_or("plain files").to_owned());
            return Err(Miss::Ambiguous(names.collect()));
        }
        Ok(built.into_values().next().cloned().unwrap_or_default())
    }

    fn leads_to(&self, from: &'a Model, binding: &'a Binding) -> String {
        match self.identity(from, binding) {
            Found::One(identity) => describe(identity),
            Found::None => String::new(),
            Found::Different(all) => all.iter().map(|identity| describe(identity)).collect(),
        }
    }

    /// What bindings lead to. `others` says that they are from other environments than the workload.
    fn follow(&self, number: usize, mut bindings: Vec<Placed<'a>>, others: bool) -> Selected<'a> {
        bindings.sort_by_key(|(_, binding)| (&binding.at.namespace, &binding.at.name));
        let mut uses = Vec::new();
        let mut misses = Vec::new();
        for (from, binding) in bindings {
            match self.identity(from, binding) {
                Found::One(identity) => uses.push(Use {
                    binding,
                    identity,
                    other: from.environment.as_deref().filter(|_| others),
                }),
                Found::None => misses.push(Miss::Dangling(binding)),
                Found::Different(all) => misses.push(Miss::Different(binding, all)),
            }
        }
        Selected::new(number, uses, misses)
    }
}

/// What is applied together with an environment: that of plain files, and its own.
fn in_reach<'m, 'a, T: Copy>(
    groups: Option<&'m ByEnvironment<'a, T>>,
    environment: Option<&'a str>,
) -> impl Iterator<Item = T> + use<'m, 'a, T> {
    let plain = groups.and_then(|groups| groups.get(&None));
    let own = environment.and_then(|name| groups.and_then(|groups| groups.get(&Some(name))));
    plain.into_iter().chain(own).flatten().copied()
}
