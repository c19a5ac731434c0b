//! The second step: the pods of each workload, with one patch, after the SecretProviderClasses that they mount, and
//! waiting until they have been replaced.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::json;

use super::client::{Error, Kubernetes};
use super::journal::{self, Entry, Switched, TRIES};
use super::object::{Pods, Template, keeper};
use super::{Run, classes, grant, wait};
use crate::api::GROUP;
use crate::migrate::components::Class;
use crate::migrate::model::Reference;
use crate::migrate::plan::{Plan, Switch};

/// Carries it out.
pub async fn switch(run: &mut Run<'_>, plan: &Plan, classes: &[Class]) -> Result<(), Error> {
    for workload in plan.workloads.iter().filter(|w| !w.why.is_empty()) {
        let object = format!("{} {}/{}", workload.kind, workload.namespace, workload.name);
        run.say.left("skipped", object, &workload.why.join("; "));
    }
    run.say.begin("switch", plan.switches.len());
    let mut chosen = false;
    for unit in classes::units(&plan.switches, classes) {
        let switches: Vec<&Switch> = unit
            .switches
            .iter()
            .filter_map(|n| plan.switches.get(*n))
            .collect();
        if !switch_classes(run, &switches, &unit.classes).await {
            continue;
        }
        for switch in switches {
            let title = switch.workload.at.to_string();
            match one(run, plan, switch, &mut chosen).await {
                Ok(true) => run.say.done("switched", title),
                Ok(false) => run.say.same(title),
                Err(error) => run.say.failed(title, error),
            }
            run.say.step();
        }
    }
    if run.args.wait {
        // Those of earlier runs as well: one that was killed has not waited.
        let journals = journal::load(run.kubernetes, run.scope).await?;
        let mut workloads = Vec::new();
        for (namespace, entries) in &journals {
            for entry in entries.values() {
                if let Entry::Switched(switched) = entry {
                    workloads.push(workload(namespace, switched));
                }
            }
        }
        wait::rollouts(run.kubernetes, workloads, run.args.timeout, &mut run.say).await?;
    }
    Ok(())
}

/// What to wait for.
pub fn workload(namespace: &str, switched: &Switched) -> wait::Workload {
    (
        switched.group.clone(),
        switched.kind.clone(),
        namespace.to_owned(),
        switched.name.clone(),
    )
}

/// Switches the classes that some workloads mount, if all of these can switch too. Says whether they may.
async fn switch_classes(run: &mut Run<'_>, switches: &[&Switch], classes: &[&Class]) -> bool {
    if classes.is_empty() {
        return true;
    }
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    for class in classes {
        if let Err(error) = classes::check(run, class).await {
            failed.insert(class.at.to_string(), error.to_string());
        }
    }
    for switch in switches {
        if let Err(error) = prepare(run, switch).await {
            failed.insert(switch.workload.at.to_string(), error.to_string());
        }
    }
    for class in classes.iter().filter(|_| failed.is_empty()) {
        match classes::switch(run, class).await {
            Ok(true) => run.say.done("switched", &class.at),
            Ok(false) => run.say.same(&class.at),
            Err(error) => {
                failed.insert(class.at.to_string(), error.to_string());
                break;
            }
        }
    }
    let first = failed
        .iter()
        .next()
        .map(|(title, why)| (title.clone(), why.clone()));
    let Some((first, why)) = first else { return true };
    let names: Vec<String> = classes.iter().map(|class| class.at.to_string()).collect();
    let shared = format!(
        "it switches together with {}, which its pods mount, and {first} cannot: {why}",
        names.join(", ")
    );
    for switch in switches {
        let title = switch.workload.at.to_string();
        let why = failed.get(&title).unwrap_or(&shared).clone();
        run.say.failed(title, why);
        run.say.step();
    }
    false
}

/// A workload that is to be switched.
struct Prepared {
    found: DynamicObject,
    before: Pods,
    after: Pods,
    patch: serde_json::Value,
}

/// Reads a workload that can be switched. Nothing if it has been already.
async fn prepare(run: &Run<'_>, switch: &Switch) -> Result<Option<Prepared>, Error> {
    let other = |text: String| Error::Other(text);
    let at = &switch.workload.at;
    if switch.workload.is_immutable() {
        return Err(other(format!(
            "its pods cannot be changed. Delete it and make it anew with the label azure.workload.identity/use: \"true\" \
             and serviceAccountName {}",
            switch.account
        )));
    }
    let group = switch.group();
    let template = Template::of(group, &at.kind).ok_or_else(|| other("it has no pods".to_owned()))?;
    let found = run
        .kubernetes
        .get(group, &at.kind, Some(&at.namespace), &at.name)
        .await?;
    let found = found.ok_or_else(|| other("it is gone".to_owned()))?;
    let before = template.read(&json!(found));
    let after = before.switched(switch);
    let Some(patch) = template.patch(&before, &after) else {
        return Ok(None);
    };
    let planned = switch.workload.label.as_ref().map(|label| label.text.as_str());
    if before.label.as_deref() != planned {
        return Err(other(
            "its label has changed since the plan was made: run the step again".to_owned(),
        ));
    }
    if let Some(keeper) = keeper(&found).filter(|_| !run.args.include_managed) {
        return Err(other(format!(
            "{keeper} would change it back: change it there (wib migrate reads the files), or say --include-managed"
        )));
    }
    bindings_are_ready(run.kubernetes, switch).await?;
    Ok(Some(Prepared {
        found,
        before,
        after,
        patch,
    }))
}

/// Switches a workload. Says whether there was anything to change.
async fn one(run: &Run<'_>, plan: &Plan, switch: &Switch, chosen: &mut bool) -> Result<bool, Error> {
    let at = &switch.workload.at;
    let mut tries = 0;
    loop {
        tries += 1;
        let Some(prepared) = prepare(run, switch).await? else {
            return Ok(false);
        };
        if !*chosen {
            grant::choose(run.kubernetes, plan).await?;
            *chosen = true;
        }
        let names = |all: &mut dyn Iterator<Item = &Reference>| -> Vec<String> {
            all.map(|at| format!("{}/{}", at.namespace, at.name)).collect()
        };
        let entry = Entry::Switched(Box::new(Switched {
            group: switch.group().to_owned(),
            kind: at.kind.clone(),
            name: at.name.clone(),
            before: prepared.before.into(),
            after: prepared.after.into(),
            bindings: names(&mut switch.uses.iter().map(|(binding, _)| binding)),
            identities: names(&mut switch.uses.iter().map(|(_, identity)| identity)),
        }));
        journal::put(run.kubernetes, &at.namespace, &entry).await?;
        match run
            .kubernetes
            .change(switch.group(), &prepared.found, prepared.patch)
            .await
        {
            Err(error) if error.is_conflict() && tries < TRIES => {}
            other => return other.map(|()| true),
        }
    }
}

async fn bindings_are_ready(kubernetes: &Kubernetes, switch: &Switch) -> Result<(), Error> {
    let namespace = &switch.workload.at.namespace;
    let mut open = BTreeMap::new();
    for name in &switch.bindings {
        let found = kubernetes
            .get(GROUP, "WorkloadIdentityBinding", Some(namespace), name)
            .await?;
        let state = found
            .as_ref()
            .map_or_else(|| Err("it is not there".to_owned()), wait::ready);
        if let Err(why) = state {
            open.insert(name, why);
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = open.iter().map(|(name, why)| format!("{name} ({why})")).collect();
    Err(Error::Other(format!(
        "not switched, because its bindings are not Ready: {}. Run --apply --step grant first",
        list.join(", ")
    )))
}
