//! Generated repositories, and bytes of every kind.

use proptest::prelude::*;

use super::*;

/// A repository: which identity each selector leads to, and the workloads with namespace, selector and ServiceAccount.
fn repository() -> impl Strategy<Value = (Vec<usize>, Vec<(usize, usize, usize)>)> {
    let selectors = prop::collection::vec(0..4_usize, 1..6);
    selectors.prop_flat_map(|selectors| {
        let workloads = prop::collection::vec((0..3_usize, 0..selectors.len(), 0..4_usize), 0..12);
        (Just(selectors), workloads)
    })
}

proptest! {
    #[test]
    fn credentials_are_the_distinct_identities_namespaces_and_service_accounts((selectors, workloads) in repository()) {
        let mut text: String = (0..4).map(|n| identity("azure", &format!("id{n}"))).collect();
        for (selector, id) in selectors.iter().enumerate() {
            text += &binding("azure", &format!("id{id}"), &format!("s{selector}"));
        }
        for (number, (namespace, selector, account)) in workloads.iter().enumerate() {
            // The fourth ServiceAccount is the one that must not be used.
            let account = if *account == 3 { "default".to_owned() } else { format!("sa{account}") };
            text += &deployment(&format!("ns{namespace}"), &format!("w{number}"), &format!("s{selector}"), &account);
        }
        let report = of(&text);
        prop_assert_eq!(report.plan.workloads.len(), workloads.len());
        let mut wanted = BTreeSet::new();
        for workload in &report.plan.workloads {
            prop_assert_eq!(workload.state, State::Planned);
            prop_assert_ne!(&workload.service_account, "default");
            for identity in &workload.identities {
                wanted.insert((&identity.azure_identity, &workload.namespace, &workload.service_account));
            }
        }
        let planned: usize = report.plan.credentials.iter().map(|counted| counted.planned).sum();
        prop_assert_eq!(planned, wanted.len());
        let bindings = report.plan.outputs.iter().filter(|output| output.title.starts_with("WorkloadIdentityBinding")).count();
        prop_assert_eq!(bindings, wanted.len());
        // One ServiceAccount never gives a workload more than it had.
        for a in &report.plan.workloads {
            for b in &report.plan.workloads {
                if (&a.namespace, &a.service_account) == (&b.namespace, &b.service_account) {
                    prop_assert_eq!(&a.identities, &b.identities);
                }
            }
        }
        let json = |report: &Report| serde_json::to_string(report).unwrap();
        prop_assert_eq!(json(&report), json(&of(&text)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        report(&read(&[("a.yaml", &bytes), ("kustomization.yaml", &bytes)]), "default", false);
    }

    #[test]
    fn no_change_of_good_files_makes_it_panic(at in 0..2000_usize, with in "[ -~\n\t]{0,3}", cut in 0..40_usize) {
        let all = identity("shop", "web") + &binding("shop", "web", "w") + &deployment("shop", "web", "w", "web");
        let overlay = "resources: [all.yaml]\nnamespace: x\nnamePrefix: p-\npatches:\n- target: {kind: AzureIdentity, name: web}\n  \
                       patch: |-\n    - op: add\n      path: /spec/type\n      value: 1\n";
        let mut bytes = format!("{overlay}\0{all}").into_bytes();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with.bytes());
        let mut parts = bytes.split(|byte| *byte == 0);
        let overlay = parts.next().unwrap_or_default();
        let all = parts.next().unwrap_or_default();
        report(&read(&[("kustomization.yaml", overlay), ("all.yaml", all)]), "default", false);
    }
}
