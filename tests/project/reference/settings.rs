//! `docs/settings.md`, from the command line.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use clap::{Arg, CommandFactory};
use workload_identity_binding::cli::Cli;

use super::{cell, check};

const PAGE: &str = "docs/settings.md";

#[test]
fn the_page_of_the_settings_says_what_the_command_line_says() -> Result<()> {
    let cli = Cli::command();
    let run = cli.find_subcommand("run").context("no wib run")?;
    let mut text = String::new();
    let mut open = None;
    for argument in run.get_arguments() {
        let heading = argument.get_help_heading();
        let heading = heading.with_context(|| format!("{} is under no heading", argument.get_id()))?;
        if open != Some(heading) {
            ensure!(
                !text.contains(&format!("## {heading}\n")),
                "{heading} comes twice"
            );
            write!(
                text,
                "## {heading}\n\n| flag | environment | default | meaning |\n|---|---|---|---|\n"
            )?;
            open = Some(heading);
        }
        text += &row(argument)?;
        let last = run
            .get_arguments()
            .filter(|a| a.get_help_heading() == open)
            .last();
        if last.is_some_and(|last| last.get_id() == argument.get_id()) {
            text.push('\n');
        }
    }
    check(PAGE, &[("settings", text)])
}

fn row(argument: &Arg) -> Result<String> {
    let flag = argument.get_long().context("a setting without a flag")?;
    let variable = argument.get_env().map(|v| format!("`{}`", v.to_string_lossy()));
    let defaults: Vec<_> = argument
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy())
        .collect();
    let default = if defaults.is_empty() {
        String::new()
    } else {
        format!("`{}`", defaults.join(" "))
    };
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let mut meaning = help
        .with_context(|| format!("--{flag} is not explained"))?
        .to_string();
    if !meaning.ends_with('.') {
        meaning.push('.');
    }
    for value in argument.get_possible_values() {
        if let Some(help) = value.get_help() {
            write!(meaning, "<br>`{}`: {help}.", value.get_name())?;
        }
    }
    Ok(format!(
        "| `--{flag}` | {} | {default} | {} |\n",
        variable.unwrap_or_default(),
        cell(&meaning)
    ))
}
