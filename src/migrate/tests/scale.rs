//! Many objects that meet each other: what comes of them grows with their number, not with its square.

use super::*;

/// In every namespace an identity, a binding and a workload, all with the same label.
fn one_label(namespaces: usize) -> String {
    let namespace = |n: usize| {
        let ns = format!("ns{n}");
        let own = format!("/id{n}");
        identity(&ns, "web").replace("/web,", &format!("{own},"))
            + &binding(&ns, "web", "w")
            + &deployment(&ns, "web", "w", "web")
    };
    (0..namespaces).map(namespace).collect()
}

fn json(report: &Report) -> usize {
    serde_json::to_string(report).unwrap().len()
}

#[test]
fn a_label_that_leads_to_too_many_identities_is_not_followed() {
    let few = of(&one_label(32));
    assert!(
        few.plan
            .workloads
            .iter()
            .all(|w| w.state == State::Planned && w.identities.len() == 32)
    );
    assert!(!codes(&few).contains("too-many-identities"));
    let many = of(&one_label(33));
    assert_eq!(many.plan.workloads.len(), 33);
    for workload in &many.plan.workloads {
        assert_eq!((workload.state, workload.identities.len()), (State::Blocked, 0));
        assert_eq!(workload.why, ["it has more than 32 identities"]);
    }
    assert_eq!((many.plan.outputs.len(), many.plan.steps.len()), (0, 0));
    let findings: Vec<_> = many
        .findings
        .iter()
        .filter(|f| f.code == Code::TooManyIdentities)
        .collect();
    assert_eq!(findings.len(), 33);
    assert!(
        findings
            .iter()
            .all(|f| f.reason.contains("33 bindings") && f.action.contains("--namespaced"))
    );
    // In namespaced mode each has its own, and everything can go.
    let own = report_with(&one_label(33), true);
    assert!(
        own.plan
            .workloads
            .iter()
            .all(|w| w.state == State::Planned && w.identities.len() == 1)
    );
    let clean = own.plan.steps.iter().find(|step| step.name == "clean").unwrap();
    assert_eq!(clean.items.len(), 66);
}

#[test]
fn what_is_said_of_many_namespaces_grows_with_their_number() {
    for namespaced in [false, true] {
        let of_size = |size| json(&report_with(&one_label(size), namespaced));
        let (small, large) = (of_size(100), of_size(1_000));
        assert!(
            large < small * 11,
            "{small} bytes for 100 namespaces, {large} for 1000"
        );
    }
}

#[test]
fn one_identity_for_all_namespaces_is_one_identity() {
    // Each namespace has its own AzureIdentity, and all of these are the same identity in Azure.
    let all = one_label(40);
    let all = (0..40).fold(all, |text, n| text.replace(&format!("/id{n},"), "/shared,"));
    let report = of(&all);
    assert!(
        report
            .plan
            .workloads
            .iter()
            .all(|w| w.state == State::Planned && w.identities.len() == 1)
    );
    assert_eq!(report.plan.credentials[0].planned, 40);
    // All bindings lead to it, and all of them go.
    assert_eq!(report.plan.removals.len(), 80);
}

#[test]
fn what_a_blocked_workload_may_use_is_kept_and_its_users_are_counted() {
    let others: String = (0..9)
        .map(|n| deployment("shop", &format!("x{n}"), "w", "x").replace("serviceAccountName: x, ", ""))
        .map(|text| text.replace("\n  selector: {matchLabels:", "\n  other: {matchLabels:"))
        .collect();
    let report = of(&(identity("shop", "web")
        + &binding("shop", "web", "w")
        + &deployment("shop", "web", "w", "web")
        + &others));
    let clean = report
        .plan
        .steps
        .iter()
        .find(|step| step.name == "clean")
        .unwrap();
    assert_eq!(clean.items.len(), 2);
    for item in &clean.items {
        let named = "until they are migrated: Deployment shop/x0, Deployment shop/x1, Deployment shop/x2, \
                     Deployment shop/x3, Deployment shop/x4 and 4 more";
        assert_eq!(item.detail, named);
    }
    assert_eq!(report.plan.removals, []);
}

#[test]
fn a_service_account_that_a_workload_with_too_many_identities_uses_is_not_shared_with_it() {
    let objects = one_label(33)
        + &identity("ns0", "own")
        + &binding("ns0", "own", "o")
        + &deployment("ns0", "own", "o", "web");
    let report = of(&objects);
    let own = report.plan.workloads.iter().find(|w| w.name == "own").unwrap();
    assert_eq!((own.state, own.service_account.as_str()), (State::Planned, "own"));
    assert!(codes(&report).contains("service-account-shared"));
}
