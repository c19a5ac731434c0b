//! Components with ways of their own to ask for pod identity, and releases of charts that are known.

use super::*;
use crate::migrate::report::Defaults;
use crate::migrate::rewrite;

fn release(chart: &str, values: &str) -> String {
    format!(
        "---\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: {chart}, namespace: flux}}\n\
         spec: {{releaseName: {chart}, targetNamespace: shop, chart: {{spec: {{chart: {chart}}}}}, values: {{{values}}}}}\n"
    )
}

fn with_release(release: &str) -> Report {
    of(&(identity("shop", "web") + &binding("shop", "web", "w") + release))
}

/// What is said of something, by the beginning of its name.
fn actions(report: &Report, subject: &str) -> Vec<String> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.subject.starts_with(subject))
        .map(|finding| finding.action.clone())
        .collect()
}

#[test]
fn a_release_of_a_known_chart_is_planned_where_it_installs() {
    let report = with_release(&release("cert-manager", "podLabels: {aadpodidbinding: w}"));
    assert_eq!(codes(&report), BTreeSet::new());
    let row = &report.plan.workloads[0];
    let wanted = (
        "shop",
        "HelmRelease",
        "cert-manager",
        State::Planned,
        "cert-manager",
    );
    assert_eq!(
        (
            row.namespace.as_str(),
            row.kind.as_str(),
            row.name.as_str(),
            row.state,
            row.service_account.as_str()
        ),
        wanted
    );
    let titles: Vec<&str> = report
        .plan
        .outputs
        .iter()
        .map(|output| output.title.as_str())
        .collect();
    assert!(
        titles.contains(&"WorkloadIdentityBinding shop/cert-manager"),
        "{titles:?}"
    );
    assert!(!row.new_service_account && report.plan.removals.len() == 2);
}

#[test]
fn a_release_whose_service_account_is_not_certain_is_a_finding_that_says_why() {
    let release = release(
        "cert-manager",
        "podLabels: {aadpodidbinding: w}, serviceAccount: {create: false}",
    );
    let report = with_release(&release);
    assert_eq!(codes(&report), BTreeSet::from(["label-elsewhere"]));
    let reason = &report.findings[0].reason;
    assert!(reason.contains("serviceAccount.create is false"), "{reason}");
    let action = &report.findings[0].action;
    assert!(action.contains(&client("web")), "{action}");
    assert_eq!(report.plan.removals.len(), 0, "its binding is in use");
}

#[test]
fn a_service_account_that_a_chart_makes_is_never_another() {
    let objects = identity("shop", "one")
        + &identity("shop", "two")
        + &binding("shop", "one", "w")
        + &binding("shop", "two", "v")
        + &release("cert-manager", "podLabels: {aadpodidbinding: w}")
        + &deployment("shop", "x", "v", "cert-manager");
    let states: Vec<(String, State, String)> = rows(&of(&objects))
        .into_iter()
        .map(|row| (row.0, row.2, row.3))
        .collect();
    let wanted = [
        ("x", State::Planned, "x"),
        ("cert-manager", State::Blocked, "cert-manager"),
    ];
    assert_eq!(
        states,
        wanted.map(|(name, state, account)| (name.to_owned(), state, account.to_owned()))
    );
}

#[test]
fn what_stands_in_secrets_is_said_and_left() {
    let velero = with_release(&release(
        "velero",
        "podLabels: {aadpodidbinding: w}, credentials: {secretContents: {}}",
    ));
    assert!(
        actions(&velero, "HelmRelease")
            .iter()
            .any(|action| action.contains("useAAD"))
    );
    let secret = |label: &str, data: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: shop, labels: {{{label}}}}}\nstringData: {{{data}}}\n"
        )
    };
    let argo = release(
        "argo-cd",
        "repoServer: {podLabels: {aadpodidbinding: w}, serviceAccount: {name: argo}}",
    );
    let repository = "argocd.argoproj.io/secret-type: repository";
    let open = with_release(&(argo.clone() + &secret(repository, "url: u")));
    assert!(actions(&open, "Secret")[0].contains("useAzureWorkloadIdentity"));
    let closed = with_release(&(argo + &secret(repository, "url: u, password: p")));
    assert_eq!(actions(&closed, "Secret"), Vec::<String>::new());
    let azure = secret(
        "a: b",
        "azure.json: '{\"tenantId\": \"t\", \"useManagedIdentityExtension\": true}'",
    );
    assert!(actions(&of(&azure), "Secret")[0].contains("useWorkloadIdentityExtension"));
}

#[test]
fn a_release_without_a_namespace_is_said() {
    let release = release("cert-manager", "podLabels: {aadpodidbinding: w}").replace(", namespace: flux", "");
    assert_eq!(
        codes(&with_release(&release)),
        BTreeSet::new(),
        "it says where it installs"
    );
    let release = release.replace("targetNamespace: shop, ", "");
    assert!(codes(&with_release(&release)).contains("namespace-missing"));
}

#[test]
fn the_service_account_of_the_gateway_is_named() {
    let values = "armAuth: {type: aadPodIdentity, identityResourceID: /id, identityClientID: c}";
    let report =
        of(&release("ingress-azure", values).replace("releaseName: ingress-azure", "releaseName: gw"));
    let action = &actions(&report, "HelmRelease")[0];
    assert!(
        action.contains("bind /id to the ServiceAccount shop/gw-sa-ingress-azure"),
        "{action}"
    );
}

#[test]
fn a_binding_that_the_chart_of_keda_uses_stays() {
    let values = "---\npodIdentity: {activeDirectory: {identity: w}}\n";
    let report = of(&(identity("shop", "web")
        + &binding("shop", "web", "w")
        + &deployment("shop", "web", "w", "web")
        + values));
    assert_eq!(codes(&report), BTreeSet::from(["component-setting"]));
    assert_eq!(report.plan.removals.len(), 0);
}

/// The files after a rewriting of everything, and what is left.
fn rewritten(files: &[(&str, &str)]) -> (Vec<(String, String)>, Vec<String>) {
    let bytes: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, text)| (*path, text.as_bytes()))
        .collect();
    let defaults = Defaults {
        namespace: "default".to_owned(),
        namespaced: false,
        journal: None,
    };
    let rewriting = rewrite::rewrite(
        &read(&bytes),
        &defaults,
        rewrite::Until::Clean,
        &crate::migrate::progress::Silent,
    );
    let mut after: Vec<(String, String)> = files
        .iter()
        .filter(|(path, _)| rewriting.files.iter().all(|change| change.path != *path))
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    let changed = rewriting.files.into_iter();
    after.extend(changed.filter_map(|change| Some((change.path, change.after?))));
    after.sort();
    let left = rewriting.left.into_iter().map(|left| left.reason).collect();
    (after, left)
}

#[test]
fn a_release_is_rewritten_as_a_whole_and_only_once() {
    let release = "# dns\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata:\n  name: external-dns\n  \
                   namespace: shop\nspec:\n  chart:\n    spec:\n      chart: external-dns\n  values:\n    podLabels:\n      \
                   aadpodidbinding: w\n    azure:\n      resourceGroup: g\n      useManagedIdentityExtension: true # old\n";
    let identities = identity("shop", "web") + &binding("shop", "web", "w");
    let (after, left) = rewritten(&[("dns/release.yaml", release), ("identities.yaml", &identities)]);
    assert_eq!(left, Vec::<String>::new());
    let paths: Vec<&str> = after.iter().map(|(path, _)| path.as_str()).collect();
    let wanted = [
        "dns/release.yaml",
        "dns/workload-identity-grants.yaml",
        "dns/workload-identity.yaml",
    ];
    assert_eq!(paths, wanted);
    let switched = release
        .replace("aadpodidbinding: w", "azure.workload.identity/use: \"true\"")
        .replace(
            "      useManagedIdentityExtension: true # old\n",
            "      useWorkloadIdentityExtension: true\n",
        );
    assert_eq!(after[0].1, switched);
    assert!(after[2].1.contains("name: external-dns"), "{}", after[2].1);
    let again: Vec<(&str, &str)> = after
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    assert_eq!(rewritten(&again), (after.clone(), left));
}

#[test]
fn pods_do_not_switch_without_what_they_mount() {
    let class = "---\napiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\nmetadata: {name: vault, namespace: shop}\n\
                 spec: {parameters: {usePodIdentity: \"true\"}}\n";
    let mount = "containers: [{name: c, image: i}], volumes: [{name: v, csi: {driver: secrets-store.csi.k8s.io, \
                 volumeAttributes: {secretProviderClass: vault}}}]";
    let mounting = deployment("shop", "web", "w", "web").replace("containers: [{name: c, image: i}]", mount);
    let pods = |identity: &str| identity.to_owned() + &binding("shop", "web", "w") + &mounting;
    let identity = identity("shop", "web");
    let (good, unknown) = (
        pods(&identity),
        pods(&identity.replace(&client("web"), "no-guid")),
    );
    let (after, left) = rewritten(&[("class.yaml", class), ("pods.yaml", &unknown)]);
    assert_eq!(
        after,
        [
            ("class.yaml".to_owned(), class.to_owned()),
            ("pods.yaml".to_owned(), unknown)
        ]
    );
    assert!(
        left.iter().all(|reason| reason.contains("is no GUID")),
        "{left:?}"
    );
    let (after, left) = rewritten(&[("class.yaml", class), ("pods.yaml", &good)]);
    assert_eq!(left, Vec::<String>::new());
    assert!(
        after[0].1.contains(&client("web")) && !after[1].1.contains("aadpodidbinding"),
        "{after:?}"
    );
}
