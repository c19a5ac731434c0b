//! How the demo looks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use workload_identity_binding::api::WorkloadIdentityBinding;

/// Prints each condition when it turns.
pub struct Turns(RefCell<(Instant, BTreeMap<String, String>)>);

impl Default for Turns {
    fn default() -> Self {
        Self(RefCell::new((Instant::now(), BTreeMap::new())))
    }
}

impl Turns {
    /// Counts seconds from now.
    pub fn restart(&self) {
        self.0.borrow_mut().0 = Instant::now();
    }

    /// Prints what has turned since the last time.
    pub fn show(&self, screen: &Screen, binding: &WorkloadIdentityBinding) {
        let (started, known) = &mut *self.0.borrow_mut();
        let mut said = "";
        for turned in binding.status.iter().flat_map(|status| &status.conditions) {
            let state = format!("{} {}", turned.status, turned.reason);
            // Both only repeat what is under Ready.
            let repeats = ["Reconciling", "Stalled"].contains(&turned.type_.as_str());
            if repeats || known.get(&turned.type_) == Some(&state) {
                continue;
            }
            let message = turned.message.lines().next().unwrap_or_default();
            let message = if message == said { "" } else { message };
            let text = format!("{:<14} {message}", turned.reason);
            screen.turn(started.elapsed(), &turned.type_, &turned.status, &text);
            known.insert(turned.type_.clone(), state);
            said = turned.message.lines().next().unwrap_or_default();
        }
    }
}

/// Lines for people; in colour on a terminal.
pub struct Screen {
    color: bool,
    steps: Cell<usize>,
}

impl Screen {
    pub fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            color: std::io::stdout().is_terminal() && !plain,
            steps: Cell::new(0),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub fn step(&self, title: &str) {
        self.steps.set(self.steps.get() + 1);
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.steps.get())));
    }

    pub fn line(&self, label: &str, text: &str) {
        println!("   {} {text}", self.paint("2", &format!("{label:<18}")));
    }

    pub fn good(&self, label: &str, text: &str) {
        self.line(label, &self.paint("32", text));
    }

    pub fn bad(&self, label: &str, text: &str) {
        self.line(label, &self.paint("31", text));
    }

    fn turn(&self, after: Duration, condition: &str, status: &str, text: &str) {
        let color = match status {
            "True" => "32",
            "False" => "31",
            _ => "33",
        };
        let after = format!("{:>4.1} s", after.as_secs_f64());
        let line = format!(
            "   {after}  {condition:<24} {} {text}",
            self.paint(color, &format!("{status:<8}"))
        );
        println!("{}", line.trim_end());
    }

    pub fn block(&self, text: &str) {
        let lines = text
            .lines()
            .map(|line| format!("     {}\n", self.paint("36", line)));
        println!("\n{}", lines.collect::<String>());
    }
}

/// The first row of a table that the API server has made, below its titles.
pub fn table(table: &Value) -> String {
    let (mut titles, mut cells) = (String::new(), String::new());
    for (index, column) in table["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if column["priority"] == 0 {
            let title = column["name"].as_str().unwrap_or_default().to_uppercase();
            let cell = table["rows"][0]["cells"][index].as_str().unwrap_or("<none>");
            let width = title.len().max(cell.len()) + 3;
            titles += &pad(&title, width);
            cells += &pad(cell, width);
        }
    }
    format!("{}\n{}", titles.trim_end(), cells.trim_end())
}

fn pad(text: &str, width: usize) -> String {
    format!("{text:width$}")
}

/// `3 (a x2, b x1)`.
pub fn tally(items: impl Iterator<Item = String>) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(item, count)| format!("{item} x{count}"))
        .collect();
    format!("{} ({})", counts.values().sum::<usize>(), parts.join(", "))
}
