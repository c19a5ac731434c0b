//! What the operator wrote to Kubernetes, from the API server's own audit log.

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

/// The audit log of one API server.
pub(crate) struct Audit {
    directory: tempfile::TempDir,
}

impl Audit {
    pub fn new() -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a folder for the audit log")?;
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [
                { "level": "Metadata", "users": [OPERATOR_USER], "verbs": ["create", "update", "patch", "delete"] },
                { "level": "None" },
            ],
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

    /// Writes to objects of a namespace, in order. Events are left out (they are best effort), and so are
    /// reviews, which store nothing.
    pub fn writes(&self, namespace: &str) -> Result<Vec<Write>> {
        let log = std::fs::read_to_string(self.log()).context("cannot read the audit log")?;
        let entries = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(entries
            .filter(|entry| entry["stage"] == "ResponseComplete")
            .filter(|entry| entry["objectRef"]["namespace"] == namespace)
            .filter(|entry| entry["objectRef"]["resource"] != "events")
            .map(|entry| {
                let object = &entry["objectRef"];
                let subresource = object["subresource"]
                    .as_str()
                    .map(|s| format!("/{s}"))
                    .unwrap_or_default();
                Write {
                    verb: text(&entry["verb"]),
                    resource: text(&object["resource"]) + &subresource,
                    name: text(&object["name"]),
                    status: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
                }
            })
            .collect())
    }
}
