//! The join of pod identity, as MIC and NMI made it: which identities the pods of a workload get. Pure.
//!
//! The label of the pod equals the selector of a binding, byte for byte; the binding names an identity in its own
//! namespace; the pod may be anywhere, unless the identity or the whole installation is namespaced. All bindings count.
//!
//! What a label selects is worked out once for all workloads of an environment that carry it: in a cluster where every
//! namespace has a binding for the same label, it is every workload with every binding otherwise.

mod index;
mod selected;

use std::rc::Rc;

pub use index::{Found, Index};
pub use selected::Selected;

use super::model::{ArmId, Binding, Elsewhere, Identity, Model, Workload};

/// Most identities that a workload is planned with. It is never many in practice; a label that leads to more is almost
/// always one that every namespace has bindings for.
pub const MAX_IDENTITIES: usize = 32;

/// What the pods of a workload get.
#[derive(Clone, Debug)]
pub struct Joined<'a> {
    /// Where the workload is from.
    pub model: &'a Model,
    /// The workload.
    pub workload: &'a Workload,
    /// Its identities, by namespace and name of the binding; no identity twice. None if there are too many.
    pub uses: Vec<Use<'a>>,
    /// What kept further bindings from counting.
    pub misses: Vec<Miss<'a>>,
    /// Everything that its label selects.
    pub selected: Option<Rc<Selected<'a>>>,
}

impl Joined<'_> {
    /// Whether it has more identities than can be planned.
    pub fn has_too_many(&self) -> bool {
        self.misses.iter().any(|miss| matches!(miss, Miss::TooMany(_)))
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
    Unbuilt(&'a str),
    /// Several kustomizations have a binding for it, with different identities.
    Ambiguous(Rc<[String]>),
    /// The identity is defined several times, differently.
    Different(&'a Binding, Rc<[&'a Identity]>),
    /// So many bindings lead to more than [`MAX_IDENTITIES`] identities.
    TooMany(usize),
}

/// What the pods of a label get.
#[derive(Default)]
pub struct Reached<'a> {
    /// Identities, as in [`Joined`].
    pub uses: Vec<Use<'a>>,
    /// What kept further bindings from counting.
    pub misses: Vec<Miss<'a>>,
    /// Everything that the label selects.
    pub selected: Option<Rc<Selected<'a>>>,
}

impl<'a> Index<'a> {
    /// What the pods of a workload get.
    pub fn workload(&self, model: &'a Model, workload: &'a Workload) -> Option<Joined<'a>> {
        let label = workload.label.as_ref()?;
        let reached = self.reached(model, &label.text, &workload.at.namespace);
        let joined = Joined {
            model,
            workload,
            uses: reached.uses,
            misses: reached.misses,
            selected: reached.selected,
        };
        (!self.is_done(&joined)).then_some(joined)
    }

    /// Whether its pods have switched already, and only their selector, which cannot change, holds the label still.
    fn is_done(&self, joined: &Joined<'a>) -> bool {
        let account = (
            joined.workload.at.namespace.clone(),
            joined.workload.account().to_owned(),
        );
        let bound = |id: &String| {
            self.reach(joined.model)
                .any(|from| from.bound.get(&account).is_some_and(|ids| ids.contains(id)))
        };
        self.has_switched(joined.model, joined.workload)
            && joined.uses.iter().all(|used| bound(&describe(used.identity)))
    }

    /// What pods of a label elsewhere would get.
    pub fn elsewhere(&self, model: &'a Model, found: &'a Elsewhere) -> Reached<'a> {
        let value = found.value.as_ref();
        value.map_or_else(Reached::default, |value| {
            self.reached(model, &value.text, &found.namespace)
        })
    }

    fn reached(&self, model: &'a Model, label: &'a str, namespace: &'a str) -> Reached<'a> {
        match self.select(model, label, namespace) {
            Ok(selected) => {
                let (uses, misses) = selected.of(namespace);
                Reached {
                    uses,
                    misses,
                    selected: Some(selected),
                }
            }
            Err(miss) => Reached {
                misses: vec![miss],
                ..Reached::default()
            },
        }
    }
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
