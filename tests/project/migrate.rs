//! `docs/migrate.md` explains every finding of `wib migrate`, with the severity that it has.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use strum::IntoEnumIterator;
use workload_identity_binding::migrate::{Code, Severity};

use crate::read;

#[test]
fn every_finding_is_explained_with_its_severity() -> Result<()> {
    let document = read("docs/migrate.md")?;
    let (_, document) = document
        .split_once("\n## Findings\n")
        .context("docs/migrate.md has no section Findings")?;
    for code in Code::iter() {
        let name = code.as_str();
        let mut lines = document.lines();
        lines
            .find(|line| *line == format!("### {name}"))
            .with_context(|| format!("docs/migrate.md has no heading ### {name}"))?;
        let word = match code.severity() {
            Severity::Error => "**Error.**",
            Severity::Warning => "**Warning.**",
            Severity::Info => "**Info.**",
        };
        let explained = lines.find(|line| !line.is_empty()).unwrap_or_default();
        ensure!(
            explained.starts_with(word),
            "docs/migrate.md: {name} must start with {word}"
        );
    }
    let known: BTreeSet<&str> = Code::iter().map(Code::as_str).collect();
    for heading in document.lines().filter_map(|line| line.strip_prefix("### ")) {
        ensure!(
            known.contains(heading),
            "docs/migrate.md explains {heading}, which does not exist"
        );
    }
    Ok(())
}
