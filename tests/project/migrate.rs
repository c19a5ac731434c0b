//! The pages about `wib migrate`: every finding is explained, with the severity that it has, and reasons that are quoted
//! are those that the code gives.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use strum::IntoEnumIterator;
use workload_identity_binding::migrate::{Code, Severity};

use crate::{files, read};

#[test]
fn every_finding_is_explained_with_its_severity() -> Result<()> {
    let document = read("docs/migrate-findings.md")?;
    for code in Code::iter() {
        let name = code.as_str();
        let mut lines = document.lines();
        lines
            .find(|line| *line == format!("### {name}"))
            .with_context(|| format!("docs/migrate-findings.md has no heading ### {name}"))?;
        let word = match code.severity() {
            Severity::Error => "**Error.**",
            Severity::Warning => "**Warning.**",
            Severity::Info => "**Info.**",
        };
        let explained = lines.find(|line| !line.is_empty()).unwrap_or_default();
        ensure!(
            explained.starts_with(word),
            "docs/migrate-findings.md: {name} must start with {word}"
        );
    }
    let known: BTreeSet<&str> = Code::iter().map(Code::as_str).collect();
    for heading in document.lines().filter_map(|line| line.strip_prefix("### ")) {
        ensure!(
            known.contains(heading),
            "docs/migrate-findings.md explains {heading}, which does not exist"
        );
    }
    Ok(())
}

#[test]
fn reasons_why_something_is_left_are_those_that_the_code_gives() -> Result<()> {
    let mut source = String::new();
    for path in files("src/migrate", "rs")? {
        source += &read(&path)?;
    }
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // A long text goes on in the next line.
    let source = words(&source.replace("\\\n", ""));
    let page = read("docs/migrate.md")?;
    let (_, after) = page
        .split_once("\n### What is left\n")
        .context("docs/migrate.md has no section about what is left")?;
    let section = after.split("\n##").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let mut quoted = 0;
    for reason in rows.filter_map(|row| row.split(" | ").next()) {
        for part in reason.split('`').skip(1).step_by(2) {
            quoted += 1;
            ensure!(
                source.contains(part),
                "docs/migrate.md: the code never says {part:?}"
            );
        }
    }
    ensure!(quoted > 15, "docs/migrate.md quotes {quoted} reasons only");
    Ok(())
}
