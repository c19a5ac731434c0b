//! The join of pod identity, as MIC and NMI made it: which identities the pods of a workload get. Pure.
//!
//! The label of the pod equals the selector of a binding, byte for byte; the binding names an identity in its own
//! namespace; the pod may be anywhere, unless the identity or the whole installation is namespaced. All bindings count.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{ArmId, Binding, Elsewhere, Identity, Model, Workload};

/// What the pods of a workload get.
#[derive(Clone, Debug)]
pub struct Joined<'a> {
    /// Where the workload is from.
    pub model: &'a Model,
    /// The workload.
    pub workload: &'a Workload,
    /// Its identities, by namespace and name of the binding; no identity twice.
    pub uses: Vec<Use<'a>>,
    /// What kept further bindings from counting.
    pub misses: Vec<Miss<'a>>,
}

impl Joined<'_> {
    /// Whether its pods have switched already and carry the label for the sake of their selector only.
    pub fn is_done(&self) -> bool {
        let workload = self.workload;
        let account = (workload.at.namespace.clone(), workload.account().to_owned());
        let bound = self.model.bound.get(&account);
        let is_bound = |used: &Use<'_>| bound.is_some_and(|ids| ids.contains(&describe(used.identity)));
        workload.in_selector.is_some()
            && workload.uses_workload_identity
            && !self.uses.is_empty()
            && self.uses.iter().all(is_bound)
    }
}

/// An identity that reaches a workload.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// Through which binding.
    pub binding: &'a Binding,
    /// Which identity.
    pub identity: &'a Identity,
    /// The kustomization that the binding is from, where it is another one than the workload's.
    pub other: Option<&'a str>,
}

/// Why a binding, or all of them, did not lead to an identity.
#[derive(Clone, Debug)]
pub enum Miss<'a> {
    /// No binding selects the label.
    DeadLabel,
    /// The binding's identity is nowhere.
    Dangling(&'a Binding),
    /// Namespaced mode, and the workload is in another namespace.
    Namespace(&'a Binding),
    /// Its binding is in a kustomization that cannot be built.
    Unbuilt(String),
    /// Several kustomizations have a binding for it, with different identities.
    Ambiguous(Vec<String>),
    /// The identity is defined several times, differently.
    Different(&'a Binding, Vec<&'a Identity>),
}

/// All bindings by selector, in namespaced mode by namespace as well, and all identities by namespace and name.
pub struct Index<'a> {
    bindings: BTreeMap<(&'a str, &'a str), Vec<(&'a Model, &'a Binding)>>,
    selectors: BTreeMap<&'a str, &'a Binding>,
    identities: BTreeMap<(&'a str, &'a str), Vec<(&'a Model, &'a Identity)>>,
    named: BTreeSet<(&'a str, &'a str)>,
    forced: bool,
}

/// What a binding leads to.
pub enum Found<'a> {
    One(&'a Identity),
    None,
    Different(Vec<&'a Identity>),
}

impl<'a> Index<'a> {
    /// An index of models. `forced` says that pod identity runs in namespaced mode.
    pub fn new(models: &'a [Model], forced: bool) -> Self {
        let mut index = Self {
            bindings: BTreeMap::new(),
            selectors: BTreeMap::new(),
            identities: BTreeMap::new(),
            named: BTreeSet::new(),
            forced,
        };
        for model in models {
            for binding in &model.bindings {
                let selector = binding
                    .selector
                    .as_ref()
                    .filter(|selector| !selector.text.is_empty());
                if let Some(selector) = selector {
                    let namespace = if forced { binding.at.namespace.as_str() } else { "" };
                    let key = (selector.text.as_str(), namespace);
                    index.bindings.entry(key).or_default().push((model, binding));
                    index.selectors.entry(&selector.text).or_insert(binding);
                }
            }
            let named = |binding: &'a Binding| {
                Some((
                    binding.at.namespace.as_str(),
                    binding.identity.as_ref()?.text.as_str(),
                ))
            };
            index.named.extend(model.bindings.iter().filter_map(named));
            for identity in &model.identities {
                let key = (identity.at.namespace.as_str(), identity.at.name.as_str());
                index.identities.entry(key).or_default().push((model, identity));
            }
        }
        for found in index.bindings.values_mut() {
            found.sort_by_key(|(_, binding)| (&binding.at.namespace, &binding.at.name));
        }
        index
    }

    /// The identity that a binding names.
    pub fn identity(&self, model: &'a Model, binding: &'a Binding) -> Found<'a> {
        let Some(name) = &binding.identity else {
            return Found::None;
        };
        let key = (binding.at.namespace.as_str(), name.text.as_str());
        let Some(all) = self.identities.get(&key) else {
            return Found::None;
        };
        let own: Vec<&Identity> = all
            .iter()
            .filter(|(from, _)| in_reach(model, from))
            .map(|(_, i)| *i)
            .collect();
        let all: Vec<&Identity> = if own.is_empty() {
            all.iter().map(|(_, i)| *i).collect()
        } else {
            own
        };
        // A base holds a stub or a placeholder where an overlay, or another file, holds the real thing.
        let real: Vec<&Identity> = all
            .iter()
            .copied()
            .filter(|i| matches!(i.arm_id(), ArmId::Known(_)))
            .collect();
        let candidates = if real.is_empty() { all } else { real };
        let distinct: BTreeSet<String> = candidates.iter().map(|identity| describe(identity)).collect();
        match candidates.first() {
            Some(first) if distinct.len() == 1 => Found::One(first),
            Some(_) => Found::Different(candidates),
            None => Found::None,
        }
    }

    /// The bindings that select a label: those of the same environment and of plain files, or else those of others.
    fn bindings(
        &self,
        model: &'a Model,
        label: &str,
        namespace: &str,
    ) -> Result<Vec<(&'a Model, &'a Binding)>, Miss<'a>> {
        let all = self
            .bindings
            .get(&(label, if self.forced { namespace } else { "" }));
        let all = all.map_or(&[][..], Vec::as_slice);
        let own: Vec<_> = all
            .iter()
            .copied()
            .filter(|(from, _)| in_reach(model, from))
            .collect();
        if !own.is_empty() {
            return Ok(own);
        }
        let mut groups: BTreeMap<Option<&str>, Vec<(&'a Model, &'a Binding)>> = BTreeMap::new();
        for (from, binding) in all {
            groups
                .entry(from.environment.as_deref())
                .or_default()
                .push((*from, *binding));
        }
        // What a kustomization that cannot be built would make of them is not known.
        let unbuilt = groups.keys().next().copied().flatten().map(str::to_owned);
        groups.retain(|_, group| group.iter().all(|(from, _)| from.unresolved.is_none()));
        if let Some(name) = unbuilt.filter(|_| groups.is_empty()) {
            return Err(Miss::Unbuilt(name));
        }
        let said: BTreeSet<BTreeSet<String>> = groups
            .values()
            .map(|group| {
                group
                    .iter()
                    .map(|(from, binding)| self.leads_to(from, binding))
                    .collect()
            })
            .collect();
        if said.len() > 1 {
            let names = groups.keys().map(|name| name.unwrap_or("plain files").to_owned());
            return Err(Miss::Ambiguous(names.collect()));
        }
        let elsewhere = || self.selectors.get(label).copied();
        let found = groups.into_values().next();
        found.ok_or_else(|| elsewhere().map_or(Miss::DeadLabel, Miss::Namespace))
    }

    fn leads_to(&self, from: &'a Model, binding: &'a Binding) -> String {
        match self.identity(from, binding) {
            Found::One(identity) => describe(identity),
            Found::None => String::new(),
            Found::Different(all) => all.iter().map(|identity| describe(identity)).collect(),
        }
    }

    /// Whether some binding names this identity.
    pub fn is_named(&self, namespace: &str, name: &str) -> bool {
        self.named.contains(&(namespace, name))
    }

    /// What the pods of a workload get.
    pub fn workload(&self, model: &'a Model, workload: &'a Workload) -> Option<Joined<'a>> {
        let label = workload.label.as_ref()?;
        let mut joined = Joined {
            model,
            workload,
            uses: Vec::new(),
            misses: Vec::new(),
        };
        self.follow(
            model,
            &label.text,
            &workload.at.namespace,
            &mut joined.uses,
            &mut joined.misses,
        );
        Some(joined)
    }

    /// What pods of a label elsewhere would get.
    pub fn elsewhere(&self, model: &'a Model, found: &'a Elsewhere) -> (Vec<Use<'a>>, Vec<Miss<'a>>) {
        let (mut uses, mut misses) = (Vec::new(), Vec::new());
        if let Some(value) = &found.value {
            self.follow(model, &value.text, &found.namespace, &mut uses, &mut misses);
        }
        (uses, misses)
    }

    fn follow(
        &self,
        model: &'a Model,
        label: &str,
        namespace: &str,
        uses: &mut Vec<Use<'a>>,
        misses: &mut Vec<Miss<'a>>,
    ) {
        let bindings = match self.bindings(model, label, namespace) {
            Ok(bindings) => bindings,
            Err(miss) => return misses.push(miss),
        };
        let mut seen = BTreeSet::new();
        let mut foreign = None;
        for (from, binding) in bindings {
            let identity = match self.identity(from, binding) {
                Found::One(identity) => identity,
                Found::None => {
                    misses.push(Miss::Dangling(binding));
                    continue;
                }
                Found::Different(all) => {
                    misses.push(Miss::Different(binding, all));
                    continue;
                }
            };
            if identity.namespaced && binding.at.namespace != namespace {
                foreign = foreign.or(Some(binding));
                continue;
            }
            if seen.insert(describe(identity)) {
                let other = from.environment.as_deref().filter(|_| !in_reach(model, from));
                uses.push(Use {
                    binding,
                    identity,
                    other,
                });
            }
        }
        // Where it has an identity, it matters to nobody that others are for other namespaces.
        misses.extend(foreign.filter(|_| uses.is_empty()).map(Miss::Namespace));
    }
}

/// Whether what is in one environment is applied together with what is in another: the same one, or plain files.
fn in_reach(model: &Model, other: &Model) -> bool {
    other.environment.is_none() || other.environment == model.environment
}

/// What makes an identity the same as another one, however it is written.
pub fn describe(identity: &Identity) -> String {
    let id = match identity.arm_id() {
        ArmId::Known(id) => id.key().to_owned(),
        _ => identity
            .resource_id
            .as_ref()
            .map(|text| text.text.trim().to_owned())
            .unwrap_or_default(),
    };
    if id.is_empty() || identity.kind != 0 {
        let client = identity
            .client_id
            .as_ref()
            .map(|text| text.text.trim())
            .unwrap_or_default();
        return format!(
            "{}/{} {} {client}",
            identity.at.namespace, identity.at.name, identity.kind
        );
    }
    id
}
