//! Says on the screen that something long is still going on.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Where there is no terminal (CI), a line this often: a log that stands still looks like a hang.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A spinner with the time on a terminal, plain lines elsewhere. On standard error, past the test runner's capture.
pub(super) struct Progress {
    message: String,
    started: Instant,
    said: Cell<Instant>,
    spinner: Option<ProgressBar>,
}

impl Progress {
    pub fn start(message: String) -> Self {
        let spinner = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_message(message.clone());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let now = Instant::now();
        let progress = Self {
            message,
            started: now,
            said: Cell::new(now),
            spinner,
        };
        progress.say("started");
        progress
    }

    /// To be called often: prints a line when it is time for one.
    pub fn still_running(&self) {
        if self.said.get().elapsed() >= LINE_EVERY {
            self.said.set(Instant::now());
            self.say(&format!("{} s", self.started.elapsed().as_secs()));
        }
    }

    pub fn finish(self) {
        self.say(&format!("done in {} s", self.started.elapsed().as_secs()));
    }

    /// Nothing on a terminal, where the spinner says it. `eprintln!` would be captured by the test runner.
    fn say(&self, state: &str) {
        if self.spinner.is_none() {
            let _ = writeln!(stderr(), "{}: {state}", self.message);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
