//! How far each workload can be planned.

use super::{PlannedId, State, objects};
use crate::migrate::join::{Joined, MAX_IDENTITIES, Miss};
use crate::migrate::model::{ArmId, Model};
use crate::migrate::source::Sources;
use crate::migrate::yaml::Mark;

/// A workload, its ServiceAccount, and the ids of its identities where nothing blocks it.
pub struct Draft<'a> {
    pub joined: &'a Joined<'a>,
    pub state: State,
    pub why: Vec<String>,
    pub account: String,
    pub new_account: bool,
    pub ids: Vec<PlannedId>,
    /// Whether all that is filled in later can be copied.
    copied: bool,
}

impl Draft<'_> {
    /// Whether its pods are switched by the steps of the plan.
    pub fn is_switched(&self) -> bool {
        match self.state {
            State::Planned => true,
            State::Unresolved => self.copied,
            State::Blocked | State::NoIdentity => false,
        }
    }
}

/// Drafts a workload. In a cluster nothing is filled in any more.
pub fn draft<'a>(sources: &Sources, joined: &'a Joined<'a>, cluster: bool) -> Draft<'a> {
    let is_copied = |text: &str, mark: Mark| !cluster && sources.fills_in(text, mark.file);
    let mut draft = Draft {
        joined,
        state: State::Planned,
        why: Vec::new(),
        account: joined.workload.account().to_owned(),
        new_account: false,
        ids: Vec::new(),
        copied: true,
    };
    let mut blocked = Vec::new();
    let mut unresolved = Vec::new();
    for used in &joined.uses {
        let identity = used.identity;
        match identity.arm_id() {
            _ if identity.kind != 0 => blocked.push(format!("{} is a service principal", identity.at)),
            _ if identity.auxiliary.is_some() => {
                blocked.push(format!("{} names further tenants", identity.at));
            }
            _ if identity.casing.conflict.is_some() => {
                blocked.push(format!("{} says two things", identity.at));
            }
            ArmId::Known(id) => draft.ids.push(PlannedId::Known(id)),
            ArmId::Unresolved(text) => {
                let mark = identity
                    .resource_id
                    .as_ref()
                    .map_or(identity.at.mark, |id| id.mark);
                draft.copied &= is_copied(&text, mark);
                unresolved.push(format!("the ARM id {text} is filled in later"));
                draft.ids.push(PlannedId::Later {
                    text,
                    name: identity.at.name.clone(),
                });
            }
            ArmId::Missing => blocked.push(format!("{} has no resourceID", identity.at)),
            ArmId::Invalid(_) => blocked.push(format!("the resourceID of {} is no ARM id", identity.at)),
        }
    }
    for miss in &joined.misses {
        match miss {
            Miss::Ambiguous(_) => {
                blocked.push("several kustomizations have different identities for it".to_owned());
            }
            Miss::Unbuilt(name) => blocked.push(format!("its binding is in {name}, which cannot be built")),
            Miss::TooMany(_) => blocked.push(format!("it has more than {MAX_IDENTITIES} identities")),
            Miss::Different(binding, _) => {
                blocked.push(format!("the identity of {} is defined differently", binding.at));
            }
            Miss::Dangling(binding) if joined.uses.is_empty() => {
                blocked.push(format!("the identity of {} is not in the input", binding.at));
            }
            Miss::Dangling(_) | Miss::DeadLabel | Miss::Namespace(_) => {}
        }
    }
    let workload = joined.workload;
    if let Some(reason) = &joined.model.unresolved {
        blocked.push(format!("its kustomization cannot be built: {reason}"));
    }
    if workload.is_patch && workload.service_account.is_none() {
        draft.account.clear();
        blocked.push("its ServiceAccount stands in a file that was not read".to_owned());
    }
    let names = [&workload.at.namespace, &workload.at.name, &draft.account];
    for name in names {
        if !name.is_empty() && !is_object_name(name) {
            draft.copied &= is_copied(name, workload.at.mark);
            unresolved.push(format!("{name:?} is no name of an object yet"));
        }
    }
    draft.state = if !blocked.is_empty() {
        State::Blocked
    } else if joined.uses.is_empty() {
        State::NoIdentity
    } else if !unresolved.is_empty() {
        State::Unresolved
    } else {
        State::Planned
    };
    draft.why = blocked;
    if draft.state == State::NoIdentity {
        let nothing = joined.misses.iter().map(|miss| match miss {
            Miss::Namespace(binding) => format!("{} serves another namespace only", binding.at),
            _ => "no binding of the input selects its label".to_owned(),
        });
        draft.why.extend(nothing);
    } else {
        draft.why.extend(unresolved);
    }
    draft
}

/// Leaves out what would need the name of a binding that is there for something else.
pub fn keep_clear(models: &[Model], draft: &mut Draft<'_>) {
    if !draft.is_switched() {
        return;
    }
    let (environment, namespace) = (
        &draft.joined.model.environment,
        &draft.joined.workload.at.namespace,
    );
    let reached = || {
        let models = models.iter();
        models.filter(|model| model.environment.is_none() || model.environment == *environment)
    };
    let account = (namespace.clone(), draft.account.clone());
    let taken = draft.ids.iter().enumerate().find_map(|(number, id)| {
        let title = format!(
            "WorkloadIdentityBinding {namespace}/{}",
            objects::binding_name(draft, number)
        );
        let bound = |model: &Model| {
            model
                .bound
                .get(&account)
                .is_some_and(|ids| ids.contains(id.key()))
        };
        (reached().any(|model| model.present.contains(&title)) && !reached().any(bound))
            .then_some((title, id))
    });
    if let Some((title, id)) = taken {
        let reason = format!(
            "{title} is there already, and does not give {id} to ServiceAccount {}: correct it, or give it another name",
            draft.account
        );
        draft.state = State::Blocked;
        draft.why.push(reason);
    }
}

/// Whether a text is a DNS subdomain, which names of objects have to be.
pub fn is_object_name(text: &str) -> bool {
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 253
        && text.split('.').all(|part| {
            outer(part.chars().next())
                && outer(part.chars().next_back())
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}
