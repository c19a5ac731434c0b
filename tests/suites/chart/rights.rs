//! What roles allow, and what the API server's audit log says of their use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wib_harness::Call;
use wib_harness::cluster::OPERATOR_SERVICE_ACCOUNT;

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where; empty for the whole cluster.
    pub namespace: String,
    pub group: String,
    pub resource: String,
    pub verb: String,
    /// The only names; empty for all.
    pub names: Vec<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.verb, self.resource, self.group)?;
        if !self.namespace.is_empty() {
            write!(f, " in {}", self.namespace)?;
        }
        Ok(())
    }
}

impl Right {
    fn allows(&self, call: &Call) -> bool {
        let here = self.namespace.is_empty() || self.namespace == call.namespace;
        here && (&self.group, &self.resource, &self.verb) == (&call.group, &call.resource, &call.verb)
    }
}

/// The rights that objects give to the operator's ServiceAccount, by ClusterRoles and Roles.
pub fn of_operator(objects: &[Value]) -> BTreeSet<Right> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect::<Vec<_>>()
    };
    let mut rights = BTreeSet::new();
    for binding in objects {
        let is_binding = ["ClusterRoleBinding", "RoleBinding"]
            .iter()
            .any(|k| binding["kind"] == *k);
        let mut subjects = binding["subjects"].as_array().into_iter().flatten();
        if !is_binding || !subjects.any(|s| s["name"] == OPERATOR_SERVICE_ACCOUNT) {
            continue;
        }
        let (reference, namespace) = (&binding["roleRef"], text(&binding["metadata"]["namespace"]));
        let role = objects.iter().find(|object| {
            object["kind"] == reference["kind"]
                && object["metadata"]["name"] == reference["name"]
                && (reference["kind"] == "ClusterRole" || text(&object["metadata"]["namespace"]) == namespace)
        });
        for rule in role
            .map(|r| r["rules"].as_array())
            .into_iter()
            .flatten()
            .flatten()
        {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        rights.insert(Right {
                            namespace: namespace.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            verb,
                            names: texts(&rule["resourceNames"]),
                        });
                    }
                }
            }
        }
    }
    rights
}

/// The calls that were refused.
pub fn refused(calls: &[Call]) -> BTreeSet<&Call> {
    calls.iter().filter(|c| [401, 403].contains(&c.status)).collect()
}

/// Fails when a call was refused, when a call was allowed by somebody else's role, and when a right was not used.
/// Answers how many calls there were, and which was the most frequent: what runs wild shows there.
pub fn assert_enough_and_none_too_many(rights: &BTreeSet<Right>, calls: &[Call]) -> Result<String> {
    let refused = refused(calls);
    ensure!(refused.is_empty(), "the API server refused: {refused:#?}");
    let foreign: BTreeSet<_> = calls
        .iter()
        .filter(|c| !c.resource.is_empty() && !rights.iter().any(|r| r.allows(c)))
        .collect();
    ensure!(foreign.is_empty(), "allowed by no rule of ours: {foreign:#?}");
    let unused: Vec<_> = rights
        .iter()
        .filter(|right| !calls.iter().any(|c| right.allows(c)))
        .map(ToString::to_string)
        .collect();
    ensure!(unused.is_empty(), "given and never used: {unused:#?}");
    let mut often: BTreeMap<_, usize> = BTreeMap::new();
    for call in calls {
        *often
            .entry((&call.verb, &call.resource, call.status))
            .or_default() += 1;
    }
    let most = often.into_iter().max_by_key(|(_, count)| *count);
    let ((verb, resource, status), count) = most.context("no calls")?;
    let all = calls.len();
    Ok(format!("{all} calls ({count} times {verb} {resource}, {status})"))
}
