//! What a step tells: a line for each object, a bar on a terminal, and a summary.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Tells and counts.
pub struct Say {
    bar: ProgressBar,
    /// Changes made.
    pub done: usize,
    /// Objects that were as they should be.
    pub same: usize,
    /// Objects that could not be brought there.
    pub failed: usize,
}

impl Say {
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            bar,
            done: 0,
            same: 0,
            failed: 0,
        }
    }

    /// Begins with so many things.
    pub fn begin(&self, what: impl Into<String>, total: usize) {
        self.bar.set_message(what.into());
        self.bar.set_length(total as u64);
        self.bar.reset();
    }

    /// With what it is busy.
    pub fn message(&self, what: String) {
        self.bar.set_message(what);
    }

    /// One more of them.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// So many of them are done.
    pub fn at(&self, position: usize) {
        self.bar.set_position(position as u64);
    }

    /// No more of them.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// A change was made.
    pub fn done(&mut self, verb: &str, object: impl Display) {
        self.done += 1;
        self.line(verb, object, "");
    }

    /// There was nothing to change.
    pub fn same(&mut self, object: impl Display) {
        self.same += 1;
        self.line("unchanged", object, "");
    }

    /// It was not for this run to change.
    pub fn left(&mut self, verb: &str, object: impl Display, why: &str) {
        self.line(verb, object, why);
    }

    /// It should have been changed, and was not.
    pub fn failed(&mut self, object: impl Display, why: impl Display) {
        self.failed += 1;
        self.line("failed", object, &why.to_string());
    }

    fn line(&self, verb: &str, object: impl Display, detail: &str) {
        let text = format!(
            "{verb:<9} {object}{}{detail}",
            if detail.is_empty() { "" } else { ": " }
        );
        // One line, whatever an answer quotes. Who does not listen any more does not stop the work.
        let words: Vec<&str> = text.split_whitespace().collect();
        let rest = words.get(1..).unwrap_or_default().join(" ");
        let print = || writeln!(io::stdout(), "{verb:<9} {rest}");
        let _ = self.bar.suspend(print);
    }

    /// The counts, after the step's name.
    pub fn summary(&mut self, step: &str) {
        self.end();
        let _ = writeln!(
            io::stdout(),
            "{step}: {} changed, {} unchanged, {} failed",
            self.done,
            self.same,
            self.failed
        );
    }
}
