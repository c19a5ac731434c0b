//! A migration under way.

use super::*;
use crate::migrate::plan::Chosen;
use crate::migrate::progress::Silent;
use crate::migrate::report::Defaults;

fn held(more: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         selector: {{matchLabels: {{aadpodidbinding: web}}}}\n  template:\n    \
         metadata: {{labels: {{aadpodidbinding: web{more}}}}}\n    \
         spec: {{serviceAccountName: web, containers: [{{name: c, image: i}}]}}\n"
    )
}

fn bound(identity: &str) -> String {
    format!(
        "---\napiVersion: workload-identity.io/v1alpha1\nkind: WorkloadIdentityBinding\n\
         metadata: {{name: web, namespace: shop}}\n\
         spec: {{identity: {{resourceId: {RG}/{identity}}}, serviceAccount: {{name: web}}}}\n"
    )
}

#[test]
fn a_workload_whose_selector_holds_the_label_is_done_when_it_is_bound_and_labelled() {
    let pod_identity = identity("shop", "web") + &binding("shop", "web", "web");
    let new = ", azure.workload.identity/use: 'true'";
    for (text, left) in [
        (held("") + &bound("web"), 1),
        (held(new), 1),
        (held(new) + &bound("other"), 1),
        (held(new) + &bound("web"), 0),
    ] {
        let report = of(&(pod_identity.clone() + &text));
        assert_eq!(report.plan.workloads.len(), left, "{text}");
    }
    // Nor is there anything to say about a label that cannot go.
    let report = of(&(held(new) + &bound("web")));
    assert_eq!(codes(&report), BTreeSet::new());
}

#[test]
fn a_service_account_that_was_chosen_stays_the_one_when_the_others_have_switched() {
    let right = identity("shop", "right")
        + &binding("shop", "right", "right")
        + &deployment("shop", "right", "right", "pair");
    let left = identity("shop", "left")
        + &binding("shop", "left", "left")
        + &deployment("shop", "left", "left", "pair");
    let account = |text: &str, chosen: &Chosen| {
        let sources = read(&[("all.yaml", text.as_bytes())]);
        let defaults = Defaults {
            namespace: "default".to_owned(),
            namespaced: false,
            journal: Some(chosen.clone()),
        };
        let report = crate::migrate::report::report(&sources, &defaults, &Silent);
        let rows = rows(&report);
        rows.into_iter().find(|row| row.0 == "right").map(|row| row.3)
    };
    assert_eq!(
        account(&(left + &right), &Chosen::new()).as_deref(),
        Some("right")
    );
    assert_eq!(account(&right, &Chosen::new()).as_deref(), Some("pair"));
    let key = ["shop", "Deployment", "right"].map(str::to_owned);
    let chosen = Chosen::from([(key.into(), "right".to_owned())]);
    assert_eq!(account(&right, &chosen).as_deref(), Some("right"));
}
