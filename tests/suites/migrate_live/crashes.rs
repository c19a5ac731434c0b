//! Killed after every single write.

use anyhow::{Context as _, Result, ensure};
use pretty_assertions::assert_eq;
use wib_harness::gate::Rule;

use super::stage::{CRON_JOB, DEPLOYMENT, Stage, is_write, mount};
use crate::runner::figure;

/// Runs a command again and again, each time killed as soon as the API server has stored one write, until it ends by
/// itself. Answers how often it was killed.
async fn killed(stage: &Stage, arguments: &[&str]) -> Result<usize> {
    let mut kills = 0;
    loop {
        let trap = stage.gate.rule(Rule::when(is_write).park_after_commit());
        let program = stage.start(arguments)?;
        let id = program.id().context("it has ended already")?;
        let ended = tokio::select! {
            _ = trap.reached() => None,
            ended = program.ended() => Some(ended?),
        };
        // Dropped, the program is killed.
        stage.gate.clear_rules();
        trap.drop_calls();
        if let Some(ended) = ended {
            ensure!(ended.code == Some(0), "{id}: {}{}", ended.output, ended.log);
            return Ok(kills);
        }
        kills += 1;
        ensure!(kills < 200, "{arguments:?} does not come to an end");
    }
}

pub async fn killed_after_every_write_it_ends_the_same() -> Result<()> {
    let stage = Stage::new().await?;
    // Two that share a ServiceAccount and have different identities: each needs a new one, also when the other has
    // switched already.
    stage.world.service_account("pair").await?;
    let account = |object: &mut serde_json::Value| {
        object["spec"]["template"]["spec"]["serviceAccountName"] = "pair".into();
    };
    let left = stage.pod_identity("shop", "left", "left").await?;
    stage.workload(DEPLOYMENT, "left", "left", account).await?;
    let right = stage.pod_identity("shop", "right", "right").await?;
    stage.workload(DEPLOYMENT, "right", "right", account).await?;
    let nightly = stage.pod_identity("shop", "nightly", "nightly").await?;
    stage.class("vault").await?;
    let mounting = |object: &mut serde_json::Value| {
        mount(&mut object["spec"]["jobTemplate"]["spec"]["template"], "vault");
    };
    stage.workload(CRON_JOB, "nightly", "nightly", mounting).await?;
    let before = stage.snapshot().await?;

    let mut kills = 0;
    for step in ["grant", "switch", "clean"] {
        let once = killed(&stage, &["-A", "--apply", "--step", step]).await?;
        ensure!(once >= 6, "{step} has written {once} times only");
        kills += once;
        stage
            .writes_nothing(0, &["-A", "--apply", "--step", step])
            .await?;
    }
    for (account, identity) in [("left", &left), ("right", &right), ("nightly", &nightly)] {
        stage.world.assert_accepted(account, &identity.client_id).await?;
    }
    assert_eq!(stage.left_of_pod_identity().await?, [""; 0]);

    let back = killed(&stage, &["-A", "--rollback"]).await?;
    stage.assert_unchanged_since(&before).await?;
    figure(format!(
        "migrate live: killed after {kills} writes forth and {back} back"
    ));
    Ok(())
}
