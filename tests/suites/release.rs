//! What makes a release: the workflows are sound, and the check of the versions says no.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use wib_harness::Tool;

use crate::runner::trials;

trials![
    alone workflows_are_sound,
    alone a_release_needs_one_version_everywhere,
];

/// Syntax, expressions, inputs of actions and the order of jobs, as GitHub would see them.
async fn workflows_are_sound() -> Result<()> {
    let workflows = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let mut paths = Vec::new();
    for entry in fs::read_dir(workflows)? {
        paths.push(entry?.path());
    }
    ensure!(paths.len() > 1, "only {} workflows", paths.len());
    Tool::Actionlint.run(&paths, "").await?;

    // It does find what is wrong.
    let broken =
        "on: push\njobs: {a: {runs-on: ubuntu-24.04, steps: [{run: 'echo ${{ needs.b.result }}'}]}}\n";
    let output = Tool::Actionlint.output(&["-"], broken).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        !output.status.success() && said.contains("property \"b\" is not defined"),
        "{said}"
    );
    Ok(())
}

const CRATE: &str = "Cargo.toml";
const CHART: &str = "charts/workload-identity-binding/Chart.yaml";
const CHANGELOG: &str = "CHANGELOG.md";

/// A repository with all that has a version, at 1.2.3.
fn repository() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    let script = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/version.sh"))?;
    write(&directory, "hack/version.sh", &script)?;
    write(
        &directory,
        CRATE,
        b"[workspace.package]\nversion = \"1.2.3\"\n\n[workspace.dependencies]\nserde = { version = \"1\" }\n",
    )?;
    write(
        &directory,
        CHART,
        b"apiVersion: v2\nversion: 1.2.3\nappVersion: \"1.2.3\"\n",
    )?;
    write(
        &directory,
        CHANGELOG,
        b"# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-02\n\n## [1.2.2] - 2026-01-01\n",
    )?;
    Ok(directory)
}

fn write(directory: &TempDir, path: &str, contents: &[u8]) -> Result<()> {
    let path = directory.path().join(path);
    fs::create_dir_all(path.parent().context("a path without a directory")?)?;
    Ok(fs::write(path, contents)?)
}

/// Whether the check of the versions passes for this tag, and what it says.
async fn check(directory: &TempDir, tag: &str) -> Result<(bool, String)> {
    let script = directory.path().join("hack/version.sh");
    let output = Command::new("sh").arg(script).arg(tag).output().await?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8(said)?))
}

async fn a_release_needs_one_version_everywhere() -> Result<()> {
    let whole = repository()?;
    ensure!(check(&whole, "v1.2.3").await? == (true, "version=1.2.3\n".to_owned()));
    for tag in ["v1.2.4", "1.2.3", "v1.2", ""] {
        let (passes, said) = check(&whole, tag).await?;
        let complaint = format!("the tag is '{tag}', but version of Cargo.toml is '1.2.3'");
        ensure!(!passes && said.contains(&complaint), "{tag}: {said}");
    }
    for (path, is, other) in [
        (CHART, "\nversion: 1.2.3", "\nversion: 1.2.4"),
        (CHART, "appVersion: \"1.2.3\"", "appVersion: \"1.2.2\""),
        (CHANGELOG, "## [1.2.3] - 2026-01-02\n", ""),
    ] {
        let repository = repository()?;
        let text = fs::read_to_string(repository.path().join(path))?;
        ensure!(text.contains(is), "{path} lacks {is}");
        write(&repository, path, text.replace(is, other).as_bytes())?;
        let (passes, said) = check(&repository, "v1.2.3").await?;
        ensure!(
            !passes && said.contains(path) && said.contains("'v1.2.3'"),
            "{path} without {is}: {said}"
        );
    }
    Ok(())
}
