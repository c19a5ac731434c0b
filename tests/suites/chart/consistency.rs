//! The chart and `config/` install the same operator.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::Tool;
use workload_identity_binding::cli::{Cli, Command};

use super::helm::{IDS, Release, documents, of_kind, one};
use super::rights;

/// What `kubectl apply -k config/default` applies.
pub async fn config() -> Result<Vec<Value>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/config/default");
    documents(&Tool::Kustomize.run(&["build", directory], "").await?)
}

pub async fn the_chart_gives_the_rights_of_config() -> Result<()> {
    let (chart, config) = (Release::usual(&IDS).objects().await?, config().await?);
    assert_eq!(rights::of_operator(&chart), rights::of_operator(&config));
    // Those of people.
    for suffix in ["admin", "editor", "viewer", "identity-viewer"] {
        let [chart, config] = [&chart, &config].map(|objects| {
            let name = format!("workload-identity-binding-{suffix}");
            let role = of_kind(objects, "ClusterRole").find(|r| r["metadata"]["name"] == name.as_str());
            role.map(|role| {
                let labels = role["metadata"]["labels"].as_object().into_iter().flatten();
                let aggregated = labels.filter(|(key, _)| key.contains("/aggregate-to-"));
                (aggregated.collect::<BTreeMap<_, _>>(), &role["rules"])
            })
        });
        assert_eq!(chart, config, "{suffix}");
        assert!(chart.is_some(), "there is no role {suffix}");
    }
    Ok(())
}

/// A Deployment without what the two say in ways of their own: names of labels, the image, and the settings.
fn comparable(objects: &[Value]) -> Result<Value> {
    let deployment = &one(objects, "Deployment")?["spec"];
    let mut spec = deployment["template"]["spec"].clone();
    for field in ["env", "envFrom", "image"] {
        spec["containers"][0][field] = Value::Null;
    }
    for constraint in spec["topologySpreadConstraints"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        constraint["labelSelector"] = Value::Null;
    }
    let mut budget = one(objects, "PodDisruptionBudget")?["spec"].clone();
    budget["selector"] = Value::Null;
    Ok(json!({
        "replicas": deployment["replicas"], "strategy": deployment["strategy"], "spec": spec, "budget": budget,
    }))
}

/// The settings that the operator's own command line makes of a container.
fn settings(objects: &[Value]) -> Result<String> {
    let container = &one(objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0];
    let mut environment: BTreeMap<String, String> = BTreeMap::new();
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let name = &source["configMapRef"]["name"];
        let map = of_kind(objects, "ConfigMap").find(|m| m["metadata"]["name"] == *name);
        let data = map.context("envFrom names no ConfigMap")?["data"].as_object();
        for (name, value) in data.into_iter().flatten() {
            environment.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
        }
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let field = || format!("of the field {}", variable["valueFrom"]["fieldRef"]["fieldPath"]);
        let value = variable["value"].as_str().map_or_else(field, str::to_owned);
        environment.insert(name.to_owned(), value);
    }
    // Flags, since the environment is this process's own.
    let command = <Cli as clap::CommandFactory>::command();
    let run = command.find_subcommand("run").context("no wib run")?;
    let mut arguments = vec!["wib".to_owned(), "run".to_owned()];
    // Each has the ids of its own test.
    let ids = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID"];
    for argument in run
        .get_arguments()
        .filter(|a| !ids.iter().any(|id| a.get_env() == Some(id.as_ref())))
    {
        let variable = argument
            .get_env()
            .and_then(|name| environment.get(name.to_str()?));
        if let (Some(value), Some(flag)) = (variable, argument.get_long()) {
            arguments.push(format!("--{flag}={value}"));
        }
    }
    let Command::Run(mut args) = Cli::try_parse_from(arguments)?.command else {
        anyhow::bail!("not run");
    };
    // `auto` comes to workload identity where there is a token file.
    args.azure.azure_credential = workload_identity_binding::azure::CredentialKind::Auto;
    Ok(format!("{:#?}", args.without_blanks()))
}

pub async fn the_chart_runs_the_pod_of_config() -> Result<()> {
    let (chart, config) = (Release::usual(&IDS).objects().await?, config().await?);
    assert_eq!(comparable(&chart)?, comparable(&config)?);
    assert_eq!(settings(&chart)?, settings(&config)?);
    Ok(())
}

pub async fn the_chart_lets_through_what_config_does() -> Result<()> {
    let flags = [&IDS[..], &["--set=networkPolicy.enabled=true"]].concat();
    let chart = Release::usual(&flags).objects().await?;
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/config/network-policy/network_policy.yaml"
    );
    let config = documents(&std::fs::read_to_string(file)?)?;
    let [chart, config] = [&chart, &config].map(|objects| -> Result<_> {
        let spec = &one(objects, "NetworkPolicy")?["spec"];
        let open = |direction: &str| -> BTreeSet<String> {
            let rules = spec[direction].as_array().into_iter().flatten();
            // Each port is open to everybody, and with a peer to them.
            let ports = rules.flat_map(|rule| {
                let peers = json!([rule["from"], rule["to"]]).to_string();
                let ports = rule["ports"].as_array().into_iter().flatten();
                ports.map(move |port| format!("{port} {peers}"))
            });
            ports.collect()
        };
        Ok((spec["policyTypes"].clone(), open("ingress"), open("egress")))
    });
    assert_eq!(chart?, config?);
    Ok(())
}
