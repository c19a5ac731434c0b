//! `wib migrate` on generated repositories, whose truth is known: the real program, compared with it and with the real
//! kustomize.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pretty_assertions::assert_eq;
use serde_json::Value;
use wib_harness::repository::{Repository, Truth};
use wib_harness::{Program, Tool};

use crate::runner::{figure, trials};

trials![
    alone the_plan_is_the_truth,
    alone environments_are_what_kustomize_builds,
];

/// Others need theirs at the same time.
pub const ONE_CORE: [(&str, &str); 1] = [("RAYON_NUM_THREADS", "1")];

/// Repositories of a trial.
const SEEDS: u64 = 24;

/// The JSON that `wib migrate` prints.
async fn plan(path: &Path) -> Result<Value> {
    let program = Path::new(env!("CARGO_BIN_EXE_wib"));
    let arguments = ["migrate", "-o", "json", &path.display().to_string()].map(str::to_owned);
    let ended = Program::run(program, &arguments, &ONE_CORE).await?;
    ensure!(ended.code == Some(0) && ended.log.is_empty(), "{}", ended.log);
    Ok(serde_json::from_str(&ended.output)?)
}

/// A workload with what becomes of it.
type Row = (String, String, String, String, BTreeSet<String>);

/// The planned workloads of a plan, with what they are seen through.
fn rows(plan: &Value) -> Result<BTreeSet<(Option<String>, Row)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = BTreeSet::new();
    for workload in plan["workloads"].as_array().context("no workloads")? {
        let identities = workload["identities"].as_array().context("no identities")?;
        let later = |identity: &Value| text(&identity["resourceId"]).starts_with("${");
        let state = if identities.iter().any(later) {
            "unresolved"
        } else {
            "planned"
        };
        ensure!(workload["state"] == state, "{workload:#}");
        let row = (
            text(&workload["namespace"]),
            text(&workload["kind"]),
            text(&workload["name"]),
            text(&workload["serviceAccount"]),
            identities
                .iter()
                .map(|identity| text(&identity["resourceId"]).to_ascii_lowercase())
                .collect(),
        );
        let environment = workload["environment"].as_str().map(str::to_owned);
        ensure!(rows.insert((environment, row)), "twice: {workload:#}");
    }
    Ok(rows)
}

fn row(truth: &Truth) -> Row {
    (
        truth.namespace.clone(),
        truth.kind.clone(),
        truth.workload.clone(),
        truth.account.clone(),
        truth.identities.clone(),
    )
}

async fn the_plan_is_the_truth() -> Result<()> {
    let (mut files, mut workloads, mut credentials, mut later) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let repository = Repository::generate(seed, 60);
        let folder = tempfile::tempdir()?;
        repository.write_to(folder.path())?;
        let plan = plan(folder.path())
            .await
            .with_context(|| format!("seed {seed}"))?;
        let root = format!("{}/", folder.path().display());
        let truth = repository.truth.iter().map(|truth| {
            let environment = truth.environment.as_ref();
            (environment.map(|name| format!("{root}{name}")), row(truth))
        });
        assert_eq!(rows(&plan)?, truth.collect(), "seed {seed}");
        let counted = plan["credentials"].as_array().context("no credentials")?;
        let planned: u64 = counted.iter().filter_map(|c| c["planned"].as_u64()).sum();
        let all = repository.credentials();
        // What is filled in later cannot be counted: several may become one.
        let known = all.iter().filter(|(id, ..)| id.starts_with('/')).count();
        assert_eq!(planned, known as u64, "seed {seed}");
        files += repository.files.len();
        workloads += repository.truth.len();
        credentials += planned;
        later += all.len() - known;
    }
    ensure!(
        workloads > 500 && later > 20,
        "{workloads} workloads, {later} credentials later"
    );
    figure(format!(
        "migrate, generated: {SEEDS} repositories, {files} files, {workloads} workloads and {credentials} credentials, and \
         {later} filled in later, as they are"
    ));
    Ok(())
}

async fn environments_are_what_kustomize_builds() -> Result<()> {
    let mut built = 0;
    for seed in 0..SEEDS / 4 {
        let repository = Repository::generate(1_000 + seed, 60);
        let folder = tempfile::tempdir()?;
        repository.write_to(folder.path())?;
        for environment in &repository.environments {
            let path = folder.path().join(environment);
            let rendered = Tool::Kustomize
                .run(&["build", &path.display().to_string()], "")
                .await?;
            let file = folder.path().join("rendered.yaml");
            std::fs::write(&file, rendered)?;
            let truth: BTreeSet<Row> = repository
                .truth
                .iter()
                .filter(|truth| truth.environment.as_ref() == Some(environment))
                .map(row)
                .collect();
            let bare = |plan: &Value| -> Result<BTreeSet<Row>> {
                Ok(rows(plan)?.into_iter().map(|(_, row)| row).collect())
            };
            let theirs = plan(&file).await?;
            let ours = plan(&path).await?;
            let at = format!("seed {}, {environment}", 1_000 + seed);
            assert_eq!(bare(&theirs)?, truth, "rendered: {at}");
            assert_eq!(bare(&ours)?, truth, "built here: {at}");
            let codes = |plan: &Value| -> Result<BTreeSet<String>> {
                let findings = plan["findings"].as_array().context("no findings")?;
                let line = |f: &Value| format!("{} {} {}", f["code"], f["subject"], f["reason"]);
                Ok(findings.iter().map(line).collect())
            };
            assert_eq!(codes(&ours)?, codes(&theirs)?, "{at}");
            built += 1;
        }
    }
    ensure!(built > 20, "{built} environments");
    figure(format!(
        "migrate, generated: {built} environments as kustomize builds them"
    ));
    Ok(())
}
