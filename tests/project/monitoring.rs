//! Metrics, alerts, dashboard and `docs/monitoring.md` speak of the same things.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, Response};
use jiff::Timestamp;
use pretty_assertions::assert_eq;
use prometheus_client::registry::Registry;
use serde_json::Value;
use serde_yaml::Value as Yaml;
use strum::IntoEnumIterator;
use tower::{Layer, ServiceExt, service_fn};
use workload_identity_binding::api::{CredentialState, Reason};
use workload_identity_binding::azure::{AzureMetrics, Counter, Operation};
use workload_identity_binding::controller::{BindingState, ControllerMetrics, Ended, StateSnapshot};
use workload_identity_binding::core::Fault;
use workload_identity_binding::runtime::metrics::{Metrics, RequestLayer, TextFormat};

use crate::{documents, read};

const RULES: &str = "charts/workload-identity-binding/files/alerts.yaml";
const DASHBOARD: &str = "charts/workload-identity-binding/files/dashboard.json";
const TESTS: &str = "tests/suites/monitoring/alerts_test.yaml";
const DOCS: &str = "docs/monitoring.md";
const RUNBOOK: &str =
    "https://github.com/workload-identity-binding/workload-identity-binding/blob/main/docs/monitoring.md#";

/// Type and labels of each metric.
type Catalogue = BTreeMap<String, (String, BTreeSet<String>)>;

/// Metrics to which everything has happened once.
fn metrics() -> Result<Metrics> {
    let mut registry = Registry::default();
    let azure = AzureMetrics::register(&mut registry);
    azure.called(Operation::GetIdentity, Duration::ZERO, None);
    azure.left(Counter::Reads, 1);
    let controller = ControllerMetrics::register(&mut registry);
    controller.ended(Duration::ZERO, Some(Reason::Synced), Ended::ComesBack);
    controller.listed(|| {
        let binding = BindingState {
            ready: Some(false),
            stalled: true,
            reason: Some(Reason::NotAuthorized),
            not_ready_since: Some(Timestamp::UNIX_EPOCH),
        };
        Some(StateSnapshot {
            bindings: vec![binding],
            identities: vec![1],
            credentials: vec![(CredentialState::Wanted, 1)],
        })
    });
    let metrics = Metrics::new(registry);
    metrics.leads("workload-identity-binding", true);
    let answer = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(Response::new(())) });
    let client = RequestLayer::new(metrics.requests.clone(), "kubernetes".to_owned()).layer(answer);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(client.oneshot(Request::new(())))?;
    Ok(metrics)
}

/// What the code exposes.
fn exposed() -> Result<Catalogue> {
    let text = metrics()?.exposition(TextFormat::Text)?;
    let mut catalogue = Catalogue::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let series = text.lines().find(|line| {
                let rest = line.strip_prefix(name).unwrap_or_default();
                rest.starts_with(['{', ' ']) || rest.starts_with("_bucket{")
            });
            let series =
                series.with_context(|| format!("{name} has no series: make it happen in metrics()"))?;
            let braces = series.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            let labels = braces.map_or("", |(inside, _)| inside).split(',');
            let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            let labels = labels.filter(|label| label != "le").collect();
            catalogue.insert(name.to_owned(), (kind.to_owned(), labels));
        }
    }
    ensure!(catalogue.len() > 20, "{text}");
    Ok(catalogue)
}

/// What the tables of the page say.
fn documented() -> Result<Catalogue> {
    let mut catalogue = Catalogue::new();
    for line in read(DOCS)?.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells.as_slice() else {
            anyhow::bail!("{DOCS}: {line} has not four cells");
        };
        ensure!(!meaning.is_empty(), "{DOCS}: {name} has no meaning");
        let labels = labels.split_whitespace().map(|l| l.trim_matches('`').to_owned());
        let row = ((*kind).to_owned(), labels.collect());
        let twice = catalogue.insert(name.trim_matches('`').to_owned(), row);
        ensure!(twice.is_none(), "{DOCS}: {name} stands there twice");
    }
    Ok(catalogue)
}

#[test]
fn the_page_explains_every_metric_with_its_labels_and_no_other() -> Result<()> {
    let (mut exposed, documented) = (exposed()?, documented()?);
    if !cfg!(target_os = "linux") {
        exposed.extend(
            documented
                .clone()
                .into_iter()
                .filter(|(name, _)| name.starts_with("process_")),
        );
    }
    assert_eq!(documented, exposed);

    let page = read(DOCS)?;
    let operations = Operation::iter().map(Operation::as_str);
    let states = CredentialState::iter().map(CredentialState::as_str);
    let results = Fault::iter()
        .filter(|fault| *fault != Fault::Queued)
        .map(Fault::as_str);
    for word in operations.chain(results).chain(states) {
        ensure!(page.contains(&format!("`{word}`")), "{DOCS} does not name {word}");
    }
    // In the text, too, no metric is named that does not exist.
    let known: BTreeSet<&str> = exposed.keys().map(String::as_str).collect();
    for word in names_in(&page) {
        ensure!(is_known(&known, &word), "{DOCS}: there is no metric {word}");
    }
    Ok(())
}

/// Words of a text that begin like the names of our own metrics.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("wib_"))
        .map(str::to_owned)
        .collect()
}

fn is_known(known: &BTreeSet<&str>, name: &str) -> bool {
    let suffixes = ["", "_bucket", "_sum", "_count"];
    suffixes
        .iter()
        .any(|suffix| name.strip_suffix(suffix).is_some_and(|name| known.contains(name)))
}

/// Nobody here runs kube-state-metrics, but what the page makes it look for has to be there.
#[test]
fn the_fields_that_kube_state_metrics_is_sent_to_exist() -> Result<()> {
    let page = read(DOCS)?;
    let blocks = page.split("```yaml\n").filter_map(|rest| rest.split_once("```"));
    let mut configs = blocks.filter(|(block, _)| block.contains("kind: CustomResourceStateMetrics"));
    let config: Yaml = serde_yaml::from_str(configs.next().context("no configuration")?.0)?;
    let resource = &config["spec"]["resources"][0];
    let definition = documents("crds/workload-identity.io_workloadidentitybindings.yaml")?;
    let version = &definition[0]["spec"]["versions"][0];
    assert_eq!(
        resource["groupVersionKind"]["group"],
        definition[0]["spec"]["group"]
    );
    assert_eq!(resource["groupVersionKind"]["version"], version["name"]);
    assert_eq!(
        resource["groupVersionKind"]["kind"],
        definition[0]["spec"]["names"]["kind"]
    );

    let mut found = 0;
    for metric in resource["metrics"].as_sequence().context("no metrics")? {
        let (gauge, info) = (&metric["each"]["gauge"], &metric["each"]["info"]);
        let one = if gauge.is_mapping() { gauge } else { info };
        let base = one["path"].as_sequence().cloned().unwrap_or_default();
        let labels = one["labelsFromPath"]
            .as_mapping()
            .into_iter()
            .flatten()
            .map(|(_, path)| path);
        for path in labels.chain([&one["valueFrom"]]).filter_map(Yaml::as_sequence) {
            let mut schema = &version["schema"]["openAPIV3Schema"];
            for field in base.iter().chain(path) {
                let object = if schema["items"].is_mapping() {
                    &schema["items"]
                } else {
                    schema
                };
                schema = &object["properties"][field];
                ensure!(
                    schema.is_mapping(),
                    "{DOCS}: {base:?} {path:?} is not in the definition"
                );
            }
            found += 1;
        }
    }
    assert_eq!(found, 6);
    Ok(())
}

/// The alerts, by name.
fn alerts() -> Result<BTreeMap<String, Yaml>> {
    let document = documents(RULES)?.pop().context("no document")?;
    let groups = document["groups"].as_sequence().context("no groups")?;
    let rules = groups
        .iter()
        .filter_map(|group| group["rules"].as_sequence())
        .flatten();
    let named = rules.map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule.clone())));
    named.collect::<Option<_>>().context("a rule is no alert")
}

#[test]
fn every_alert_says_what_it_means_and_leads_to_its_entry_in_the_page() -> Result<()> {
    let alerts = alerts()?;
    let (page, dashboard) = (read(DOCS)?, dashboard()?);
    let rows: BTreeSet<String> = panels(&dashboard)?
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| format!("{}, row {}", text(&dashboard["title"]), text(&row["title"])))
        .collect();
    for (name, rule) in &alerts {
        ensure!(name.starts_with("WorkloadIdentityBinding"), "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        let word = match severity {
            "critical" => "**Critical**",
            "warning" => "**Warning**",
            other => anyhow::bail!("{name}: there is no severity {other:?}"),
        };
        let annotation = |key: &str| rule["annotations"][key].as_str().unwrap_or_default();
        ensure!(!annotation("summary").is_empty(), "{name} has no summary");
        ensure!(annotation("description").len() > 80, "{name} has no description");
        assert_eq!(
            annotation("runbook_url"),
            RUNBOOK.to_owned() + &name.to_lowercase()
        );
        ensure!(
            rows.contains(annotation("dashboard")),
            "{name}: {}",
            annotation("dashboard")
        );

        let entry = page.split_once(&format!("\n### {name}\n"));
        let (_, entry) = entry.with_context(|| format!("{DOCS} has no heading ### {name}"))?;
        let entry = entry.split("\n## ").next().unwrap_or_default();
        let entry = entry.split("\n### ").next().unwrap_or_default();
        ensure!(
            entry.trim_start().starts_with(word),
            "{DOCS}: {name} must start with {word}"
        );
        for part in ["*Impact*", "*Look at*", "*Way out*"] {
            ensure!(entry.contains(part), "{DOCS}: {name} has no {part}");
        }
    }
    let headings = page
        .lines()
        .filter_map(|line| line.strip_prefix("### WorkloadIdentityBinding"));
    for heading in headings {
        let name = format!("WorkloadIdentityBinding{heading}");
        ensure!(
            alerts.contains_key(&name),
            "{DOCS} explains {name}, which does not exist"
        );
    }
    Ok(())
}

#[test]
fn every_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not_yet() -> Result<()> {
    let document = documents(TESTS)?.pop().context("no document")?;
    let tests = document["tests"].as_sequence().context("no tests")?;
    for name in alerts()?.keys() {
        let asks = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
        let checks = tests
            .iter()
            .filter_map(|test| test["promql_expr_test"].as_sequence());
        // Both in one test, so that one moment makes the difference.
        let complete = checks.into_iter().any(|checks| {
            let of_alert = || checks.iter().filter(|check| check["expr"] == asks.as_str());
            let samples = |check: &Yaml| check["exp_samples"].as_sequence().map_or(0, Vec::len);
            of_alert().any(|check| samples(check) == 0) && of_alert().any(|check| samples(check) > 0)
        });
        ensure!(
            complete,
            "{TESTS} has no test of {name} before and after it fires"
        );
    }
    Ok(())
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_exist() -> Result<()> {
    let exposed = exposed()?;
    let known: BTreeSet<&str> = exposed.keys().map(String::as_str).collect();
    for path in [RULES, DASHBOARD] {
        for word in names_in(&read(path)?) {
            ensure!(is_known(&known, &word), "{path}: there is no metric {word}");
        }
    }
    Ok(())
}

#[test]
fn the_monitor_selects_the_service_and_the_service_the_pods() -> Result<()> {
    let one = |path: &str| documents(path)?.pop().context("no document");
    let (monitor, service) = (
        one("config/prometheus/monitor.yaml")?,
        one("config/prometheus/service.yaml")?,
    );
    let deployment = one("config/manager/deployment.yaml")?;
    let pod = &deployment["spec"]["template"];
    let selects = |selector: &Yaml, labels: &Yaml| {
        let wanted = selector.as_mapping().filter(|wanted| !wanted.is_empty());
        wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
    };
    for object in [&monitor, &service] {
        assert_eq!(
            object["metadata"]["namespace"],
            deployment["metadata"]["namespace"]
        );
    }
    ensure!(selects(
        &monitor["spec"]["selector"]["matchLabels"],
        &service["metadata"]["labels"]
    ));
    ensure!(selects(&service["spec"]["selector"], &pod["metadata"]["labels"]));
    let port = &service["spec"]["ports"][0];
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], port["name"]);
    assert_eq!(
        port["targetPort"],
        pod["spec"]["containers"][0]["ports"][0]["name"]
    );
    assert_eq!(
        port["port"],
        pod["spec"]["containers"][0]["ports"][0]["containerPort"]
    );
    Ok(())
}

fn dashboard() -> Result<Value> {
    Ok(serde_json::from_str(&read(DASHBOARD)?)?)
}

fn panels(dashboard: &Value) -> Result<&Vec<Value>> {
    dashboard["panels"].as_array().context("no panels")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_dashboard_can_be_imported_anywhere() -> Result<()> {
    let dashboard = dashboard()?;
    assert_eq!(dashboard["uid"], "workload-identity-binding");
    ensure!(dashboard["id"].is_null(), "an id belongs to one Grafana");
    let variables = dashboard["templating"]["list"]
        .as_array()
        .context("no variables")?;
    let names: Vec<&str> = variables.iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(names, ["datasource", "job"]);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard)? {
        let title = text(&panel["title"]);
        ensure!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_default();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                ensure!(
                    x < 24 && taken.insert((x, y)),
                    "{title} lies over another panel, or beside the page"
                );
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        for source in [&panel["datasource"], &panel["targets"][0]["datasource"]] {
            assert_eq!(source["uid"], "${datasource}", "{title}");
        }
        for target in panel["targets"].as_array().context("no targets")? {
            let query = text(&target["expr"]);
            ensure!(
                query.contains("job=~\"$job\""),
                "{title} asks for other operators too: {query}"
            );
        }
    }
    Ok(())
}
