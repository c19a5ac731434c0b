//! The report for people: tables and lines.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};

use super::finding::{Finding, Severity};
use super::plan::{Item, State, WorkloadPlan};
use super::report::Report;
use super::rewrite::Rewriting;

const BOLD: Style = Style::new().bold();

fn color(severity: Severity) -> Style {
    match severity {
        Severity::Error => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Info => AnsiColor::Cyan.on_default(),
    }
}

/// Writes the report.
///
/// # Errors
/// Of the writer.
pub fn report(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    let plan = &report.plan;
    if !plan.workloads.is_empty() {
        heading(to, "Workloads")?;
        let mut table = table(&[
            "NAMESPACE",
            "WORKLOAD",
            "IDENTITY",
            "SERVICEACCOUNT",
            "STATE",
            "AT",
        ]);
        for workload in &plan.workloads {
            table.add_row(row(workload));
        }
        write_table(to, &table)?;
    }
    for (number, step) in (1..).zip(&plan.steps) {
        heading(to, &format!("Step {number}, {}: {}", step.name, step.title))?;
        for item in &step.items {
            write_item(to, item)?;
        }
    }
    if !plan.credentials.is_empty() {
        heading(
            to,
            "Credentials planned, beside those that an identity may have already",
        )?;
        let mut table = table(&["IDENTITY", "CREDENTIALS"]);
        for counted in &plan.credentials {
            table.add_row([
                counted.resource_id.clone(),
                format!("{} of {}", counted.planned, counted.limit),
            ]);
        }
        write_table(to, &table)?;
    }
    if !report.findings.is_empty() {
        heading(to, "Findings")?;
        for finding in &report.findings {
            write_finding(to, finding)?;
        }
    }
    summary(report, to)
}

/// Writes what was done to the files.
///
/// # Errors
/// Of the writer.
pub fn rewriting(rewriting: &Rewriting, to: &mut dyn Write) -> io::Result<()> {
    for file in &rewriting.files {
        let what = match (&file.before, &file.after) {
            (None, _) => "create",
            (_, None) => "remove",
            _ => "change",
        };
        writeln!(to, "{what}  {}", clean(&file.path))?;
    }
    left(rewriting, to)?;
    let read = &rewriting.read;
    writeln!(
        to,
        "{} files with {} documents read, {} of them searched as text only; {} errors and {} warnings among the findings",
        read.files, read.documents, read.text_only, read.errors, read.warnings
    )?;
    writeln!(
        to,
        "{} files written, {} workloads and components rewritten, {} left as they were",
        rewriting.files.len(),
        rewriting.done.len(),
        rewriting.left.len()
    )
}

/// Writes what was left as it was, and why.
///
/// # Errors
/// Of the writer.
pub fn left(rewriting: &Rewriting, to: &mut dyn Write) -> io::Result<()> {
    let style = color(Severity::Warning);
    for left in &rewriting.left {
        let through = left.environment.as_ref().map(|name| format!(" ({name})"));
        let through = through.unwrap_or_default();
        writeln!(
            to,
            "{style}left{style:#}    {}{}: {}",
            clean(&left.object),
            clean(&through),
            clean(&left.reason)
        )?;
    }
    Ok(())
}

fn heading(to: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(to, "{BOLD}{}{BOLD:#}", clean(text))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn write_table(to: &mut dyn Write, table: &Table) -> io::Result<()> {
    for line in table.lines() {
        writeln!(to, " {}", line.trim_end())?;
    }
    writeln!(to)
}

fn row(workload: &WorkloadPlan) -> [String; 6] {
    let identities: Vec<&str> = workload
        .identities
        .iter()
        .map(|identity| identity.azure_identity.as_str())
        .collect();
    let new = if workload.new_service_account {
        " (new)"
    } else {
        ""
    };
    let state: &str = workload.state.into();
    let why = if workload.state == State::Planned {
        String::new()
    } else {
        format!(": {}", workload.why.join("; "))
    };
    let row = [
        workload.namespace.clone(),
        format!("{}/{}", workload.kind, workload.name),
        if identities.is_empty() {
            "-".to_owned()
        } else {
            identities.join(", ")
        },
        if workload.service_account.is_empty() {
            "-".to_owned()
        } else {
            format!("{}{new}", workload.service_account)
        },
        format!("{state}{why}"),
        workload.place.to_string(),
    ];
    row.map(|text| clean(&text))
}

fn write_item(to: &mut dyn Write, item: &Item) -> io::Result<()> {
    let action: &str = item.action.into();
    write!(to, "  {action:<8} {}", clean(&item.object))?;
    if let Some(environment) = &item.environment {
        write!(to, " in {}", clean(environment))?;
    }
    if let Some(place) = &item.place {
        write!(to, "  {}", clean(&place.to_string()))?;
    }
    writeln!(to)?;
    if item.detail.is_empty() {
        Ok(())
    } else {
        writeln!(to, "           {}", clean(&item.detail))
    }
}

fn write_finding(to: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let (style, severity): (Style, &str) = (color(finding.severity), finding.severity.into());
    write!(
        to,
        "{style}{severity}{style:#} {}: {}",
        finding.code.as_str(),
        clean(&finding.place.to_string())
    )?;
    if !finding.subject.is_empty() {
        write!(to, ": {}", clean(&finding.subject))?;
    }
    if let Some(environment) = &finding.environment {
        write!(to, " in {}", clean(environment))?;
    }
    writeln!(to, "\n  {}\n  {}", clean(&finding.reason), clean(&finding.action))
}

fn summary(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    let s = &report.summary;
    heading(to, "Summary")?;
    writeln!(
        to,
        "  {} files with {} documents, {} of them searched as text only; {} kustomizations",
        s.files, s.documents, s.text_only, s.kustomizations
    )?;
    writeln!(
        to,
        "  {} identities, {} bindings, {} labelled workloads, {} of them planned",
        s.identities, s.bindings, s.workloads, s.planned
    )?;
    writeln!(
        to,
        "  {} errors, {} warnings, {} infos",
        s.errors, s.warnings, s.infos
    )
}

/// Text from outside in one line, without what would steer a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
