//! `wib migrate`: from aad-pod-identity to workload identity.
//!
//! It goes one way: files → source → kustomize → model → join → checks and plan → print. All but the first and
//! this file are pure. Every node of every document keeps its place, through patches as well, so that each finding
//! names the line to change.

mod checks;
mod edit;
mod files;
mod finding;
mod join;
mod kustomize;
mod model;
mod object;
mod plan;
mod print;
mod progress;
mod report;
mod rewrite;
mod source;
mod text;
mod write;
mod yaml;

use std::io::{self, Write};

pub use finding::{Code, Severity};
use progress::Bar;
use report::{Defaults, Report};
use rewrite::Until;
use source::Sources;

use crate::cli::{MigrateArgs, MigrateOutput, MigrateStep};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A path cannot be used.
    #[error(transparent)]
    Path(#[from] files::Unusable),
    /// Objects of several environments do not go together.
    #[error(
        "{object} differs between {one} and {other}: give the paths of one environment, or use --output json"
    )]
    Environments {
        /// The object.
        object: String,
        /// An environment.
        one: String,
        /// Another one.
        other: String,
    },
    /// Files could not be written.
    #[error(transparent)]
    Files(#[from] write::Unwritten),
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[source] io::Error),
    /// The result has no form.
    #[error("cannot print the result: {0}")]
    Form(String),
}

/// Something to migrate, or to look at.
pub const EXIT_WORK: u8 = 6;

/// Something that a person has to decide or repair.
pub const EXIT_ERRORS: u8 = 7;

/// Reads, plans and prints. Says with which code the process is to end.
///
/// # Errors
/// If there is nothing to read, or the result cannot be written.
pub fn run(args: &MigrateArgs) -> Result<u8, Failure> {
    let bar = Bar::new();
    let sources = files::read(&args.paths, &mut io::stdin().lock(), &bar)?;
    let defaults = Defaults {
        namespace: args.namespace.clone(),
        namespaced: args.namespaced,
    };
    if args.in_place || args.diff {
        return rewritten(args, &sources, &defaults, bar);
    }
    let report = report::report(&sources, &defaults, &bar);
    drop(bar);
    print(&render(&report, args.output)?)?;
    Ok(match () {
        () if !args.exit_code => 0,
        () if report.has_errors() => EXIT_ERRORS,
        () if report.has_work() => EXIT_WORK,
        () => 0,
    })
}

/// Rewrites the files, or prints what would become of them.
fn rewritten(args: &MigrateArgs, sources: &Sources, defaults: &Defaults, bar: Bar) -> Result<u8, Failure> {
    let until = match args.step {
        Some(MigrateStep::Grant) => Until::Grant,
        Some(MigrateStep::Switch) => Until::Switch,
        Some(MigrateStep::Clean) | None => Until::Clean,
    };
    let rewriting = rewrite::rewrite(sources, defaults, until, &bar);
    drop(bar);
    if args.diff {
        print(rewrite::unified(&rewriting.files).as_bytes())?;
        let mut told = Vec::new();
        print::left(&rewriting, &mut told).map_err(Failure::Write)?;
        anstream::stderr().write_all(&told).map_err(Failure::Write)?;
    } else {
        write::write(&rewriting.files)?;
        let mut told = Vec::new();
        print::rewriting(&rewriting, &mut told).map_err(Failure::Write)?;
        print(&told)?;
    }
    Ok(match () {
        () if !args.exit_code => 0,
        () if !rewriting.left.is_empty() => EXIT_ERRORS,
        () if args.diff && !rewriting.files.is_empty() => EXIT_WORK,
        () => 0,
    })
}

/// Writes to standard output.
fn print(text: &[u8]) -> Result<(), Failure> {
    match write_out(text) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::Write),
    }
}

fn write_out(text: &[u8]) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text)?;
    out.flush()
}

fn render(report: &Report, output: MigrateOutput) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    match output {
        MigrateOutput::Table => print::report(report, &mut text).map_err(Failure::Write)?,
        MigrateOutput::Json => {
            serde_json::to_writer_pretty(&mut text, report).map_err(|e| Failure::Form(e.to_string()))?;
            text.push(b'\n');
        }
        MigrateOutput::Yaml => {
            for (number, output) in objects(report)?.into_iter().enumerate() {
                if number > 0 {
                    text.extend_from_slice(b"---\n");
                }
                serde_yaml::to_writer(&mut text, output).map_err(|e| Failure::Form(e.to_string()))?;
            }
        }
    }
    Ok(text)
}

/// The objects to apply, each once.
fn objects(report: &Report) -> Result<Vec<&serde_json::Value>, Failure> {
    let mut seen: std::collections::BTreeMap<&str, &plan::Output> = std::collections::BTreeMap::new();
    let mut objects = Vec::new();
    for output in &report.plan.outputs {
        match seen.get(output.title.as_str()) {
            Some(known) if known.value == output.value => {}
            Some(known) => {
                let name = |environment: &Option<String>| {
                    environment.clone().unwrap_or_else(|| "plain files".to_owned())
                };
                return Err(Failure::Environments {
                    object: output.title.clone(),
                    one: name(&known.environment),
                    other: name(&output.environment),
                });
            }
            None => {
                seen.insert(&output.title, output);
                objects.push(&output.value);
            }
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests;
