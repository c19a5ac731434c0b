//! Generated files are what they are made of. `UPDATE=1 cargo test --test project` writes them anew.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use pretty_assertions::assert_eq;
use workload_identity_binding::api::{self, GROUP};

use crate::{files, read, root};

fn is_kept(path: &str, made: &str) -> Result<()> {
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        fs::write(root().join(path), made)?;
    }
    let kept = read(path)?;
    assert_eq!(kept, made, "run UPDATE=1 cargo test --test project");
    Ok(())
}

#[test]
fn the_definitions_in_crds_are_what_the_code_makes() -> Result<()> {
    for crd in api::crds() {
        is_kept(
            &format!("crds/{GROUP}_{}.yaml", crd.spec.names.plural),
            &serde_yaml::to_string(&crd)?,
        )?;
    }
    Ok(())
}

/// What `kubectl apply` gets of `crds/` is what it gets of `wib crd`.
#[test]
fn every_definition_is_in_crds_and_in_its_kustomization() -> Result<()> {
    let made: BTreeSet<String> = api::crds()
        .iter()
        .map(|crd| format!("{GROUP}_{}.yaml", crd.spec.names.plural))
        .collect();
    let kept: BTreeSet<String> = files("crds", "yaml")?
        .into_iter()
        .map(|path| path.trim_start_matches("crds/").to_owned())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(kept, made);
    let kustomization = read("crds/kustomization.yaml")?;
    let listed: BTreeSet<String> = kustomization
        .lines()
        .filter_map(|line| line.strip_prefix("- "))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, made);
    Ok(())
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
