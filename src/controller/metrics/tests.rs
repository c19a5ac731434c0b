use super::*;
use crate::metrics::{scrape, series};

fn registered() -> (Registry, ControllerMetrics) {
    let mut registry = Registry::default();
    let metrics = ControllerMetrics::register(&mut registry);
    (registry, metrics)
}

#[test]
fn every_series_has_the_name_that_dashboards_ask_for() {
    let (registry, metrics) = registered();
    metrics.limited(32);
    metrics.added();
    metrics.began(Duration::from_millis(7));
    metrics.ended(
        Duration::from_millis(7),
        Some(Reason::NotAuthorized),
        Ended::ComesBack,
    );
    metrics.ready_after(Duration::from_secs(3));
    metrics.repaired();
    let text = scrape(&registry);
    for series in [
        "controller_runtime_reconcile_total{controller=\"workloadidentitybinding\",result=\"error\"} 1",
        "controller_runtime_reconcile_total{controller=\"workloadidentitybinding\",result=\"success\"} 0",
        "controller_runtime_reconcile_errors_total{controller=\"workloadidentitybinding\"} 1",
        "controller_runtime_terminal_reconcile_errors_total{controller=\"workloadidentitybinding\"} 1",
        "controller_runtime_reconcile_time_seconds_count{controller=\"workloadidentitybinding\"} 1",
        "controller_runtime_max_concurrent_reconciles{controller=\"workloadidentitybinding\"} 32",
        "workqueue_adds_total{controller=\"workloadidentitybinding\",name=\"workloadidentitybinding\"} 1",
        "workqueue_retries_total{controller=\"workloadidentitybinding\",name=\"workloadidentitybinding\"} 0",
        "wib_reconcile_reason_total{reason=\"NotAuthorized\"} 1",
        "wib_time_to_ready_seconds_bucket{le=\"5.0\"} 1",
        "wib_time_to_ready_seconds_bucket{le=\"2.0\"} 0",
        "wib_drift_repairs_total 1",
    ] {
        assert!(text.contains(series), "{series} is missing in:\n{text}");
    }
}

#[test]
fn how_a_reconcile_ends_is_told_in_the_words_of_controllers() {
    use Ended::{AwaitsChange, ComesBack, Outdated, TimedOut};
    // By how it ends: result, errors, terminal ones, timeouts, retries.
    for (reason, ended, expected) in [
        (Some(Reason::Synced), ComesBack, ("requeue_after", 0, 0, 0, 0)),
        (None, AwaitsChange, ("success", 0, 0, 0, 0)),
        (None, Outdated, ("requeue", 0, 0, 0, 1)),
        (Some(Reason::Queued), ComesBack, ("requeue_after", 0, 0, 0, 0)),
        (Some(Reason::AzureUnavailable), ComesBack, ("error", 1, 0, 0, 1)),
        (Some(Reason::NotAuthorized), ComesBack, ("error", 1, 1, 0, 0)),
        (Some(Reason::NotAuthorized), AwaitsChange, ("error", 1, 1, 0, 0)),
        (
            Some(Reason::KubernetesUnavailable),
            TimedOut,
            ("error", 1, 0, 1, 1),
        ),
        (None, TimedOut, ("error", 1, 0, 1, 1)),
    ] {
        let (registry, metrics) = registered();
        metrics.ended(Duration::ZERO, reason, ended);
        let text = scrape(&registry);
        let total = |name: &str| {
            let line = series(&text, name).concat();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        let results = series(&text, "controller_runtime_reconcile_total");
        let counted: Vec<_> = results.iter().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(counted.len(), 1, "{results:?}");
        let (result, errors, terminal, timeouts, retries) = expected;
        assert!(
            counted[0].contains(&format!("result=\"{result}\"")),
            "{reason:?} {ended:?}: {counted:?}"
        );
        assert_eq!(
            [
                total("controller_runtime_reconcile_errors_total"),
                total("controller_runtime_terminal_reconcile_errors_total"),
                total("controller_runtime_reconcile_timeouts_total"),
                total("workqueue_retries_total"),
            ],
            [errors, terminal, timeouts, retries],
            "{reason:?} {ended:?}"
        );
    }
}

#[test]
fn a_reconcile_is_at_one_stage_until_it_ends() {
    let (registry, metrics) = registered();
    let at = || {
        let text = scrape(&registry);
        let gauges = [
            "workqueue_depth",
            "controller_runtime_active_workers",
            "wib_visits_waiting_for_azure",
        ];
        gauges.map(|name| series(&text, name).concat().ends_with(" 1"))
    };
    let mut progress = PassProgress::new(&metrics, PassStage::Queued);
    assert_eq!(at(), [true, false, false]);
    progress.to(PassStage::Working);
    assert_eq!(at(), [false, true, false]);
    progress.to(PassStage::Azure);
    assert_eq!(at(), [false, false, true]);
    drop(progress);
    assert_eq!(at(), [false, false, false]);
}
