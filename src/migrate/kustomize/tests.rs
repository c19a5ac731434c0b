use std::collections::BTreeMap;

use super::*;
use crate::migrate::progress::Silent;

const IDENTITY: &str = "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata: {name: web}\n\
                        spec: {type: 0, resourceID: replace, clientID: replace}\n";

/// What each environment has at a path of its first object, with the file and line it comes from.
fn seen(files: &[(&str, &str)], path: &[&str]) -> BTreeMap<String, (String, String)> {
    let sources = Sources::of(files);
    let (environments, _) = environments(&sources, &Silent);
    environments
        .iter()
        .filter_map(|environment| {
            let node = environment.objects.first()?.node.at(path)?;
            let name = environment.name.clone().unwrap_or_default();
            Some((
                name,
                (node.as_text()?.to_owned(), sources.place(node.mark).to_string()),
            ))
        })
        .collect()
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn reason(files: &[(&str, &str)]) -> String {
    let (environments, findings) = environments(&Sources::of(files), &Silent);
    assert!(
        environments.iter().any(|e| e.unresolved.is_some()),
        "{environments:?}"
    );
    findings[0].reason.clone()
}

#[test]
fn an_overlay_patches_its_base_and_every_value_knows_its_file() {
    let files = [
        ("base/kustomization.yaml", "resources: [id.yaml]\n"),
        ("base/id.yaml", IDENTITY),
        (
            "dev/kustomization.yaml",
            "resources: [../base]\npatches:\n- path: id.yaml\n",
        ),
        (
            "dev/id.yaml",
            "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata: {name: web}\nspec:\n  resourceID: /dev\n",
        ),
        (
            "prod/kustomization.yaml",
            "resources: [../base]\npatches:\n- path: id.yaml\n  target: {kind: AzureIdentity, name: w.*}\n",
        ),
        (
            "prod/id.yaml",
            "- op: replace\n  path: /spec/resourceID\n  value: /prod\n",
        ),
    ];
    let wanted = BTreeMap::from([
        ("dev".to_owned(), pair("/dev", "dev/id.yaml:5")),
        ("prod".to_owned(), pair("/prod", "prod/id.yaml:3")),
    ]);
    assert_eq!(seen(&files, &["spec", "resourceID"]), wanted);
}

#[test]
fn names_and_namespaces_change_after_patches() {
    let overlay = "resources: [id.yaml]\nnamespace: shop\nnamePrefix: a-\nnameSuffix: -z\npatches:\n- target: {name: web}\n  \
                   patch: '[{op: replace, path: /spec/clientID, value: new}]'\n";
    let files = [("o/kustomization.yaml", overlay), ("o/id.yaml", IDENTITY)];
    assert_eq!(seen(&files, &["metadata", "name"])["o"].0, "a-web-z");
    assert_eq!(seen(&files, &["metadata", "namespace"])["o"].0, "shop");
    assert_eq!(
        seen(&files, &["spec", "clientID"])["o"],
        pair("new", "o/kustomization.yaml:7")
    );
}

#[test]
fn a_renamed_service_account_is_followed_and_labels_reach_templates() {
    let overlay = "resources: [all.yaml]\nnamePrefix: a-\nlabels:\n- pairs: {aadpodidbinding: web}\n  includeTemplates: true\n";
    let all = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {serviceAccountName: web}}}\n\
               ---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n";
    let files = [("o/kustomization.yaml", overlay), ("o/all.yaml", all)];
    let template = ["spec", "template"];
    let account = [&template[..], &["spec", "serviceAccountName"]].concat();
    assert_eq!(seen(&files, &account)["o"].0, "a-web");
    let label = [&template[..], &["metadata", "labels", "aadpodidbinding"]].concat();
    assert_eq!(seen(&files, &label)["o"], pair("web", "o/kustomization.yaml:4"));
}

#[test]
fn components_change_what_their_user_has() {
    let files = [
        (
            "o/kustomization.yaml",
            "resources: [id.yaml]\ncomponents: [../c]\n",
        ),
        ("o/id.yaml", IDENTITY),
        ("c/kustomization.yaml", "kind: Component\nnamespace: shop\n"),
    ];
    assert_eq!(seen(&files, &["metadata", "namespace"])["o"].0, "shop");
}

#[test]
fn what_cannot_be_built_is_said_and_nothing_is_guessed() {
    let with =
        |kustomization: &str| reason(&[("o/kustomization.yaml", kustomization), ("o/id.yaml", IDENTITY)]);
    assert!(with("resources: [https://example.com/base]\n").contains("not a local file"));
    assert!(with("resources: [none.yaml]\n").contains("none.yaml is missing"));
    assert!(with("resources: [id.yaml]\nreplacements: [{path: x}]\n").contains("replacements"));
    assert!(with("resources: [id.yaml, id.yaml]\n").contains("twice"));
    let patch =
        "resources: [id.yaml]\npatches: [{patch: '[{op: remove, path: /spec/none}]', target: {name: web}}]\n";
    assert!(with(patch).contains("none"));
    let patch = "resources: [id.yaml]\npatchesStrategicMerge:\n- |\n  apiVersion: v1\n  kind: Pod\n  metadata: {name: x}\n";
    assert!(with(patch).contains("not there"));
}

#[test]
fn a_circle_ends() {
    // Neither of the two is a root, so nothing is built, and nothing hangs.
    let circle = [
        ("a/kustomization.yaml", "resources: [../b]\n"),
        ("b/kustomization.yaml", "resources: [../a]\n"),
    ];
    assert_eq!(environments(&Sources::of(&circle), &Silent).0.len(), 1);
    let entered = [
        circle[0],
        circle[1],
        ("c/kustomization.yaml", "resources: [../a]\n"),
    ];
    assert!(reason(&entered).contains("leads back to itself"));
}

#[test]
fn containers_are_merged_by_name_and_parts_deleted() {
    let base = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    metadata: {labels: {a: b, c: d}}\n    \
                spec: {containers: [{name: x, image: y, env: [{name: A, value: b}, {name: C, value: d}]}]}\n";
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    metadata: {labels: {c: null}}\n    \
                 spec: {containers: [{name: x, env: [{name: A, value: new}, {name: C, $patch: delete}]}]}\n";
    let files = [
        (
            "o/kustomization.yaml",
            "resources: [d.yaml]\npatchesStrategicMerge: [p.yaml]\n",
        ),
        ("o/d.yaml", base),
        ("o/p.yaml", patch),
    ];
    let (environments, findings) = environments(&Sources::of(&files), &Silent);
    assert_eq!(findings, []);
    let template = environments[1].objects[0].node.at(&["spec", "template"]).unwrap();
    assert_eq!(template.at(&["metadata", "labels"]).unwrap().entries().len(), 1);
    let container = &template.at(&["spec", "containers"]).unwrap().items()[0];
    assert_eq!(container.text_at(&["image"]), Some("y"));
    let env = container.get("env").unwrap().items();
    assert_eq!((env.len(), env[0].text_at(&["value"])), (1, Some("new")));
}

/// A Kustomization of Flux that applies a folder.
fn flux(path: &str, spec: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: x, namespace: flux-system}}\n\
         spec:\n  path: {path}\n{spec}"
    )
}

#[test]
fn flux_puts_a_folder_into_its_namespace_and_patches_it() {
    let id = "/subscriptions/00000000-0000-4000-8000-000000000009/resourceGroups/g/providers/\
              Microsoft.ManagedIdentity/userAssignedIdentities/web";
    let patches = format!(
        "  targetNamespace: shop\n  patches:\n  - target: {{kind: AzureIdentity}}\n    patch: |\n      - op: replace\n        \
         path: /spec/resourceID\n        value: {id}\n"
    );
    let applied = flux("./apps/web", &patches);
    for (file, environment) in [
        ("repo/apps/web/kustomization.yaml", "repo/apps/web"),
        ("unrelated/README.yaml", ""),
    ] {
        let files = [
            (file, "resources: [id.yaml]\n"),
            ("repo/apps/web/id.yaml", IDENTITY),
            ("repo/clusters/prod/web.yaml", applied.as_str()),
        ];
        let namespace = seen(&files, &["metadata", "namespace"]);
        let place = ("shop".to_owned(), "repo/clusters/prod/web.yaml:6".to_owned());
        assert_eq!(namespace.get(environment), Some(&place), "{file}");
        if !environment.is_empty() {
            let ids = seen(&files, &["spec", "resourceID"]);
            let place = (id.to_owned(), "repo/clusters/prod/web.yaml:12".to_owned());
            assert_eq!(ids.get(environment), Some(&place));
        }
    }
}

#[test]
fn a_folder_that_flux_applies_in_several_ways_is_not_guessed() {
    let (one, two) = (
        flux("apps/web", "  targetNamespace: a\n"),
        flux("./apps/web", "  targetNamespace: b\n"),
    );
    let unresolved = |two: &str| {
        let files = [
            ("apps/web/kustomization.yaml", "resources: [id.yaml]\n"),
            ("apps/web/id.yaml", IDENTITY),
            ("one.yaml", one.as_str()),
            ("two.yaml", two),
        ];
        let (environments, findings) = environments(&Sources::of(&files), &Silent);
        (environments[1].unresolved.is_some(), findings.len())
    };
    assert_eq!(unresolved(&two), (true, 1));
    assert_eq!(unresolved(&one), (false, 0));
    assert_eq!(unresolved(&flux("other/apps", "")), (false, 0));
}
