use jiff::Timestamp;
use prometheus_client::registry::Registry;

use super::super::ControllerMetrics;
use super::*;
use crate::metrics::{scrape, series};

fn denied(since: i64) -> BindingState {
    BindingState {
        ready: Some(false),
        stalled: true,
        reason: Some(Reason::NotAuthorized),
        not_ready_since: Some(Timestamp::from_second(since).unwrap()),
    }
}

/// What a scrape shows of a name while this is the state.
fn shown(state: Option<StateSnapshot>, name: &str) -> Vec<String> {
    let mut registry = Registry::default();
    ControllerMetrics::register(&mut registry).listed(move || state.clone());
    let text = scrape(&registry);
    series(&text, name).into_iter().map(str::to_owned).collect()
}

#[test]
fn the_state_is_counted_by_the_replica_that_leads_and_only_while_it_does() {
    let mut registry = Registry::default();
    let metrics = ControllerMetrics::register(&mut registry);
    let state = ["wib_bindings", "wib_identity_credentials_max", "wib_credentials"];
    let count = || {
        let text = scrape(&registry);
        state.map(|name| series(&text, name).len())
    };
    assert_eq!(count(), [0, 0, 0]);
    metrics.listed(|| Some(StateSnapshot::default()));
    assert_eq!(count(), [1, 1, 4]);
    metrics.listed(|| None);
    assert_eq!(count(), [0, 0, 0]);
}

#[test]
fn that_there_is_nothing_is_said() {
    let nothing = || Some(StateSnapshot::default());
    assert_eq!(
        shown(nothing(), "wib_bindings"),
        ["wib_bindings{ready=\"True\",stalled=\"false\",reason=\"Synced\"} 0"]
    );
    assert_eq!(
        shown(nothing(), "wib_identity_credentials_max"),
        ["wib_identity_credentials_max 0"]
    );
}

#[test]
fn bindings_count_by_their_state_and_the_oldest_gives_the_time() {
    let forged = BindingState {
        ready: None,
        reason: None,
        ..denied(40)
    };
    let state = StateSnapshot {
        bindings: vec![denied(30), denied(20), forged],
        ..StateSnapshot::default()
    };
    let bindings = shown(Some(state.clone()), "wib_bindings");
    for expected in [
        "wib_bindings{ready=\"False\",stalled=\"true\",reason=\"NotAuthorized\"} 2",
        "wib_bindings{ready=\"Unknown\",stalled=\"true\",reason=\"Other\"} 1",
    ] {
        assert!(bindings.iter().any(|line| line == expected), "{bindings:?}");
    }
    let since = "wib_bindings_not_ready_since_timestamp_seconds";
    assert_eq!(
        shown(Some(state), since),
        [
            format!("{since}{{stalled=\"true\",reason=\"NotAuthorized\"}} 20.0"),
            format!("{since}{{stalled=\"true\",reason=\"Other\"}} 40.0"),
        ]
    );
}

#[test]
fn identities_count_by_how_full_they_are() {
    let state = StateSnapshot {
        identities: vec![3, 19, 3],
        ..StateSnapshot::default()
    };
    assert_eq!(
        shown(Some(state.clone()), "wib_identities"),
        [
            "wib_identities{credentials=\"3\"} 2",
            "wib_identities{credentials=\"19\"} 1"
        ]
    );
    assert_eq!(
        shown(Some(state), "wib_identity_credentials_max"),
        ["wib_identity_credentials_max 19"]
    );
}

#[test]
fn credentials_count_by_state_over_all_records() {
    let state = StateSnapshot {
        credentials: vec![
            (CredentialState::Wanted, 3),
            (CredentialState::Orphaned, 1),
            (CredentialState::Wanted, 2),
        ],
        ..StateSnapshot::default()
    };
    assert_eq!(
        shown(Some(state), "wib_credentials"),
        [
            "wib_credentials{state=\"Wanted\"} 5",
            "wib_credentials{state=\"Retained\"} 0",
            "wib_credentials{state=\"Released\"} 0",
            "wib_credentials{state=\"Orphaned\"} 1",
        ]
    );
}
