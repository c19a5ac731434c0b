//! Documents: every reason explained, every link and command good.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use strum::IntoEnumIterator;
use workload_identity_binding::api::{ConditionType, Disposition, Reason};

use crate::{files, read, root};

/// The line under the heading `### <name>`.
fn under_heading<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = document.lines();
    lines.find(|line| *line == format!("### {name}"))?;
    lines.find(|line| !line.trim().is_empty())
}

#[test]
fn every_reason_is_explained_with_what_the_operator_does_about_it() -> Result<()> {
    let document = read("docs/conditions.md")?;
    for reason in Reason::iter() {
        let name = reason.as_str();
        let line = under_heading(&document, name)
            .with_context(|| format!("docs/conditions.md has no heading ### {name}"))?;
        let word = match reason.disposition() {
            Disposition::Done => "**In order.**",
            Disposition::Working => "**Under way.**",
            Disposition::RetrySoon => "**Retried soon.**",
            Disposition::RetrySlowly => "**Retried slowly.**",
            Disposition::Stalled => "**Stalled.**",
        };
        ensure!(
            line.starts_with(word),
            "docs/conditions.md: {name} must start with {word}"
        );
    }
    let known: BTreeSet<&str> = Reason::iter()
        .map(Reason::as_str)
        .chain(ConditionType::iter().map(ConditionType::as_str))
        .collect();
    for heading in document.lines().filter_map(|line| line.strip_prefix("### ")) {
        ensure!(
            known.contains(heading),
            "docs/conditions.md explains {heading}, which does not exist"
        );
    }
    for kind in ConditionType::iter() {
        let row = format!("| `{}` |", kind.as_str());
        ensure!(document.contains(&row), "docs/conditions.md has no row {row}");
    }
    Ok(())
}

#[test]
fn the_readme_names_the_two_commands_and_ci_runs_the_one_for_tests() -> Result<()> {
    let readme = read("README.md")?;
    for command in ["cargo run --example demo", "cargo test"] {
        ensure!(
            readme.lines().any(|line| line.trim() == command),
            "README.md does not name `{command}`"
        );
    }
    ensure!(
        read(".ci/run")?.lines().any(|line| line.ends_with("cargo test")),
        ".ci/run does not run `cargo test`"
    );
    Ok(())
}

#[test]
fn links_between_documents_lead_somewhere() -> Result<()> {
    let mut paths = files("docs", "md")?;
    paths.extend(["README.md", "CHANGELOG.md"].map(str::to_owned));
    for path in paths {
        let text = read(&path)?;
        let directory = Path::new(&path).parent().unwrap_or_else(|| Path::new(""));
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(t, _)| t)
        {
            let file = target.split('#').next().unwrap_or_default();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            ensure!(
                root().join(directory).join(file).exists(),
                "{path} links to {target}"
            );
        }
    }
    Ok(())
}
