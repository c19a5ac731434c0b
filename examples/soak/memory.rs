//! What the operator's process holds over time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Resident memory of one process, by time since its start.
#[derive(Default)]
pub struct Memory {
    samples: Vec<(Duration, u64)>,
}

impl Memory {
    /// Takes a sample.
    pub fn sample(&mut self, started: Instant, process: Option<u32>) -> Result<()> {
        let process = process.context("the operator has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes = kibibytes.context("no VmRSS")?.parse()?;
        self.samples.push((started.elapsed(), kibibytes));
        Ok(())
    }

    /// How long it was watched.
    pub fn span(&self) -> Duration {
        let time = |sample: Option<&(Duration, u64)>| sample.map(|(at, _)| *at).unwrap_or_default();
        time(self.samples.last()).saturating_sub(time(self.samples.first()))
    }

    /// MiB in the beginning, in between, and at the end.
    pub fn course(&self) -> String {
        let few = (self.samples.len() / 8).max(1);
        let last = self.samples.len().saturating_sub(1);
        let shown = self
            .samples
            .iter()
            .enumerate()
            .filter(|(at, _)| at % few == 0 || *at == last);
        let shown = shown.map(|(_, (at, rss))| format!("{} MiB at {} s", rss / 1024, at.as_secs()));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// KiB a minute, by least squares.
    pub fn slope(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let points: Vec<(f64, f64)> = (self.samples.iter())
            .map(|(at, rss)| (at.as_secs_f64() / 60.0, *rss as f64))
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "few samples")]
        let count = points.len().max(1) as f64;
        let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let above: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        let below: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
        if below > 0.0 { above / below } else { 0.0 }
    }
}
