//! The third step: bindings and identities of pod identity that the switched workloads used, and nothing else does.

use std::collections::BTreeSet;

use kube::api::{DeleteParams, DynamicObject, Preconditions};
use serde_json::json;

use super::Run;
use super::client::{Error, Kubernetes, is_not_found, title};
use super::journal::{self, Entry, Removed, State, Switched};
use super::object::recreatable;
use super::read::{Scope, Snapshot, User, read};
use super::verdict::{Fate, Verdict, field, hold, kind, name, name_of, verdicts};
use super::wait::{Rollout, rollout};
use crate::migrate::finding::Code;
use crate::migrate::model::POD_IDENTITY;

/// Carries it out.
pub async fn clean(run: &mut Run<'_>) -> Result<(), Error> {
    let journals = journal::load(run.kubernetes, run.scope).await?;
    let snapshot = everything(run).await?;
    let mut users = snapshot.users.clone();
    for (namespace, entries) in &journals {
        for entry in entries.values() {
            if let Entry::Switched(switched) = entry
                && let Err(why) = runs(run.kubernetes, namespace, switched).await?
            {
                let title = title(&switched.kind, Some(namespace), &switched.name);
                run.say.failed(&title, &why);
                // Whatever it was switched from may be what it needs.
                users.push(User {
                    title,
                    namespace: namespace.clone(),
                    label: switched.before.aadpodidbinding.clone(),
                    uses: false,
                    account: String::new(),
                });
            }
        }
    }
    let hold = |object: &DynamicObject| hold(object, run.scope, run.args.include_managed);
    let verdicts = verdicts(&journals, &snapshot.pod_identity, &users, &hold);
    run.say.begin("clean", verdicts.len());
    let mut staying = BTreeSet::new();
    for Verdict { object, fate } in &verdicts {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let title = name_of(object);
        match fate {
            Fate::Keep(why) => run.say.left("kept", title, why),
            Fate::Refuse(why) => run.say.failed(title, why),
            Fate::Remove if staying.contains(&name(object)) => {
                run.say.left("kept", title, "as long as there are bindings to it");
            }
            Fate::Remove => match remove(run.kubernetes, namespace, object).await {
                Ok(()) => run.say.done("removed", title),
                Err(error) => {
                    staying.insert(format!("{namespace}/{}", field(object, "azureIdentity")));
                    run.say.failed(title, error);
                }
            },
        }
        run.say.step();
    }
    Ok(())
}

/// Everything that may use pod identity, in all namespaces, unless these cannot reach each other.
async fn everything(run: &mut Run<'_>) -> Result<Snapshot, Error> {
    let scope = if run.namespaced {
        run.scope.clone()
    } else {
        Scope::All
    };
    run.say.begin("reading", 0);
    let snapshot = read(run.kubernetes, &scope, &mut |_, _| {}).await?;
    let unseen: Vec<&str> = snapshot
        .findings
        .iter()
        .filter(|f| f.code == Code::ClusterForbidden || f.code == Code::OtherNamespaces && !run.namespaced)
        .map(|f| f.reason.as_str())
        .collect();
    if unseen.is_empty() {
        return Ok(snapshot);
    }
    Err(Error::Other(format!(
        "nothing was removed: it cannot be seen whether something else uses it. {} Let somebody run this step who may see all \
         namespaces, or say --namespaced if identities serve pods of their own namespace only",
        unseen.join(" ")
    )))
}

/// Whether a workload that was switched runs so, or why not.
async fn runs(
    kubernetes: &Kubernetes,
    namespace: &str,
    switched: &Switched,
) -> Result<Result<(), String>, Error> {
    let found = kubernetes
        .get(&switched.group, &switched.kind, Some(namespace), &switched.name)
        .await?;
    let Some(found) = found else { return Ok(Ok(())) };
    let now: State = switched.template()?.read(&json!(found)).into();
    if now != switched.after {
        let why = "it is no longer as it was switched: run the step switch again, or --rollback";
        return Ok(Err(why.to_owned()));
    }
    Ok(match rollout(&switched.group, &switched.kind, &found) {
        Rollout::Waiting(why) => Err(format!("its pods have not been replaced yet: {why}")),
        Rollout::Done | Rollout::ByHand(_) | Rollout::Unknown => Ok(()),
    })
}

/// Removes an object as it was read, once the journal holds it.
async fn remove(kubernetes: &Kubernetes, namespace: &str, object: &DynamicObject) -> Result<(), Error> {
    let entry = Entry::Removed(Removed {
        object: recreatable(object),
    });
    journal::put(kubernetes, namespace, &entry).await?;
    let same = Preconditions {
        uid: object.metadata.uid.clone(),
        resource_version: object.metadata.resource_version.clone(),
    };
    let parameters = DeleteParams {
        preconditions: Some(same),
        ..DeleteParams::default()
    };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match kubernetes
        .api(POD_IDENTITY, kind(object), Some(namespace))?
        .delete(name, &parameters)
        .await
    {
        Err(error) if !is_not_found(&error) => Err(Error::call("delete it", error)),
        _ => Ok(()),
    }
}
