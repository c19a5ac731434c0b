//! Clusters: the same plan from the API server, and carrying it out step by step.
//!
//! What is read becomes files ([`read`]), so that all the rest of `wib migrate` understands it without knowing of
//! clusters. Each change is written into a [`journal`] before it is made; [`rollback`] undoes what stands there.

mod classes;
mod clean;
mod client;
mod grant;
mod journal;
mod kinds;
mod object;
mod read;
mod restore;
mod rollback;
mod say;
mod switch;
mod verdict;
mod wait;
mod webhook;

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use serde_json::{Value, json};

pub use client::Error;
use client::Kubernetes;
use journal::{Entries, Entry};
use object::Template;
use read::{Scope, Snapshot};
use say::Say;
use verdict::Fate;

use super::components::{self, Class};
use super::finding::{Code, Finding, Place, Severity};
use super::plan::{Action, Chosen, Item, Plan, Step};
use super::progress::Silent;
use super::report::{Defaults, Report, analyse};
use super::source::{CLUSTER, Sources};
use crate::cli::{ClusterArgs, MigrateArgs, MigrateStep};

/// Name under which the writes of this command are recorded in `metadata.managedFields`.
const FIELD_MANAGER: &str = "wib-migrate";

/// A run that changes something.
struct Run<'a> {
    kubernetes: &'a Kubernetes,
    args: &'a ClusterArgs,
    scope: &'a Scope,
    /// Whether identities serve pods of their own namespace only.
    namespaced: bool,
    say: Say,
}

/// What came of it.
pub enum Outcome {
    /// A plan, and each switched workload as a whole, by namespace, kind and name.
    Plan(Box<Report>, Vec<(String, Value)>),
    /// A step, in which so many objects could not be done.
    Step(usize),
}

/// Reads and plans, or carries out.
///
/// # Errors
/// If the cluster cannot be used, or nothing can be done because of something that concerns all of it.
pub async fn run(args: &MigrateArgs, sources: Sources) -> Result<Outcome, Error> {
    let kubernetes = Kubernetes::connect(&args.cluster).await?;
    let own = args
        .namespace
        .clone()
        .unwrap_or_else(|| kubernetes.namespace.clone());
    let scope = if args.cluster.all_namespaces {
        Scope::All
    } else {
        Scope::Namespace(own.clone())
    };
    let mut run = Run {
        kubernetes: &kubernetes,
        args: &args.cluster,
        scope: &scope,
        namespaced: args.namespaced,
        say: Say::new(),
    };
    let apply = args.cluster.step.filter(|_| args.cluster.apply);
    let name = match apply {
        _ if args.cluster.rollback => {
            let from = args.cluster.step.unwrap_or(MigrateStep::Grant);
            rollback::rollback(&mut run, from).await?;
            "rollback"
        }
        Some(MigrateStep::Clean) => {
            clean::clean(&mut run).await?;
            "clean"
        }
        step => {
            let Planned {
                report,
                classes,
                snapshot,
            } = plan(&mut run, sources, &own, args.namespaced).await?;
            match step {
                None => {
                    let switched = switched(&report.plan, &classes, &snapshot);
                    return Ok(Outcome::Plan(Box::new(report), switched));
                }
                Some(step) => {
                    everything_was_read(&report.findings)?;
                    if step == MigrateStep::Grant {
                        let outputs = super::objects(&report).map_err(|e| Error::Other(e.to_string()))?;
                        grant::grant(&mut run, &report.plan, &outputs).await?;
                        "grant"
                    } else {
                        let missing = |finding: &&Finding| finding.code == Code::WebhookMissing;
                        if let Some(finding) = report.findings.iter().find(missing) {
                            let text = format!("nothing was changed. {} {}", finding.reason, finding.action);
                            return Err(Error::Other(text));
                        }
                        switch::switch(&mut run, &report.plan, &classes).await?;
                        "switch"
                    }
                }
            }
        }
    };
    run.say.summary(name);
    Ok(Outcome::Step(run.say.failed))
}

/// A plan, and what it was made from.
struct Planned {
    report: Report,
    /// SecretProviderClasses that use pod identity.
    classes: Vec<Class>,
    snapshot: Snapshot,
}

/// Reads the cluster, beside what was read of files, and plans.
async fn plan(
    run: &mut Run<'_>,
    mut sources: Sources,
    own: &str,
    namespaced: bool,
) -> Result<Planned, Error> {
    let say = &run.say;
    let mut begun = false;
    let mut progress = |kinds: u64, kind: &str| {
        if !std::mem::replace(&mut begun, true) {
            say.begin("reading", usize::try_from(kinds).unwrap_or_default());
        }
        say.message(format!("reading {kind}"));
        say.step();
    };
    let mut snapshot = read::read(run.kubernetes, run.scope, &mut progress).await?;
    run.say.end();
    let journals = match journal::load(run.kubernetes, run.scope).await {
        Err(error) if error.is_forbidden() => {
            let place = Place {
                file: format!(
                    "{CLUSTER}{}/ConfigMap/{}",
                    run.scope.namespace().unwrap_or_default(),
                    journal::NAME
                ),
                ..Place::default()
            };
            let action =
                "Nothing can be applied without it: docs/migrate.md lists the rights that are needed.";
            let finding = Finding::new(Code::ClusterForbidden, place, read::sentence(&error), action);
            snapshot.findings.push(finding);
            Entries::new()
        }
        other => other?,
    };
    sources.findings.append(&mut snapshot.findings);
    for file in &snapshot.files {
        sources.add(file.clone());
    }
    let defaults = Defaults {
        namespace: own.to_owned(),
        namespaced,
        journal: Some(chosen(&journals)),
    };
    let (mut report, classes) = analyse(&sources, &defaults, &Silent, |analysis| {
        let plan = &analysis.report.plan;
        let classes = components::classes(&sources, analysis.models, analysis.index, analysis.joined, plan);
        (analysis.report, classes)
    });
    classes::plan(&sources, &mut report.plan, &classes);
    inherit(&mut report.plan, &snapshot);
    narrow(&mut report, run.scope);
    cleaning(&mut report, &journals, &snapshot, run.scope);
    granted(run.kubernetes, &mut report.plan).await?;
    if !report.plan.switches.is_empty() {
        report.findings.extend(webhook::check(run.kubernetes).await?);
        report.findings.sort();
    }
    report.plan.steps.retain(|step| !step.items.is_empty());
    report.count();
    Ok(Planned {
        report,
        classes,
        snapshot,
    })
}

/// The ServiceAccounts that the journals say were chosen.
fn chosen(journals: &Entries) -> Chosen {
    let all = journals.iter().flat_map(|(namespace, entries)| {
        entries.values().filter_map(move |entry| match entry {
            Entry::Account(a) => Some((
                (namespace.clone(), a.kind.clone(), a.name.clone()),
                a.account.clone(),
            )),
            _ => None,
        })
    });
    all.collect()
}

/// Gives new ServiceAccounts what their pods need of the old ones to start. RoleBindings are for people to decide.
fn inherit(plan: &mut Plan, snapshot: &Snapshot) {
    for switch in &plan.switches {
        let at = &switch.workload.at;
        let title = client::title("ServiceAccount", Some(&at.namespace), &switch.account);
        let Some(output) = plan.outputs.iter_mut().find(|output| output.title == title) else {
            continue;
        };
        let path = object::path(
            "",
            "ServiceAccount",
            Some(&at.namespace),
            switch.workload.account(),
        );
        for key in ["imagePullSecrets", "automountServiceAccountToken"] {
            if let (Some(had), Some(map)) = (snapshot.manifest(&path).get(key), output.value.as_object_mut())
            {
                map.insert(key.to_owned(), had.clone());
            }
        }
    }
}

/// Leaves out what concerns other namespaces only: these were not read as a whole.
fn narrow(report: &mut Report, scope: &Scope) {
    let Some(own) = scope.namespace() else { return };
    let foreign: BTreeSet<String> = report
        .plan
        .removals
        .iter()
        .filter(|at| at.namespace != own)
        .map(ToString::to_string)
        .collect();
    report.plan.removals.retain(|at| at.namespace == own);
    for step in report.plan.steps.iter_mut().filter(|step| step.name == "clean") {
        step.items.retain(|item| !foreign.contains(&item.object));
    }
    let here = format!("{CLUSTER}{own}/");
    report.findings.retain(|finding| {
        let file = &finding.place.file;
        finding.severity == Severity::Error
            || !file.starts_with(CLUSTER)
            || file.starts_with(&here)
            || [Code::OtherNamespaces, Code::NamespacedMode, Code::Installation].contains(&finding.code)
    });
}

/// Adds what the step `clean` has to do for workloads that have switched already.
fn cleaning(report: &mut Report, journals: &Entries, snapshot: &Snapshot, scope: &Scope) {
    let plan = &mut report.plan;
    let at = plan.steps.iter().position(|step| step.name == "clean");
    let known: BTreeSet<String> = at
        .and_then(|at| plan.steps.get(at))
        .map(|step| step.items.iter().map(|item| item.object.clone()).collect())
        .unwrap_or_default();
    let hold = |object: &DynamicObject| verdict::hold(object, scope, false);
    let verdicts = verdict::verdicts(journals, &snapshot.pod_identity, &snapshot.users, &hold);
    let items: Vec<Item> = verdicts
        .into_iter()
        .map(|verdict| (verdict::name_of(verdict.object), verdict.fate))
        .filter(|(object, _)| !known.contains(object))
        .map(|(object, fate)| {
            let (action, detail) = match fate {
                Fate::Remove => (Action::Remove, String::new()),
                Fate::Keep(why) => (Action::Keep, why),
                Fate::Refuse(why) => (Action::Remove, why),
            };
            Item {
                action,
                object,
                place: None,
                environment: None,
                detail,
            }
        })
        .collect();
    if items.is_empty() {
        return;
    }
    // That nothing uses them is what the step is about.
    let planned: BTreeSet<&String> = items.iter().map(|item| &item.object).collect();
    report.findings.retain(|finding| {
        ![Code::OrphanBinding, Code::OrphanIdentity].contains(&finding.code)
            || !planned.contains(&finding.subject)
    });
    if let Some(step) = at.and_then(|at| plan.steps.get_mut(at)) {
        step.items.extend(items);
        return;
    }
    let before = plan.steps.iter().position(|step| step.name == "uninstall");
    let step = Step {
        name: "clean",
        title: "Remove bindings and identities of pod identity",
        items,
    };
    plan.steps.insert(before.unwrap_or(plan.steps.len()), step);
}

/// Leaves grants out of the first step that are there already. All others of its objects were read with the rest.
async fn granted(kubernetes: &Kubernetes, plan: &mut Plan) -> Result<(), Error> {
    let mut there = BTreeSet::new();
    for output in &plan.outputs {
        let (kind, name) = (
            output.value["kind"].as_str(),
            output.value["metadata"]["name"].as_str(),
        );
        let (Some(kind @ ("ClusterRole" | "ClusterRoleBinding")), Some(name)) = (kind, name) else {
            continue;
        };
        match kubernetes.get(kinds::RBAC, kind, None, name).await {
            Ok(Some(found)) if object::contains(&json!(found), &output.value) => {
                there.insert(output.title.clone());
            }
            Ok(_) => {}
            // Then nobody knows, and the step will say so.
            Err(error) if error.is_forbidden() => break,
            Err(error) => return Err(error),
        }
    }
    for step in plan.steps.iter_mut().filter(|step| step.name == "grant") {
        step.items.retain(|item| !there.contains(&item.object));
    }
    Ok(())
}

/// Nothing is done on what is known in part only.
fn everything_was_read(findings: &[Finding]) -> Result<(), Error> {
    let missing: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.code == Code::ClusterForbidden)
        .map(|finding| finding.reason.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Other(format!(
        "nothing was changed, because rights to read are missing. {} See docs/migrate.md for the rights that are needed",
        missing.join(" ")
    )))
}

/// Each switched workload of the cluster as a whole manifest, and each class that they mount.
fn switched(plan: &Plan, classes: &[Class], snapshot: &Snapshot) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for class in classes {
        let at = &class.at;
        let path = object::path(classes::GROUP, classes::KIND, Some(&at.namespace), &at.name);
        let manifest = snapshot.manifest(&path);
        let changed = Some(manifest).filter(Value::is_object);
        if let Some(changed) = changed.and_then(|manifest| classes::manifest(class, manifest)) {
            found.push((
                format!("{}.{}.{}", at.namespace, at.kind.to_lowercase(), at.name),
                changed,
            ));
        }
    }
    for switch in plan
        .switches
        .iter()
        .filter(|switch| switch.environment.is_none() && !switch.workload.is_immutable())
    {
        let at = &switch.workload.at;
        let group = switch.group();
        let path = object::path(group, &at.kind, Some(&at.namespace), &at.name);
        let mut value = snapshot.manifest(&path);
        let Some(template) = Template::of(group, &at.kind).filter(|_| value.is_object()) else {
            continue;
        };
        let before = template.read(&value);
        let after = before.switched(switch);
        if let Some(patch) = template.patch(&before, &after) {
            object::merge(&mut value, &patch);
            found.push((
                format!("{}.{}.{}", at.namespace, at.kind.to_lowercase(), at.name),
                value,
            ));
        }
    }
    found
}
