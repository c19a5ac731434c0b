//! Forms by which components of the ecosystem ask for pod identity, and what takes their place. Pure.
//!
//! Each family gives the changes of one object or values file that belong together, the workloads that have to switch in
//! the same run, or the reason why a person has to do it. A Secret is never changed.

mod external_dns;
mod external_secrets;
mod gateway;
mod group;
mod items;
mod keda;
mod msi;
mod secret_provider_class;

pub use group::Group;
pub use items::items;
pub use secret_provider_class::Class;

use std::collections::{BTreeMap, BTreeSet};

use crate::migrate::edit::{Change, Step};
use crate::migrate::join::{Index, Joined, describe};
use crate::migrate::model::{ArmId, Family, Identity, Model, Reference, Workload};
use crate::migrate::plan::{Plan, Switch, WorkloadPlan};
use crate::migrate::source::Sources;
use crate::migrate::yaml::{Mark, is_placeholder};

/// What the changes of components follow from.
struct Context<'a, 'm> {
    /// The files.
    sources: &'a Sources,
    /// What they mean.
    models: &'m [Model],
    /// The bindings of pod identity.
    index: &'a Index<'m>,
    /// What the workloads get through them.
    joined: &'a [Joined<'m>],
    /// Which of them are switched.
    plan: &'a Plan,
    /// SecretProviderClasses that are mounted by something that could not be parsed.
    in_text: BTreeSet<&'a str>,
}

/// A group, with the place that its changes are about: groups of one place are made together or not at all.
type Draft = (Mark, Group);

/// Changes, or why a person has to make them.
type Decision = Result<Vec<(Mark, Change)>, String>;

/// The groups of all components.
pub fn groups<'m>(
    sources: &Sources,
    models: &'m [Model],
    index: &Index<'m>,
    joined: &[Joined<'m>],
    plan: &Plan,
) -> Vec<Group> {
    let context = Context::new(sources, models, index, joined, plan);
    let mut drafts = secret_provider_class::groups(&context);
    drafts.extend(msi::groups(&context));
    for model in models {
        for setting in &model.settings {
            let own = |decision| group(&setting.holder, model.environment.clone(), Vec::new(), decision);
            let group = match setting.family {
                Family::Keda => keda::provider(&context, setting).map(own),
                Family::KedaChart => Some(own(keda::chart(&context, model, setting))),
                Family::Gateway => gateway::settings(&context, setting).map(own),
                Family::ExternalDns => external_dns::settings(&context, model, setting),
                Family::ExternalSecrets => external_secrets::store(&context, model, setting),
            };
            drafts.extend(group.map(|group| (setting.mark, group)));
        }
    }
    settled(drafts)
}

/// The SecretProviderClasses that use pod identity, and what becomes of each.
pub fn classes<'m>(
    sources: &Sources,
    models: &'m [Model],
    index: &Index<'m>,
    joined: &[Joined<'m>],
    plan: &Plan,
) -> Vec<Class> {
    secret_provider_class::all(&Context::new(sources, models, index, joined, plan))
}

/// A group. Workloads that need it do not switch without it, whether it can be made or not.
fn group(
    subject: &Reference,
    environment: Option<String>,
    with: Vec<Reference>,
    decision: Decision,
) -> Group {
    Group {
        with,
        ..Group::of(subject, environment, decision)
    }
}

/// Environments that share a document have to want the same of it.
fn settled(drafts: Vec<Draft>) -> Vec<Group> {
    let mut places: BTreeMap<Mark, Vec<Group>> = BTreeMap::new();
    for (place, group) in drafts {
        places.entry(place).or_default().push(group);
    }
    for groups in places.values_mut() {
        let Some(first) = groups.first().map(|group| group.edits.clone()) else {
            continue;
        };
        if groups
            .iter()
            .all(|group| group.blocked.is_none() && group.edits == first)
        {
            continue;
        }
        let name = |group: &Group| {
            group
                .environment
                .clone()
                .unwrap_or_else(|| "plain files".to_owned())
        };
        let names: Vec<String> = groups.iter().map(name).collect();
        for (number, group) in groups.iter_mut().enumerate() {
            group.edits.clear();
            let others: Vec<&str> = names
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != number)
                .map(|(_, n)| n.as_str())
                .collect();
            let reason = || {
                format!(
                    "{} needs something else of the same document: give each its own by a patch",
                    others.join(", ")
                )
            };
            group.blocked.get_or_insert_with(reason);
        }
    }
    places.into_values().flatten().collect()
}

impl<'a, 'm> Context<'a, 'm> {
    fn new(
        sources: &'a Sources,
        models: &'m [Model],
        index: &'a Index<'m>,
        joined: &'a [Joined<'m>],
        plan: &'a Plan,
    ) -> Self {
        Self {
            sources,
            models,
            index,
            joined,
            plan,
            in_text: secret_provider_class::in_text(sources),
        }
    }

    /// The place of the value of an entry, if the entry stands there with this key: what came through a patch of JSON does
    /// not.
    fn entry(&self, mark: Mark, key: &str) -> Result<Mark, String> {
        match items::step(self.sources, mark) {
            Some(Step::Key(found)) if found == key => Ok(mark),
            _ => Err(format!(
                "{key} is set by a patch at {}: change it there",
                self.sources.place(mark)
            )),
        }
    }

    /// How a workload switches, if it does.
    fn switch(&self, model: &Model, workload: &Workload) -> Option<&'a Switch> {
        let same =
            |switch: &&Switch| switch.environment == model.environment && switch.workload.at == workload.at;
        self.plan.switches.iter().find(same)
    }

    /// Why a workload does not switch.
    fn unplanned(&self, model: &Model, workload: &Workload) -> String {
        let at = &workload.at;
        let same = |plan: &&WorkloadPlan| {
            plan.environment == model.environment
                && (&plan.namespace, &plan.kind, &plan.name) == (&at.namespace, &at.kind, &at.name)
        };
        let why = self
            .plan
            .workloads
            .iter()
            .find(same)
            .map(|plan| plan.why.join(", "));
        format!("{at} is not planned ({})", why.unwrap_or_default())
    }

    /// The only identity of a workload that switches, or why it is not known.
    fn identity(&self, model: &Model, workload: &Workload) -> Result<&'m Identity, String> {
        let at = &workload.at;
        let same =
            |joined: &&Joined<'_>| joined.model.environment == model.environment && joined.workload.at == *at;
        let Some(joined) = self.joined.iter().find(same) else {
            return Err(format!(
                "{at} has no label of pod identity, so that its identity is not known"
            ));
        };
        match joined.uses.as_slice() {
            [] => Err(format!("{at} has no identity")),
            [only] if self.switch(model, workload).is_some() => Ok(only.identity),
            [_] => Err(self.unplanned(model, workload)),
            _ => Err(format!("{at} has several identities")),
        }
    }

    /// The client id of an identity, for use in a file, or why it is not certain.
    fn client_id(&self, identity: &Identity, file: u32) -> Result<String, String> {
        let at = &identity.at;
        let Some(client) = &identity.client_id else {
            return Err(format!("{at} has no clientID"));
        };
        let text = client.text.trim();
        if is_placeholder(text) {
            let copied = [client.mark.file, file].map(|file| self.sources.fills_in(text, file));
            return if client.mark.file == file || copied == [true, true] {
                Ok(text.to_owned())
            } else {
                Err(format!("the clientID {text} of {at} is filled in later"))
            };
        }
        if uuid::Uuid::try_parse(text).is_err() {
            return Err(format!("the clientID {text} of {at} is no GUID"));
        }
        let all = self.models.iter().flat_map(|model| &model.identities);
        let contradicts = all
            .filter(|other| other.kind == 0 && matches!(other.arm_id(), ArmId::Known(_)))
            .any(|other| {
                let client = other.client_id.as_ref().map(|client| client.text.trim());
                let same_client = client.is_some_and(|client| client.eq_ignore_ascii_case(text));
                let good = client.is_some_and(|client| uuid::Uuid::try_parse(client).is_ok());
                let same_identity = describe(other) == describe(identity);
                good && same_client != same_identity
            });
        if contradicts {
            return Err(format!(
                "the clientID {text} of {at} contradicts another AzureIdentity: ask Azure which is right"
            ));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests;
