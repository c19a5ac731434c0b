//! Teams and the bases of their apps.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};

use super::objects::{LABEL, binding, identity, metadata, service_account, workload};
use super::style::Form;
use super::{Maker, Truth};

/// Kinds of workloads, the usual one several times.
pub const KINDS: [&str; 7] = [
    "Deployment",
    "Deployment",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "CronJob",
    "Job",
];

const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];

/// An app: a base, and an overlay for each environment.
pub struct App {
    pub folder: String,
    pub namespace: String,
    /// What its overlays put before names; its identities then stand in a folder of their own.
    pub prefix: Option<String>,
    /// Names of its identities, with the label that leads to each.
    pub identities: Vec<(String, String)>,
    pub works: Vec<Work>,
}

/// A workload of an app.
pub struct Work {
    pub kind: &'static str,
    pub name: String,
    pub account: Option<String>,
    pub label: String,
    /// Whether only the overlays set the label.
    pub late_label: bool,
    pub in_selector: bool,
}

/// An ARM id, with one of the spellings that Azure takes, or what Flux fills in.
pub fn resource_id(rng: &mut Rng, environment: &str, name: &str) -> String {
    let letters = environment
        .bytes()
        .chain(name.bytes())
        .map(u32::from)
        .sum::<u32>();
    if letters % 12 == 0 {
        return format!("${{{environment}_{name}}}").replace('-', "_");
    }
    let groups = ["resourceGroups", "resourcegroups"][rng.usize(..2)];
    let number = environment.bytes().map(u32::from).sum::<u32>();
    format!(
        "/subscriptions/00000000-0000-4000-8000-{number:012}/{groups}/rg-{environment}/providers/\
         Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

impl Maker {
    /// A team with so many apps at most.
    pub(super) fn team(&mut self, number: usize, most: usize) {
        let team = format!("team-{number}");
        let environments = &ENVIRONMENTS[..self.rng.usize(1..=3)];
        // Without a kustomization that brings them together, each overlay is an environment.
        let together = self.chance(70);
        let apps: Vec<App> = (0..self.rng.usize(1..=most))
            .map(|app| self.app(&team, app, together))
            .collect();
        let labels = json!([{ "pairs": { "team": team } }]);
        let component = json!({
            "apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "labels": labels,
        });
        self.put(
            &format!("apps/{team}/labels"),
            "kustomization",
            Form::Settings,
            &[component],
        );
        for app in &apps {
            self.base(app);
        }
        for name in environments {
            let folder = format!("clusters/{name}/{team}");
            let mut resources = Vec::new();
            for app in &apps {
                let overlay = format!("{}/overlays/{name}", app.folder);
                let environment = if together { &folder } else { &overlay };
                let ids = self.overlay(app, name, &overlay);
                self.note(app, environment, &ids);
                if app.prefix.is_some() {
                    resources.push(format!("../../../{}/identities/{name}", app.folder));
                }
                resources.push(format!("../../../{overlay}"));
                if !together {
                    self.made.environments.push(overlay);
                }
            }
            if together {
                let all = json!({ "resources": resources });
                self.put(&folder, "kustomization", Form::Settings, &[all]);
                self.made.environments.push(folder);
            }
        }
    }

    fn app(&mut self, team: &str, number: usize, together: bool) -> App {
        let name = format!("{team}-app-{number}");
        let (one, two) = (format!("{name}-a"), format!("{name}-b"));
        let identities = match self.rng.u8(..4) {
            0 => vec![(one, name.clone()), (two, name.clone())],
            1 => vec![(one.clone(), one), (two.clone(), two)],
            _ => vec![(name.clone(), name.clone())],
        };
        let works = (0..self.rng.usize(1..=3))
            .map(|role| self.work(&name, role, &identities))
            .collect();
        App {
            folder: format!("apps/{team}/{name}"),
            namespace: if self.chance(50) {
                team.to_owned()
            } else {
                name.clone()
            },
            prefix: (together && self.chance(15)).then(|| "x-".to_owned()),
            identities,
            works,
        }
    }

    fn work(&mut self, app: &str, role: usize, identities: &[(String, String)]) -> Work {
        let name = format!("{app}-w{role}");
        let kind = self.pick(&KINDS);
        let late_label = self.chance(15);
        Work {
            kind,
            account: match self.rng.u8(..4) {
                0 => None,
                1 => Some("default".to_owned()),
                2 => Some(format!("{app}-sa")),
                _ => Some(name.clone()),
            },
            label: identities[self.rng.usize(..identities.len())].1.clone(),
            late_label,
            in_selector: !late_label && !kind.ends_with("Job") && self.chance(8),
            name,
        }
    }

    fn base(&mut self, app: &App) {
        let folder = format!("{}/base", app.folder);
        let mut resources = Vec::new();
        if app.prefix.is_none() {
            let (identities, bindings) = self.identities(app, "base", None);
            if self.chance(50) {
                resources.push(self.put(&folder, "identities", Form::Manifests, &identities));
                resources.push(self.put(&folder, "bindings", Form::Manifests, &bindings));
            } else {
                let both = [identities, bindings].concat();
                resources.push(self.put(&folder, "identities", Form::Manifests, &both));
            }
        }
        let mut documents = Vec::new();
        for work in &app.works {
            let app_label = json!({ "app": work.name });
            let mut labels = app_label.clone();
            if !work.late_label {
                labels[LABEL] = json!(work.label);
            }
            let selector = if work.in_selector { &labels } else { &app_label };
            let metadata = metadata(&work.name, None);
            documents.push(workload(
                work.kind,
                metadata,
                work.account.as_deref(),
                &labels,
                selector,
            ));
        }
        let accounts: BTreeSet<&str> = app
            .works
            .iter()
            .filter_map(|work| work.account.as_deref())
            .collect();
        for account in accounts.into_iter().filter(|account| *account != "default") {
            documents.push(service_account(account, None));
        }
        self.rng.shuffle(&mut documents);
        if self.chance(50) {
            resources.push(self.put(&folder, "app", Form::Manifests, &documents));
        } else {
            for (number, document) in documents.iter().enumerate() {
                let one = std::slice::from_ref(document);
                resources.push(self.put(&folder, &format!("app-{number}"), Form::Manifests, one));
            }
        }
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources,
        });
        self.put(&folder, "kustomization", Form::Settings, &[kustomization]);
    }

    /// The identities and bindings of an app; its ids are those of `environment`.
    pub(super) fn identities(
        &mut self,
        app: &App,
        environment: &str,
        namespace: Option<&str>,
    ) -> (Vec<Value>, Vec<Value>) {
        let one = |(name, label): &(String, String)| {
            let (id, client) = (resource_id(&mut self.rng, environment, name), self.client_id());
            (
                identity(name, namespace, &id, &client),
                binding(name, namespace, name, label),
            )
        };
        app.identities.iter().map(one).unzip()
    }

    /// Notes what is true of an app in an environment; `ids` are those of its identities.
    fn note(&mut self, app: &App, environment: &str, ids: &[String]) {
        let renamed = |name: &str| format!("{}{name}", app.prefix.as_deref().unwrap_or_default());
        for work in &app.works {
            let own = app
                .identities
                .iter()
                .zip(ids)
                .filter(|((_, label), _)| *label == work.label);
            let default = work.account.as_deref() == Some("default");
            self.made.truth.push(Truth {
                environment: Some(environment.to_owned()),
                namespace: app.namespace.clone(),
                kind: work.kind.to_owned(),
                workload: renamed(&work.name),
                account_before: work.account.as_deref().map(|account| {
                    if default {
                        account.to_owned()
                    } else {
                        renamed(account)
                    }
                }),
                account: String::new(),
                identities: own.map(|(_, id)| id.to_ascii_lowercase()).collect(),
                label_in_selector: work.in_selector,
            });
        }
    }
}
