//! `wib migrate --in-place` and `--diff`: the real program on repositories, the real kustomize on what comes of them,
//! and a real API server.

mod generated;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use generated::{generated_repositories_are_rewritten_and_nothing_else_of_them, step_by_step_it_is_the_same};
use pretty_assertions::assert_eq;
use wib_harness::{Tool, World};

use crate::migrate::{apply, documents, fixtures, run_in};
use crate::runner::trials;

trials![
    alone the_fixtures_become_what_is_written_there,
    alone what_cannot_be_whole_is_left_with_its_reason,
    alone a_base_outside_of_the_paths_is_left,
    alone standard_input_is_left,
    alone wrong_arguments_are_refused,
    alone exit_codes_tell_what_is_left,
    alone generated_repositories_are_rewritten_and_nothing_else_of_them,
    alone step_by_step_it_is_the_same,
    shared what_is_built_of_it_gives_the_workload_its_identity,
];

const ID: &str = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/shop/providers/\
                  Microsoft.ManagedIdentity/userAssignedIdentities";

/// Writes files below a folder.
fn write(folder: &Path, files: &[(&str, String)]) -> Result<()> {
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// What `wib migrate` prints in a folder, on standard output and on standard error.
fn migrate(folder: &Path, arguments: &[&str]) -> Result<(String, String)> {
    let output = run_in(folder, arguments, "")?;
    let error = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(0), "{:?}: {error}", output.status);
    Ok((String::from_utf8(output.stdout)?, error))
}

fn identity(name: &str, id: &str) -> String {
    format!(
        "apiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\nmetadata:\n  name: {name}\nspec:\n  type: 0\n  \
         resourceID: {id}\n---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\nmetadata:\n  \
         name: {name}\nspec:\n  azureIdentity: {name}\n  selector: {name}\n"
    )
}

fn deployment(name: &str, label: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  selector:\n    matchLabels:\n      \
         app: {name}\n  template:\n    metadata:\n      labels:\n        app: {name}\n        \
         aadpodidbinding: {label} # who it is\n    spec:\n      containers:\n      - name: c\n        image: i\n"
    )
}

fn kustomization(rest: &str) -> String {
    format!("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n{rest}")
}

async fn the_fixtures_become_what_is_written_there() -> Result<()> {
    for name in ["overlays", "flat"] {
        let (diff, left) = migrate(&fixtures().join(name), &["--diff", "."])?;
        let path = fixtures().join(format!("{name}.patch"));
        let found = format!("{diff}{left}");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &found)?;
        }
        assert_eq!(found, fs::read_to_string(&path)?, "{name}");
    }
    Ok(())
}

/// What cannot be rewritten as a whole, beside something that can.
fn doubtful() -> Vec<(&'static str, String)> {
    let overlay = |namespace: &str, rest: &str| {
        kustomization(&format!("namespace: {namespace}\nresources:\n- ../base\n{rest}"))
    };
    vec![
        (
            "base/kustomization.yaml",
            kustomization("resources:\n- shared.yaml\n- identity.yaml\n"),
        ),
        ("base/shared.yaml", deployment("shared", "shared")),
        ("base/identity.yaml", identity("shared", "replace")),
        // Only one of the two knows the identity.
        (
            "one/kustomization.yaml",
            overlay(
                "one",
                &format!(
                    "patches:\n- target: {{kind: AzureIdentity, name: shared}}\n  patch: |-\n    - op: replace\n      \
                     path: /spec/resourceID\n      value: {ID}/shared\n"
                ),
            ),
        ),
        ("two/kustomization.yaml", overlay("two", "")),
        (
            "fine/web.yaml",
            format!(
                "{}---\n{}",
                deployment("web", "web"),
                identity("web", &format!("{ID}/web"))
            ),
        ),
        // A value is taken out of the identity.
        (
            "vars/kustomization.yaml",
            kustomization(
                "resources: [app.yaml, identity.yaml]\nvars:\n- name: ID\n  objref: {apiVersion: aadpodidentity.k8s.io/v1, \
                 kind: AzureIdentity, name: api}\n  fieldref: {fieldpath: spec.resourceID}\n",
            ),
        ),
        ("vars/app.yaml", deployment("api", "api")),
        ("vars/identity.yaml", identity("api", &format!("{ID}/api"))),
        // The selector has the same labels, by an anchor.
        (
            "anchor/app.yaml",
            format!(
                "{}---\n{}",
                deployment("old", "old")
                    .replace(
                        "    matchLabels:\n      app: old\n",
                        "    matchLabels: &labels\n      app: old\n      aadpodidbinding: old\n"
                    )
                    .replace(
                        "      labels:\n        app: old\n        aadpodidbinding: old # who it is\n",
                        "      labels: *labels\n"
                    ),
                identity("old", &format!("{ID}/old"))
            ),
        ),
    ]
}

async fn what_cannot_be_whole_is_left_with_its_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = doubtful();
    write(folder.path(), &files)?;
    let (told, _) = migrate(folder.path(), &["--in-place", "."])?;
    let left: Vec<&str> = told.lines().filter(|line| line.starts_with("left")).collect();
    let reasons = [
        ("Deployment two/shared (two)", "has no resourceID"),
        (
            "Deployment one/shared (one)",
            "Deployment two/shared has the same pod template, seen through two",
        ),
        ("Deployment default/old", "through an anchor"),
        (
            "AzureIdentity default/api",
            "vars/kustomization.yaml:6 takes a value out of AzureIdentity api",
        ),
    ];
    for (object, _) in reasons {
        ensure!(
            left.iter().any(|line| line.contains(object)),
            "{object} is not left: {told}"
        );
    }
    for (object, reason) in reasons.iter().skip(1) {
        let line = left
            .iter()
            .find(|line| line.contains(object))
            .context("no line")?;
        ensure!(line.contains(reason), "{line}");
    }
    for (path, text) in &files {
        let now = fs::read_to_string(folder.path().join(path))?;
        let changes =
            path.starts_with("fine/") || *path == "vars/app.yaml" || *path == "vars/kustomization.yaml";
        assert_eq!(now != *text, changes, "{path}: {now}\n{told}");
    }
    let web = fs::read_to_string(folder.path().join("fine/web.yaml"))?;
    let wanted = deployment("web", "web")
        .replace(
            "aadpodidbinding: web #",
            "azure.workload.identity/use: \"true\" #",
        )
        .replace(
            "      containers:",
            "      serviceAccountName: web\n      containers:",
        );
    assert_eq!(web, wanted);
    for environment in ["one", "two", "vars"] {
        let path = folder.path().join(environment).display().to_string();
        Tool::Kustomize.run(&["build", &path], "").await?;
    }
    Ok(())
}

async fn a_base_outside_of_the_paths_is_left() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = [
        (
            "base/kustomization.yaml",
            kustomization("resources: [app.yaml, identity.yaml]\n"),
        ),
        ("base/app.yaml", deployment("web", "web")),
        ("base/identity.yaml", identity("web", &format!("{ID}/web"))),
        (
            "prod/kustomization.yaml",
            kustomization("namespace: shop\nresources: [../base]\n"),
        ),
        (
            "test/kustomization.yaml",
            kustomization("namespace: test\nresources: [../base]\n"),
        ),
    ];
    write(folder.path(), &files)?;
    let (told, _) = migrate(folder.path(), &["--in-place", "prod"])?;
    ensure!(
        told.contains("base/app.yaml is outside of the given paths"),
        "{told}"
    );
    ensure!(told.contains("0 files written"), "{told}");
    let (told, _) = migrate(folder.path(), &["--in-place", "."])?;
    ensure!(told.ends_with(", 0 left as they were\n"), "{told}");
    Ok(())
}

async fn standard_input_is_left() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let input = format!(
        "{}---\n{}",
        deployment("web", "web"),
        identity("web", &format!("{ID}/web"))
    );
    let output = run_in(folder.path(), &["--in-place", "-"], &input)?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(told.contains("it was read from standard input"), "{told}");
    assert_eq!(fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

async fn wrong_arguments_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (arguments, wanted) in [
        (&["--in-place", "--diff"][..], "cannot be used with"),
        (
            &["--in-place", "--step", "uninstall"],
            "possible values: grant, switch, clean",
        ),
        (&["--in-place", "nowhere"], "cannot read nowhere"),
    ] {
        let output = run_in(folder.path(), arguments, "")?;
        let error = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        ensure!(error.contains(wanted), "{arguments:?}: {error}");
    }
    Ok(())
}

async fn exit_codes_tell_what_is_left() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let code = |arguments: &[&str]| -> Result<Option<i32>> {
        Ok(
            run_in(folder.path(), &[arguments, &["--exit-code", "."]].concat(), "")?
                .status
                .code(),
        )
    };
    write(
        folder.path(),
        &[(
            "web.yaml",
            format!(
                "{}---\n{}",
                deployment("web", "web"),
                identity("web", &format!("{ID}/web"))
            ),
        )],
    )?;
    assert_eq!(code(&["--diff"])?, Some(6), "something to do");
    assert_eq!(code(&["--in-place"])?, Some(0), "done");
    assert_eq!(code(&["--diff"])?, Some(0), "nothing to do");
    write(
        folder.path(),
        &[(
            "api.yaml",
            format!("{}---\n{}", deployment("api", "api"), identity("api", "replace")),
        )],
    )?;
    assert_eq!(code(&["--in-place"])?, Some(7), "something is left");
    Ok(())
}

async fn what_is_built_of_it_gives_the_workload_its_identity(world: World) -> Result<()> {
    let id = world.identity("web");
    let folder = tempfile::tempdir()?;
    let files = [
        (
            "base/kustomization.yaml",
            kustomization("resources: [app.yaml]\n"),
        ),
        ("base/app.yaml", deployment("web", "web")),
        (
            "blue/kustomization.yaml",
            kustomization("nameSuffix: -blue\nresources: [../base]\n"),
        ),
        ("prod/identity.yaml", identity("web", &id.resource_id)),
        (
            "prod/kustomization.yaml",
            kustomization(&format!(
                "namespace: {}\nresources: [../blue, identity.yaml]\n",
                world.namespace
            )),
        ),
    ];
    write(folder.path(), &files)?;
    migrate(folder.path(), &["--in-place", "."])?;
    let path = folder.path().join("prod").display().to_string();
    let built = documents(&Tool::Kustomize.run(&["build", &path], "").await?)?;
    ensure!(
        built
            .iter()
            .all(|object| object["apiVersion"] != "aadpodidentity.k8s.io/v1"),
        "{built:#?}"
    );
    let pods = built
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .context("no Deployment")?;
    let pods = &pods["spec"]["template"];
    assert_eq!(pods["metadata"]["labels"]["azure.workload.identity/use"], "true");
    assert_eq!(pods["spec"]["serviceAccountName"], "web-blue");
    for object in &built {
        apply(&world, object).await?;
    }
    let _operator = world.operator().await?;
    world.ready("web-blue").await?;
    world.assert_accepted("web-blue", &id.client_id).await
}
