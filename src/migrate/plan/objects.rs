//! The objects to apply: ServiceAccounts, WorkloadIdentityBindings and grants.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Draft, PlannedId};
use crate::api::{GRANT_RESOURCE, GRANT_VERB, GROUP};

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Kustomization of the workload.
    pub environment: Option<String>,
    /// What it is called: `WorkloadIdentityBinding shop/web`.
    pub title: String,
    /// The object.
    pub value: Value,
    /// The switches of the plan that need it.
    pub switches: Vec<usize>,
}

/// Longest name of a binding: it becomes the value of a label and part of other names.
const BINDING_NAME: usize = 253;

/// A name that fits: the end of one that is too long becomes a hash of it.
pub fn bounded(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let hash = format!("{:x}", Sha256::digest(name));
    let kept: String = name.chars().take(longest - 9).collect();
    format!("{}-{}", kept.trim_end_matches(['-', '.']), &hash[..8])
}

/// An Azure name as part of an object's name.
fn part(name: &str) -> String {
    name.to_ascii_lowercase()
        .replace('_', "-")
        .trim_matches('-')
        .to_owned()
}

/// Name of the binding of one of the identities of a workload: that of the ServiceAccount, if there is only one.
pub fn binding_name(draft: &Draft<'_>, number: usize) -> String {
    let account = &draft.account;
    let Some(id) = draft.ids.get(number).filter(|_| draft.ids.len() > 1) else {
        return account.clone();
    };
    let alike = draft
        .ids
        .iter()
        .filter(|other| part(other.name()) == part(id.name()))
        .count();
    let name = format!("{account}-{}", part(id.name()));
    bounded(
        &if alike > 1 {
            format!("{name}-{}", hash(id))
        } else {
            name
        },
        BINDING_NAME,
    )
}

fn hash(id: &PlannedId) -> String {
    format!("{:x}", Sha256::digest(id.key()))[..8].to_owned()
}

/// Where the objects of an environment are, by their titles.
pub type Seen = BTreeMap<(Option<String>, String), usize>;

/// Adds the objects that the switch of this number needs to those that are there.
pub fn outputs(draft: &Draft<'_>, switch: usize, seen: &mut Seen, all: &mut Vec<Output>) {
    let namespace = &draft.joined.workload.at.namespace;
    let account = &draft.account;
    let mut add = |kind: &str, namespace: Option<&str>, name: &str, rest: Value| {
        let mut metadata = BTreeMap::from([("name", name)]);
        metadata.extend(namespace.map(|namespace| ("namespace", namespace)));
        let mut value = rest;
        if let Some(map) = value.as_object_mut() {
            map.insert("kind".to_owned(), json!(kind));
            map.insert("metadata".to_owned(), json!(metadata));
        }
        let output = Output {
            environment: draft.joined.model.environment.clone(),
            title: format!(
                "{kind} {}{name}",
                namespace.map(|n| format!("{n}/")).unwrap_or_default()
            ),
            value,
            switches: vec![switch],
        };
        // Workloads that share a ServiceAccount or an identity share its objects.
        match seen.entry((output.environment.clone(), output.title.clone())) {
            Entry::Occupied(known) => {
                let users = all.get_mut(*known.get()).map(|known| &mut known.switches);
                if let Some(users) = users {
                    users.push(switch);
                }
            }
            Entry::Vacant(free) => {
                free.insert(all.len());
                all.push(output);
            }
        }
    };
    if draft.new_account {
        add(
            "ServiceAccount",
            Some(namespace),
            account,
            json!({ "apiVersion": "v1" }),
        );
    }
    for (number, id) in draft.ids.iter().enumerate() {
        // Only the id itself can be granted.
        if id.known().is_some() {
            grant(id, namespace, account, &mut add);
        }
        let mut service_account = json!({ "name": account });
        if let Some(map) = service_account.as_object_mut().filter(|_| draft.ids.len() > 1) {
            // Which of them is the default is not for us to say.
            map.insert("annotate".to_owned(), json!(false));
        }
        let spec = json!({ "identity": { "resourceId": id.to_string() }, "serviceAccount": service_account });
        let rest = json!({ "apiVersion": format!("{GROUP}/v1alpha1"), "spec": spec });
        add(
            "WorkloadIdentityBinding",
            Some(namespace),
            &binding_name(draft, number),
            rest,
        );
    }
}

/// Lets a ServiceAccount use an identity.
fn grant(
    id: &PlannedId,
    namespace: &str,
    account: &str,
    add: &mut impl FnMut(&str, Option<&str>, &str, Value),
) {
    let rbac = "rbac.authorization.k8s.io";
    let role = bounded(&format!("wib-use-{}-{}", part(id.name()), hash(id)), 253);
    let rules = json!([{
        "apiGroups": [GROUP], "resources": [GRANT_RESOURCE], "verbs": [GRANT_VERB], "resourceNames": [id.key()]
    }]);
    add(
        "ClusterRole",
        None,
        &role,
        json!({ "apiVersion": format!("{rbac}/v1"), "rules": rules }),
    );
    let binding = bounded(&format!("{role}-{namespace}-{account}"), 253);
    let subjects = json!([{ "kind": "ServiceAccount", "namespace": namespace, "name": account }]);
    let reference = json!({ "apiGroup": rbac, "kind": "ClusterRole", "name": role });
    let rest = json!({ "apiVersion": format!("{rbac}/v1"), "roleRef": reference, "subjects": subjects });
    add("ClusterRoleBinding", None, &binding, rest);
}
