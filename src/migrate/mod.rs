//! `wib migrate`: from aad-pod-identity to workload identity.
//!
//! It goes one way: files → source → kustomize → model → join → checks, plan and components → print or rewrite. All but
//! the first and this file are pure. Every node of every document keeps its place, through patches as well, so that each
//! finding names the line to change. `live` reads clusters into files as well, and carries out plans there.

mod checks;
mod components;
mod edit;
mod files;
mod finding;
mod folder;
mod join;
mod kustomize;
mod live;
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
use std::path::PathBuf;

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
    /// Arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// The cluster cannot be used, or nothing can be done there.
    #[error(transparent)]
    Cluster(#[from] live::Error),
    /// Some objects could not be done.
    #[error(
        "objects that could not be done: {0}; what was said of each is above. Run it again when that is mended"
    )]
    Incomplete(usize),
    /// The folder for the result cannot be used.
    #[error(transparent)]
    Folder(#[from] folder::Error),
}

/// Something to migrate, or to look at.
pub const EXIT_WORK: u8 = 6;

/// Something that a person has to decide or repair.
pub const EXIT_ERRORS: u8 = 7;

/// Reads, plans and prints, or carries out. Says with which code the process is to end.
///
/// # Errors
/// If there is nothing to read, the result cannot be written, or something could not be done.
pub fn run(args: &MigrateArgs) -> Result<u8, Failure> {
    check(args)?;
    let here = [PathBuf::from(".")];
    let paths = if args.paths.is_empty() && !args.cluster.cluster {
        &here[..]
    } else {
        &args.paths[..]
    };
    let bar = Bar::new();
    let sources = if paths.is_empty() {
        Sources::default()
    } else {
        files::read(paths, &mut io::stdin().lock(), &bar)?
    };
    let defaults = Defaults {
        namespace: args.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        namespaced: args.namespaced,
        journal: None,
    };
    if args.in_place || args.diff {
        return rewritten(args, &sources, &defaults, bar);
    }
    let (report, switched) = if args.cluster.cluster {
        drop(bar);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime
            .map_err(Failure::Write)?
            .block_on(live::run(args, sources))?
        {
            live::Outcome::Plan(report, switched) => (*report, switched),
            live::Outcome::Step(0) => return Ok(0),
            live::Outcome::Step(failed) => return Err(Failure::Incomplete(failed)),
        }
    } else {
        (report::report(&sources, &defaults, &bar), Vec::new())
    };
    print(&match &args.output_dir {
        Some(folder) => folder::write(folder, &report, &switched, args.force)?,
        None => render(&report, args.output)?,
    })?;
    Ok(match () {
        () if !args.exit_code => 0,
        () if report.has_errors() => EXIT_ERRORS,
        () if report.has_work() => EXIT_WORK,
        () => 0,
    })
}

/// What the parser of arguments does not check.
fn check(args: &MigrateArgs) -> Result<(), Failure> {
    let cluster = &args.cluster;
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    if cluster.apply && cluster.step.is_none() {
        return usage(
            "--apply needs --step: first grant, and when all bindings are Ready switch, and when all pods work clean",
        );
    }
    if (cluster.apply || cluster.rollback) && !args.paths.is_empty() {
        return usage("--apply and --rollback change what the cluster holds: leave out the paths");
    }
    Ok(())
}

/// Rewrites the files, or prints what would become of them.
fn rewritten(args: &MigrateArgs, sources: &Sources, defaults: &Defaults, bar: Bar) -> Result<u8, Failure> {
    let until = match args.cluster.step {
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
            for (number, (_, output)) in objects(report)?.into_iter().enumerate() {
                if number > 0 {
                    text.extend_from_slice(b"---\n");
                }
                serde_yaml::to_writer(&mut text, output).map_err(|e| Failure::Form(e.to_string()))?;
            }
        }
    }
    Ok(text)
}

/// The objects to apply with what they are called, each once.
fn objects(report: &Report) -> Result<Vec<(&str, &serde_json::Value)>, Failure> {
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
                objects.push((output.title.as_str(), &output.value));
            }
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests;
