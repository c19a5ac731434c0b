use super::*;
use crate::migrate::yaml::parse;

/// Namespace and ServiceAccount of what a document installs, or why they are not certain.
fn installed(text: &str) -> Option<Result<(String, String), String>> {
    let node = parse(0, text).remove(0).content.unwrap().unwrap();
    let object = Object::of(&node).unwrap();
    let at = Reference::of(&object, "default");
    let workload = Release::of(&Sources::default(), &object, &at)?.workload(&object, &at)?;
    Some(match workload {
        Ok(workload) => Ok((workload.at.namespace.clone(), workload.account().to_owned())),
        Err((_, reason)) => Err(reason),
    })
}

fn flux(chart: &str, spec: &str, values: &str) -> String {
    format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: dns, namespace: flux}}\n\
         spec:\n  chart: {{spec: {{chart: {chart}, sourceRef: {{name: repo}}}}}}\n  {spec}\n  values:\n    \
         {values}\n    podLabels: {{aadpodidbinding: w}}\n    server: {{extraLabels: {{aadpodidbinding: w}}}}\n    \
         repoServer: {{podLabels: {{aadpodidbinding: w}}, serviceAccount: {{create: true}}}}\n"
    )
}

#[test]
fn the_rules_of_the_charts_name_the_service_account() {
    for (chart, spec, values, namespace, account) in [
        ("external-dns", "x: y", "a: b", "flux", "dns-external-dns"),
        (
            "external-dns",
            "releaseName: my-external-dns",
            "a: b",
            "flux",
            "my-external-dns",
        ),
        ("external-dns", "x: y", "nameOverride: dns", "flux", "dns"),
        (
            "cert-manager",
            "targetNamespace: certs",
            "a: b",
            "certs",
            "certs-dns-cert-manager",
        ),
        ("cert-manager", "x: y", "fullnameOverride: cm", "flux", "cm"),
        (
            "external-secrets",
            "x: y",
            "serviceAccount: {create: false, name: eso}",
            "flux",
            "eso",
        ),
        ("velero", "releaseName: velero", "a: b", "flux", "velero-server"),
        (
            "velero",
            "releaseName: velero",
            "serviceAccount: {server: {name: velero}}",
            "flux",
            "velero",
        ),
        ("vault", "releaseName: vault", "a: b", "flux", "vault"),
        (
            "argo-cd",
            "releaseName: argocd",
            "a: b",
            "flux",
            "argocd-repo-server",
        ),
        (
            "argo-cd",
            "releaseName: argo-cd",
            "a: b",
            "flux",
            "argo-cd-argocd-repo-server",
        ),
    ] {
        let text = flux(chart, spec, values);
        let wanted = Some(Ok((namespace.to_owned(), account.to_owned())));
        assert_eq!(installed(&text), wanted, "{text}");
    }
}

#[test]
fn a_service_account_that_is_not_certain_is_not_guessed() {
    for (spec, values, reason) in [
        (
            "valuesFrom: [{kind: ConfigMap, name: x}]",
            "a: b",
            "valuesFrom may name it",
        ),
        (
            "postRenderers: [{kustomize: {}}]",
            "a: b",
            "postRenderers may change it",
        ),
        (
            "x: y",
            "namespaceOverride: other",
            "the values choose another namespace",
        ),
        (
            "x: y",
            "serviceAccount: {create: false}",
            "serviceAccount.create is false, so that it is default",
        ),
        (
            "x: y",
            "serviceAccount: {name: default}",
            "serviceAccount.name is default",
        ),
    ] {
        let text = flux("external-dns", spec, values);
        assert_eq!(installed(&text), Some(Err(reason.to_owned())), "{text}");
    }
    let from_elsewhere = "valuesFrom: [{kind: ConfigMap, name: x}]";
    let named = flux("external-dns", from_elsewhere, "serviceAccount: {name: dns}");
    assert_eq!(installed(&named), Some(Ok(("flux".to_owned(), "dns".to_owned()))));
    assert_eq!(installed(&flux("./charts/external-dns", "x: y", "a: b")), None);
    let bitnami = flux("cert-manager", "x: y", "a: b").replace("name: repo", "name: bitnami");
    assert_eq!(installed(&bitnami), None);
}

#[test]
fn applications_of_argo_cd_install_as_well() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: velero, namespace: argocd}\n\
                spec:\n  destination: {namespace: backup}\n  source: {chart: velero, helm: {HERE}}\n";
    let inline = "valuesObject: {podLabels: {aadpodidbinding: w}}";
    let wanted = Some(Ok(("backup".to_owned(), "velero-server".to_owned())));
    assert_eq!(installed(&text.replace("HERE", inline)), wanted);
    let more = format!("{inline}, parameters: [{{name: a, value: b}}]");
    let reason = "parameters may change it".to_owned();
    assert_eq!(installed(&text.replace("HERE", &more)), Some(Err(reason)));
    let text_of = |values: &str| installed(&text.replace("HERE", &format!("values: {values}")));
    assert_eq!(text_of("'podLabels: {aadpodidbinding: w}'"), wanted);
    assert_eq!(text_of("'podLabels: ['"), None);
    let both = format!("{inline}, values: 'fullnameOverride: x'");
    assert_eq!(installed(&text.replace("HERE", &both)), wanted);
}
