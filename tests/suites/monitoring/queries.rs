//! Every query of the dashboard and every selector of the alerts, asked at a real Prometheus.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Fault, FaultAction, Operation};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{Operator, World};

use super::prometheus::Prometheus;
use super::{QUICK, answers, many_kinds, shows};
use crate::runner::figure;

const DASHBOARD: &str = "charts/workload-identity-binding/files/dashboard.json";

pub async fn prometheus_answers_every_query_of_the_dashboard_and_of_the_alerts(world: World) -> Result<()> {
    let lease = Duration::from_mins(1);
    let mut replicas = Vec::new();
    for (name, role) in [("a", "ok"), ("b", "standby")] {
        let flags = world.elect(name, lease).await?;
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(QUICK).collect();
        let operator = world.operator_with(&flags).await?;
        answers(&operator, "/readyz", role).await?;
        replicas.push(operator);
    }
    let addresses: Vec<_> = replicas.iter().map(Operator::address).collect();
    let prometheus = Prometheus::start(&addresses).await?;
    // Counters have to be seen at 0 before they can be seen to grow.
    for job in ["operators", "older"] {
        prometheus
            .numbers(&format!("count(wib_drift_repairs_total{{job=\"{job}\"}}) == 2"))
            .await?;
    }
    let refusal = FaultAction::Status {
        status: 429,
        code: "TooManyRequests".to_owned(),
        message: "Retry after 1 seconds.".to_owned(),
        headers: vec![("Retry-After".to_owned(), "1".to_owned())],
    };
    world
        .azure
        .fault(Fault::on(Operation::PutCredential).action(refusal));
    many_kinds(&world).await?;
    let web = world.at("web");
    for credential in world.azure.credentials(&web.resource_id) {
        world.azure.delete_credential(&web.resource_id, &credential.name);
    }
    shows(&replicas[0], &["wib_drift_repairs_total 1"]).await?;

    let known = scraped_without_complaint(&prometheus, addresses.len()).await?;
    let panels = every_panel_has_data(&prometheus).await?;
    let selectors = every_alert_is_evaluated_on_data(&prometheus, &known).await?;
    figure(format!(
        "monitoring: {panels} queries of the dashboard and {selectors} selectors of the alerts have data"
    ));
    prometheus.stop().await
}

/// All targets are up, in both formats, and every metric has its type and its help. Answers their names.
async fn scraped_without_complaint(prometheus: &Prometheus, replicas: usize) -> Result<BTreeSet<String>> {
    let targets = prometheus.get("targets", &[]).await?;
    let active = targets["activeTargets"].as_array().context("no targets")?;
    ensure!(active.len() == 2 * replicas, "{targets}");
    for target in active {
        ensure!(target["health"] == "up" && target["lastError"] == "", "{target}");
    }
    let log = prometheus.log();
    ensure!(
        !log.contains("level=WARN") && !log.contains("level=ERROR"),
        "{log}"
    );

    let metadata = prometheus.get("metadata", &[]).await?;
    let mut known = BTreeSet::new();
    for (name, entries) in metadata.as_object().context("no metadata")? {
        for entry in entries.as_array().context("no entries")? {
            let kind = entry["type"].as_str().unwrap_or_default();
            let help = entry["help"].as_str().unwrap_or_default();
            ensure!(
                ["counter", "gauge", "histogram", "info"].contains(&kind),
                "{name}: {entry}"
            );
            ensure!(help.ends_with('.') && help.len() > 10, "{name}: {entry}");
        }
        known.insert(name.clone());
    }
    // What both formats have said is the same: a series of one job is there in the other.
    let names =
        |job: &str| format!("count by (__name__) ({{job=\"{job}\", __name__!~\"up|scrape_.+|ALERTS.*\"}})");
    let (ours, older) = (
        prometheus.numbers(&names("operators")).await?,
        prometheus.numbers(&names("older")).await?,
    );
    let name = |series: &Value| series["metric"]["__name__"].to_string();
    assert_eq!(
        ours.iter().map(name).collect::<BTreeSet<_>>(),
        older.iter().map(name).collect::<BTreeSet<_>>()
    );
    Ok(known)
}

/// Titles and queries of the dashboard's panels.
fn panels() -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(DASHBOARD)?)?;
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"]
                .as_str()
                .with_context(|| format!("{panel}: no query"))?;
            queries.push((panel["title"].to_string(), query.to_owned()));
        }
    }
    Ok(queries)
}

/// Every query of the dashboard answers with numbers. Answers how many there are.
async fn every_panel_has_data(prometheus: &Prometheus) -> Result<usize> {
    let panels = panels()?;
    for (title, query) in &panels {
        let query = query
            .replace("$job", "operators")
            .replace("$__rate_interval", "2m");
        ensure!(
            !query.contains('$'),
            "{title}: {query} has a variable that nobody knows"
        );
        let data = prometheus.numbers(&query).await;
        data.with_context(|| format!("panel {title}"))?;
    }
    // What the variable of the dashboard asks for.
    let jobs = prometheus
        .get("label/job/values", &[("match[]", "wib_build_info")])
        .await?;
    assert_eq!(jobs, json!(["older", "operators"]));
    Ok(panels.len())
}

/// Prometheus evaluates every rule, and each selector in it finds series. Answers how many selectors there are.
async fn every_alert_is_evaluated_on_data(
    prometheus: &Prometheus,
    known: &BTreeSet<String>,
) -> Result<usize> {
    let rules = prometheus.get("rules", &[]).await?;
    let rules = rules["groups"][0]["rules"]
        .as_array()
        .context("no rules")?
        .clone();
    ensure!(rules.len() >= 10, "{rules:?}");
    let mut selectors = BTreeSet::new();
    for rule in &rules {
        ensure!(rule["health"] == "ok", "{rule}");
        let query = rule["query"].as_str().context("no query")?;
        let found = selectors_in(query, known);
        ensure!(!found.is_empty(), "no metric of ours in {query}");
        selectors.extend(found);
    }
    for selector in &selectors {
        let data = prometheus.numbers(selector).await;
        data.context("an alert could never fire")?;
    }
    Ok(selectors.len())
}

/// The selectors of an expression: names of metrics, with the braces behind them.
fn selectors_in(query: &str, known: &BTreeSet<String>) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(is_name) {
        let word: String = rest[start..].chars().take_while(|c| is_name(*c)).collect();
        let after = &rest[start + word.len()..];
        let family = ["_total", "_info", ""]
            .iter()
            .find_map(|suffix| word.strip_suffix(suffix));
        if known.contains(&word) || family.is_some_and(|family| known.contains(family)) {
            let braces = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let braces = braces.map_or_else(String::new, |(inside, _)| format!("{{{inside}}}"));
            found.push(word + &braces);
        }
        rest = after;
    }
    found
}
