//! The Helm chart: what it repeats of other files is equal to them, and its values are described once.
//! `UPDATE=1 cargo test --test project` writes what is generated anew. What helm makes of it: tests/suites/chart.

mod values;

use std::fs;

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use pretty_assertions::assert_eq;
use workload_identity_binding::api::{self, GROUP, WorkloadIdentityBinding};
use workload_identity_binding::cli::Cli;

use crate::{documents, read, root};
use values::Described;

const CHART: &str = "charts/workload-identity-binding";

/// Fails unless a file of the chart holds this text; writes it with `UPDATE=1`.
fn assert_made(name: &str, made: &str) -> Result<()> {
    let path = format!("{CHART}/{name}");
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        fs::write(root().join(&path), made)?;
    }
    let kept = read(&path)?;
    assert_eq!(kept, made, "{path}: run UPDATE=1 cargo test --test project");
    Ok(())
}

/// Chart.yaml, as YAML.
fn metadata() -> Result<serde_yaml::Value> {
    documents(&format!("{CHART}/Chart.yaml"))?
        .pop()
        .context("Chart.yaml is empty")
}

/// An annotation of Artifact Hub, which is YAML in text.
fn annotation(name: &str) -> Result<serde_yaml::Value> {
    let chart = metadata()?;
    let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str();
    let text = text.with_context(|| format!("Chart.yaml lacks artifacthub.io/{name}"))?;
    Ok(serde_yaml::from_str(text)?)
}

#[test]
fn the_chart_is_of_this_version() -> Result<()> {
    let chart = metadata()?;
    for field in ["version", "appVersion"] {
        assert_eq!(
            chart[field].as_str(),
            Some(env!("CARGO_PKG_VERSION")),
            "Chart.yaml: {field}"
        );
    }
    let values = &documents(&format!("{CHART}/values.yaml"))?[0];
    let image = format!(
        "{}/{}:{}",
        values["image"]["registry"].as_str().unwrap_or_default(),
        values["image"]["repository"].as_str().unwrap_or_default(),
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(annotation("images")?[0]["image"].as_str(), Some(image.as_str()));
    let prerelease = env!("CARGO_PKG_VERSION").starts_with("0.");
    assert_eq!(annotation("prerelease")?.as_bool(), Some(prerelease));
    Ok(())
}

#[test]
fn artifact_hub_is_told_what_the_chart_holds() -> Result<()> {
    for name in [
        "category",
        "changes",
        "containsSecurityUpdates",
        "license",
        "links",
        "maintainers",
        "operator",
        "operatorCapabilities",
    ] {
        ensure!(!annotation(name)?.is_null(), "artifacthub.io/{name} is empty");
    }
    let told = annotation("crds")?;
    let told = told.as_sequence().context("artifacthub.io/crds is no list")?;
    let crds = api::crds();
    assert_eq!(told.len(), crds.len());
    for (told, crd) in told.iter().zip(&crds) {
        assert_eq!(told["name"].as_str(), crd.metadata.name.as_deref());
        assert_eq!(told["kind"].as_str(), Some(crd.spec.names.kind.as_str()));
        assert_eq!(told["version"].as_str(), Some(crd.spec.versions[0].name.as_str()));
    }
    let examples: Vec<WorkloadIdentityBinding> = serde_yaml::from_value(annotation("crdsExamples")?)?;
    ensure!(!examples.is_empty(), "artifacthub.io/crdsExamples is empty");
    for example in examples {
        kube::core::cel::validate_cel(&example).map_err(|e| anyhow::anyhow!("crdsExamples: {e}"))?;
    }
    assert_eq!(annotation("license")?.as_str(), Some(env!("CARGO_PKG_LICENSE")));
    assert_eq!(read(&format!("{CHART}/LICENSE"))?, read("LICENSE")?);
    Ok(())
}

#[test]
fn the_definitions_in_the_chart_are_those_in_crds() -> Result<()> {
    let definitions: Result<Vec<_>> = api::crds().iter().map(templated).collect();
    let made = format!(
        "{{{{- if .Values.crds.enabled }}}}\n# Made of crds/ by `UPDATE=1 cargo test --test project`.\n{}{{{{- end }}}}\n",
        definitions?.join("---\n")
    );
    assert_made("templates/crd.yaml", &made)
}

/// A definition of crds/ with the labels and annotations of the chart.
fn templated(crd: &CustomResourceDefinition) -> Result<String> {
    let kept = read(&format!("crds/{GROUP}_{}.yaml", crd.spec.names.plural))?;
    ensure!(
        !kept.contains("{{"),
        "the definition holds what Helm takes for a template"
    );
    let (_, spec) = kept
        .split_once("\nspec:\n")
        .context("a definition without a spec")?;
    let name = crd.metadata.name.as_deref();
    let name = name.context("a definition without a name")?;
    Ok(format!(
        r#"apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {name}
  labels:
    {{{{- include "wib.labels" . | nindent 4 }}}}
  {{{{- if .Values.crds.keep }}}}
  annotations:
    helm.sh/resource-policy: keep
  {{{{- end }}}}
spec:
{spec}"#
    ))
}

#[test]
fn every_value_has_one_description_and_the_readme_repeats_it() -> Result<()> {
    let rows: Vec<String> = values::described()?.iter().map(Described::row).collect();
    let readme = read(&format!("{CHART}/README.md"))?;
    let (begin, end) = ("<!-- Made of values.yaml. -->\n", "<!-- The end of it. -->\n");
    let (head, rest) = readme
        .split_once(begin)
        .context("README.md of the chart: no table")?;
    let (_, tail) = rest
        .split_once(end)
        .context("README.md of the chart: no end of the table")?;
    let table = format!("\n| value | default | |\n|---|---|---|\n{}\n\n", rows.join("\n"));
    assert_made("README.md", &format!("{head}{begin}{table}{end}{tail}"))
}

#[test]
fn values_and_schema_agree_key_by_key() -> Result<()> {
    let text = read(&format!("{CHART}/values.schema.json"))?;
    let mut schema: serde_json::Value = serde_json::from_str(&text).context("values.schema.json")?;
    let values: serde_json::Value = serde_yaml::from_str(&read(&format!("{CHART}/values.yaml"))?)?;
    let described = values::described()?;
    values::compare(&values, &schema, "", &described)?;
    for value in &described {
        let pointer = format!("/properties/{}", value.path.replace('.', "/properties/"));
        let entry = schema.pointer_mut(&pointer).context(pointer)?;
        entry["description"] = value.description.clone().into();
    }
    assert_made(
        "values.schema.json",
        &(serde_json::to_string_pretty(&schema)? + "\n"),
    )
}

#[test]
fn every_setting_of_the_operator_is_a_value_or_is_said_to_be_none() -> Result<()> {
    let command = Cli::command();
    let run = command.find_subcommand("run").context("no wib run")?;
    let settings = read(&format!("{CHART}/templates/_settings.tpl"))?;
    let document = read("docs/helm.md")?;
    let known: Vec<String> = run
        .get_arguments()
        .filter_map(|a| a.get_env().map(|e| e.to_string_lossy().into_owned()))
        .collect();
    for name in &known {
        let value = settings
            .lines()
            .any(|line| line.starts_with(&format!("{name}: ")));
        // The pod's own name is a field, not a value.
        let other = name == "POD_NAME" || document.contains(&format!("`{name}`"));
        ensure!(
            value || other,
            "{name} is neither in _settings.tpl nor in docs/helm.md among the settings that go by extraEnv"
        );
    }
    for line in settings.lines() {
        if let Some((name, _)) = line.split_once(": ")
            && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        {
            ensure!(
                known.iter().any(|k| k == name),
                "_settings.tpl: there is no setting {name}"
            );
        }
    }
    Ok(())
}
