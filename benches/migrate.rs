//! What `wib migrate` costs: `cargo bench --bench migrate`, with the name of a shape behind `--` for that one only.
//!
//! Runs the program as it is shipped (release profile) on repositories of several shapes, each in two sizes, so that
//! the slope shows: ten times the files should take ten times as long. Prints figures and asserts none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wib_harness::Repository;

/// The program, built with the profile of this bench.
const WIB: &str = env!("CARGO_BIN_EXE_wib");

/// Files, by path.
type Files = BTreeMap<String, Vec<u8>>;

/// What a shape is called, its two sizes, and how it is made.
type Shape = (&'static str, [usize; 2], fn(usize) -> Files);

const SHAPES: [Shape; 10] = [
    ("a repository of all kinds", [1_000, 10_000], |size| {
        Repository::generate(1, size).files
    }),
    ("plain files", [1_000, 10_000], plain),
    ("JSON files", [1_000, 10_000], json),
    ("values of charts", [1_000, 10_000], values),
    (
        "one kustomization with so many resources",
        [300, 3_000],
        one_kustomization,
    ),
    ("so many overlays of a base with 50 objects", [20, 200], overlays),
    ("one file with so many documents", [3_000, 30_000], one_file),
    ("one List with so many items", [300, 3_000], one_list),
    ("one JSON file with so many items", [300, 3_000], one_json),
    ("so many namespaces with one selector", [100, 1_000], one_selector),
];

fn main() -> Result<()> {
    // `cargo test --benches` runs benches too, with this flag missing.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("migrate: figures are had with `cargo bench --bench migrate`");
        return Ok(());
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    println!(
        "\n{:<46} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "", "files", "documents", "seconds", "files/s", "memory"
    );
    for (name, sizes, make) in SHAPES {
        if wanted.is_none_or(|wanted| name.contains(wanted.as_str())) {
            for size in sizes {
                measure(name, &make(size))?;
            }
        }
    }
    Ok(())
}

/// Plans and rewrites files, and prints what that took. The last run changes them.
fn measure(name: &str, files: &Files) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let repository = Repository {
        files: files.clone(),
        ..Repository::default()
    };
    repository.write_to(folder.path())?;
    let (bytes, took, peak) = run(folder.path(), &["-o", "json"]).with_context(|| name.to_owned())?;
    let report: Value = serde_json::from_slice(&bytes)?;
    row(name, &report["summary"], took, peak);
    for rewriting in ["--diff", "--in-place"] {
        let (_, took, peak) = run(folder.path(), &[rewriting]).with_context(|| name.to_owned())?;
        row(rewriting, &report["summary"], took, peak);
    }
    Ok(())
}

/// Runs the program in a folder: what it prints, how long it takes until it does, and the most memory that it has.
fn run(folder: &Path, arguments: &[&str]) -> Result<(Vec<u8>, Duration, Option<u64>)> {
    let started = Instant::now();
    let mut child = Command::new(WIB)
        .arg("migrate")
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut output = child.stdout.take().context("no output")?;
    // The first byte comes when all of the work is done; then it waits for a reader, if a pipe does not hold all of it.
    let mut bytes = vec![0];
    let first = output.read(&mut bytes)?;
    bytes.truncate(first);
    let took = started.elapsed();
    let peak = peak(child.id());
    output.read_to_end(&mut bytes)?;
    ensure!(child.wait()?.success(), "it has failed");
    Ok((bytes, took, peak))
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn row(name: &str, summary: &Value, took: Duration, peak: Option<u64>) {
    let files = summary["files"].as_u64().unwrap_or_default();
    let seconds = took.as_secs_f64();
    let memory = peak.map_or_else(|| "-".to_owned(), |kibibytes| format!("{} MiB", kibibytes / 1024));
    println!(
        "{name:<46} {files:>7} {:>9} {seconds:>9.2} {:>9.0} {memory:>9}",
        summary["documents"],
        files as f64 / seconds
    );
}

/// The most memory that a process has had, in KiB; none where the system does not say it.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// An identity, its binding and a Deployment.
fn app(namespace: &str, name: &str, selector: &str) -> String {
    format!(
        "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n  type: 0\n  resourceID: {}\n  clientID: 00000000-0000-4000-8000-0000000000f1\n---\n\
         apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\n\
         metadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  azureIdentity: {name}\n  selector: {selector}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n  selector:\n    matchLabels:\n      app: {name}\n  template:\n    metadata:\n      labels:\n        \
         app: {name}\n        aadpodidbinding: {selector}\n    spec:\n      serviceAccountName: {name}\n      containers:\n      \
         - name: main\n        image: example/app:1.2.3\n        env:\n        - name: LOG_LEVEL\n          value: info\n",
        resource_id(namespace, name)
    )
}

fn resource_id(group: &str, name: &str) -> String {
    format!(
        "/subscriptions/00000000-0000-4000-8000-000000000009/resourceGroups/{group}/providers/\
         Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

fn plain(size: usize) -> Files {
    let file = |n: usize| {
        let (namespace, name) = (format!("ns-{n}"), format!("web-{n}"));
        (
            format!("apps/{}/{name}.yaml", n / 100),
            app(&namespace, &name, &name).into_bytes(),
        )
    };
    (0..size).map(file).collect()
}

fn json(size: usize) -> Files {
    let file = |n: usize| {
        let name = format!("web-{n}");
        let text = app(&format!("ns-{n}"), &name, &name);
        let items: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
            .filter_map(|document| serde::Deserialize::deserialize(document).ok())
            .collect();
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
        (
            format!("apps/{}/{name}.json", n / 100),
            format!("{list:#}\n").into_bytes(),
        )
    };
    (0..size).map(file).collect()
}

fn values(size: usize) -> Files {
    let file = |n: usize| {
        let mut text = format!("podLabels:\n  aadpodidbinding: web-{n}\n");
        for number in 0..30 {
            let _ = write!(
                text,
                "part{number}:\n  enabled: true\n  list: [a, b, c]\n  text: 'x{number}'\n"
            );
        }
        (format!("charts/app-{n}/values.yaml"), text.into_bytes())
    };
    (0..size).map(file).collect()
}

fn one_kustomization(size: usize) -> Files {
    let mut files: Files = plain(size)
        .into_iter()
        .map(|(path, text)| (path.replace('/', "-"), text))
        .collect();
    let mut text = "namePrefix: x-\nresources:\n".to_owned();
    for path in files.keys() {
        let _ = writeln!(text, "- {path}");
    }
    text += "patches:\n";
    for n in 0..size / 10 {
        let _ = write!(
            text,
            "- target:\n    kind: Deployment\n    name: web-{n}\n  patch: |-\n    - op: add\n      path: /spec/replicas\n      value: 3\n"
        );
    }
    files.insert("kustomization.yaml".to_owned(), text.into_bytes());
    files
}

fn overlays(size: usize) -> Files {
    let mut files = Files::new();
    let apps: Vec<String> = (0..17)
        .map(|n| app("shop", &format!("web-{n}"), &format!("web-{n}")))
        .collect();
    files.insert("base/all.yaml".to_owned(), apps.join("---\n").into_bytes());
    files.insert(
        "base/kustomization.yaml".to_owned(),
        b"resources: [all.yaml]\n".to_vec(),
    );
    for n in 0..size {
        let mut text = format!("resources: [../../base]\nnamespace: shop-{n}\npatches:\n");
        for app in 0..17 {
            let id = resource_id(&format!("rg-{n}"), &format!("web-{app}"));
            let _ = write!(
                text,
                "- target:\n    kind: AzureIdentity\n    name: web-{app}\n  \
                 patch: |-\n    - op: replace\n      path: /spec/resourceID\n      value: {id}\n"
            );
        }
        files.insert(format!("overlays/{n}/kustomization.yaml"), text.into_bytes());
    }
    files
}

fn one_file(size: usize) -> Files {
    let apps: Vec<String> = (0..size / 3)
        .map(|n| app(&format!("ns-{n}"), &format!("web-{n}"), &format!("web-{n}")))
        .collect();
    // A file may have 8 MiB.
    let text = apps
        .join("---\n")
        .replace("  type: 0\n", "")
        .replace("example/app:1.2.3", "app")
        .replace(
            "        env:\n        - name: LOG_LEVEL\n          value: info\n",
            "",
        );
    Files::from([("all.yaml".to_owned(), text.into_bytes())])
}

/// A List of identities, bindings and Deployments.
fn one_list(size: usize) -> Files {
    let item = |document: &str| {
        let lines: Vec<String> = document.lines().map(|line| format!("  {line}\n")).collect();
        lines.concat().replacen("  ", "- ", 1)
    };
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for n in 0..size / 3 {
        let app = app(&format!("ns-{n}"), &format!("web-{n}"), &format!("web-{n}"));
        text.extend(app.split("---\n").map(item));
    }
    Files::from([("all.yaml".to_owned(), text.into_bytes())])
}

/// The same as JSON.
fn one_json(size: usize) -> Files {
    let files = one_list(size).into_values();
    let list = files.filter_map(|text| serde_yaml::from_slice::<Value>(&text).ok());
    list.map(|list| ("all.json".to_owned(), format!("{list:#}\n").into_bytes()))
        .collect()
}

fn one_selector(size: usize) -> Files {
    let file = |n: usize| {
        (
            format!("{n}.yaml"),
            app(&format!("ns-{n}"), "web", "web").into_bytes(),
        )
    };
    (0..size).map(file).collect()
}
