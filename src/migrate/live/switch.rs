//! The second step: the pods of each workload, with one patch, and waiting until they have been replaced.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::client::{Error, Kubernetes};
use super::journal::{self, Entry, Switched, TRIES};
use super::object::{Template, keeper};
use super::{FIELD_MANAGER, Run, grant, wait};
use crate::api::GROUP;
use crate::migrate::plan::{Plan, Switch};

/// Carries it out.
pub async fn switch(run: &mut Run<'_>, plan: &Plan) -> Result<(), Error> {
    for workload in plan.workloads.iter().filter(|w| !w.why.is_empty()) {
        let object = format!("{} {}/{}", workload.kind, workload.namespace, workload.name);
        run.say.left("skipped", object, &workload.why.join("; "));
    }
    run.say.begin("switch", plan.switches.len());
    let mut chosen = false;
    for switch in &plan.switches {
        let title = switch.workload.at.to_string();
        match one(run, plan, switch, &mut chosen).await {
            Ok(true) => run.say.done("switched", title),
            Ok(false) => run.say.same(title),
            Err(error) => run.say.failed(title, error),
        }
        run.say.step();
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

/// Switches a workload. Says whether there was anything to change.
async fn one(run: &Run<'_>, plan: &Plan, switch: &Switch, chosen: &mut bool) -> Result<bool, Error> {
    let other = |text: String| Error::Other(text);
    let at = &switch.workload.at;
    if switch.workload.is_immutable() {
        return Err(other(format!(
            "its pods cannot be changed. Delete it and make it anew with the label azure.workload.identity/use: \"true\" \
             and serviceAccountName {}",
            switch.account
        )));
    }
    let group = switch
        .workload
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let template = Template::of(group, &at.kind).ok_or_else(|| other("it has no pods".to_owned()))?;
    let mut tries = 0;
    loop {
        tries += 1;
        let found = run
            .kubernetes
            .get(group, &at.kind, Some(&at.namespace), &at.name)
            .await?;
        let found = found.ok_or_else(|| other("it is gone".to_owned()))?;
        let before = template.read(&json!(found));
        let after = before.switched(switch);
        let Some(patch) = template.patch(&before, &after) else {
            return Ok(false);
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
        if let Some(class) = switch.classes.first() {
            return Err(other(format!(
                "its pods mount {class}, which uses pod identity, and new ones could not. Set usePodIdentity to \"false\" and \
                 clientID to the one that the finding secret-provider-class names, and run the step again"
            )));
        }
        bindings_are_ready(run.kubernetes, switch).await?;
        if !*chosen {
            grant::choose(run.kubernetes, plan).await?;
            *chosen = true;
        }
        let entry = Entry::Switched(Box::new(Switched {
            group: group.to_owned(),
            kind: at.kind.clone(),
            name: at.name.clone(),
            before: before.into(),
            after: after.into(),
            bindings: switch
                .uses
                .iter()
                .map(|(b, _)| format!("{}/{}", b.namespace, b.name))
                .collect(),
            identities: switch
                .uses
                .iter()
                .map(|(_, i)| format!("{}/{}", i.namespace, i.name))
                .collect(),
        }));
        journal::put(run.kubernetes, &at.namespace, &entry).await?;
        match change(run.kubernetes, group, &found, patch).await {
            Err(error) if error.is_conflict() && tries < TRIES => {}
            other => return other.map(|()| true),
        }
    }
}

/// Changes an object as it was read: if it is another one by now, that is a conflict.
pub async fn change(
    kubernetes: &Kubernetes,
    group: &str,
    object: &DynamicObject,
    mut patch: serde_json::Value,
) -> Result<(), Error> {
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    let metadata = &object.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    patch["metadata"]["resourceVersion"] = json!(metadata.resource_version);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = kubernetes.api(group, kind, metadata.namespace.as_deref())?;
    let answer = api.patch(name, &parameters, &Patch::Merge(&patch)).await;
    answer.map(drop).map_err(|e| Error::call("change it", e))
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
