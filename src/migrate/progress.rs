//! How far a run has come: a bar on a terminal, and nothing elsewhere.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Fewer parts than this are done before anybody has seen a bar.
const MANY: usize = 200;

/// Told of each part of the work. Parts may be done side by side.
pub trait Progress: Sync {
    /// Work of this name begins, with so many parts.
    fn begin(&self, what: &'static str, parts: usize);
    /// One more part is done.
    fn step(&self);
}

/// Nobody looks.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &'static str, _: usize) {}
    fn step(&self) {}
}

/// A bar that is gone when it ends.
pub struct Bar {
    bar: ProgressBar,
    target: fn() -> ProgressDrawTarget,
}

impl Bar {
    /// On standard error, if that is a terminal.
    pub fn new() -> Self {
        // It is hidden where that is no terminal.
        Self::on(ProgressDrawTarget::stderr)
    }

    fn on(target: fn() -> ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, target }
    }
}

impl Progress for Bar {
    fn begin(&self, what: &'static str, parts: usize) {
        self.bar.finish_and_clear();
        // Each of these would draw something that is half of the old.
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.bar.reset();
        self.bar.set_length(parts as u64);
        self.bar.set_message(Cow::Borrowed(what));
        if parts >= MANY {
            self.bar.set_draw_target((self.target)());
        }
    }

    fn step(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that keeps the lines that it shows, and all that it ever showed.
    #[derive(Debug)]
    struct Terminal;

    static SHOWN: Mutex<(String, Vec<String>)> = Mutex::new((String::new(), Vec::new()));

    fn shown() -> MutexGuard<'static, (String, Vec<String>)> {
        SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            shown().0.push_str(text);
            shown().1.push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            shown().0.clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_is_there_for_each_part_of_much_work_and_then_gone() {
        let bar = Bar::on(|| ProgressDrawTarget::term_like_with_hz(Box::new(Terminal), 255));
        for (what, parts) in [("reading", MANY), ("building", MANY - 1), ("planning", MANY)] {
            bar.begin(what, parts);
            for _ in 0..parts {
                bar.step();
            }
            bar.bar.tick();
        }
        drop(bar);
        let shown = shown();
        for (what, wanted) in [("reading", true), ("building", false), ("planning", true)] {
            let seen = shown.1.iter().any(|line| line.contains(what));
            assert_eq!(seen, wanted, "{what}: {:?}", shown.1);
        }
        assert!(shown.1.iter().any(|line| line.contains("/200")), "{:?}", shown.1);
        assert_eq!(shown.0.trim(), "", "something is left");
    }
}
