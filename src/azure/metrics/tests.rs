use super::*;
use crate::metrics::scrape;

fn registered() -> (Registry, AzureMetrics) {
    let mut registry = Registry::default();
    let metrics = AzureMetrics::register(&mut registry);
    (registry, metrics)
}

fn error(status: Option<u16>, fault: Fault) -> AzureError {
    AzureError {
        operation: Operation::PutCredential,
        fault,
        status,
        code: Some("Whatever".to_owned()),
        message: String::new(),
        request_id: None,
        retry_after: Some(Duration::from_secs(17)),
    }
}

#[test]
fn what_alerts_watch_is_there_before_it_happens() {
    let text = scrape(&registered().0);
    for series in [
        "wib_arm_requests_total{operation=\"get_identity\",code=\"2xx\",result=\"success\"} 0",
        "wib_arm_requests_total{operation=\"put_credential\",code=\"429\",result=\"throttled\"} 0",
        "wib_arm_requests_total{operation=\"list_credentials\",code=\"none\",result=\"unavailable\"} 0",
        "wib_arm_requests_total{operation=\"get_token\",code=\"none\",result=\"login_failed\"} 0",
        "wib_arm_request_duration_seconds_count{operation=\"delete_credential\"} 0",
        "wib_arm_throttled_seconds_total 0",
    ] {
        assert!(text.contains(series), "{series} is missing in:\n{text}");
    }
}

#[test]
fn a_call_counts_by_its_status_and_by_what_that_means() {
    let (registry, metrics) = registered();
    let contended = error(Some(409), Fault::Contended);
    metrics.called(Operation::PutCredential, Duration::from_millis(7), None);
    metrics.called(
        Operation::PutCredential,
        Duration::from_millis(7),
        Some(&contended),
    );
    let text = scrape(&registry);
    for series in [
        "wib_arm_requests_total{operation=\"put_credential\",code=\"2xx\",result=\"success\"} 1",
        "wib_arm_requests_total{operation=\"put_credential\",code=\"409\",result=\"contended\"} 1",
        "wib_arm_request_duration_seconds_bucket{le=\"0.005\",operation=\"put_credential\"} 0",
        "wib_arm_request_duration_seconds_bucket{le=\"0.01\",operation=\"put_credential\"} 2",
        "wib_arm_throttled_seconds_total 0",
    ] {
        assert!(text.contains(series), "{series} is missing in:\n{text}");
    }
}

#[test]
fn no_answer_of_azure_makes_up_a_label() {
    let (registry, metrics) = registered();
    let before = scrape(&registry).lines().count();
    for status in 100..=999 {
        let error = error(Some(status), Fault::Rejected);
        metrics.called(Operation::PutCredential, Duration::ZERO, Some(&error));
    }
    let text = scrape(&registry);
    // 13 that are known, two classes, success, and the rest.
    assert_eq!(text.lines().count() - before, 17, "{text}");
    assert!(!text.contains("Whatever"), "{text}");
}

#[test]
fn a_throttled_call_counts_the_time_that_azure_asks_for() {
    let (registry, metrics) = registered();
    for fault in [Fault::Throttled, Fault::Unavailable] {
        metrics.called(
            Operation::PutCredential,
            Duration::ZERO,
            Some(&error(Some(429), fault)),
        );
    }
    let text = scrape(&registry);
    assert!(text.contains("wib_arm_throttled_seconds_total 17"), "{text}");
}

#[test]
fn a_dip_of_the_remaining_calls_is_seen_and_forgotten() {
    let (remaining, start) = (LowestRemaining::default(), Instant::now());
    for left in [199, 3, 150] {
        remaining.note("writes", left, start);
    }
    assert_eq!(remaining.at(start), [("writes", 3)]);
    assert_eq!(remaining.at(start + REMAINING_KEPT), []);
    remaining.note("writes", 190, start + REMAINING_KEPT);
    assert_eq!(remaining.at(start + REMAINING_KEPT), [("writes", 190)]);
}
