//! Which ServiceAccount the pods of a workload get.
//!
//! Their own, if all labelled workloads that use it have the same identities. `default` is never used: its annotation
//! would reach every labelled pod of the namespace. A new one is named like the workload.

use std::collections::{BTreeMap, BTreeSet};

use super::{Draft, State, is_object_name};
use crate::migrate::finding::{Code, Finding};
use crate::migrate::model::Model;
use crate::migrate::source::Sources;

/// Environment, namespace and name of a ServiceAccount.
type Key = (Option<String>, String, String);

/// Identities, by their keys.
type Identities = BTreeSet<String>;

/// ServiceAccounts that a migration under way has chosen, by namespace, kind and name of the workload. Once some of
/// the workloads have switched, nothing else shows that the others were to get new ones.
pub type Chosen = BTreeMap<(String, String, String), String>;

pub fn choose(
    sources: &Sources,
    models: &[Model],
    chosen: &Chosen,
    drafts: &mut [Draft<'_>],
    findings: &mut Vec<Finding>,
) {
    let mut users: BTreeMap<Key, BTreeSet<Identities>> = BTreeMap::new();
    let reached = |draft: &&Draft<'_>| !draft.joined.uses.is_empty() || draft.joined.has_too_many();
    for draft in drafts.iter().filter(reached) {
        users
            .entry(key(draft, &draft.account))
            .or_default()
            .insert(identities(draft));
    }
    let known = known(models);
    let mut made: BTreeMap<Key, Identities> = BTreeMap::new();
    for draft in drafts
        .iter_mut()
        .filter(|draft| matches!(draft.state, State::Planned | State::Unresolved))
    {
        let at = &draft.joined.workload.at;
        if let Some(account) = chosen.get(&(at.namespace.clone(), at.kind.clone(), at.name.clone())) {
            draft.new_account = *account != draft.account;
            draft.account.clone_from(account);
            made.insert(key(draft, account), identities(draft));
            continue;
        }
        let default = draft.account == "default";
        let shared = users
            .get(&key(draft, &draft.account))
            .is_some_and(|sets| sets.len() > 1);
        let workload = draft.joined.workload;
        if !default && !shared {
            continue;
        }
        if let Some(chart) = workload.chart {
            let reason = format!(
                "its chart {chart} uses the ServiceAccount {}, as workloads with other identities do: give it one of its \
                 own in the values",
                draft.account
            );
            draft.state = State::Blocked;
            draft.why.push(reason);
            continue;
        }
        let old = std::mem::take(&mut draft.account);
        let (name, wanted) = (&workload.at.name, identities(draft));
        let kind = workload.at.kind.to_ascii_lowercase();
        let candidates = [name.clone(), format!("{name}-{kind}")]
            .into_iter()
            .chain((2..).map(|number| format!("{name}-{kind}-{number}")));
        for candidate in candidates {
            let candidate = shortened(&candidate);
            let key = key(draft, &candidate);
            // One that an earlier run has made, and that was taken in, is the one to use.
            let ours = bound(draft, &candidate).is_some_and(|had| *had == wanted);
            let taken = known.contains(&key) || known.contains(&(None, key.1.clone(), key.2.clone()));
            let free = candidate != "default" && (ours || !taken);
            if free && made.get(&key).is_none_or(|had| *had == wanted) {
                made.insert(key, wanted);
                draft.account = candidate;
                break;
            }
        }
        draft.new_account = true;
        let mark = workload
            .service_account
            .as_ref()
            .map_or(workload.at.mark, |account| account.mark);
        let (code, reason) = if shared && !default {
            let reason =
                format!("Its ServiceAccount {old} is shared with workloads that have other identities.");
            (Code::ServiceAccountShared, reason)
        } else {
            (
                Code::NewServiceAccount,
                "Its pods use the ServiceAccount default, which must not have an identity.".to_owned(),
            )
        };
        let action = format!(
            "They get the new one {}. Give it what {old} has: RoleBindings, imagePullSecrets, \
             automountServiceAccountToken.",
            draft.account
        );
        let finding = Finding::new(code, sources.place(mark), reason, action).about(workload.at.to_string());
        findings.push(finding.within(draft.joined.model.environment.as_deref()));
    }
}

/// All ServiceAccounts that are there, or that some workload uses.
fn known(models: &[Model]) -> BTreeSet<Key> {
    let mut known = BTreeSet::new();
    for model in models {
        let mut add = |namespace: &str, name: &str| {
            known.insert((model.environment.clone(), namespace.to_owned(), name.to_owned()));
        };
        for account in &model.accounts {
            add(&account.namespace, &account.name);
        }
        for workload in &model.workloads {
            add(&workload.at.namespace, workload.account());
        }
    }
    known
}

/// What a ServiceAccount is bound to already.
fn bound<'a>(draft: &'a Draft<'_>, name: &str) -> Option<&'a Identities> {
    let namespace = draft.joined.workload.at.namespace.clone();
    draft.joined.model.bound.get(&(namespace, name.to_owned()))
}

fn key(draft: &Draft<'_>, name: &str) -> Key {
    let environment = draft.joined.model.environment.clone();
    (
        environment,
        draft.joined.workload.at.namespace.clone(),
        name.to_owned(),
    )
}

fn identities(draft: &Draft<'_>) -> Identities {
    if draft.joined.has_too_many() {
        // Unlike those of every workload that can be planned.
        return Identities::from(["too many".to_owned()]);
    }
    let uses = draft.joined.uses.iter();
    uses.map(|used| crate::migrate::join::describe(used.identity))
        .collect()
}

/// A name that is good for an object, as long as the workload's is.
fn shortened(name: &str) -> String {
    if name.len() <= 253 || !is_object_name(&name[..1]) {
        return name.to_owned();
    }
    super::objects::bounded(name, 253)
}
