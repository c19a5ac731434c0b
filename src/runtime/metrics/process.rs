//! The process, by the names that every client library of Prometheus uses. Read at the moment of a scrape.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Linux counts the time of processes in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn register(registry: &mut Registry) {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    registry.register_collector(Box::new(Process {
        started: started.as_secs_f64(),
    }));
}

/// Elsewhere than on Linux only the start is known.
#[derive(Debug)]
struct Process {
    started: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metric = encoder.encode_descriptor(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.started).encode(metric)?;
        let cpu = fs::read_to_string("/proc/self/stat").ok().and_then(|s| ticks(&s));
        if let Some(ticks) = cpu {
            let metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Processor time that the process has used.",
                None,
                MetricType::Counter,
            )?;
            ConstCounter::new(f64::from(ticks) / TICKS_PER_SECOND).encode(metric)?;
        }
        let memory = fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|s| resident(&s));
        if let Some(bytes) = memory {
            let metric = encoder.encode_descriptor(
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM.",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(bytes).encode(metric)?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let metric = encoder.encode_descriptor(
                "process_open_fds",
                "Files and connections that the process has open.",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(files.count()).encode(metric)?;
        }
        Ok(())
    }
}

/// User and system time, fields 14 and 15. The name of the program, field 2, may hold anything; it ends with the
/// last parenthesis.
fn ticks(stat: &str) -> Option<u32> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()?.saturating_add(next()?))
}

/// `VmRSS:      7340 kB`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 900 0 1 0 17 5 0 0 20 0 5 0 100 0 0";
        assert_eq!(ticks(stat), Some(22));
        assert_eq!(resident("Name:\twib\nVmRSS:\t    7340 kB\n"), Some(7340 * 1024));
        assert_eq!(resident("VmRSS:\tmuch"), None);
    }
}
