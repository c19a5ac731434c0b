//! Metrics, alerts and dashboard, as operators expose them and a real Prometheus sees them.

mod prometheus;
mod queries;
mod state;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Fault, FaultAction, Identity, Operation};
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::{Operator, Tool, World};

use crate::runner::trials;
use prometheus::PATIENCE;
use queries::prometheus_answers_every_query_of_the_dashboard_and_of_the_alerts;
use state::{
    a_standby_counts_no_bindings, an_identity_that_fills_up_is_seen,
    bindings_are_counted_right_after_changes_deletions_and_restarts, series_do_not_grow_with_bindings,
};

trials![
    alone the_rules_are_well_formed_and_pass_their_unit_tests,
    shared prometheus_answers_every_query_of_the_dashboard_and_of_the_alerts,
    shared every_scraper_gets_a_format_that_it_understands,
    shared an_operator_that_cannot_start_says_that_it_does_not_lead,
    shared bindings_are_counted_right_after_changes_deletions_and_restarts,
    shared a_standby_counts_no_bindings,
    shared an_identity_that_fills_up_is_seen,
    shared series_do_not_grow_with_bindings,
];

/// The rules of Prometheus.
const RULES: &str = "charts/workload-identity-binding/files/alerts.yaml";

/// All bindings are looked at twice a second.
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

/// Waits until a probe of the operator answers this.
async fn answers(operator: &Operator, path: &str, body: &str) -> Result<()> {
    let started = Instant::now();
    while operator.get(path).await?.1 != body {
        ensure!(started.elapsed() < PATIENCE, "{path} never answers {body:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
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

/// An alert on operators without a leader needs a series of those that never get as far as the election.
async fn an_operator_that_cannot_start_says_that_it_does_not_lead(world: World) -> Result<()> {
    world.azure.fault(
        Fault::on(Operation::Token)
            .always()
            .action(FaultAction::HangForever),
    );
    let operator = world.operator_with(&["--azure-timeout=200ms"]).await?;
    let failed = "wib_arm_requests_total{operation=\"get_token\",code=\"none\",result=\"login_failed\"} 1";
    let lease = "leader_election_master_status{name=\"workload-identity-binding\"}";
    shows(&operator, &[failed, &format!("{lease} 0")]).await?;
    world.azure.clear_faults();
    shows(&operator, &[&format!("{lease} 1")]).await
}
