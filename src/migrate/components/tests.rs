use std::collections::BTreeMap;

use super::*;
use crate::migrate::edit::{self, Edit};
use crate::migrate::progress::Silent;
use crate::migrate::report::{Defaults, analyse};

/// What becomes of files of one document each, and which groups are not made.
struct Outcome {
    texts: BTreeMap<String, String>,
    with: Vec<String>,
    blocked: Vec<String>,
}

fn rewritten(files: &[(&str, &str)]) -> Outcome {
    let sources = Sources::of(files);
    let defaults = Defaults {
        namespace: "shop".to_owned(),
        namespaced: false,
        journal: None,
    };
    let groups = analyse(&sources, &defaults, &Silent, |a| {
        groups(a.sources, a.models, a.index, a.joined, &a.report.plan)
    });
    let mut edits: BTreeMap<(u32, u32), Vec<Edit>> = BTreeMap::new();
    for (mark, change) in groups.iter().flat_map(|group| &group.edits) {
        let source = &sources.files[mark.file as usize];
        let root = source.documents[mark.document as usize].content.as_ref().unwrap();
        let path = edit::locate(root, *mark).unwrap();
        let edit = Edit::new(path, change.clone());
        let all = edits.entry((mark.file, mark.document)).or_default();
        if !all.contains(&edit) {
            all.push(edit);
        }
    }
    let mut texts: BTreeMap<String, String> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    for ((file, _), edits) in edits {
        let text = texts.get_mut(&sources.files[file as usize].path).unwrap();
        *text = edit::document(text, &edits).unwrap();
    }
    let with = groups.iter().flat_map(|group| &group.with);
    let mut outcome = Outcome {
        texts,
        with: with.map(ToString::to_string).collect(),
        blocked: groups.iter().filter_map(|group| group.blocked.clone()).collect(),
    };
    outcome.with.sort();
    outcome.with.dedup();
    outcome
}

/// Asserts what becomes of the last file, and the workloads that switch with it.
fn gives(files: &[(&str, &str)], after: &str, with: &[&str]) {
    let outcome = rewritten(files);
    let (path, _) = files.last().unwrap();
    assert_eq!(outcome.blocked, Vec::<String>::new());
    assert_eq!(outcome.texts[*path], after);
    assert_eq!(outcome.with, with);
}

/// Asserts that no file changes, and why.
fn refuses(files: &[(&str, &str)], reason: &str) {
    let outcome = rewritten(files);
    for (path, text) in files {
        assert_eq!(outcome.texts[*path], *text);
    }
    assert!(
        outcome.blocked.iter().any(|blocked| blocked.contains(reason)),
        "{:?}",
        outcome.blocked
    );
}

/// Asserts that nothing is done and nothing said.
fn leaves(files: &[(&str, &str)]) {
    gives(files, files.last().unwrap().1, &[]);
}

const ONE: &str = "00000000-0000-4000-8000-000000000001";
const TWO: &str = "00000000-0000-4000-8000-000000000002";

/// An identity with a binding whose selector is its name.
fn identity(name: &str, client: &str) -> String {
    let group = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourcegroups/shop";
    format!(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: aadpodidentity.k8s.io/v1\n  kind: AzureIdentity\n  \
         metadata: {{name: {name}, namespace: shop}}\n  spec:\n    type: 0\n    clientID: {client}\n    \
         resourceID: {group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{name}\n\
         - apiVersion: aadpodidentity.k8s.io/v1\n  kind: AzureIdentityBinding\n  \
         metadata: {{name: {name}, namespace: shop}}\n  spec: {{azureIdentity: {name}, selector: {name}}}\n"
    )
}

fn deployment(name: &str, labels: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}{labels}}}}}\n    \
         spec:\n      serviceAccountName: {name}\n{pod}"
    )
}

fn mounting(name: &str, labels: &str) -> String {
    deployment(
        name,
        labels,
        "      containers: [{name: c, image: i}]\n      volumes: [{name: v, csi: {driver: secrets-store.csi.k8s.io, \
         volumeAttributes: {secretProviderClass: vault}}}]\n",
    )
}

const CLASS: &str = "\
apiVersion: secrets-store.csi.x-k8s.io/v1alpha1
kind: SecretProviderClass
metadata:
  name: vault
  namespace: shop
spec:
  provider: azure
  parameters:
    usePodIdentity: \"true\"   # of the pods
    objects:  |
      array: []
    tenantId: t
";

#[test]
fn a_class_gets_the_client_id_of_all_pods_that_mount_it() {
    let (id, x) = (identity("a", ONE), mounting("x", ", aadpodidbinding: a"));
    let y = mounting("y", ", aadpodidbinding: a");
    let after = CLASS.replace("usePodIdentity: \"true\"", &format!("clientID: \"{ONE}\""));
    let files = [("id", id.as_str()), ("x", &x), ("y", &y)];
    let with = ["Deployment shop/x", "Deployment shop/y"];
    gives(&[&files[..], &[("class", CLASS)]].concat(), &after, &with);
    let had = CLASS.replace("    tenantId", &format!("    clientID: {ONE}\n    tenantId"));
    let after = had.replace("    usePodIdentity: \"true\"   # of the pods\n", "");
    gives(&[&files[..], &[("class", &had)]].concat(), &after, &with);
    let empty = CLASS.replace("    tenantId", "    clientID: \"\"\n    tenantId");
    let after = after.replace(&format!("clientID: {ONE}"), &format!("clientID: \"{ONE}\""));
    gives(&[&files[..], &[("class", &empty)]].concat(), &after, &with);
    leaves(&[&files[..], &[("class", &CLASS.replace("true", "false"))]].concat());
}

#[test]
fn a_class_whose_client_id_is_not_certain_stays() {
    let (one, two) = (identity("a", ONE), identity("b", TWO));
    let x = mounting("x", ", aadpodidbinding: a");
    let refused = |extra: &[(&str, &str)], class: &str, reason: &str| {
        refuses(&[extra, &[("class", class), ("one", &one)]].concat(), reason);
    };
    refused(&[], CLASS, "no workload of the input mounts it");
    let other = CLASS.replace("    tenantId", &format!("    clientID: {TWO}\n    tenantId"));
    refused(&[("x", &x)], &other, "it has the clientID");
    let unlabelled = mounting("y", "");
    refused(
        &[("x", &x), ("y", &unlabelled)],
        CLASS,
        "Deployment shop/y has no label",
    );
    let different = mounting("y", ", aadpodidbinding: b");
    refused(
        &[("x", &x), ("y", &different), ("two", &two)],
        CLASS,
        "have different identities",
    );
    let dead = mounting("y", ", aadpodidbinding: c");
    refused(
        &[("x", &x), ("y", &dead)],
        CLASS,
        "Deployment shop/y has no identity",
    );
    let values = "extraVolumes:\n- csi: {volumeAttributes: {secretProviderClass: vault}}\n";
    refused(&[("x", &x), ("values", values)], CLASS, "its pods are not known");
    let template = format!("{{{{ if .Values.x }}}}\n{}", mounting("z", ""));
    let template = template.replace(
        "secretProviderClass: vault}}}]",
        "\n          secretProviderClass: \"vault\"\n}}}]",
    );
    refused(
        &[("x", &x), ("template", &template)],
        CLASS,
        "searched as text only",
    );
    let liar = identity("b", ONE);
    refused(
        &[("x", &x), ("two", &liar)],
        CLASS,
        "contradicts another AzureIdentity",
    );
    let (no_guid, both) = (
        identity("a", "x-y"),
        identity("b", TWO).replace("selector: b", "selector: a"),
    );
    refuses(&[("x", &x), ("class", CLASS), ("one", &no_guid)], "is no GUID");
    refused(&[("x", &x), ("two", &both)], CLASS, "has several identities");
}

#[test]
fn environments_that_share_a_class_have_to_agree() {
    let base = "resources: [class.yaml, x.yaml]\n";
    let x = mounting("x", ", aadpodidbinding: a");
    let (one, two) = (
        identity("a", ONE),
        identity("a", TWO).replace("/shop/", "/other/"),
    );
    let overlay = "resources: [../base, id.yaml]\n";
    let files = |second: &str| {
        [
            ("base/kustomization.yaml", base.to_owned()),
            ("base/x.yaml", x.clone()),
            ("dev/kustomization.yaml", overlay.to_owned()),
            ("dev/id.yaml", one.clone()),
            ("prod/kustomization.yaml", overlay.to_owned()),
            ("prod/id.yaml", second.to_owned()),
            ("base/class.yaml", CLASS.to_owned()),
        ]
    };
    let same = files(&one);
    let same: Vec<(&str, &str)> = same.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let after = CLASS.replace("usePodIdentity: \"true\"", &format!("clientID: \"{ONE}\""));
    gives(&same, &after, &["Deployment shop/x"]);
    let different = files(&two);
    let different: Vec<(&str, &str)> = different
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    refuses(&different, "needs something else of the same document");

    let apart = [
        ("apart/kustomization.yaml", "resources: [y.yaml]\n"),
        ("apart/y.yaml", &mounting("y", ", aadpodidbinding: a")),
    ];
    refuses(
        &[&apart[..], &same].concat(),
        "Deployment shop/y in apart mounts a class of this name",
    );
}

#[test]
fn the_provider_of_keda_is_set_wherever_it_stands() {
    let object = "apiVersion: keda.sh/v1alpha1\nkind: TriggerAuthentication\nmetadata: {name: t, namespace: shop}\nspec:\n  \
                  podIdentity: {provider: azure, identityId: x}\n  azureKeyVault:\n    podIdentity:\n      provider: 'azure' # old\n";
    let after = object
        .replace("provider: azure,", "provider: azure-workload,")
        .replace("'azure'", "'azure-workload'");
    gives(&[("t", object)], &after, &[]);
    let values = "# v\nauth:\n  triggerPodIdentityProvider: \"azure\"\n  name: \"{{ lower .Values.x }}\"\nend: x # no line end";
    gives(
        &[("values", values)],
        &values.replace("\"azure\"", "\"azure-workload\""),
        &[],
    );
    leaves(&[("values", "podIdentity:\n  provider: azure-workload\n")]);
    leaves(&[("other", &object.replace("TriggerAuthentication", "Other"))]);
}

#[test]
fn the_chart_of_keda_gets_the_client_id_of_its_label() {
    let values = "image: x\npodIdentity:\n  activeDirectory:\n    identity: a\nresources: {}\n";
    let one = identity("a", ONE);
    let after = format!(
        "image: x\npodIdentity:\n  azureWorkload:\n    clientId: {ONE}\n    enabled: true\nresources: {{}}\n"
    );
    gives(&[("one", &one), ("values", values)], &after, &[]);
    refuses(&[("values", values)], "no binding of the input");
    leaves(&[("values", &values.replace("identity: a", "identity: \"\""))]);
}

#[test]
fn the_gateway_keeps_its_client_id() {
    let yaml = "# a\narmAuth:\n    type: aadPodIdentity\n    identityResourceID: <id>\n    identityClientID:  <client>\n\n## end\n";
    let after = "# a\narmAuth:\n    type: workloadIdentity\n    identityClientID:  <client>\n\n## end\n";
    gives(&[("values.yaml", yaml)], after, &[]);
    let json = "{\n    \"armAuth\": {\n        \"type\": \"aadPodIdentity\",\n        \"identityResourceID\": \"/a\",\n        \
                \"identityClientID\": \"c\"\n    },\n    \"x\": 1\n}";
    let after = "{\n    \"armAuth\": {\n        \"type\": \"workloadIdentity\",\n        \
                 \"identityClientID\": \"c\"\n    },\n    \"x\": 1\n}";
    gives(&[("values.json", json)], after, &[]);
    leaves(&[("values.yaml", after)]);
    refuses(
        &[("values.yaml", "armAuth: {type: aadPodIdentity}\n")],
        "no identityClientID",
    );
}

fn release(chart: &str, values: &str) -> String {
    format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: {chart}, namespace: shop}}\nspec:\n  \
         chart: {{spec: {{chart: {chart}}}}}\n  values:\n{values}"
    )
}

#[test]
fn external_dns_switches_together_with_its_pods() {
    let one = identity("a", ONE);
    let values = "    podLabels: {aadpodidbinding: a}\n    azure:\n      resourceGroup: g\n      \
                  useManagedIdentityExtension: true\n      userAssignedIdentityID: x\n";
    let before = release("external-dns", values);
    let after = before.replace(
        "useManagedIdentityExtension: true\n      userAssignedIdentityID: x\n",
        "useWorkloadIdentityExtension: true\n",
    );
    gives(
        &[("one", &one), ("dns", &before)],
        &after,
        &["HelmRelease shop/external-dns"],
    );
    refuses(
        &[
            ("one", &one),
            ("dns", &before.replace("chart: external-dns}", "chart: ./dns}")),
        ],
        "is not known",
    );
    let text = before.replace("    azure:\n", "    secretConfiguration: {data: {azure.json: '{\"useManagedIdentityExtension\": true}'}}\n    azure:\n");
    let text = text.replace("      useManagedIdentityExtension: true\n", "");
    refuses(&[("one", &one), ("dns", &text)], "its azure.json is a text");
    // The identity of the node.
    leaves(&[("dns", &before.replace("aadpodidbinding", "app"))]);
}

#[test]
fn a_store_switches_together_with_the_operator() {
    let one = identity("a", ONE);
    let operator = release("external-secrets", "    podLabels: {aadpodidbinding: a}\n");
    let store = format!(
        "apiVersion: external-secrets.io/v1beta1\nkind: ClusterSecretStore\nmetadata: {{name: s}}\nspec:\n  provider:\n    \
         azurekv:\n      authType: ManagedIdentity\n      identityId: {ONE}\n      vaultUrl: v\n"
    );
    let after = store
        .replace("ManagedIdentity", "WorkloadIdentity")
        .replace(&format!("      identityId: {ONE}\n"), "");
    let files = [("one", one.as_str()), ("operator", &operator), ("store", &store)];
    gives(&files, &after, &["HelmRelease shop/external-secrets"]);
    refuses(&files[2..], "are not known");
    let other = store.replace(ONE, TWO);
    refuses(
        &[files[0], files[1], ("store", &other)],
        "identityId is not the identity",
    );
}

#[test]
fn msi_goes_with_the_label() {
    let flux = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: kustomize-controller\n  namespace: shop\nspec:\n  \
                template:\n    metadata:\n      labels:\n        aadpodidbinding: a # x\n    spec:\n      containers:\n        \
                - name: manager\n          env:\n            - name: AZURE_AUTH_METHOD\n              value: msi\n";
    let after = flux.split("          env:").next().unwrap();
    gives(
        &[("one", &identity("a", ONE)), ("flux", flux)],
        after,
        &["Deployment shop/kustomize-controller"],
    );
    leaves(&[("flux", &flux.replace("aadpodidbinding", "app"))]);
}

#[test]
fn what_a_patch_of_json_sets_is_not_mistaken_for_an_entry() {
    let kustomization = "resources: [x.yaml, id.yaml, class.yaml]\npatches:\n- path: patch.yaml\n  \
                         target: {kind: SecretProviderClass}\n";
    let patch = "- op: add\n  path: /spec/parameters/usePodIdentity\n  value: \"true\"\n";
    let class = CLASS.replace("    usePodIdentity: \"true\"   # of the pods\n", "");
    let files = [
        ("kustomization.yaml", kustomization),
        ("x.yaml", &mounting("x", ", aadpodidbinding: a")),
        ("id.yaml", &identity("a", ONE)),
        ("patch.yaml", patch),
        ("class.yaml", &class),
    ];
    refuses(&files, "usePodIdentity is set by a patch at patch.yaml:3");
}
