//! Manifests: whole, understood by the code, and asking for no more than they explain.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use workload_identity_binding::api::{
    DeletionPolicy, GRANT_RESOURCE, GRANT_VERB, GROUP, WorkloadIdentityBinding,
};
use workload_identity_binding::cli::Cli;
use workload_identity_binding::core::{Defaults, Desired};

use crate::{documents, files, objects, read, root};

#[test]
fn every_manifest_is_an_object_or_a_kustomization() -> Result<()> {
    for path in files("config", "yaml")? {
        // Argo CD's list of tests of a script.
        if path.ends_with("/health_test.yaml") {
            continue;
        }
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
        // For the repositories of others.
        if path.starts_with("config/gitops/") {
            continue;
        }
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

/// A rule at the root of a definition refuses every write of an object that breaks it, the removal of a finalizer
/// included: what Kubernetes lets pass as long as it does not change (ratcheting) begins below the root.
#[test]
fn no_rule_of_a_definition_stands_at_its_root() -> Result<()> {
    for path in [
        "crds/workload-identity.io_workloadidentitybindings.yaml",
        "crds/workload-identity.io_managedidentities.yaml",
    ] {
        for definition in objects::<CustomResourceDefinition>(&documents(path)?, "CustomResourceDefinition")?
        {
            for version in definition.spec.versions {
                let root = version.schema.and_then(|schema| schema.open_api_v3_schema);
                let root = root.with_context(|| format!("{path}: no schema"))?;
                assert_eq!(root.required, Some(vec!["spec".to_owned()]), "{path}");
                assert_eq!(root.x_kubernetes_validations, None, "{path}");
            }
        }
    }
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
