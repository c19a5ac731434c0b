//! What becomes of small repositories.

use serde_json::Value as Json;

use super::*;
use crate::migrate::progress::Silent;

const ID: &str = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/g/providers/\
                  Microsoft.ManagedIdentity/userAssignedIdentities";

/// Files with short paths, rewritten all the way.
fn rewritten(files: &[(&str, &str)]) -> Rewriting {
    let sources = Sources::of(files);
    let defaults = Defaults {
        namespace: "shop".to_owned(),
        namespaced: false,
        journal: None,
    };
    rewrite(&sources, &defaults, Until::Clean, &Silent)
}

/// What becomes of a file; none if it is left as it was.
fn after<'a>(rewriting: &'a Rewriting, path: &str) -> Option<&'a str> {
    let change = rewriting.files.iter().find(|change| change.path == path)?;
    Some(change.after.as_deref().unwrap_or("it is gone"))
}

fn reasons(rewriting: &Rewriting) -> String {
    let all = rewriting.left.iter();
    let lines: Vec<String> = all
        .map(|left| format!("{}: {}\n", left.object, left.reason))
        .collect();
    lines.concat()
}

fn identity(name: &str) -> String {
    format!(
        "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata:\n  name: {name}\nspec:\n  type: 0\n  \
         resourceID: {ID}/{name}\n---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\nmetadata:\n  \
         name: {name}\nspec:\n  azureIdentity: {name}\n  selector: {name}\n"
    )
}

/// A Deployment with more labels of its pods, and more of their spec, in lines of their own.
fn deployment(name: &str, labels: &str, spec: &str) -> String {
    let lines = |text: &str, indentation: &str| -> String {
        let lines: Vec<String> = text
            .lines()
            .map(|line| format!("{indentation}{line}\n"))
            .collect();
        lines.concat()
    };
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  selector:\n    matchLabels:\n      \
         app: {name}\n  template:\n    metadata:\n      labels:\n        app: {name}\n{}    spec:\n{}      \
         containers:\n      - name: c\n        image: i\n",
        lines(labels, "        "),
        lines(spec, "      ")
    )
}

const LABEL_PATCH: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    \
                           metadata:\n      labels:\n        aadpodidbinding: web\n";

#[test]
fn a_base_does_not_change_for_overlays_that_are_not_switched() {
    let base = deployment("web", "", "");
    let identity = identity("web");
    let mut files = vec![
        (
            "base/kustomization.yaml",
            "resources: [web.yaml, identity.yaml]\n",
        ),
        ("base/web.yaml", base.as_str()),
        ("base/identity.yaml", &identity),
        (
            "a/kustomization.yaml",
            "resources: [../base]\nnamespace: a\npatches:\n- path: p.yaml\n",
        ),
        ("a/p.yaml", LABEL_PATCH),
    ];
    let alone = rewritten(&files);
    assert!(
        after(&alone, "base/web.yaml")
            .unwrap()
            .contains("serviceAccountName: web\n")
    );
    // Its pods have no identity and would get a ServiceAccount that is not there.
    files.push(("b/kustomization.yaml", "resources: [../base]\nnamespace: b\n"));
    let shared = rewritten(&files);
    assert_eq!(shared.files, []);
    assert!(
        reasons(&shared).contains("Deployment b/web, seen through b, are not switched"),
        "{}",
        reasons(&shared)
    );
    // If the base names it, nothing of it has to change.
    let named = deployment("web", "", "serviceAccountName: web");
    files[1].1 = &named;
    let named = rewritten(&files);
    assert_eq!(
        (after(&named, "base/web.yaml"), reasons(&named).as_str()),
        (None, "")
    );
    assert!(
        after(&named, "a/p.yaml")
            .unwrap()
            .contains("azure.workload.identity/use: \"true\"\n")
    );
}

#[test]
fn a_component_that_only_patches_is_kept() {
    let base = deployment("web", "", "");
    let identity = identity("web");
    let files = [
        ("base/kustomization.yaml", "resources: [web.yaml]\n"),
        ("base/web.yaml", base.as_str()),
        (
            "part/kustomization.yaml",
            "kind: Component\nresources: [identity.yaml]\npatches:\n- path: p.yaml\n  target: {kind: Deployment}\n",
        ),
        ("part/identity.yaml", &identity),
        (
            "part/p.yaml",
            "- op: add\n  path: /spec/template/metadata/labels/aadpodidbinding\n  value: web\n",
        ),
        (
            "a/kustomization.yaml",
            "resources: [../base]\ncomponents: [../part]\n",
        ),
    ];
    let done = rewritten(&files);
    assert_eq!(reasons(&done), "");
    assert_eq!(
        after(&done, "part/kustomization.yaml"),
        Some("kind: Component\npatches:\n- path: p.yaml\n  target: {kind: Deployment}\n")
    );
    assert_eq!(after(&done, "part/identity.yaml"), Some("it is gone"));
}

#[test]
fn a_kustomization_without_resources_gets_them() {
    let base = deployment("web", "aadpodidbinding: web", "");
    let identity = identity("web");
    let files = [
        (
            "base/kustomization.yaml",
            "resources: [web.yaml, identity.yaml]\n",
        ),
        ("base/web.yaml", base.as_str()),
        ("base/identity.yaml", &identity),
        ("a/kustomization.yaml", "bases:\n- ../base\nnamespace: a\n"),
    ];
    let done = rewritten(&files);
    assert_eq!(
        after(&done, "a/kustomization.yaml"),
        Some(
            "bases:\n- ../base\nnamespace: a\nresources:\n- workload-identity-grants.yaml\n- workload-identity.yaml\n"
        ),
        "{}",
        reasons(&done)
    );
}

#[test]
fn nothing_is_added_to_a_file_that_cannot_be_parsed() {
    let web = identity("web") + "---\n" + &deployment("web", "aadpodidbinding: web", "");
    let done = rewritten(&[("web.yaml", &web), ("workload-identity.yaml", "a: [\n")]);
    assert_eq!(done.files, []);
    assert!(reasons(&done).contains("workload-identity.yaml holds something that cannot be parsed"));
}

#[test]
fn both_names_of_a_service_account_change_and_an_empty_one_is_none() {
    let both = "serviceAccount: default\nserviceAccountName: default";
    let web = identity("web") + "---\n" + &deployment("web", "aadpodidbinding: web", both);
    let done = rewritten(&[("web.yaml", &web)]);
    let text = after(&done, "web.yaml").unwrap();
    assert!(
        text.contains("      serviceAccount: web\n      serviceAccountName: web\n"),
        "{text}"
    );
    for empty in ["serviceAccountName: \"\"", "serviceAccount: \"\""] {
        let web = identity("web") + "---\n" + &deployment("web", "aadpodidbinding: web", empty);
        let done = rewritten(&[("web.yaml", &web)]);
        let text = after(&done, "web.yaml").unwrap();
        assert!(text.contains(&empty.replace("\"\"", "\"web\"")), "{text}");
        assert!(
            after(&done, "workload-identity.yaml")
                .unwrap()
                .contains("  name: web\n")
        );
    }
}

#[test]
fn a_decision_against_workload_identity_is_not_overruled() {
    let labels = "aadpodidbinding: web\nazure.workload.identity/use: \"false\"";
    let web = identity("web") + "---\n" + &deployment("web", labels, "");
    let done = rewritten(&[("web.yaml", &web)]);
    assert_eq!(done.files, []);
    assert!(
        reasons(&done).contains("somebody has decided against it"),
        "{}",
        reasons(&done)
    );
}

#[test]
fn a_list_of_which_nothing_is_left_goes() {
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}\n",
        identity("web")
            .replace("\n---\n", "\n\u{0}")
            .trim_end()
            .replace('\n', "\n  ")
            .replace("  \u{0}", "- ")
    );
    let web = deployment("web", "aadpodidbinding: web", "");
    let done = rewritten(&[
        ("kustomization.yaml", "resources: [web.yaml, list.yaml]\n"),
        ("web.yaml", &web),
        ("list.yaml", &list),
    ]);
    assert_eq!(
        after(&done, "list.yaml"),
        Some("it is gone"),
        "{list}{}",
        reasons(&done)
    );
    assert_eq!(
        after(&done, "kustomization.yaml"),
        Some("resources: [web.yaml, workload-identity-grants.yaml, workload-identity.yaml]\n")
    );
}

#[test]
fn a_document_is_changed_as_often_in_a_large_file_as_in_a_small_one() {
    let count = |apps: usize| {
        let app = |n: usize| {
            let name = format!("web-{n}");
            identity(&name) + "---\n" + &deployment(&name, &format!("aadpodidbinding: {name}"), "")
        };
        let all: Vec<String> = (0..apps).map(app).collect();
        let before = crate::migrate::yaml::parsed_bytes();
        assert_eq!(rewritten(&[("all.yaml", &all.join("---\n"))]).done.len(), apps);
        crate::migrate::yaml::parsed_bytes() - before
    };
    let (few, many) = (count(5), count(50));
    assert!(many < 12 * few, "{few} bytes were parsed for 5, {many} for 50");
}

/// As many items as apps times three: in one List, and the same as JSON.
fn lists(apps: usize) -> [(&'static str, String); 2] {
    let item = |document: &str| {
        let lines: Vec<String> = document.lines().map(|line| format!("  {line}\n")).collect();
        lines.concat().replacen("  ", "- ", 1)
    };
    let app = |n: usize| {
        let name = format!("web-{n}");
        identity(&name) + "---\n" + &deployment(&name, &format!("aadpodidbinding: {name}"), "")
    };
    let items: Vec<String> = (0..apps).map(app).collect();
    let items: String = items
        .iter()
        .flat_map(|app| app.split("---\n"))
        .map(item)
        .collect();
    let yaml = format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    let json: Json = serde_yaml::from_str(&yaml).unwrap();
    [("all.yaml", yaml), ("all.json", format!("{json:#}\n"))]
}

#[test]
fn an_item_of_a_large_list_costs_as_much_as_one_of_a_small_list() {
    let [small, large] = [40, 160].map(|apps| {
        lists(apps).map(|(path, text)| {
            let before = crate::migrate::yaml::parsed_bytes();
            let rewriting = rewritten(&[(path, &text)]);
            assert_eq!(rewriting.done.len(), apps, "{}", reasons(&rewriting));
            let rest = after(&rewriting, path).unwrap();
            assert_eq!(rest.matches("azure.workload.identity/use").count(), apps);
            assert!(!rest.contains("AzureIdentity"));
            crate::migrate::yaml::parsed_bytes() - before
        })
    });
    for (small, large) in small.into_iter().zip(large) {
        assert!(
            large < 5 * small,
            "{small} bytes were parsed for 40, {large} for 160"
        );
    }
}

/// A workload and its identity, with a word for its ARM id and another for its namespace.
fn later(id: &str, namespace: &str) -> (String, String) {
    let identity = identity("web").replace(&format!("{ID}/web"), id);
    let place = format!("metadata:\n  name: web\n  namespace: {namespace}\n");
    let web = deployment("web", "aadpodidbinding: web", "").replace("metadata:\n  name: web\n", &place);
    (identity, web)
}

#[test]
fn what_is_filled_in_later_is_copied() {
    for (id, namespace) in [("${WEB_ID}", "${NS:=shop}"), ("$WEB_ID", "$NS"), ("<id>", "web")] {
        let (identity, web) = later(id, namespace);
        let done = rewritten(&[("identity.yaml", &identity), ("web.yaml", &web)]);
        let objects = format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: web\n  namespace: {namespace}\n---\napiVersion: \
             workload-identity.io/v1alpha1\nkind: WorkloadIdentityBinding\nmetadata:\n  name: web\n  namespace: \
             {namespace}\nspec:\n  identity:\n    resourceId: {id}\n  serviceAccount:\n    name: web\n"
        );
        assert_eq!(
            after(&done, "workload-identity.yaml"),
            Some(&*objects),
            "{}",
            reasons(&done)
        );
        assert_eq!(after(&done, "identity.yaml"), Some("it is gone"));
        let web = after(&done, "web.yaml").unwrap();
        assert!(web.contains("azure.workload.identity/use: \"true\"") && !web.contains("aadpodidbinding"));
        // Only the id itself can be granted.
        assert_eq!(done.files.len(), 3);
        let again = rewritten(&[("workload-identity.yaml", &objects), ("web.yaml", web)]);
        assert!(again.files.is_empty() && again.left.is_empty());
    }
}

#[test]
fn what_is_filled_in_file_by_file_or_field_by_field_is_left() {
    let (identity, web) = later("${id}", "web");
    let left = |files: &[(&str, &str)]| {
        let done = rewritten(files);
        assert!(done.files.is_empty(), "{:?}", done.files);
        assert!(
            reasons(&done).contains("is filled in later"),
            "{}",
            reasons(&done)
        );
    };
    left(&[("identity.yaml.tpl", &identity), ("web.yaml", &web)]);
    left(&[
        ("identity.yaml", &format!("{identity}---\na: [\n")),
        ("web.yaml", &web),
    ]);
    let (identity, web) = later("$(ID)", "web");
    left(&[("identity.yaml", &identity), ("web.yaml", &web)]);
}

#[test]
fn values_that_are_written_as_a_text_change_in_it() {
    let application = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: velero, namespace: argocd}\n\
                       spec:\n  destination: {namespace: backup}\n  source:\n    chart: velero\n    helm:\n      \
                       values: |\n        # Labels.\n        podLabels:\n          aadpodidbinding: web # old\n        a: b\n";
    let done = rewritten(&[("identity.yaml", &identity("web")), ("velero.yaml", application)]);
    let wanted = application.replace("aadpodidbinding: web", "azure.workload.identity/use: \"true\"");
    assert_eq!(after(&done, "velero.yaml"), Some(&*wanted), "{}", reasons(&done));
    let objects = after(&done, "workload-identity.yaml").unwrap();
    assert!(
        objects.contains("namespace: backup") && objects.contains("name: velero-server"),
        "{objects}"
    );
}

#[test]
fn new_files_have_the_line_ends_of_those_beside_them() {
    let windows = |text: String| text.replace('\n', "\r\n");
    let (identity, web) = (
        windows(identity("web")),
        windows(deployment("web", "aadpodidbinding: web", "")),
    );
    let done = rewritten(&[("identity.yaml", &identity), ("web.yaml", &web)]);
    for path in [
        "workload-identity.yaml",
        "workload-identity-grants.yaml",
        "web.yaml",
    ] {
        let text = after(&done, path).unwrap();
        assert_eq!(
            text.matches('\n').count(),
            text.matches("\r\n").count(),
            "{path}: {text:?}"
        );
    }
    let more = windows("kind: x\n".to_owned());
    let done = rewritten(&[
        ("identity.yaml", &identity),
        ("web.yaml", &web),
        ("workload-identity.yaml", &more),
    ]);
    let text = after(&done, "workload-identity.yaml").unwrap();
    assert!(text.starts_with(&more), "{text:?}");
    assert_eq!(
        text.matches('\n').count(),
        text.matches("\r\n").count(),
        "{text:?}"
    );
}

#[test]
fn what_turns_out_well_is_read_once_more() {
    let files = wib_harness::Repository::generate(2, 300).files;
    let files: Vec<(&str, &str)> = files
        .iter()
        .filter_map(|(path, bytes)| Some((path.as_str(), std::str::from_utf8(bytes).ok()?)))
        .collect();
    let before = crate::migrate::report::analyses();
    let rewriting = rewritten(&files);
    assert!(
        !rewriting.done.is_empty() && rewriting.left.is_empty(),
        "{}",
        reasons(&rewriting)
    );
    assert_eq!(crate::migrate::report::analyses() - before, 2);
}

#[test]
fn a_base_is_changed_once_for_all_that_share_it() {
    let parsed = |overlays: usize| {
        let long = "# a line that is read as often as the document is\n".repeat(100);
        let web = identity("web") + "---\n" + &deployment("web", "aadpodidbinding: web", &long);
        let mut files = vec![
            (
                "base/kustomization.yaml".to_owned(),
                "resources: [web.yaml]\n".to_owned(),
            ),
            ("base/web.yaml".to_owned(), web),
        ];
        files.extend((0..overlays).map(|n| {
            let text = format!("resources: [../base]\nnamespace: n{n}\n");
            (format!("o{n}/kustomization.yaml"), text)
        }));
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        let before = crate::migrate::yaml::parsed_bytes();
        let rewriting = rewritten(&files);
        assert!(
            after(&rewriting, "base/web.yaml").is_some(),
            "{}",
            reasons(&rewriting)
        );
        crate::migrate::yaml::parsed_bytes() - before
    };
    let each = (parsed(15) - parsed(5)) / 10;
    assert!(each < 5_000, "{each} bytes are parsed for each overlay");
}

#[test]
fn kustomizations_that_would_break_apart_from_each_other_are_found_at_once() {
    let count = |apps: usize| {
        let mut files = Vec::new();
        for n in 0..apps {
            let name = format!("web-{n}");
            let file = |path: &str, text: String| (format!("{n}/{path}"), text);
            // A patch for what goes and for what stays.
            let patch = format!(
                "resources: [web.yaml, identity.yaml]\npatches:\n- patch: |-\n    apiVersion: aadpodidentity.k8s.io/v1\n    \
                 kind: AzureIdentity\n    metadata: {{name: {name}}}\n    spec: {{clientID: x}}\n    ---\n    \
                 apiVersion: apps/v1\n    kind: Deployment\n    metadata: {{name: {name}}}\n    spec: {{replicas: 2}}\n"
            );
            files.extend([
                file("kustomization.yaml", patch),
                file(
                    "web.yaml",
                    deployment(&name, &format!("aadpodidbinding: {name}"), ""),
                ),
                file("identity.yaml", identity(&name)),
            ]);
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        let before = crate::migrate::report::analyses();
        let rewriting = rewritten(&files);
        assert_eq!(rewriting.done.len(), apps, "{}", reasons(&rewriting));
        for n in 0..apps {
            let reason = format!("AzureIdentity shop/web-{n}: it would bring about: {n}/kustomization.yaml:");
            assert!(reasons(&rewriting).contains(&reason), "{}", reasons(&rewriting));
        }
        crate::migrate::report::analyses() - before
    };
    assert_eq!([count(1), count(5)], [3, 3]);
}
