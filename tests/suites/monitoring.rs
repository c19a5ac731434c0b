//! Metrics, alerts and dashboard, as a real Prometheus sees them.

mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Fault, FaultAction, Identity, Operation};
use futures::future::try_join_all;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{Operator, Tool, World};

use crate::runner::{figure, trials};
use prometheus::{PATIENCE, Prometheus};

trials![
    alone the_rules_are_well_formed_and_pass_their_unit_tests,
    shared prometheus_answers_every_query_of_the_dashboard_and_of_the_alerts,
    shared every_scraper_gets_a_format_that_it_understands,
    shared bindings_are_counted_right_after_changes_deletions_and_restarts,
    shared a_standby_counts_no_bindings,
    shared an_identity_that_fills_up_is_seen,
    shared series_do_not_grow_with_bindings,
];

/// The rules of Prometheus.
const RULES: &str = "charts/workload-identity-binding/files/alerts.yaml";
const DASHBOARD: &str = "charts/workload-identity-binding/files/dashboard.json";

/// Bindings that a person has to mend are looked at twice a second, and all others as often.
const QUICK: [&str; 3] = [
    "--drift-interval=500ms",
    "--slow-retry-interval=500ms",
    "--read-after-write-grace=10ms",
];

async fn the_rules_are_well_formed_and_pass_their_unit_tests() -> Result<()> {
    Tool::Promtool
        .run(&["check", "rules", "--lint=all", "--lint-fatal", RULES], "")
        .await?;
    Tool::Promtool
        .run(&["test", "rules", "tests/suites/monitoring/alerts_test.yaml"], "")
        .await?;
    Ok(())
}

/// Waits until `/metrics` has these lines.
async fn shows(operator: &Operator, lines: &[&str]) -> Result<()> {
    let started = Instant::now();
    loop {
        let (_, text) = operator.get("/metrics").await?;
        let missing: Vec<_> = lines
            .iter()
            .filter(|wanted| !text.lines().any(|line| line == **wanted))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(started.elapsed() < PATIENCE, "{missing:?} missing in:\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The lines of the state of bindings.
async fn counted(operator: &Operator) -> Result<Vec<String>> {
    let (_, text) = operator.get("/metrics").await?;
    let lines = text.lines().filter(|line| line.starts_with("wib_bindings{"));
    Ok(lines.map(str::to_owned).collect())
}

/// Puts credentials of others on an identity.
fn fill(world: &World, identity: &Identity, credentials: usize) {
    for n in 0..credentials {
        let credential = Credential {
            name: format!("other-{n}"),
            issuer: "https://other.example/".to_owned(),
            subject: format!("system:serviceaccount:other:{n}"),
            audiences: vec![wib_harness::AUDIENCE.to_owned()],
        };
        world.azure.put_credential(&identity.resource_id, credential);
    }
}

/// Bindings of many kinds: ready, denied, without ServiceAccount, suspended, on a full identity, on none.
async fn many_kinds(world: &World) -> Result<()> {
    for name in ["web", "api", "full"] {
        let identity = world.workload(name).await?;
        if name == "full" {
            fill(world, &identity, 18);
        }
        world.bind(name, name, &identity).await?;
    }
    let denied = world.identity("denied");
    world.service_account("denied").await?;
    world.bind("denied", "denied", &denied).await?;
    let homeless = world.identity("homeless");
    world.grant("homeless", &homeless).await?;
    world.bind("homeless", "homeless", &homeless).await?;
    world.service_account("lost").await?;
    world.grant("lost", &world.at("lost")).await?;
    world.bind("lost", "lost", &world.at("lost")).await?;
    let resting = world.workload("resting").await?;
    let spec = json!({
        "identity": { "resourceId": resting.resource_id },
        "serviceAccount": { "name": "resting" },
        "suspend": true,
    });
    world.create("resting", spec).await?;

    world.ready("web").await?;
    world.ready("api").await?;
    world.ready("full").await?;
    world.not_ready("denied", "NotAuthorized").await?;
    world.not_ready("homeless", "ServiceAccountNotFound").await?;
    world.not_ready("lost", "IdentityNotFound").await?;
    world.not_ready("resting", "Suspended").await?;
    Ok(())
}

async fn prometheus_answers_every_query_of_the_dashboard_and_of_the_alerts(world: World) -> Result<()> {
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

/// Waits until a probe of the operator answers this.
async fn answers(operator: &Operator, path: &str, body: &str) -> Result<()> {
    let started = Instant::now();
    while operator.get(path).await?.1 != body {
        ensure!(started.elapsed() < PATIENCE, "{path} never answers {body:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
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

async fn every_scraper_gets_a_format_that_it_understands(world: World) -> Result<()> {
    let operator = world.operator().await?;
    world.bind("web", "web", &world.workload("web").await?).await?;
    world.ready("web").await?;
    let http = reqwest::Client::new();
    let ask = async |accept: Option<&str>| -> Result<(String, String)> {
        let mut request = http.get(format!("http://{}/metrics", operator.address()));
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let answer = request.send().await?;
        let kind = answer.headers().get("content-type").context("no content-type")?;
        Ok((kind.to_str()?.to_owned(), answer.text().await?))
    };
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let older = "text/plain; version=0.0.4; charset=utf-8";

    let (kind, text) = ask(Some(
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    ))
    .await?;
    assert_eq!(kind, open);
    ensure!(
        text.ends_with("# EOF\n") && text.contains("# TYPE wib_build info\n"),
        "{text}"
    );

    for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4")] {
        let (kind, text) = ask(accept).await?;
        assert_eq!(kind, older, "{accept:?}");
        ensure!(!text.contains("# EOF") && !text.contains(" info\n"), "{text}");
        // Its parser is that of the older format, and it finds fault with names and helps too.
        let complaints = Tool::Promtool.output(&["check", "metrics"], &text).await?;
        ensure!(
            complaints.status.success() && complaints.stderr.is_empty(),
            "{complaints:?}\n{text}"
        );
    }
    Ok(())
}

async fn bindings_are_counted_right_after_changes_deletions_and_restarts(world: World) -> Result<()> {
    let operator = world.operator_with(&QUICK).await?;
    many_kinds(&world).await?;
    let all = [
        "wib_bindings{ready=\"True\",stalled=\"false\",reason=\"Synced\"} 3",
        "wib_bindings{ready=\"False\",stalled=\"true\",reason=\"NotAuthorized\"} 1",
        "wib_bindings{ready=\"False\",stalled=\"false\",reason=\"ServiceAccountNotFound\"} 1",
        "wib_bindings{ready=\"False\",stalled=\"true\",reason=\"IdentityNotFound\"} 1",
        "wib_bindings{ready=\"False\",stalled=\"false\",reason=\"Suspended\"} 1",
        "wib_identity_credentials_max 19",
        "wib_time_to_ready_seconds_count 3",
    ];
    shows(&operator, &all).await?;
    assert_eq!(counted(&operator).await?.len(), 5);
    let denied = world.bindings().get("denied").await?;
    let conditions = denied.status.context("no status")?.conditions;
    let ready = conditions
        .iter()
        .find(|c| c.type_ == "Ready")
        .context("no Ready")?;
    let since = ready.last_transition_time.0.as_second();
    let oldest = format!(
        "wib_bindings_not_ready_since_timestamp_seconds{{stalled=\"true\",reason=\"NotAuthorized\"}} {since}.0"
    );
    shows(&operator, &[&oldest]).await?;

    // A new process counts the same, but for what it has not seen happen.
    operator.stop().await?;
    let operator = world.operator_with(&QUICK).await?;
    shows(&operator, &all[..6]).await?;
    shows(&operator, &[&oldest, "wib_time_to_ready_seconds_count 0"]).await?;

    world.grant("denied", &world.at("denied")).await?;
    world.ready("denied").await?;
    for name in ["web", "homeless", "lost", "resting"] {
        world.delete(name).await?;
    }
    shows(
        &operator,
        &["wib_bindings{ready=\"True\",stalled=\"false\",reason=\"Synced\"} 3"],
    )
    .await?;
    assert_eq!(
        counted(&operator).await?.len(),
        1,
        "{:?}",
        counted(&operator).await?
    );
    for name in ["api", "full", "denied"] {
        world.delete(name).await?;
    }
    shows(
        &operator,
        &["wib_bindings{ready=\"True\",stalled=\"false\",reason=\"Synced\"} 0"],
    )
    .await?;
    let (_, text) = operator.get("/metrics").await?;
    ensure!(
        !text.contains("wib_bindings_not_ready_since_timestamp_seconds{"),
        "{text}"
    );

    // One that cannot be deleted says so.
    world.bind("stuck", "web", &world.at("web")).await?;
    world.ready("stuck").await?;
    let refused = Fault::on(Operation::DeleteCredential).status(409, "ScopeLocked", "It is locked.");
    world.azure.fault(refused.always());
    world
        .bindings()
        .delete("stuck", &kube::api::DeleteParams::default())
        .await?;
    let stuck = "wib_bindings{ready=\"False\",stalled=\"true\",reason=\"ResourceLocked\"} 1";
    shows(&operator, &[stuck]).await?;
    world.azure.clear_faults();
    world.gone("stuck").await
}

async fn a_standby_counts_no_bindings(world: World) -> Result<()> {
    let lease = Duration::from_mins(1);
    let (a, b) = (world.elect("a", lease).await?, world.elect("b", lease).await?);
    let flags = |flags: &[String]| -> Vec<String> {
        world.operator_arguments(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let leader = Operator::start(flags(&a)).await?;
    answers(&leader, "/readyz", "ok").await?;
    let standby = Operator::start(flags(&b)).await?;
    answers(&standby, "/readyz", "standby").await?;
    world.bind("web", "web", &world.workload("web").await?).await?;
    world.ready("web").await?;

    let one = "wib_bindings{ready=\"True\",stalled=\"false\",reason=\"Synced\"} 1";
    shows(
        &leader,
        &[
            one,
            "leader_election_master_status{name=\"workload-identity-binding\"} 1",
        ],
    )
    .await?;
    shows(
        &standby,
        &["leader_election_master_status{name=\"workload-identity-binding\"} 0"],
    )
    .await?;
    let (_, text) = standby.get("/metrics").await?;
    for state in [
        "wib_bindings{",
        "wib_bindings_not_ready_since_timestamp_seconds{",
        "wib_identities{",
        "wib_identity_credentials_max ",
    ] {
        ensure!(
            !text.lines().any(|line| line.starts_with(state)),
            "{state}: {text}"
        );
    }
    leader.stop().await?;
    shows(
        &standby,
        &[
            one,
            "leader_election_master_status{name=\"workload-identity-binding\"} 1",
        ],
    )
    .await
}

async fn an_identity_that_fills_up_is_seen(world: World) -> Result<()> {
    let operator = world.operator_with(&QUICK).await?;
    let identity = world.workload("web").await?;
    fill(&world, &identity, 16);
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    shows(
        &operator,
        &[
            "wib_identity_credentials_max 17",
            "wib_identities{credentials=\"17\"} 1",
        ],
    )
    .await?;
    fill(&world, &identity, 17);
    shows(
        &operator,
        &[
            "wib_identity_credentials_max 18",
            "wib_identities{credentials=\"18\"} 1",
        ],
    )
    .await?;
    for n in 0..17 {
        world
            .azure
            .delete_credential(&identity.resource_id, &format!("other-{n}"));
    }
    shows(
        &operator,
        &[
            "wib_identity_credentials_max 1",
            "wib_identities{credentials=\"1\"} 1",
        ],
    )
    .await
}

async fn series_do_not_grow_with_bindings(world: World) -> Result<()> {
    let operator = world.operator_with(&["--azure-pacing=off"]).await?;
    let identity = world.identity("shared");
    let names: Vec<String> = (0..60).map(|n| format!("web-{n}")).collect();
    let mut sizes = BTreeMap::new();
    for (made, names) in [(1, &names[..1]), (10, &names[1..10]), (60, &names[10..])] {
        let bound = names.iter().map(async |name| {
            let identity = if made == 1 {
                identity.clone()
            } else {
                world.identity(name)
            };
            world.service_account(name).await?;
            world.grant(name, &identity).await?;
            world.bind(name, name, &identity).await?;
            world.ready(name).await
        });
        try_join_all(bound).await?;
        let all = format!("wib_bindings{{ready=\"True\",stalled=\"false\",reason=\"Synced\"}} {made}");
        shows(&operator, &[&all]).await?;
        let started = Instant::now();
        let (_, text) = operator.get("/metrics").await?;
        let took = started.elapsed();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        figure(format!(
            "monitoring {made:>2} bindings: {series} series, {} bytes, scraped in {took:.1?}",
            text.len()
        ));
        ensure!(
            !text.contains(&world.namespace) && !text.contains(&identity.client_id),
            "{text}"
        );
        sizes.insert(made, series);
    }
    // Statuses and reasons that only come up now and then; nothing else.
    let grown = sizes[&60] - sizes[&1];
    ensure!(grown <= 12, "{sizes:?}");
    Ok(())
}
