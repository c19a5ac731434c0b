//! `wib migrate`: the real program on files, and what it prints on a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use pretty_assertions::assert_eq;
use serde::Deserialize as _;
use serde_json::Value;
use wib_harness::{Tool, World};

use crate::repositories::ONE_CORE;
use crate::runner::{figure, trials};

trials![
    alone every_finding_is_where_it_should_be,
    alone kustomizations_are_built_as_kustomize_builds_them,
    alone environments_that_differ_are_not_mixed,
    alone a_base_outside_of_the_path_is_read,
    alone exit_codes_tell_what_is_left,
    alone a_path_that_cannot_be_read_exits_2_and_is_named,
    alone whatever_lies_in_a_folder_is_survived_and_nothing_is_changed,
    alone help_says_what_it_does,
    alone ten_thousand_files_are_read,
    shared what_it_prints_gives_the_workload_its_identity,
];

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/migrate")
}

/// Runs `wib migrate` in a folder.
pub fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_wib"));
    command
        .arg("migrate")
        .args(arguments)
        .current_dir(folder)
        .envs(ONE_CORE)
        .write_stdin(input);
    Ok(command.output()?)
}

/// What it prints, if it ends as it should.
fn printed(folder: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let output = run_in(folder, arguments, input)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(0), "{:?}: {error}", output.status);
    ensure!(error.is_empty(), "on standard error: {error}");
    Ok(String::from_utf8(output.stdout)?)
}

fn report(folder: &Path, arguments: &[&str], input: &str) -> Result<Value> {
    let arguments = [&["-o", "json"], arguments].concat();
    Ok(serde_json::from_str(&printed(folder, &arguments, input)?)?)
}

pub fn documents(text: &str) -> Result<Vec<Value>> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}

/// A finding, or a part of a step, without what differs between files and their rendered form.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn items<'a>(report: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    report[key].as_array().with_context(|| format!("no {key}"))
}

async fn every_finding_is_where_it_should_be() -> Result<()> {
    let report = report(&fixtures(), &["flat"], "")?;
    let mut lines = Vec::new();
    for workload in items(&report, "workloads")? {
        let part = |key| text(workload, key);
        lines.push(format!(
            "{} {} {}/{} {}",
            part("state"),
            part("kind"),
            part("namespace"),
            part("name"),
            part("serviceAccount")
        ));
    }
    for finding in items(&report, "findings")? {
        let place = &finding["place"];
        let line = format!(
            "{} {}:{}",
            text(finding, "code"),
            text(place, "file"),
            place["line"]
        );
        lines.push(
            format!("{line} {}", text(finding, "subject"))
                .trim_end()
                .to_owned(),
        );
    }
    let found = lines.join("\n") + "\n";
    let path = fixtures().join("flat.expected");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &found)?;
    }
    assert_eq!(found, fs::read_to_string(&path)?);
    Ok(())
}

async fn kustomizations_are_built_as_kustomize_builds_them() -> Result<()> {
    for overlay in ["overlays/dev", "overlays/prod", "overlays/renamed"] {
        let path = fixtures().join(overlay).display().to_string();
        let rendered = Tool::Kustomize.run(&["build", &path], "").await?;
        for form in ["yaml", "json"] {
            ensure!(!printed(&fixtures(), &["-o", form, overlay], "")?.is_empty());
        }
        let objects = |text: String| -> Result<BTreeSet<String>> {
            Ok(documents(&text)?.iter().map(Value::to_string).collect())
        };
        let ours = objects(printed(&fixtures(), &["-o", "yaml", overlay], "")?)?;
        let theirs = objects(printed(&fixtures(), &["-o", "yaml", "-"], &rendered)?)?;
        ensure!(ours.len() > 2, "{overlay}: {ours:?}");
        assert_eq!(ours, theirs, "{overlay}");

        let plan = |report: Value| -> Result<BTreeSet<String>> {
            let mut lines = BTreeSet::new();
            for workload in items(&report, "workloads")? {
                let mut workload = workload.clone();
                let fields = workload.as_object_mut().context("no workload")?;
                fields.retain(|key, _| !["place", "environment"].contains(&key.as_str()));
                lines.insert(workload.to_string());
            }
            for finding in items(&report, "findings")? {
                lines.insert(format!("{} {}", text(finding, "code"), text(finding, "subject")));
            }
            Ok(lines)
        };
        let ours = plan(report(&fixtures(), &[overlay], "")?)?;
        let theirs = plan(report(&fixtures(), &["-"], &rendered)?)?;
        assert_eq!(ours, theirs, "{overlay}");
    }
    Ok(())
}

async fn environments_that_differ_are_not_mixed() -> Result<()> {
    let both = report(&fixtures(), &["overlays/dev", "overlays/prod"], "")?;
    let states: BTreeSet<&str> = items(&both, "workloads")?
        .iter()
        .map(|w| text(w, "state"))
        .collect();
    assert_eq!(states, BTreeSet::from(["planned"]));

    // The same namespace and ServiceAccount, but other identities: printed together, one would win.
    let folder = tempfile::tempdir()?;
    for (environment, id) in [("dev", "a"), ("prod", "b")] {
        let at = folder.path().join(environment);
        fs::create_dir(&at)?;
        fs::write(at.join("kustomization.yaml"), "resources: [all.yaml]\n")?;
        fs::write(
            at.join("all.yaml"),
            workload("shop", &resource_id(&format!("web-{id}"))),
        )?;
    }
    let output = run_in(folder.path(), &["-o", "yaml"], "")?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    for part in ["WorkloadIdentityBinding shop/web", "dev", "prod"] {
        ensure!(error.contains(part), "{part} is missing in: {error}");
    }
    for environment in ["dev", "prod"] {
        ensure!(!printed(folder.path(), &["-o", "yaml", environment], "")?.is_empty());
    }
    Ok(())
}

fn resource_id(name: &str) -> String {
    format!(
        "/subscriptions/00000000-0000-4000-8000-000000000009/resourceGroups/shop/providers/\
         Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

/// A Deployment on the default ServiceAccount, its binding and its identity.
fn workload(namespace: &str, resource_id: &str) -> String {
    format!(
        "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec: {{type: 0, resourceID: {resource_id}, clientID: 00000000-0000-4000-8000-0000000000f1}}\n---\n\
         apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec: {{azureIdentity: web, selector: web}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec:\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{aadpodidbinding: web}}}}\n    \
         spec: {{containers: [{{name: web, image: web}}]}}\n"
    )
}

async fn a_base_outside_of_the_path_is_read() -> Result<()> {
    let report = report(&fixtures().join("overlays/prod"), &["."], "")?;
    let places: BTreeSet<&str> = items(&report, "workloads")?
        .iter()
        .map(|w| text(&w["place"], "file"))
        .collect();
    assert_eq!(
        places,
        BTreeSet::from(["../base/orders.yaml", "../base/reports.yaml", "extra.yaml"])
    );
    Ok(())
}

async fn exit_codes_tell_what_is_left() -> Result<()> {
    let good = workload("shop", &resource_id("web"));
    let bad = workload("shop", "/a/b/c");
    for (input, code) in [
        ("", 0),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", 0),
        (good.as_str(), 6),
        (bad.as_str(), 7),
    ] {
        let code_of = |arguments: &[&str]| -> Result<Option<i32>> {
            Ok(run_in(&fixtures(), arguments, input)?.status.code())
        };
        assert_eq!(code_of(&["--exit-code", "-"])?, Some(code), "{input}");
        assert_eq!(code_of(&["-"])?, Some(0), "{input}");
    }
    Ok(())
}

async fn a_path_that_cannot_be_read_exits_2_and_is_named() -> Result<()> {
    let output = run_in(&fixtures(), &["no/such/path"], "")?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2));
    ensure!(error.starts_with("error: cannot read no/such/path: "), "{error}");
    assert_eq!(
        run_in(&fixtures(), &["--namespace", "Not_A_Name"], "")?
            .status
            .code(),
        Some(2)
    );
    Ok(())
}

/// Path and content of every file.
fn snapshot(folder: &Path) -> Result<BTreeSet<(PathBuf, Vec<u8>)>> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => {
                    found.insert((entry.path(), fs::read(entry.path())?));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

async fn whatever_lies_in_a_folder_is_survived_and_nothing_is_changed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
    write("good.yaml", workload("shop", &resource_id("web")).as_bytes())?;
    write("binary.yaml", b"a\0b")?;
    write("latin.yaml", b"a: \xe9\nlabels: {aadpodidbinding: x}\n")?;
    write("large.json", &vec![b' '; 9 * 1024 * 1024])?;
    write("deep.json", "[".repeat(200_000).as_bytes())?;
    write(
        "bomb.yaml",
        format!("a: &a [{}]\nb: &b [{0}]\n", "x, ".repeat(99)).as_bytes(),
    )?;
    write("circle.yaml", b"a: &a\n  b: *a\n")?;
    write("empty.yaml", b"")?;
    write(
        "kustomization.yaml",
        b"resources: [.., good.yaml, /etc/passwd, 'https://example.com/x']\n",
    )?;
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop"))?;
    std::os::unix::fs::symlink("nowhere.yaml", folder.path().join("dangling.yaml"))?;
    let before = snapshot(folder.path())?;
    let report = report(folder.path(), &["."], "")?;
    assert_eq!(before, snapshot(folder.path())?);
    let codes: BTreeSet<&str> = items(&report, "findings")?
        .iter()
        .map(|f| text(f, "code"))
        .collect();
    for code in [
        "binary",
        "not-utf8",
        "too-large",
        "not-parseable",
        "kustomization-unresolved",
    ] {
        ensure!(codes.contains(code), "{code} is missing in {codes:?}");
    }
    Ok(())
}

async fn help_says_what_it_does() -> Result<()> {
    let help = printed(&fixtures(), &["--help"], "")?;
    for part in [
        "--namespaced",
        "--exit-code",
        "--cluster",
        "--apply --step grant",
        "--rollback",
        "table",
        "json",
        "yaml",
        "Examples:",
        "docs/migrate-findings.md",
        "--in-place",
        "--diff",
        "--step",
        "grant",
        "switch",
        "clean",
        "0",
        "6",
        "7",
    ] {
        ensure!(help.contains(part), "{part} is missing in: {help}");
    }
    Ok(())
}

async fn ten_thousand_files_are_read() -> Result<()> {
    const FILES: usize = 10_000;
    let folder = tempfile::tempdir()?;
    for number in 0..FILES {
        let at = folder.path().join(format!("app-{}", number / 100));
        fs::create_dir_all(&at)?;
        let label = format!("web-{number}");
        let text = workload(&format!("ns-{number}"), &resource_id(&label));
        let text = text.replace("selector: web}", &format!("selector: {label}}}"));
        let text = text.replace("aadpodidbinding: web}", &format!("aadpodidbinding: {label}}}"));
        fs::write(at.join(format!("{number}.yaml")), text)?;
    }
    let started = Instant::now();
    let report = report(folder.path(), &["."], "")?;
    let seconds = started.elapsed().as_secs_f32();
    assert_eq!(report["summary"]["files"], FILES);
    assert_eq!(report["summary"]["planned"], FILES);
    assert_eq!(items(&report, "credentials")?.len(), FILES);
    figure(format!(
        "migrate: {FILES} files, {} documents in {seconds:.1} s",
        report["summary"]["documents"]
    ));
    Ok(())
}

/// `kubectl apply --server-side` of one object.
pub async fn apply(world: &World, object: &Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.clone().context("no kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(world.admin(), namespace, &resource),
        None => Api::all_with(world.admin(), &resource),
    };
    let name = object.metadata.name.clone().context("no name")?;
    let parameters = PatchParams::apply("people").validation_strict();
    api.patch(&name, &parameters, &Patch::Apply(&object)).await?;
    Ok(())
}

async fn what_it_prints_gives_the_workload_its_identity(world: World) -> Result<()> {
    let identity = world.identity("web");
    let manifests = workload(&world.namespace, &identity.resource_id);
    let objects = documents(&printed(&fixtures(), &["-o", "yaml", "-"], &manifests)?)?;
    let kinds: Vec<&str> = objects.iter().map(|object| text(object, "kind")).collect();
    let wanted = [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "WorkloadIdentityBinding",
    ];
    assert_eq!(kinds, wanted);
    for object in &objects {
        apply(&world, object).await?;
    }
    let _operator = world.operator().await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}
