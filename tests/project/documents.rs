//! Documents: every reason explained, every link, name and command good.

mod links;
mod names;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use strum::IntoEnumIterator;
use wib_harness::markdown::{self, Document};
use workload_identity_binding::api::{ConditionType, Disposition, Reason};

use crate::{files, read, root};

/// Documents at the root of the repository.
const AT_THE_ROOT: [&str; 5] = [
    "README.md",
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

/// All documents that users and contributors read, by path.
fn pages() -> Result<Vec<String>> {
    let mut paths = files("docs", "md")?;
    if root().join("charts").is_dir() {
        paths.extend(files("charts", "md")?);
    }
    paths.extend(AT_THE_ROOT.map(str::to_owned));
    Ok(paths)
}

fn document(path: &str) -> Result<Document> {
    markdown::read(&read(path)?).with_context(|| path.to_owned())
}

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

/// An example of a message that the code would not write misleads. What the code fills in is not in its source; half
/// of what stands in an example has to be.
#[test]
fn every_example_of_a_message_is_one_that_the_code_writes() -> Result<()> {
    let mut source = String::new();
    for path in files("src", "rs")? {
        source += &read(&path)?;
    }
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let source = words(&source);
    let mut examples = document("docs/conditions.md")?.blocks;
    examples.retain(|block| block.language == "text");
    ensure!(
        examples.len() > 10,
        "docs/conditions.md has lost its examples of messages"
    );
    for example in examples {
        let text: Vec<&str> = example.text.split_whitespace().collect();
        let threes: Vec<String> = text.windows(3).map(|three| three.join(" ")).collect();
        let known = threes.iter().filter(|three| source.contains(*three)).count();
        ensure!(
            known * 2 >= threes.len(),
            "docs/conditions.md:{}: the code has {known} of {} parts of {:?}",
            example.line,
            threes.len(),
            example.text
        );
    }
    Ok(())
}
