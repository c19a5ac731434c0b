//! The state of bindings and identities, as `/metrics` counts it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Fault, Operation};
use futures::future::try_join_all;
use kube::api::DeleteParams;
use pretty_assertions::assert_eq;
use wib_harness::{Operator, World};

use super::{QUICK, answers, fill, many_kinds, shows};
use crate::runner::figure;

/// The lines of the state of bindings.
async fn counted(operator: &Operator) -> Result<Vec<String>> {
    let (_, text) = operator.get("/metrics").await?;
    let lines = text.lines().filter(|line| line.starts_with("wib_bindings{"));
    Ok(lines.map(str::to_owned).collect())
}

pub async fn bindings_are_counted_right_after_changes_deletions_and_restarts(world: World) -> Result<()> {
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
    world.bindings().delete("stuck", &DeleteParams::default()).await?;
    let stuck = "wib_bindings{ready=\"False\",stalled=\"true\",reason=\"ResourceLocked\"} 1";
    shows(&operator, &[stuck]).await?;
    world.azure.clear_faults();
    world.gone("stuck").await
}

pub async fn a_standby_counts_no_bindings(world: World) -> Result<()> {
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

pub async fn an_identity_that_fills_up_is_seen(world: World) -> Result<()> {
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

pub async fn series_do_not_grow_with_bindings(world: World) -> Result<()> {
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
