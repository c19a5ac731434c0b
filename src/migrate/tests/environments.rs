//! Several kustomizations, and such that cannot be built.

use super::*;

#[test]
fn overlays_are_planned_apart_and_a_workload_elsewhere_cannot_choose() {
    let (base, base_binding) = (identity("shop", "web"), binding("shop", "web", "w"));
    let overlay = |id: &str| {
        format!(
            "resources: [../base]\npatches:\n- target: {{kind: AzureIdentity}}\n  patch: '[{{op: replace, path: /spec/resourceID, value: {RG}/{id}}}]'\n"
        )
    };
    let (dev, prod) = (overlay("web-dev"), overlay("web-prod"));
    let workload = deployment("shop", "web", "w", "web");
    let base_files = [
        (
            "base/kustomization.yaml",
            &b"resources: [id.yaml, binding.yaml]\n"[..],
        ),
        ("base/id.yaml", base.as_bytes()),
        ("base/binding.yaml", base_binding.as_bytes()),
        ("dev/kustomization.yaml", dev.as_bytes()),
        ("prod/kustomization.yaml", prod.as_bytes()),
        ("web.yaml", workload.as_bytes()),
    ];
    let both = report(&read(&base_files), "default", false);
    assert_eq!(rows(&both)[0].2, State::Blocked);
    assert!(codes(&both).contains("ambiguous-environment"));
    let one = report(
        &read(&[&base_files[..4], &base_files[5..]].concat()),
        "default",
        false,
    );
    assert_eq!(rows(&one)[0].2, State::Planned);
    assert!(codes(&one).contains("other-kustomization"));
    assert!(one.plan.credentials[0].resource_id.ends_with("/web-dev"));
}

#[test]
fn a_label_in_an_inline_patch_stands_in_its_own_line() {
    let base =
        identity("shop", "web") + &binding("shop", "web", "w") + &deployment("shop", "web", "w", "web");
    let base = base.replace("{aadpodidbinding: w}", "{app: web}");
    let patch =
        |text: &str| format!("resources: [all.yaml]\npatches:\n- target: {{kind: Deployment}}\n{text}");
    for (text, line) in [
        (
            "  patch: |-\n    - op: add\n      path: /spec/template/metadata/labels/aadpodidbinding\n      value: w\n",
            7,
        ),
        (
            "  patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: web}\n    spec:\n      \
          template:\n        metadata:\n          labels:\n            aadpodidbinding: w\n",
            12,
        ),
        (
            "  patch: '[{op: add, path: /spec/template/metadata/labels/aadpodidbinding, value: w}]'\n",
            4,
        ),
    ] {
        let overlay = patch(text);
        let files = [
            ("kustomization.yaml", overlay.as_bytes()),
            ("all.yaml", base.as_bytes()),
        ];
        let report = report(&read(&files), "default", false);
        assert_eq!(rows(&report)[0].2, State::Planned, "{text}");
        let switch = report
            .plan
            .steps
            .iter()
            .find(|step| step.name == "switch")
            .unwrap();
        let place = switch.items[0].place.clone().unwrap();
        assert_eq!(
            (place.file.as_str(), place.line),
            ("kustomization.yaml", line),
            "{text}"
        );
    }
}

#[test]
fn what_a_kustomization_that_cannot_be_built_holds_is_not_planned() {
    let all = identity("shop", "web") + &binding("shop", "web", "w") + &deployment("shop", "web", "w", "web");
    let files = [
        (
            "o/kustomization.yaml",
            &b"resources: [all.yaml, https://example.com/x]\n"[..],
        ),
        ("o/all.yaml", all.as_bytes()),
    ];
    let report = report(&read(&files), "default", false);
    assert_eq!(rows(&report)[0].2, State::Blocked);
    assert!(codes(&report).contains("kustomization-unresolved"));
    assert_eq!(report.plan.outputs, []);
}
