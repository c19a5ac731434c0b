//! Image and workflows: pinned, of one version, under one name, and with no more rights than they need.

use anyhow::{Context, Result, ensure};
use serde_yaml::Value;

use crate::{documents, files, read};

const WORKFLOWS: &str = ".github/workflows";

/// What Cargo.toml says under this name, in its first such line.
fn manifest(name: &str) -> Result<String> {
    let text = read("Cargo.toml")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} = ")));
    let value = line.with_context(|| format!("Cargo.toml: no {name}"))?;
    Ok(value.trim_matches('"').to_owned())
}

/// Every job of every workflow, with its place.
fn jobs() -> Result<Vec<(String, Value)>> {
    let mut jobs = Vec::new();
    for path in files(WORKFLOWS, "yaml")? {
        for document in documents(&path)? {
            let mapping = document["jobs"].as_mapping().context(path.clone())?;
            for (name, job) in mapping {
                let name = name.as_str().context(path.clone())?;
                jobs.push((format!("{path}: job {name}"), job.clone()));
            }
        }
    }
    Ok(jobs)
}

#[test]
fn every_job_has_its_own_rights_and_an_end() -> Result<()> {
    for path in files(WORKFLOWS, "yaml")? {
        for document in documents(&path)? {
            let rights = document["permissions"].as_mapping();
            ensure!(
                rights.is_some_and(serde_yaml::Mapping::is_empty),
                "{path}: permissions: {{}}, so that a job has what it lists and nothing else"
            );
            ensure!(
                document["concurrency"]["group"].is_string(),
                "{path} lacks concurrency"
            );
            // Without it, a command that fails in a pipe passes.
            ensure!(
                document["defaults"]["run"]["shell"] == "bash",
                "{path} lacks shell: bash"
            );
        }
        // It would run what strangers propose with the rights of the repository.
        ensure!(
            !read(&path)?.contains("pull_request_target"),
            "{path} runs on pull_request_target"
        );
    }
    for (place, job) in jobs()? {
        ensure!(job["permissions"].is_mapping(), "{place} lacks permissions");
        let called = job["uses"].is_string();
        ensure!(
            called || job["timeout-minutes"].is_u64(),
            "{place} lacks timeout-minutes"
        );
    }
    Ok(())
}

#[test]
fn every_action_is_pinned_by_its_commit() -> Result<()> {
    for path in files(WORKFLOWS, "yaml")? {
        for line in read(&path)?.lines() {
            let Some((_, action)) = line.split_once("uses: ") else {
                continue;
            };
            let pinned = action.split_once('@').is_some_and(|(_, rest)| {
                rest.split_once(" # v").is_some_and(|(commit, version)| {
                    commit.len() == 40
                        && commit.chars().all(|c| c.is_ascii_hexdigit())
                        && version.split('.').count() == 3
                })
            });
            ensure!(
                pinned || action.starts_with("./"),
                "{path}: {action} is not owner/name@commit # v1.2.3"
            );
        }
    }
    Ok(())
}

#[test]
fn steps_keep_no_login_and_run_no_text_of_others() -> Result<()> {
    for (place, job) in jobs()? {
        for step in job["steps"].as_sequence().into_iter().flatten() {
            let checkout = step["uses"]
                .as_str()
                .is_some_and(|uses| uses.starts_with("actions/checkout@"));
            ensure!(
                !checkout || step["with"]["persist-credentials"] == false,
                "{place}: checkout lacks persist-credentials: false"
            );
            // An expression becomes part of the script, whatever it holds; a variable does not.
            let script = step["run"].as_str().unwrap_or_default();
            ensure!(
                !script.contains("${{"),
                "{place}: take env in place of ${{{{ }}}}: {script}"
            );
        }
    }
    Ok(())
}

#[test]
fn workflows_compile_with_the_compiler_of_the_image() -> Result<()> {
    let dockerfile = read("Dockerfile")?;
    let image = dockerfile.lines().find_map(|line| line.strip_prefix("ARG RUST="));
    let (rust, _) = image
        .and_then(|tag| tag.split_once('-'))
        .context("Dockerfile: no ARG RUST=1.2.3-…")?;
    let parts = |version: &str| -> Result<Vec<u64>> {
        let parts = version.split('.').map(str::parse);
        parts
            .collect::<std::result::Result<_, _>>()
            .with_context(|| version.to_owned())
    };
    ensure!(
        parts(rust)?.len() == 3,
        "Dockerfile: {rust} is not one version of Rust"
    );
    ensure!(
        parts(rust)? >= parts(&manifest("rust-version")?)?,
        "{rust} is too old"
    );
    for path in files(WORKFLOWS, "yaml")? {
        for document in documents(&path)? {
            ensure!(
                document["env"]["RUSTUP_TOOLCHAIN"] == rust,
                "{path}: not Rust {rust}"
            );
        }
    }
    // What is installed for a build is one version, the same wherever it is.
    let mut tools = Vec::new();
    for path in [
        "Dockerfile",
        ".github/workflows/ci.yaml",
        ".github/workflows/release.yaml",
        "docs/release.md",
    ] {
        let text = read(path)?;
        let tool = text
            .split_whitespace()
            .filter(|word| word.starts_with("cargo-auditable@"));
        tools.extend(tool.map(str::to_owned));
    }
    tools.dedup();
    ensure!(
        tools.len() == 1,
        "Dockerfile, workflows and docs/release.md differ: {tools:?}"
    );
    for path in files(WORKFLOWS, "yaml")? {
        for line in read(&path)?.lines().filter(|line| line.contains("cargo install")) {
            ensure!(line.contains("--locked") && line.contains('@'), "{path}: {line}");
        }
    }
    Ok(())
}

#[test]
fn the_image_is_pinned_and_runs_as_nobody() -> Result<()> {
    let text = read("Dockerfile")?;
    let instructions: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    ensure!(
        !instructions.iter().any(|line| line.contains("latest")),
        "Dockerfile: latest is another image each day"
    );
    // The compiler runs on the builder's own platform. Nothing but files comes into the image.
    for from in instructions.iter().filter_map(|line| line.strip_prefix("FROM ")) {
        ensure!(
            from.starts_with("--platform=$BUILDPLATFORM ") || from.split(' ').next() == Some("scratch"),
            "Dockerfile: FROM {from}"
        );
    }
    let last = instructions
        .iter()
        .rposition(|line| line.starts_with("FROM "))
        .context("Dockerfile: no FROM")?;
    let image = instructions.get(last..).unwrap_or_default();
    ensure!(image.first() == Some(&"FROM scratch"));
    ensure!(
        image.contains(&"USER 65532:65532"),
        "Dockerfile: the user is not that of config/manager"
    );
    ensure!(read("config/manager/deployment.yaml")?.contains("runAsUser: 65532"));
    ensure!(
        text.contains(&manifest("repository")?),
        "Dockerfile: another source"
    );
    Ok(())
}

/// Whoever names the image or the chart means what a release pushes.
#[test]
fn image_and_chart_have_one_name() -> Result<()> {
    let repository = manifest("repository")?;
    let repository = repository
        .strip_prefix("https://github.com/")
        .context("Cargo.toml: a repository elsewhere")?;
    let (owner, _) = repository.split_once('/').context("a repository without owner")?;
    let names = [
        format!("ghcr.io/{repository}"),
        format!("ghcr.io/{owner}/charts"),
        format!("ghcr.io/{owner}/charts/workload-identity-binding"),
    ];
    let release = &documents(".github/workflows/release.yaml")?[0];
    ensure!(release["env"]["IMAGE"] == "ghcr.io/${{ github.repository }}");
    ensure!(release["env"]["CHARTS"] == "ghcr.io/${{ github.repository_owner }}/charts");

    let mut paths = vec!["README.md".to_owned()];
    paths.extend(files("docs", "md")?);
    paths.extend(files("config", "yaml")?);
    paths.extend(files("charts", "yaml")?);
    paths.extend(files("charts", "md")?);
    let mut found = 0;
    for path in paths {
        let text = read(&path)?;
        for (at, _) in text.match_indices("ghcr.io/") {
            let rest = text.get(at..).unwrap_or_default();
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "./-_".contains(c)));
            let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            ensure!(names.iter().any(|known| known == name), "{path} names {name}");
            found += 1;
        }
    }
    ensure!(found > 0, "no document names the image");
    Ok(())
}
