mod components;
mod environments;
mod properties;
mod scale;
mod switched;

use std::collections::BTreeSet;

use super::finding::Code;
use super::plan::State;
use super::report::{Defaults, Report};
use super::source::Sources;

const RG: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourcegroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities";

fn read(files: &[(&str, &[u8])]) -> Sources {
    Sources::of(files)
}

fn report(sources: &Sources, namespace: &str, namespaced: bool) -> Report {
    let namespace = namespace.to_owned();
    let defaults = Defaults {
        namespace,
        namespaced,
        journal: None,
    };
    super::report::report(sources, &defaults, &super::progress::Silent)
}

fn of(text: &str) -> Report {
    report(&read(&[("all.yaml", text.as_bytes())]), "default", false)
}

/// A client id of its own for each name.
fn client(name: &str) -> String {
    let number: u64 = name
        .bytes()
        .fold(7, |sum, byte| sum * 31 % 0xffff_ffff + u64::from(byte));
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn identity(namespace: &str, name: &str) -> String {
    let client = client(name);
    format!(
        "---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{type: 0, resourceID: {RG}/{name}, clientID: {client}}}\n"
    )
}

fn binding(namespace: &str, identity: &str, selector: &str) -> String {
    format!(
        "---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\n\
         metadata: {{name: {identity}-{selector}, namespace: {namespace}}}\nspec: {{azureIdentity: {identity}, selector: {selector}}}\n"
    )
}

fn deployment(namespace: &str, name: &str, label: &str, account: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{aadpodidbinding: {label}}}}}\n    \
         spec: {{serviceAccountName: {account}, containers: [{{name: c, image: i}}]}}\n"
    )
}

fn codes(report: &Report) -> BTreeSet<&'static str> {
    report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect()
}

/// Name and identities of each workload, with its state and ServiceAccount.
fn rows(report: &Report) -> Vec<(String, Vec<String>, State, String)> {
    let row = |w: &super::plan::WorkloadPlan| {
        let identities = w.identities.iter().map(|i| i.azure_identity.clone()).collect();
        (w.name.clone(), identities, w.state, w.service_account.clone())
    };
    report.plan.workloads.iter().map(row).collect()
}

#[test]
fn a_label_leads_through_its_binding_to_its_identity() {
    let report = of(&(identity("shop", "web")
        + &binding("shop", "web", "w")
        + &deployment("shop", "web", "w", "web")));
    assert_eq!(
        rows(&report),
        [(
            "web".to_owned(),
            vec!["shop/web".to_owned()],
            State::Planned,
            "web".to_owned()
        )]
    );
    assert_eq!(codes(&report), BTreeSet::new());
    let steps: Vec<_> = report
        .plan
        .steps
        .iter()
        .map(|step| (step.name, step.items.len()))
        .collect();
    assert_eq!(steps, [("grant", 3), ("switch", 1), ("clean", 2)]);
    assert_eq!(report.plan.credentials[0].planned, 1);
}

#[test]
fn the_label_is_compared_byte_for_byte() {
    let report = of(&(identity("shop", "web")
        + &binding("shop", "web", "Web")
        + &deployment("shop", "web", "web", "web")));
    assert_eq!(rows(&report)[0].2, State::NoIdentity);
    assert_eq!(codes(&report), BTreeSet::from(["dead-label", "orphan-binding"]));
}

#[test]
fn pods_may_be_in_another_namespace_unless_something_is_namespaced() {
    let objects =
        identity("azure", "web") + &binding("azure", "web", "w") + &deployment("shop", "web", "w", "web");
    let report = of(&objects);
    assert_eq!(rows(&report)[0].2, State::Planned);
    assert_eq!(codes(&report), BTreeSet::from(["cross-namespace"]));
    // The binding and the grant are for the namespace of the workload.
    let bindings = report
        .plan
        .outputs
        .iter()
        .filter(|output| output.title == "WorkloadIdentityBinding shop/web");
    assert_eq!(bindings.count(), 1);

    let behavior = |value: &str| {
        let annotations =
            format!("namespace: azure, annotations: {{aadpodidentity.k8s.io/Behavior: {value}}}");
        of(&objects.replacen("namespace: azure", &annotations, 1))
    };
    assert_eq!(rows(&behavior("namespaced"))[0].2, State::NoIdentity);
    assert!(codes(&behavior("namespaced")).contains("namespace-mismatch"));
    assert_eq!(rows(&behavior("Namespaced"))[0].2, State::Planned);
    assert!(codes(&behavior("Namespaced")).contains("behavior-spelling"));

    let forced = report_with(&objects, true);
    assert_eq!(rows(&forced)[0].2, State::NoIdentity);
    let nmi = "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: nmi, namespace: kube-system}\n\
               spec: {template: {spec: {containers: [{name: nmi, args: [--forceNamespaced]}]}}}\n";
    let forced = of(&(objects + nmi));
    assert_eq!(rows(&forced)[0].2, State::NoIdentity);
    assert!(codes(&forced).contains("namespaced-mode"));
}

#[test]
fn in_namespaced_mode_a_selector_may_mean_something_else_in_each_namespace() {
    let objects: String = ["a", "b"]
        .iter()
        .map(|ns| identity(ns, "web") + &binding(ns, "web", "w") + &deployment(ns, "web", "w", "web"))
        .collect();
    let objects = objects.replacen("userAssignedIdentities/web", "userAssignedIdentities/other", 1);
    let cluster_wide = of(&objects);
    assert_eq!(rows(&cluster_wide)[0].1, ["a/web", "b/web"], "all bindings count");
    let namespaced = report_with(&objects, true);
    assert_eq!(rows(&namespaced)[0].1, ["a/web"]);
    assert!(!codes(&namespaced).contains("namespace-mismatch"));
}

fn report_with(text: &str, namespaced: bool) -> Report {
    report(&read(&[("all.yaml", text.as_bytes())]), "default", namespaced)
}

#[test]
fn several_bindings_of_one_selector_all_count() {
    let objects = identity("shop", "one") + &identity("shop", "two");
    let objects = objects
        + &binding("shop", "one", "w")
        + &binding("shop", "two", "w")
        + &deployment("shop", "web", "w", "web");
    let report = of(&objects);
    assert_eq!(rows(&report)[0].1, ["shop/one", "shop/two"]);
    assert!(codes(&report).contains("several-identities"));
    let specs = report
        .plan
        .outputs
        .iter()
        .filter(|output| output.title.starts_with("WorkloadIdentityBinding"));
    let specs: Vec<_> = specs
        .map(|output| {
            (
                output.title.clone(),
                output.value["spec"]["serviceAccount"]["annotate"].clone(),
            )
        })
        .collect();
    let wanted = |name: &str| {
        (
            format!("WorkloadIdentityBinding shop/web-{name}"),
            serde_json::json!(false),
        )
    };
    assert_eq!(specs, [wanted("one"), wanted("two")]);
}

#[test]
fn an_identity_of_another_namespace_than_its_binding_is_not_found() {
    let report = of(&(identity("azure", "web")
        + &binding("shop", "web", "w")
        + &deployment("shop", "web", "w", "web")));
    assert_eq!(rows(&report)[0].2, State::Blocked);
    assert_eq!(
        codes(&report),
        BTreeSet::from(["dangling-binding", "orphan-identity"])
    );
}

#[test]
fn what_is_no_managed_identity_blocks_the_whole_workload() {
    let objects = identity("shop", "one") + &identity("shop", "two").replace("type: 0", "type: 1");
    let objects = objects
        + &binding("shop", "one", "w")
        + &binding("shop", "two", "w")
        + &deployment("shop", "web", "w", "web");
    let report = of(&objects);
    assert_eq!(rows(&report)[0].2, State::Blocked);
    assert!(codes(&report).contains("identity-type"));
    assert_eq!(report.plan.outputs, []);
    assert_eq!(report.plan.steps, [], "nothing is removed that is in use");
}

#[test]
fn odd_casing_is_read_and_said() {
    let objects = identity("shop", "web").replace("resourceID", "ResourceID")
        + &binding("shop", "web", "w").replace("selector", "Selector");
    let report = of(&(objects + &deployment("shop", "web", "w", "web")));
    assert_eq!(rows(&report)[0].2, State::Planned);
    assert_eq!(codes(&report), BTreeSet::from(["odd-casing"]));
    let two = identity("shop", "web").replace("resourceID: ", "RESOURCEID: x, ResourceID: ");
    let report = of(&(two + &binding("shop", "web", "w") + &deployment("shop", "web", "w", "web")));
    assert_eq!(rows(&report)[0].2, State::Blocked);
    assert!(codes(&report).contains("odd-casing-conflict"));
}

#[test]
fn the_default_service_account_never_gets_an_identity() {
    let objects =
        identity("shop", "web") + &binding("shop", "web", "w") + &deployment("shop", "web", "w", "default");
    let report = of(&objects);
    assert_eq!(rows(&report)[0].3, "web");
    assert_eq!(codes(&report), BTreeSet::from(["new-service-account"]));
    assert_eq!(report.plan.outputs[0].title, "ServiceAccount shop/web");

    // Taken for something else: its rights are not for these pods.
    let taken = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n";
    assert_eq!(rows(&of(&(objects.clone() + taken)))[0].3, "web-deployment");
    // Taken in from what this plan prints: it is the one.
    let printed: Vec<String> = report
        .plan
        .outputs
        .iter()
        .map(|output| output.value.to_string())
        .collect();
    let again = of(&format!("{objects}---\n{}\n", printed.join("\n---\n")));
    assert_eq!(rows(&again)[0].3, "web");
    assert_eq!(again.plan.steps[0].name, "switch", "everything is there already");
}

#[test]
fn a_service_account_is_split_where_its_workloads_have_different_identities() {
    let objects = identity("shop", "one")
        + &identity("shop", "two")
        + &binding("shop", "one", "a")
        + &binding("shop", "two", "b");
    let objects = objects + &deployment("shop", "x", "a", "all") + &deployment("shop", "y", "b", "all");
    let report = of(&objects);
    let accounts: Vec<String> = rows(&report).into_iter().map(|row| row.3).collect();
    assert_eq!(accounts, ["x", "y"]);
    assert_eq!(codes(&report), BTreeSet::from(["service-account-shared"]));
    let same = of(&(identity("shop", "one")
        + &binding("shop", "one", "a")
        + &deployment("shop", "x", "a", "all")
        + &deployment("shop", "y", "a", "all")));
    assert_eq!(same.plan.credentials[0].planned, 1);
}

#[test]
fn a_binding_stays_as_long_as_something_else_uses_it() {
    let release = "---\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: r, namespace: shop}\n\
                   spec: {values: {podLabels: {aadpodidbinding: w}}}\n";
    let report = of(&(identity("shop", "web")
        + &binding("shop", "web", "w")
        + &deployment("shop", "web", "w", "web")
        + release));
    assert!(codes(&report).contains("label-elsewhere"));
    let clean = report
        .plan
        .steps
        .iter()
        .find(|step| step.name == "clean")
        .unwrap();
    assert!(
        clean
            .items
            .iter()
            .all(|item| item.detail.contains("HelmRelease shop/r")),
        "{clean:?}"
    );
}

#[test]
fn values_of_the_chart_are_identities_and_bindings() {
    for entries in [
        format!(
            "- {{name: web, namespace: shop, type: 0, resourceID: {RG}/web, clientID: x, binding: {{name: b, selector: w}}}}"
        ),
        format!(
            "  web: {{namespace: shop, type: 0, resourceID: {RG}/web, clientID: x, binding: {{name: b, selector: w}}}}"
        ),
    ] {
        let values = format!("azureIdentities:\n{entries}\n");
        let report = of(&(values + &deployment("shop", "web", "w", "web")));
        assert_eq!(rows(&report)[0].1, ["shop/web"]);
    }
}

#[test]
fn a_secret_provider_class_gets_the_client_id_of_its_pods() {
    let change = |report: &Report| {
        let steps = report.plan.steps.iter().filter(|step| step.name == "switch");
        let items = steps.flat_map(|step| &step.items);
        let classes = items.filter(|item| item.object.starts_with("SecretProviderClass"));
        classes.map(|item| item.detail.clone()).collect::<Vec<_>>()
    };
    let class = "---\napiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\nmetadata: {name: vault, namespace: shop}\n\
                 spec: {parameters: {usePodIdentity: \"true\"}}\n";
    let mount = "containers: [{name: c, image: i}], volumes: [{name: v, csi: {driver: secrets-store.csi.k8s.io, \
                 volumeAttributes: {secretProviderClass: vault}}}]";
    let mounting = |label: &str, name: &str| {
        deployment("shop", name, label, name).replace("containers: [{name: c, image: i}]", mount)
    };
    let base = identity("shop", "one") + &binding("shop", "one", "a") + class;
    let action = |report: &Report| {
        let found = report
            .findings
            .iter()
            .find(|finding| finding.subject == "SecretProviderClass shop/vault")
            .unwrap();
        (found.code, found.action.clone())
    };
    let one = of(&(base.clone() + &mounting("a", "x")));
    let (code, text) = action(&one);
    assert_eq!(code, Code::SecretProviderClass);
    assert!(text.contains(&client("one")), "{text}");
    assert_eq!(
        change(&one),
        [format!("replace usePodIdentity by clientID: {}", client("one"))]
    );
    let unknown = of(&base);
    assert!(!action(&unknown).1.contains("00000000"));
    assert_eq!(change(&unknown), [""; 0]);
    let two = base
        + &identity("shop", "two")
        + &binding("shop", "two", "b")
        + &mounting("a", "x")
        + &mounting("b", "y");
    assert_eq!(action(&of(&two)).0, Code::SecretProviderClassShared);
}

#[test]
fn more_than_twenty_credentials_of_an_identity_are_an_error() {
    let of_size = |size: usize| {
        let workloads: String = (0..size)
            .map(|n| deployment("shop", &format!("w{n}"), "w", &format!("w{n}")))
            .collect();
        of(&(identity("shop", "web") + &binding("shop", "web", "w") + &workloads))
    };
    assert!(!codes(&of_size(20)).contains("credential-limit"));
    assert!(codes(&of_size(21)).contains("credential-limit"));
}

#[test]
fn printed_objects_are_the_operators_own_and_have_good_names() {
    use crate::api::WorkloadIdentityBinding;
    use k8s_openapi::api::core::v1::ServiceAccount;
    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
    let name = format!("a{}", "b".repeat(252));
    let objects = identity("shop", "My_Identity") + &identity("shop", "my-identity");
    let objects = objects + &binding("shop", "My_Identity", "w") + &binding("shop", "my-identity", "w");
    let report = of(&(objects + &deployment("shop", &name, "w", "default")));
    assert_eq!(report.plan.outputs.len(), 7);
    let mut names = BTreeSet::new();
    for output in &report.plan.outputs {
        let value = output.value.clone();
        let name = value["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.len() <= 253, "{name}");
        match value["kind"].as_str().unwrap() {
            "ServiceAccount" => drop(serde_json::from_value::<ServiceAccount>(value).unwrap()),
            "ClusterRole" => drop(serde_json::from_value::<ClusterRole>(value).unwrap()),
            "ClusterRoleBinding" => drop(serde_json::from_value::<ClusterRoleBinding>(value).unwrap()),
            _ => drop(serde_json::from_value::<WorkloadIdentityBinding>(value).unwrap()),
        }
        assert!(names.insert(output.title.clone()), "{} twice", output.title);
    }
}

#[test]
fn a_label_in_text_says_what_it_selects() {
    let text = "kind: HelmRelease\nspec:\n  %{ if x }\n  podLabels:\n    aadpodidbinding: \"web\" # old\n";
    let action = |more: &str| {
        let all = format!("{text}{more}");
        let found = report(&read(&[("release.yaml.tpl", all.as_bytes())]), "default", false).findings;
        let found: Vec<_> = found.into_iter().filter(|f| f.code == Code::TextOnly).collect();
        assert_eq!((found.len(), found[0].place.line), (1, 5), "{found:#?}");
        (
            found[0].subject.clone(),
            found[0].reason.clone() + &found[0].action,
        )
    };
    let placeholder = identity("shop", "id").replace(&client("id"), "\"${client}\"");
    let (subject, said) = action(&(placeholder.clone() + &binding("shop", "id", "web")));
    assert_eq!(subject, "aadpodidbinding: web");
    for part in [
        "AzureIdentity shop/id",
        &format!("resourceId: {RG}/id"),
        "client-id: ${client}",
    ] {
        assert!(said.contains(part), "{said}");
    }
    for more in [
        String::new(),
        placeholder.clone() + &binding("shop", "id", "other"),
        placeholder
            + &identity("shop", "two")
            + &binding("shop", "id", "web")
            + &binding("shop", "two", "web"),
    ] {
        assert!(action(&more).1.contains("is not known"), "{more}");
    }
}

#[test]
fn a_binding_that_is_there_for_something_else_is_not_overwritten() {
    let wib = |spec: &str| {
        format!(
            "---\napiVersion: workload-identity.io/v1alpha1\nkind: WorkloadIdentityBinding\n\
             metadata: {{name: web, namespace: shop}}\nspec: {{{spec}}}\n"
        )
    };
    let old = identity("shop", "web") + &binding("shop", "web", "x") + &deployment("shop", "web", "x", "web");
    let row = |spec: &str| {
        let report = of(&(old.clone() + &wib(spec)));
        (
            report.plan.workloads[0].state,
            report.plan.workloads[0].why.join(" "),
        )
    };
    let account = "serviceAccount: {name: web}";
    let parts = RG.split('/').collect::<Vec<_>>();
    let (subscription, group) = (parts[2], parts[4]);
    for identity in [
        format!("resourceId: {RG}/WEB"),
        format!("subscriptionId: {subscription}, resourceGroup: {group}, name: web"),
    ] {
        let row = row(&format!("identity: {{{identity}}}, {account}"));
        assert_eq!(row, (State::Planned, String::new()), "{identity}");
    }
    for (identity, account) in [
        (format!("resourceId: {RG}/other"), account),
        (format!("resourceId: {RG}/web"), "serviceAccount: {name: other}"),
        ("name: web".to_owned(), account),
    ] {
        let (state, why) = row(&format!("identity: {{{identity}}}, {account}"));
        assert_eq!(state, State::Blocked, "{identity}");
        assert!(
            why.starts_with("WorkloadIdentityBinding shop/web is there already"),
            "{why}"
        );
    }
}
