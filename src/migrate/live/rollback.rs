//! The way back: what the journal holds, in the reverse order.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::classes::{self, KIND};
use super::client::{Error, Kubernetes, is_not_found, title};
use super::journal::{self, Created, Entry, Removed, State, Switched, SwitchedClass, TRIES};
use super::kinds::RBAC;
use super::object::contains;
use super::read::{Scope, User, read};
use super::switch::{change, workload};
use super::{FIELD_MANAGER, Run, wait};
use crate::api::GROUP;
use crate::cli::MigrateStep;
use crate::migrate::model::POD_IDENTITY;

/// Undoes a step and those after it.
pub async fn rollback(run: &mut Run<'_>, from: MigrateStep) -> Result<(), Error> {
    restore_removed(run).await?;
    if from <= MigrateStep::Switch {
        restore_pods(run).await?;
    }
    if from <= MigrateStep::Grant {
        delete_created(run).await?;
    }
    Ok(())
}

/// Entries of a scope, with their namespaces and keys.
async fn entries(run: &Run<'_>) -> Result<Vec<(String, String, Entry)>, Error> {
    let journals = journal::load(run.kubernetes, run.scope).await?;
    let all = journals.into_iter().flat_map(|(namespace, entries)| {
        entries
            .into_iter()
            .map(move |(key, entry)| (namespace.clone(), key, entry))
    });
    Ok(all.collect())
}

/// Makes bindings and identities anew that were removed; identities first.
async fn restore_removed(run: &mut Run<'_>) -> Result<(), Error> {
    let mut removed: Vec<(String, String, Removed)> = entries(run)
        .await?
        .into_iter()
        .filter_map(|(namespace, key, entry)| match entry {
            Entry::Removed(removed) => Some((namespace, key, removed)),
            _ => None,
        })
        .collect();
    removed.sort_by_key(|(_, _, removed)| removed.object["kind"] != "AzureIdentity");
    run.say.begin("restore", removed.len());
    for (namespace, key, removed) in removed {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (
            text(&removed.object["kind"]),
            text(&removed.object["metadata"]["name"]),
        );
        let title = title(&kind, Some(&namespace), &name);
        match recreate(run.kubernetes, &namespace, &kind, &name, &removed.object).await {
            Ok(made) => {
                journal::remove(run.kubernetes, &namespace, &key).await?;
                if made {
                    run.say.done("restored", title);
                } else {
                    run.say.same(title);
                }
            }
            Err(error) => run.say.failed(title, error),
        }
        run.say.step();
    }
    Ok(())
}

async fn recreate(
    kubernetes: &Kubernetes,
    namespace: &str,
    kind: &str,
    name: &str,
    object: &Value,
) -> Result<bool, Error> {
    if let Some(there) = kubernetes.get(POD_IDENTITY, kind, Some(namespace), name).await? {
        if contains(&json!(there.data["spec"]), &object["spec"]) {
            return Ok(false);
        }
        return Err(Error::Other(
            "it is there with another content: see which one is right, and delete it if it is not".to_owned(),
        ));
    }
    let object: DynamicObject = serde_json::from_value(object.clone())
        .map_err(|e| Error::Other(format!("its entry in the journal: {e}")))?;
    let parameters = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api = kubernetes.api(POD_IDENTITY, kind, Some(namespace))?;
    let answer = api.create(&parameters, &object).await;
    answer.map(|_| true).map_err(|e| Error::call("create it", e))
}

/// Gives classes their old mode back, and pods their old label and ServiceAccount. Pods that mount a class go back
/// together with it, or stay.
async fn restore_pods(run: &mut Run<'_>) -> Result<(), Error> {
    let entries = entries(run).await?;
    let mut waiting = Vec::new();
    run.say.begin("restore", entries.len());
    let staying = restore_classes(run, &entries).await?;
    for (namespace, key, entry) in entries {
        let Entry::Switched(switched) = entry else {
            continue;
        };
        let title = title(&switched.kind, Some(&namespace), &switched.name);
        let restored = match staying.get(&title) {
            Some(why) => Err(Error::Other(why.clone())),
            None => restore(run.kubernetes, &namespace, &switched).await,
        };
        match restored {
            Ok(changed) => {
                journal::remove(run.kubernetes, &namespace, &key).await?;
                if changed {
                    waiting.push(workload(&namespace, &switched));
                    run.say.done("restored", title);
                } else {
                    run.say.same(title);
                }
            }
            Err(error) => run.say.failed(title, error),
        }
        run.say.step();
    }
    if run.args.wait {
        wait::rollouts(run.kubernetes, waiting, run.args.timeout, &mut run.say).await?;
    }
    Ok(())
}

/// Workloads that have to stay as they are, and why.
type Staying = BTreeMap<String, String>;

/// Restores the classes whose workloads can all go back.
async fn restore_classes(run: &mut Run<'_>, entries: &[(String, String, Entry)]) -> Result<Staying, Error> {
    let mut classes = Vec::new();
    for (namespace, key, entry) in entries {
        if let Entry::Class(class) = entry {
            classes.push((namespace, key, class));
        }
    }
    let mut staying = Staying::new();
    for (namespace, _, entry) in entries {
        if let Entry::Switched(switched) = entry
            && let title = title(&switched.kind, Some(namespace), &switched.name)
            && classes.iter().any(|(_, _, class)| class.users.contains(&title))
            && let Err(error) = way_back(run.kubernetes, namespace, switched).await
        {
            staying.insert(title, error.to_string());
        }
    }
    // What stays keeps its classes, and they keep the others that mount them.
    while let Some(at) = classes
        .iter()
        .position(|(_, _, class)| class.users.iter().any(|user| staying.contains_key(user)))
    {
        let (namespace, _, class) = classes.remove(at);
        let name = title(KIND, Some(namespace), &class.name);
        let user = class.users.iter().find(|user| staying.contains_key(*user));
        let why = format!("{} needs it as it is", user.map_or("something", String::as_str));
        stay(&mut staying, class, &format!("its pods mount {name}, and {why}"));
        run.say.failed(name, why);
    }
    for (namespace, key, class) in classes {
        let name = title(KIND, Some(namespace), &class.name);
        match classes::restore(run.kubernetes, namespace, class).await {
            Ok(changed) => {
                journal::remove(run.kubernetes, namespace, key).await?;
                if changed {
                    run.say.done("restored", name);
                } else {
                    run.say.same(name);
                }
            }
            Err(error) => {
                stay(
                    &mut staying,
                    class,
                    &format!("its pods mount {name}, which could not be restored"),
                );
                run.say.failed(name, error);
            }
        }
    }
    Ok(staying)
}

fn stay(staying: &mut Staying, class: &SwitchedClass, why: &str) {
    for user in &class.users {
        staying.entry(user.clone()).or_insert_with(|| why.to_owned());
    }
}

async fn restore(kubernetes: &Kubernetes, namespace: &str, switched: &Switched) -> Result<bool, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Some((found, patch)) = way_back(kubernetes, namespace, switched).await? else {
            return Ok(false);
        };
        match change(kubernetes, &switched.group, &found, patch).await {
            Err(error) if error.is_conflict() && tries < TRIES => {}
            other => return other.map(|()| true),
        }
    }
}

/// The patch that leads a workload back, with the workload as it is. Nothing if it is there, or gone.
async fn way_back(
    kubernetes: &Kubernetes,
    namespace: &str,
    switched: &Switched,
) -> Result<Option<(DynamicObject, Value)>, Error> {
    let template = switched.template()?;
    let found = kubernetes
        .get(&switched.group, &switched.kind, Some(namespace), &switched.name)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let now: State = template.read(&json!(found)).into();
    if now == switched.before {
        return Ok(None);
    }
    if now != switched.after {
        return Err(Error::Other(
            "it was changed after it was switched, and is left as it is: give it the label and the ServiceAccount \
             that the ConfigMap wib-migration notes as before, or as after"
                .to_owned(),
        ));
    }
    for (kind, list) in [
        ("AzureIdentityBinding", &switched.bindings),
        ("AzureIdentity", &switched.identities),
    ] {
        for full in list {
            let (namespace, name) = full.split_once('/').unwrap_or_default();
            let there = kubernetes.get(POD_IDENTITY, kind, Some(namespace), name).await?;
            if there.is_none() {
                return Err(Error::Other(format!(
                    "its pods would have no identity, because {kind} {full} is gone. If this command has removed it, \
                     roll back with -A"
                )));
            }
        }
    }
    let patch = template.patch(&now.into(), &switched.before.clone().into());
    Ok(patch.map(|patch| (found, patch)))
}

/// Deletes what the first step has created: bindings, then grants, then ServiceAccounts.
async fn delete_created(run: &mut Run<'_>) -> Result<(), Error> {
    let entries = entries(run).await?;
    let mut busy = still_used(run, &entries).await?;
    let order = [
        "WorkloadIdentityBinding",
        "ClusterRoleBinding",
        "ClusterRole",
        "ServiceAccount",
    ];
    run.say.begin("delete", entries.len());
    for kind in order {
        for (namespace, key, entry) in &entries {
            let Entry::Created(created) = entry else { continue };
            if created.kind != kind {
                continue;
            }
            let title = title(&created.kind, created.namespace.as_deref(), &created.name);
            let user = created.accounts.iter().find_map(|account| {
                let used = busy.iter().find(|(n, a, _)| n == namespace && a == account);
                used.map(|(_, account, user)| format!("{user} still uses ServiceAccount {account}"))
            });
            if let Some(why) = user {
                run.say.failed(title, why);
                continue;
            }
            match delete(run, created).await {
                Ok(deleted) => {
                    journal::remove(run.kubernetes, namespace, key).await?;
                    match deleted {
                        Deleted::Yes => run.say.done("deleted", title),
                        Deleted::Gone => run.say.same(title),
                        Deleted::Left(why) => run.say.left("kept", title, why),
                    }
                }
                Err(error) => {
                    // What it rests on has to stay.
                    let left = created.accounts.iter();
                    busy.extend(left.map(|account| (namespace.clone(), account.clone(), title.clone())));
                    run.say.failed(title, error);
                }
            }
            run.say.step();
        }
    }
    for (namespace, key, entry) in &entries {
        if let Entry::Account(account) = entry
            && !busy
                .iter()
                .any(|(n, a, _)| n == namespace && *a == account.account)
        {
            journal::remove(run.kubernetes, namespace, key).await?;
        }
    }
    Ok(())
}

/// Namespace, ServiceAccount and who uses it with workload identity.
type Busy = Vec<(String, String, String)>;

async fn still_used(run: &Run<'_>, entries: &[(String, String, Entry)]) -> Result<Busy, Error> {
    let mut busy = Busy::new();
    let namespaces: BTreeSet<&String> = entries.iter().map(|(namespace, _, _)| namespace).collect();
    for namespace in namespaces {
        let snapshot = read(
            run.kubernetes,
            &Scope::Namespace(namespace.clone()),
            &mut |_, _| {},
        )
        .await?;
        super::everything_was_read(&snapshot.findings)?;
        let users = snapshot
            .users
            .into_iter()
            .filter(|user: &User| user.uses && user.namespace == *namespace);
        busy.extend(users.map(|user| (user.namespace, user.account, user.title)));
    }
    for (namespace, _, entry) in entries {
        if let Entry::Switched(switched) = entry {
            let account = switched.after.service_account_name.clone().unwrap_or_default();
            busy.push((
                namespace.clone(),
                account,
                title(&switched.kind, Some(namespace), &switched.name),
            ));
        }
    }
    Ok(busy)
}

enum Deleted {
    Yes,
    Gone,
    Left(&'static str),
}

async fn delete(run: &Run<'_>, created: &Created) -> Result<Deleted, Error> {
    let namespace = created.namespace.as_deref();
    let found = run
        .kubernetes
        .get(&created.group, &created.kind, namespace, &created.name)
        .await?;
    let Some(found) = found else {
        return Ok(Deleted::Gone);
    };
    if !is_ours(&found) {
        return Ok(Deleted::Left("somebody else has made it"));
    }
    if created.kind == "ClusterRole" && is_referred_to(run.kubernetes, &created.name).await? {
        return Ok(Deleted::Left("other ClusterRoleBindings refer to it"));
    }
    remove(run.kubernetes, &created.group, &created.kind, &found).await?;
    if created.group == GROUP && run.args.wait {
        // The operator takes the trust back in Azure before it lets the binding go.
        let mut pause = wait::Pause::new(run.args.timeout);
        while run
            .kubernetes
            .get(GROUP, &created.kind, namespace, &created.name)
            .await?
            .is_some()
        {
            if !pause.wait().await {
                return Err(Error::Other(
                    "it is being deleted, and the operator has not let it go: see its conditions".to_owned(),
                ));
            }
        }
    }
    let role = found.data["roleRef"]["name"]
        .as_str()
        .filter(|_| created.kind == "ClusterRoleBinding");
    if let Some(role) = role {
        // Its ClusterRole may stand in the journal of another namespace, which was first to need it.
        let there = run.kubernetes.get(RBAC, "ClusterRole", None, role).await?;
        if let Some(there) = there.filter(is_ours)
            && !is_referred_to(run.kubernetes, role).await?
        {
            remove(run.kubernetes, RBAC, "ClusterRole", &there).await?;
        }
    }
    Ok(Deleted::Yes)
}

async fn remove(
    kubernetes: &Kubernetes,
    group: &str,
    kind: &str,
    object: &DynamicObject,
) -> Result<(), Error> {
    let same = Preconditions {
        uid: object.metadata.uid.clone(),
        resource_version: None,
    };
    let parameters = DeleteParams {
        preconditions: Some(same),
        ..DeleteParams::default()
    };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let api = kubernetes.api(group, kind, object.metadata.namespace.as_deref())?;
    match api.delete(name, &parameters).await {
        Err(error) if !is_not_found(&error) => Err(Error::call("delete it", error)),
        _ => Ok(()),
    }
}

/// Whether this command has made an object.
fn is_ours(object: &DynamicObject) -> bool {
    let managers = object.metadata.managed_fields.iter().flatten();
    managers
        .into_iter()
        .any(|field| field.manager.as_deref() == Some(FIELD_MANAGER))
}

async fn is_referred_to(kubernetes: &Kubernetes, role: &str) -> Result<bool, Error> {
    let all = kubernetes
        .list(RBAC, "ClusterRoleBinding", None, &ListParams::default())
        .await?;
    Ok(all.iter().any(|binding| binding.data["roleRef"]["name"] == role))
}
