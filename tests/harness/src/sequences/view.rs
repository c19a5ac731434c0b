//! What a world looks like, without what differs between any two worlds.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use kube::ResourceExt as _;
use kube::api::ListParams;
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::{Asked, IDENTITIES, Pair, pair};
use crate::World;
use crate::world::bindings::condition;

const CLIENT_ID: &str = "azure.workload.identity/client-id";
const EXPIRATION: &str = "azure.workload.identity/service-account-token-expiration";

/// A world as its people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By identity: subjects' ServiceAccounts, and whether the operator made the credential.
    pub credentials: BTreeSet<(String, String, bool)>,
    /// By ServiceAccount: the identity whose client id it carries, and the lifetime of its tokens.
    pub accounts: BTreeMap<String, (Option<String>, Option<String>)>,
    /// By binding: reason under `Ready`.
    pub bindings: BTreeMap<String, String>,
    /// What bindings that are not in order still hold of an earlier spec, as long as that is granted.
    pub held: BTreeSet<Pair>,
}

/// The pair that a binding reports.
pub(super) fn held(binding: &WorkloadIdentityBinding) -> Vec<Pair> {
    let Some(status) = &binding.status else {
        return Vec::new();
    };
    let of = |id: &str, subject: &str| {
        let identity = id.rsplit('/').next().unwrap_or_default().to_lowercase();
        (
            subject.rsplit(':').next().unwrap_or_default().to_owned(),
            identity,
        )
    };
    let current = status.identity.iter().zip(&status.credential);
    let current = current.map(|(identity, credential)| of(&identity.resource_id, &credential.subject));
    current.collect()
}

impl View {
    /// Looks at a world.
    pub async fn of(world: &World) -> Result<Self> {
        let mut view = Self::default();
        let mut clients = BTreeMap::new();
        for name in IDENTITIES {
            let id = world.at(name).resource_id;
            clients.extend(world.azure.identity(&id).map(|i| (i.client_id, name.to_owned())));
            for credential in world.azure.credentials(&id) {
                let account = credential.subject.rsplit(':').next().unwrap_or_default();
                let ours = credential.name.starts_with("wib-");
                view.credentials
                    .insert((name.to_owned(), account.to_owned(), ours));
            }
        }
        for account in world.service_accounts().list(&ListParams::default()).await? {
            let annotations = account.annotations();
            let identity = annotations.get(CLIENT_ID).map(|client| {
                let known = clients.get(client).cloned();
                known.unwrap_or_else(|| "gone".to_owned())
            });
            let facts = (identity, annotations.get(EXPIRATION).cloned());
            view.accounts.insert(account.name_any(), facts);
        }
        for binding in world.bindings().list(&ListParams::default()).await? {
            let observed = binding.status.as_ref().and_then(|s| s.observed_generation);
            let ready = condition(&binding, "Ready").map_or("none", |c| c.1);
            let reason = if observed == binding.metadata.generation {
                ready
            } else {
                "unseen"
            };
            if condition(&binding, "Ready").is_none_or(|c| c.0 != "True") {
                view.held.extend(held(&binding));
            }
            view.bindings.insert(binding.name_any(), reason.to_owned());
        }
        Ok(view)
    }
}

/// What stands in `used`, which has a history, and not in `fresh`, which has none, or the other way round.
/// Left out is what is left on purpose: by `Retain`, and by or to bindings that are not in order.
pub fn differences(used: &View, fresh: &View, asked: &Asked) -> Vec<String> {
    let mut found = Vec::new();
    let kept = |account: &str, identity: &str| {
        let pair = (account.to_owned(), identity.to_owned());
        asked.retained.contains(&pair) || used.held.contains(&pair) && asked.grants.contains(&pair)
    };
    for (identity, account, ours) in used.credentials.difference(&fresh.credentials) {
        if !kept(account, identity) {
            found.push(format!(
                "{identity} trusts {account} (ours: {ours}), and should not"
            ));
        }
    }
    for (identity, account, ours) in fresh.credentials.difference(&used.credentials) {
        found.push(format!("{identity} should trust {account} (ours: {ours})"));
    }
    for (name, reason) in &fresh.bindings {
        let is = used.bindings.get(name);
        if is != Some(reason) {
            found.push(format!("binding {name} is {is:?}, and should be {reason}"));
        }
    }
    let of_kept = |name: &str| {
        let all = asked.retained.iter().chain(&used.held);
        all.into_iter().any(|(account, _)| account == name)
    };
    // One that leaves a ServiceAccount leaves the ids on it to another that asks for the same ones, also when
    // that one is not in order itself.
    let claimed = |account: &str, identity: Option<&String>| {
        asked.specs.iter().any(|(binding, spec)| {
            let (name, asked) = pair(spec);
            let in_order = used
                .bindings
                .get(binding)
                .is_some_and(|reason| reason == "Synced");
            let annotates = spec["serviceAccount"]["annotate"] != false;
            !in_order && annotates && name == account && identity == Some(&asked)
        })
    };
    for (name, facts) in &fresh.accounts {
        let is = used.accounts.get(name);
        let left = is.is_some_and(|(identity, _)| claimed(name, identity.as_ref()));
        if is != Some(facts) && !of_kept(name) && !left {
            found.push(format!(
                "ServiceAccount {name} carries {is:?}, and should carry {facts:?}"
            ));
        }
    }
    found
}
