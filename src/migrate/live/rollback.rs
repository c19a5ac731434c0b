//! The way back: what the journal holds, in the reverse order.

use std::collections::BTreeSet;

use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::client::{Error, Kubernetes, is_not_found, title};
use super::journal::{self, Created, Entry, Removed};
use super::kinds::RBAC;
use super::object::contains;
use super::read::{Scope, User, read};
use super::{FIELD_MANAGER, Run, restore, wait};
use crate::api::GROUP;
use crate::cli::MigrateStep;
use crate::migrate::model::POD_IDENTITY;

/// Undoes a step and those after it.
pub async fn rollback(run: &mut Run<'_>, from: MigrateStep) -> Result<(), Error> {
    restore_removed(run).await?;
    if from <= MigrateStep::Switch {
        let entries = entries(run).await?;
        restore::pods(run, entries).await?;
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
