//! The way back of the second step: classes, and pods with them.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::classes::KIND;
use super::client::{Error, Kubernetes, title};
use super::journal::{self, Entry, State, Switched, SwitchedClass, TRIES};
use super::switch::workload;
use super::{Run, wait};
use crate::migrate::model::POD_IDENTITY;

/// Gives classes their old mode back, and pods their old label and ServiceAccount. Pods that mount a class go back
/// together with it, or stay.
pub async fn pods(run: &mut Run<'_>, entries: Vec<(String, String, Entry)>) -> Result<(), Error> {
    let mut waiting = Vec::new();
    run.say.begin("restore", entries.len());
    let staying = classes(run, &entries).await?;
    for (namespace, key, entry) in entries {
        let Entry::Switched(switched) = entry else {
            continue;
        };
        let title = title(&switched.kind, Some(&namespace), &switched.name);
        let restored = match staying.get(&title) {
            Some(why) => Err(Error::Other(why.clone())),
            None => one(run.kubernetes, &namespace, &switched).await,
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
async fn classes(run: &mut Run<'_>, entries: &[(String, String, Entry)]) -> Result<Staying, Error> {
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
        match super::classes::restore(run.kubernetes, namespace, class).await {
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

async fn one(kubernetes: &Kubernetes, namespace: &str, switched: &Switched) -> Result<bool, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Some((found, patch)) = way_back(kubernetes, namespace, switched).await? else {
            return Ok(false);
        };
        match kubernetes.change(&switched.group, &found, patch).await {
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
