//! The project about itself: import rules, generated files, manifests and documents agree with the
//! code. Needs no API server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role};
use pretty_assertions::assert_eq;
use serde::Deserialize;
use strum::IntoEnumIterator;
use workload_identity_binding::api::{
    self, ConditionType, DeletionPolicy, Disposition, GRANT_RESOURCE, GRANT_VERB, GROUP, Reason,
    WorkloadIdentityBinding,
};
use workload_identity_binding::cli::Cli;
use workload_identity_binding::domain::{Defaults, Desired};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// All files under a directory with this extension, as paths from the root of the repository.
fn files(directory: &str, extension: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root().join(&directory))? {
            let path = directory.join(entry?.file_name());
            if root().join(&path).is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no .{extension} files in {directory}");
    Ok(found)
}

// --- Import rules ---------------------------------------------------------------------------

/// Which modules of ours a module may name, beside itself. `lib.rs` and `main.rs` may name all.
const MAY_NAME: [(&str, &[&str]); 9] = [
    ("api", &[]),
    ("fairness", &[]),
    ("domain", &["api"]),
    ("azure", &["domain", "fairness"]),
    ("runtime", &["api"]),
    ("controller", &["api", "domain", "fairness", "azure"]),
    ("cli", &["api", "domain", "azure", "controller", "runtime"]),
    ("app", &["api", "domain", "azure", "controller", "runtime", "cli"]),
    ("fuzzing", &["api", "domain", "azure", "controller", "runtime"]),
];

/// Crates that only some modules may name.
const FENCED: [(&str, &[&str]); 7] = [
    ("azure_core", &["azure"]),
    ("azure_core_mgmt", &["azure"]),
    ("azure_identity", &["azure"]),
    ("azure_mgmt_msi", &["azure"]),
    ("reqwest", &["azure"]),
    ("kube", &["api", "controller", "runtime", "app"]),
    ("serde_yaml", &["api"]),
];

/// Identifiers and signs of a source file, without comments, literals and its test module.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens: Vec<String> = Vec::new();
    let mut at = 0;
    let starts = |at: usize, text: &str| {
        text.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    while let Some(&c) = chars.get(at) {
        if starts(at, "//") {
            while chars.get(at).is_some_and(|&c| c != '\n') {
                at += 1;
            }
        } else if starts(at, "#[cfg(test)]\nmod ") {
            break;
        } else if c == '"' {
            let raw = tokens.last().is_some_and(|t| t == "r" || t == "br");
            at += 1;
            while chars.get(at).is_some_and(|&c| c != '"') {
                at += if chars.get(at) == Some(&'\\') && !raw {
                    2
                } else {
                    1
                };
            }
            at += 1;
        } else if starts(at, "r#\"") {
            while at < chars.len() && !starts(at, "\"#") {
                at += 1;
            }
            at += 2;
        } else if c == '\'' {
            // A character literal or a lifetime.
            if chars.get(at + 1) == Some(&'\\') {
                at += 3;
                while chars.get(at).is_some_and(|&c| c != '\'') {
                    at += 1;
                }
                at += 1;
            } else {
                at += if chars.get(at + 2) == Some(&'\'') { 3 } else { 1 };
            }
        } else if c.is_alphanumeric() || c == '_' {
            let start = at;
            while chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                at += 1;
            }
            tokens.push(chars.iter().skip(start).take(at - start).collect());
        } else {
            if starts(at, "::") {
                tokens.push("::".to_owned());
                at += 1;
            } else if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            at += 1;
        }
    }
    tokens
}

/// The first names under a root that stands before `tokens`: `::a` gives a, `::{a, b::{c}}` gives
/// a and b.
fn names_after(tokens: &[String]) -> Vec<&str> {
    match tokens {
        [sign, open, rest @ ..] if sign == "::" && open == "{" => {
            let mut names = Vec::new();
            let mut depth = 1;
            let mut previous = "{";
            for token in rest {
                if depth == 1 && ["{", ","].contains(&previous) && !["}", ","].contains(&token.as_str()) {
                    names.push(token.as_str());
                }
                depth += i32::from(token == "{") - i32::from(token == "}");
                if depth == 0 {
                    break;
                }
                previous = token;
            }
            names
        }
        [sign, name, ..] if sign == "::" => vec![name],
        _ => Vec::new(),
    }
}

/// The modules of ours that a file names, by `crate::` or by enough `super::`.
fn named(tokens: &[String], depth: usize) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let rest = tokens.get(at + 1..).unwrap_or_default();
        if token == "crate" {
            found.extend(names_after(rest));
        }
        let first = at == 0 || tokens.get(at - 1).is_some_and(|t| t != "::");
        if token == "super" && first {
            let chain = rest
                .chunks(2)
                .take_while(|pair| matches!(pair, [sign, next] if sign == "::" && next == "super"))
                .count();
            if chain + 1 == depth {
                found.extend(names_after(rest.get(2 * chain..).unwrap_or_default()));
            }
        }
    }
    found
}

/// `src/azure/lane/tests.rs` is `["azure", "lane", "tests"]`; a `mod.rs` stands for its directory.
fn module_path(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").collect()
}

#[test]
fn the_reader_of_imports_sees_what_it_must() {
    let source = r##"
        //! crate::comment
        use crate::{api::{self, Reason}, domain};
        fn f<'a>(c: char) { if c == '"' { super::super::azure::g("crate::text", r#"crate::raw"#) } }
        #[cfg(test)]
mod tests { use crate::controller; }
    "##
    .replace("        #[cfg", "#[cfg");
    let tokens = tokens(&source);
    assert_eq!(
        named(&tokens, 2),
        BTreeSet::from(["api", "azure", "domain"]),
        "{tokens:?}"
    );
}

#[test]
fn modules_name_only_what_they_may() -> Result<()> {
    let mut violations = Vec::new();
    for file in files("src", "rs")? {
        let path = module_path(&file);
        let Some(&module) = path.first() else { continue };
        if ["lib", "main"].contains(&module) || path.last() == Some(&"tests") {
            continue;
        }
        let allowed = MAY_NAME.iter().find(|(name, _)| *name == module);
        let (_, allowed) =
            allowed.with_context(|| format!("{file}: give module {module} its rule in MAY_NAME"))?;
        let tokens = tokens(&read(&file)?);
        for name in named(&tokens, path.len()) {
            if name != module && !allowed.contains(&name) && !name.starts_with(char::is_uppercase) {
                violations.push(format!("{file} names crate::{name}"));
            }
        }
        for (fenced, only) in FENCED {
            let names = tokens
                .windows(2)
                .any(|pair| matches!(pair, [name, next] if name == fenced && (next == "::" || next == "as")));
            if names && !only.contains(&module) {
                violations.push(format!("{file} names the crate {fenced}"));
            }
        }
    }
    assert_eq!(violations, Vec::<String>::new());
    Ok(())
}

#[test]
fn azure_is_seen_only_through_the_names_that_it_exports() -> Result<()> {
    let tokens = tokens(&read("src/azure/mod.rs")?);
    let open = tokens
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if (a == "pub" || a == ")") && b == "mod"));
    ensure!(!open, "src/azure/mod.rs has a module that is not private");
    Ok(())
}

// --- Generated files ------------------------------------------------------------------------

#[test]
fn the_definition_in_crds_is_what_the_code_makes() -> Result<()> {
    let path = "crds/workload-identity.io_workloadidentitybindings.yaml";
    let made = api::crd_yaml()?;
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        fs::write(root().join(path), &made)?;
    }
    let kept = read(path)?;
    assert_eq!(kept, made, "run UPDATE=1 cargo test --test project");
    Ok(())
}

// --- Manifests ------------------------------------------------------------------------------

/// The documents of a YAML file.
fn documents(path: &str) -> Result<Vec<serde_yaml::Value>> {
    serde_yaml::Deserializer::from_str(&read(path)?)
        .map(|document| serde_yaml::Value::deserialize(document).with_context(|| path.to_owned()))
        .collect()
}

/// The objects of one kind among documents, in its own type.
fn objects<T: for<'de> Deserialize<'de>>(documents: &[serde_yaml::Value], kind: &str) -> Result<Vec<T>> {
    let of_kind = documents.iter().filter(|document| document["kind"] == kind);
    of_kind
        .map(|document| serde_yaml::from_value(document.clone()).with_context(|| kind.to_owned()))
        .collect()
}

#[test]
fn every_manifest_is_an_object_or_a_kustomization() -> Result<()> {
    for path in files("config", "yaml")? {
        for document in documents(&path)? {
            for field in ["apiVersion", "kind"] {
                ensure!(document[field].is_string(), "{path}: a document lacks {field}");
            }
            let named = document["metadata"]["name"].is_string() || document["kind"] == "Kustomization";
            ensure!(named, "{path}: an object lacks its name");
        }
    }
    Ok(())
}

#[test]
fn every_file_is_part_of_its_kustomization() -> Result<()> {
    for path in files("config", "yaml")? {
        let (directory, name) = path.rsplit_once('/').context("a path without a directory")?;
        if ["kustomization.yaml", "grant-example.yaml"].contains(&name) {
            continue;
        }
        let listed = read(&format!("{directory}/kustomization.yaml"))?;
        ensure!(
            listed.lines().any(|line| line == format!("- {name}")),
            "{path} is in no kustomization"
        );
    }
    Ok(())
}

#[test]
fn every_sample_decodes_keeps_the_rules_and_brings_its_grant() -> Result<()> {
    let defaults = Defaults {
        subscription_id: None,
        resource_group: None,
        deletion_policy: DeletionPolicy::Delete,
        audience: "api://AzureADTokenExchange".to_owned(),
        prefix: "wib".to_owned(),
    };
    let known = ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"];
    for path in files("config/samples", "yaml")? {
        if path.ends_with("kustomization.yaml") {
            continue;
        }
        let documents = documents(&path)?;
        let bindings: Vec<WorkloadIdentityBinding> = objects(&documents, "WorkloadIdentityBinding")?;
        ensure!(!bindings.is_empty(), "{path} holds no binding");
        let roles: Vec<ClusterRole> = objects(&documents, "ClusterRole")?;
        let role_bindings: Vec<ClusterRoleBinding> = objects(&documents, "ClusterRoleBinding")?;
        let namespaces: Vec<Namespace> = objects(&documents, "Namespace")?;
        let accounts: Vec<ServiceAccount> = objects(&documents, "ServiceAccount")?;
        let read = bindings.len() + roles.len() + role_bindings.len() + namespaces.len() + accounts.len();
        ensure!(
            read == documents.len(),
            "{path} holds a kind other than a binding and {known:?}"
        );

        for binding in bindings {
            let name = binding.metadata.name.clone().unwrap_or_default();
            let namespace = binding.metadata.namespace.clone().unwrap_or_default();
            kube::core::cel::validate_cel(&binding).map_err(|e| anyhow::anyhow!("{path}: {name}: {e}"))?;
            let desired = Desired::new(&namespace, &binding.spec, &defaults, "https://issuer.example/")?;
            let grant = desired.grant();
            let roles: Vec<_> = roles.iter().filter(|r| grants(r, grant.identity.key())).collect();
            let granted = role_bindings.iter().any(|role_binding| {
                roles
                    .iter()
                    .any(|role| role.metadata.name.as_deref() == Some(&role_binding.role_ref.name))
                    && role_binding.subjects.iter().flatten().any(|subject| {
                        (subject.kind == "ServiceAccount"
                            && subject.namespace.as_deref() == Some(&grant.namespace)
                            && subject.name == grant.service_account)
                            || (subject.kind == "Group" && grant.groups().contains(&subject.name))
                    })
            });
            ensure!(granted, "{path}: {name} lacks its grant");
            let account = accounts
                .iter()
                .any(|a| a.metadata.name.as_deref() == Some(&grant.service_account));
            ensure!(
                account || binding.spec.service_account.create,
                "{path}: {name} lacks its ServiceAccount"
            );
        }
    }
    Ok(())
}

fn grants(role: &ClusterRole, key: &str) -> bool {
    let one = |list: Option<&Vec<String>>, wanted: &str| list.is_some_and(|l| l.iter().any(|s| s == wanted));
    role.rules.iter().flatten().any(|rule| {
        one(rule.api_groups.as_ref(), GROUP)
            && one(rule.resources.as_ref(), GRANT_RESOURCE)
            && one(Some(&rule.verbs), GRANT_VERB)
            && one(rule.resource_names.as_ref(), key)
    })
}

#[test]
fn the_rules_of_the_definition_bite() -> Result<()> {
    let mut binding: WorkloadIdentityBinding = objects(
        &documents("config/samples/one-to-one.yaml")?,
        "WorkloadIdentityBinding",
    )?
    .pop()
    .context("no binding")?;
    binding.spec.identity.name = Some("web".to_owned());
    ensure!(kube::core::cel::validate_cel(&binding).is_err());
    Ok(())
}

#[test]
fn every_rule_of_the_roles_says_what_needs_it_and_asks_for_no_more() -> Result<()> {
    for path in files("config/rbac", "yaml")? {
        let definitions: Vec<ClusterRole> = objects(&documents(&path)?, "ClusterRole")?;
        let namespaced: Vec<Role> = objects(&documents(&path)?, "Role")?;
        let rules: Vec<_> = definitions
            .iter()
            .map(|role| &role.rules)
            .chain(namespaced.iter().map(|role| &role.rules))
            .flatten()
            .flatten()
            .collect();
        let text = read(&path)?;
        let lines: Vec<&str> = text.lines().collect();
        let commented = lines
            .windows(2)
            .filter(|pair| matches!(pair, [above, rule] if rule.starts_with("- apiGroups:") && above.starts_with('#')))
            .count();
        ensure!(commented == rules.len(), "{path}: a rule has no comment above it");
        for rule in rules {
            let resources = rule.resources.iter().flatten().map(String::as_str);
            for word in resources.chain(rule.verbs.iter().map(String::as_str)) {
                ensure!(
                    ![
                        "*",
                        "secrets",
                        "pods",
                        "serviceaccounts/token",
                        "impersonate",
                        "escalate",
                        "bind"
                    ]
                    .contains(&word),
                    "{path} asks for {word}"
                );
            }
        }
        // A comment that names a file which has moved explains nothing.
        for word in text.split(|c: char| c.is_whitespace() || "(),:".contains(c)) {
            if word.starts_with("src/") && !root().join(word).exists() {
                anyhow::bail!("{path} names {word}, which does not exist");
            }
        }
    }
    Ok(())
}

#[test]
fn every_setting_in_manifests_and_documents_exists() -> Result<()> {
    // Those that tests read, and one that must not be set.
    let others = [
        "AZURE_CLIENT_SECRET",
        "WIB_SEED",
        "WIB_SEQUENCES",
        "WIB_CRASH_PAIRS",
    ];
    let mut known: BTreeSet<String> = others.map(str::to_owned).into();
    for command in Cli::command().get_subcommands() {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        known.extend(variables.map(|v| v.to_string_lossy().into_owned()));
    }
    let settings = read("config/default/settings.env")?;
    for line in settings.lines().filter(|line| !line.starts_with('#')) {
        let (name, _) = line.split_once('=').context("settings.env: a line without =")?;
        ensure!(known.contains(name), "settings.env: there is no setting {name}");
    }
    let mut paths = ["README.md", "config/manager/deployment.yaml"]
        .map(str::to_owned)
        .to_vec();
    paths.extend(files("docs", "md")?);
    for path in paths {
        let text = read(&path)?;
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for variable in words.filter(|word| word.starts_with("WIB_")) {
            ensure!(known.contains(variable), "{path}: there is no setting {variable}");
        }
    }
    Ok(())
}

#[test]
fn the_image_is_built_with_every_manifest_of_the_workspace() -> Result<()> {
    let workspace = read("Cargo.toml")?;
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = "));
    let members: Vec<String> = serde_yaml::from_str(members.context("Cargo.toml: no members on one line")?)?;
    let (dockerfile, ignored) = (read("Dockerfile")?, read(".dockerignore")?);
    for member in members.iter().filter(|member| *member != ".") {
        let copied = dockerfile.contains(&format!("COPY {member}/Cargo.toml {member}/\n"));
        let sent = ignored
            .lines()
            .any(|line| line == format!("!{member}/Cargo.toml"));
        ensure!(
            copied && sent,
            "Dockerfile or .dockerignore lacks {member}/Cargo.toml"
        );
    }
    Ok(())
}

// --- Documents ------------------------------------------------------------------------------

/// The line under the heading `### <name>`.
fn under_heading<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = document.lines();
    lines.find(|line| *line == format!("### {name}"))?;
    lines.find(|line| !line.trim().is_empty())
}

#[test]
fn every_reason_is_explained_with_what_the_operator_does_about_it() -> Result<()> {
    let document = read("docs/conditions.md")?;
    for reason in Reason::iter() {
        let name = reason.as_str();
        let line = under_heading(&document, name)
            .with_context(|| format!("docs/conditions.md has no heading ### {name}"))?;
        let word = match reason.disposition() {
            Disposition::Done => "**In order.**",
            Disposition::Working => "**Under way.**",
            Disposition::RetrySoon => "**Retried soon.**",
            Disposition::RetrySlowly => "**Retried slowly.**",
            Disposition::Stalled => "**Stalled.**",
        };
        ensure!(
            line.starts_with(word),
            "docs/conditions.md: {name} must start with {word}"
        );
    }
    let known: BTreeSet<&str> = Reason::iter()
        .map(Reason::as_str)
        .chain(ConditionType::iter().map(ConditionType::as_str))
        .collect();
    for heading in document.lines().filter_map(|line| line.strip_prefix("### ")) {
        ensure!(
            known.contains(heading),
            "docs/conditions.md explains {heading}, which does not exist"
        );
    }
    for kind in ConditionType::iter() {
        let row = format!("| `{}` |", kind.as_str());
        ensure!(document.contains(&row), "docs/conditions.md has no row {row}");
    }
    Ok(())
}

#[test]
fn the_readme_names_the_two_commands_and_ci_runs_the_one_for_tests() -> Result<()> {
    let readme = read("README.md")?;
    for command in ["cargo run --example demo", "cargo test"] {
        ensure!(
            readme.lines().any(|line| line.trim() == command),
            "README.md does not name `{command}`"
        );
    }
    ensure!(
        read(".ci/run")?.lines().any(|line| line.ends_with("cargo test")),
        ".ci/run does not run `cargo test`"
    );
    Ok(())
}

#[test]
fn links_between_documents_lead_somewhere() -> Result<()> {
    let mut paths = files("docs", "md")?;
    paths.extend(["README.md", "CHANGELOG.md"].map(str::to_owned));
    for path in paths {
        let text = read(&path)?;
        let directory = Path::new(&path).parent().unwrap_or_else(|| Path::new(""));
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(t, _)| t)
        {
            let file = target.split('#').next().unwrap_or_default();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            ensure!(
                root().join(directory).join(file).exists(),
                "{path} links to {target}"
            );
        }
    }
    Ok(())
}
