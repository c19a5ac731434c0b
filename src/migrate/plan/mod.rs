//! What is to be created, changed and removed, in the order in which nothing loses its access. Pure.

mod accounts;
mod draft;
mod id;
mod leftover;
mod objects;
mod steps;

pub use accounts::Chosen;
pub use id::PlannedId;
pub use objects::{Output, bounded};
pub use steps::{Action, Item, Step};

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use strum::IntoStaticStr;

use super::finding::{Code, Finding, Place};
use super::join::{Index, Joined};
use super::model::{Model, Reference, Workload};
use super::source::Sources;
use crate::core::IdentityId;
use draft::{Draft, draft, is_object_name};

/// Most federated identity credentials that Azure allows on one identity.
const LIMIT: usize = 20;

/// How far a workload can be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum State {
    /// Completely.
    Planned,
    /// But for values that are filled in later. Where what fills them in does so in every file, they are copied.
    Unresolved,
    /// Not, until a person has decided or repaired something.
    Blocked,
    /// Pod identity gives its pods nothing, as far as the input shows.
    NoIdentity,
}

/// An identity of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedIdentity {
    /// Namespace and name of the AzureIdentity.
    pub azure_identity: String,
    /// ARM id, as written.
    pub resource_id: String,
    /// Client id, as written.
    pub client_id: String,
    /// Name of the WorkloadIdentityBinding; none where it cannot be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
}

/// What becomes of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPlan {
    /// Kustomization that it was seen through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Namespace.
    pub namespace: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// How far it can be planned.
    pub state: State,
    /// Why no further.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// Its identities.
    pub identities: Vec<PlannedIdentity>,
    /// ServiceAccount of its pods, after the switch; empty where that is not known.
    pub service_account: String,
    /// Whether that one is to be created.
    pub new_service_account: bool,
}

impl WorkloadPlan {
    /// Whether its pods are switched by the steps of the plan.
    pub fn is_switched(&self) -> bool {
        self.identities.iter().any(|identity| identity.binding.is_some())
    }
}

/// How many credentials an identity gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// ARM id.
    pub resource_id: String,
    /// Planned credentials: one for each ServiceAccount that uses the identity.
    pub planned: usize,
    /// Most that Azure allows.
    pub limit: usize,
}

/// How the pods of a planned workload change.
#[derive(Clone, Debug)]
pub struct Switch {
    /// Kustomization that it was seen through.
    pub environment: Option<String>,
    /// The workload as it is.
    pub workload: Workload,
    /// ServiceAccount of its pods after the switch.
    pub account: String,
    /// Its identities.
    pub ids: Vec<PlannedId>,
    /// Names of its WorkloadIdentityBindings.
    pub bindings: Vec<String>,
    /// Bindings and identities of pod identity that it uses.
    pub uses: Vec<(Reference, Reference)>,
    /// SecretProviderClasses of pod identity that its pods mount: without a change of theirs, new pods cannot.
    pub classes: Vec<Reference>,
}

impl Switch {
    /// API group of the workload; empty for the core group.
    pub fn group(&self) -> &str {
        let version = &self.workload.api_version;
        version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// The plan.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Workloads, by environment, namespace, kind and name.
    pub workloads: Vec<WorkloadPlan>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Credentials by identity.
    pub credentials: Vec<Credentials>,
    /// Objects to apply.
    #[serde(skip)]
    pub outputs: Vec<Output>,
    /// Workloads to switch.
    #[serde(skip)]
    pub switches: Vec<Switch>,
    /// Bindings and identities of pod identity that nothing uses once all of these have switched.
    #[serde(skip)]
    pub removals: Vec<Reference>,
    /// What planning has found.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// Plans the migration of everything that was joined. A journal tells what of it has been done already; without one,
/// that is told by what is left.
pub fn plan<'a>(
    sources: &Sources,
    models: &'a [Model],
    index: &Index<'a>,
    joined: &'a [Joined<'a>],
    journal: Option<&Chosen>,
) -> Plan {
    let mut order: Vec<&Joined<'_>> = joined.iter().collect();
    order.sort_by_key(|j| (&j.model.environment, &j.workload.at));
    let draft = |joined| draft(sources, joined, journal.is_some());
    let mut drafts: Vec<Draft<'_>> = order.into_iter().map(draft).collect();
    let mut plan = Plan::default();
    let none = Chosen::new();
    accounts::choose(
        sources,
        models,
        journal.unwrap_or(&none),
        &mut drafts,
        &mut plan.findings,
    );
    for draft in &mut drafts {
        draft::keep_clear(models, draft);
    }
    let mut seen = objects::Seen::new();
    for draft in &drafts {
        plan.workloads.push(workload(sources, draft));
        if draft.is_switched() {
            plan.findings.extend(later(sources, draft));
            objects::outputs(draft, plan.switches.len(), &mut seen, &mut plan.outputs);
            plan.switches.push(Switch {
                environment: draft.joined.model.environment.clone(),
                workload: draft.joined.workload.clone(),
                account: draft.account.clone(),
                ids: draft.ids.clone(),
                bindings: (0..draft.ids.len())
                    .map(|number| objects::binding_name(draft, number))
                    .collect(),
                classes: mounted(models, draft),
                uses: draft
                    .joined
                    .uses
                    .iter()
                    .map(|used| (used.binding.at.clone(), used.identity.at.clone()))
                    .collect(),
            });
        }
    }
    for (counted, first) in count(&drafts) {
        plan.credentials.push(counted.clone());
        if counted.planned <= LIMIT {
            continue;
        }
        let reason = format!(
            "{} would get {} credentials; Azure allows {LIMIT}.",
            counted.resource_id, counted.planned
        );
        let action = "Let workloads share a ServiceAccount, or use a second identity.";
        let place = sources.place(first.joined.workload.at.mark);
        plan.findings
            .push(Finding::new(Code::CredentialLimit, place, reason, action));
    }
    let mut leftover = leftover::leftover(models, index, &drafts);
    if journal.is_none() {
        leftover::add_orphans(sources, models, index, &mut leftover);
    }
    plan.removals = leftover
        .iter()
        .filter(|old| old.is_removable())
        .map(|old| old.at.clone())
        .collect();
    plan.steps = steps::steps(sources, models, &drafts, &plan.outputs, &leftover);
    plan
}

/// SecretProviderClasses of pod identity that the pods of a workload mount.
fn mounted(models: &[Model], draft: &Draft<'_>) -> Vec<Reference> {
    let (workload, environment) = (draft.joined.workload, &draft.joined.model.environment);
    let reached = models
        .iter()
        .filter(|model| model.environment.is_none() || model.environment == *environment);
    let classes = reached.flat_map(|model| &model.classes).map(|class| &class.at);
    let mounts =
        |at: &&Reference| at.namespace == workload.at.namespace && workload.classes.contains(&at.name);
    classes.filter(mounts).cloned().collect()
}

fn workload(sources: &Sources, draft: &Draft<'_>) -> WorkloadPlan {
    let at = &draft.joined.workload.at;
    let identities = draft.joined.uses.iter().enumerate().map(|(number, used)| {
        let text = |text: &Option<super::model::Text>| {
            text.as_ref()
                .map(|t| t.text.trim().to_owned())
                .unwrap_or_default()
        };
        PlannedIdentity {
            azure_identity: format!("{}/{}", used.identity.at.namespace, used.identity.at.name),
            resource_id: text(&used.identity.resource_id),
            client_id: text(&used.identity.client_id),
            binding: draft.is_switched().then(|| objects::binding_name(draft, number)),
        }
    });
    WorkloadPlan {
        environment: draft.joined.model.environment.clone(),
        namespace: at.namespace.clone(),
        kind: at.kind.clone(),
        name: at.name.clone(),
        place: sources.place(at.mark),
        state: draft.state,
        why: draft.why.clone(),
        identities: identities.collect(),
        service_account: draft.account.clone(),
        new_service_account: draft.new_account,
    }
}

/// What is left to do where an ARM id is filled in later.
fn later(sources: &Sources, draft: &Draft<'_>) -> Vec<Finding> {
    let at = &draft.joined.workload.at;
    let finding = |(number, id): (usize, &PlannedId)| {
        let PlannedId::Later { text, .. } = id else {
            return None;
        };
        let reason = format!(
            "Its identity {text} is filled in later: WorkloadIdentityBinding {}/{} holds that as it is, its credential is \
             not counted, and nobody is granted the identity.",
            at.namespace,
            objects::binding_name(draft, number)
        );
        let action = format!(
            "Fill it in there as well, and grant it to ServiceAccount {} (docs/security.md): wib migrate on the files \
             with the values prints the objects.",
            draft.account
        );
        let finding = Finding::new(Code::UnresolvedValue, sources.place(at.mark), reason, action);
        Some(
            finding
                .about(at.to_string())
                .within(draft.joined.model.environment.as_deref()),
        )
    };
    draft.ids.iter().enumerate().filter_map(finding).collect()
}

/// One credential for each identity, namespace and ServiceAccount; with the first workload that needs one.
fn count<'d, 'a>(drafts: &'d [Draft<'a>]) -> Vec<(Credentials, &'d Draft<'a>)> {
    type Subjects<'a> = BTreeSet<(&'a str, &'a str)>;
    let mut by_id: BTreeMap<&str, (&IdentityId, &Draft<'_>, Subjects<'_>)> = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| draft.is_switched()) {
        for id in draft.ids.iter().filter_map(PlannedId::known) {
            let subject = (
                draft.joined.workload.at.namespace.as_str(),
                draft.account.as_str(),
            );
            by_id
                .entry(id.key())
                .or_insert_with(|| (id, draft, BTreeSet::new()))
                .2
                .insert(subject);
        }
    }
    let counted = by_id.into_values().map(|(id, first, subjects)| {
        let counted = Credentials {
            resource_id: id.to_string(),
            planned: subjects.len(),
            limit: LIMIT,
        };
        (counted, first)
    });
    counted.collect()
}
