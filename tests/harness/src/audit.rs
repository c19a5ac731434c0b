//! What the operator asked of Kubernetes, from the API server's own audit log.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::cluster::OPERATOR_USER;

/// One write of the operator that the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch` or `delete`.
    pub verb: String,
    /// Resource, with the subresource behind a slash.
    pub resource: String,
    /// Name of the object.
    pub name: String,
    /// HTTP status of the answer.
    pub status: u64,
}

/// One call of the operator that the API server answered, or began to answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: String,
    /// API group; empty for the core.
    pub group: String,
    /// Resource, with the subresource behind a slash; empty for a path that is none.
    pub resource: String,
    /// Namespace that was asked for; empty for the whole cluster.
    pub namespace: String,
    /// Path of the request.
    pub path: String,
    /// HTTP status of the answer.
    pub status: u64,
}

/// How much of the operator's calls is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// What changes something.
    Writes,
    /// Everything.
    Calls,
}

/// The audit log of one API server.
pub(crate) struct Audit {
    directory: tempfile::TempDir,
}

impl Audit {
    pub fn new(detail: Detail) -> Result<Self> {
        let mut rule = json!({ "level": "Metadata", "users": [OPERATOR_USER] });
        if detail == Detail::Writes {
            rule["verbs"] = json!(["create", "update", "patch", "delete"]);
        }
        let directory = tempfile::tempdir().context("cannot make a folder for the audit log")?;
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [rule, { "level": "None" }],
        });
        std::fs::write(directory.path().join("policy.json"), policy.to_string())?;
        Ok(Self { directory })
    }

    /// Flags that make the API server keep the log.
    pub fn flags(&self) -> Vec<String> {
        vec![
            format!(
                "--audit-policy-file={}",
                self.directory.path().join("policy.json").display()
            ),
            format!("--audit-log-path={}", self.log().display()),
        ]
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }

    fn entries(&self) -> Result<Vec<Value>> {
        let log = std::fs::read_to_string(self.log()).context("cannot read the audit log")?;
        // The last line may be half written.
        let entries = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        Ok(entries.collect())
    }

    /// Every call, in order. A watch is there as soon as it has begun, and once more when it ends.
    pub fn calls(&self) -> Result<Vec<Call>> {
        let calls = self.entries()?.into_iter().map(|entry| Call {
            verb: text(&entry["verb"]),
            group: text(&entry["objectRef"]["apiGroup"]),
            resource: resource(&entry["objectRef"]),
            namespace: text(&entry["objectRef"]["namespace"]),
            path: text(&entry["requestURI"]),
            status: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
        });
        Ok(calls.collect())
    }

    /// Writes to objects of a namespace, in order. Events are left out (they are best effort), and so are
    /// reviews, which store nothing.
    pub fn writes(&self, namespace: &str) -> Result<Vec<Write>> {
        self.writes_on(|object| object["namespace"] == namespace && object["resource"] != "events")
    }

    /// Writes to the records of identities, by the names of these records, in order.
    pub fn record_writes(&self, names: &BTreeSet<String>) -> Result<Vec<Write>> {
        self.writes_on(|object| {
            let name = object["name"].as_str().unwrap_or_default();
            object["resource"] == "managedidentities" && names.contains(name)
        })
    }

    fn writes_on(&self, concerns: impl Fn(&Value) -> bool) -> Result<Vec<Write>> {
        let entries = self.entries()?.into_iter();
        Ok(entries
            .filter(|entry| entry["stage"] == "ResponseComplete" && concerns(&entry["objectRef"]))
            .map(|entry| Write {
                verb: text(&entry["verb"]),
                resource: resource(&entry["objectRef"]),
                name: text(&entry["objectRef"]["name"]),
                status: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
            })
            .collect())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn resource(object: &Value) -> String {
    let subresource = object["subresource"].as_str().map(|s| format!("/{s}"));
    text(&object["resource"]) + &subresource.unwrap_or_default()
}
