//! Generated files are what they are made of. `UPDATE=1 cargo test --test project` writes them anew.

use std::fs;

use anyhow::Result;
use pretty_assertions::assert_eq;
use workload_identity_binding::api;

use crate::{read, root};

fn is_kept(path: &str, made: &str) -> Result<()> {
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        fs::write(root().join(path), made)?;
    }
    let kept = read(path)?;
    assert_eq!(kept, made, "run UPDATE=1 cargo test --test project");
    Ok(())
}

#[test]
fn the_definition_in_crds_is_what_the_code_makes() -> Result<()> {
    is_kept(
        "crds/workload-identity.io_workloadidentitybindings.yaml",
        &api::crd_yaml()?,
    )
}

/// Before the rules in a PrometheusRule.
const RULE: &str = "\
# Made of charts/workload-identity-binding/files/alerts.yaml: change that one, then run
# `UPDATE=1 cargo test --test project`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: workload-identity-binding
  namespace: workload-identity-binding-system
  labels:
    app.kubernetes.io/name: workload-identity-binding
spec:
";

#[test]
fn the_rules_in_config_are_those_of_the_chart() -> Result<()> {
    let rules = read("charts/workload-identity-binding/files/alerts.yaml")?;
    let mut made = RULE.to_owned();
    for line in rules.lines().filter(|line| !line.starts_with('#')) {
        let indent = if line.is_empty() { "" } else { "  " };
        made.extend([indent, line, "\n"]);
    }
    is_kept("config/prometheus/rules.yaml", &made)
}
