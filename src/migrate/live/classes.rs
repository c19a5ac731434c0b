//! SecretProviderClasses of pod identity. New pods mount one in its new mode only, and old ones in its old mode only: it
//! changes just before the pods of all workloads that mount it, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::Run;
use super::client::{Error, Kubernetes};
use super::journal::{self, Entry, Parameters, SwitchedClass, TRIES};
use super::object::keeper;
use crate::migrate::components::Class;
use crate::migrate::plan::{Action, Item, Plan, Switch};
use crate::migrate::source::Sources;

/// Group of SecretProviderClasses.
pub const GROUP: &str = "secrets-store.csi.x-k8s.io";

/// Their kind.
pub const KIND: &str = "SecretProviderClass";

/// Workloads that switch together, by their numbers, and the classes that they mount.
#[derive(Debug, Default)]
pub struct Unit<'a> {
    pub switches: Vec<usize>,
    pub classes: Vec<&'a Class>,
}

/// The units of some switches, in the order of their first ones.
pub fn units<'a>(switches: &[Switch], classes: &'a [Class]) -> Vec<Unit<'a>> {
    let mut unit_of: Vec<usize> = (0..switches.len()).collect();
    for class in classes {
        let users = switches
            .iter()
            .enumerate()
            .filter(|(_, switch)| switch.classes.contains(&class.at));
        let joined: BTreeSet<usize> = users
            .filter_map(|(number, _)| unit_of.get(number).copied())
            .collect();
        if let Some(first) = joined.first() {
            for unit in unit_of.iter_mut().filter(|unit| joined.contains(unit)) {
                *unit = *first;
            }
        }
    }
    let mut units: BTreeMap<usize, Unit<'_>> = BTreeMap::new();
    for ((number, switch), unit) in switches.iter().enumerate().zip(unit_of) {
        let unit = units.entry(unit).or_default();
        unit.switches.push(number);
        for class in classes.iter().filter(|class| switch.classes.contains(&class.at)) {
            if unit.classes.iter().all(|known| known.at != class.at) {
                unit.classes.push(class);
            }
        }
    }
    units.into_values().collect()
}

/// Adds the changes of classes to the step `switch`.
pub fn plan(sources: &Sources, plan: &mut Plan, classes: &[Class]) {
    let switched = |class: &Class| {
        plan.switches
            .iter()
            .any(|switch| switch.classes.contains(&class.at))
    };
    let items = classes
        .iter()
        .filter(|class| switched(class))
        .filter_map(|class| {
            let client = class.client.as_ref().ok()?;
            Some(Item {
                action: Action::Change,
                object: class.at.to_string(),
                place: Some(sources.place(class.at.mark)),
                environment: None,
                detail: format!("just before its pods: remove usePodIdentity, set clientID: {client}"),
            })
        });
    plan.beside_pods(items.collect());
}

impl Parameters {
    /// Those of a class as it is.
    fn read(class: &Value) -> Self {
        let text = |key: &str| Some(class.pointer("/spec/parameters")?.get(key)?.as_str()?.to_owned());
        Self {
            use_pod_identity: text("usePodIdentity"),
            client_id: text("clientID"),
        }
    }

    /// What they become for pods with a client id.
    fn switched(client: &str) -> Self {
        Self {
            use_pod_identity: None,
            client_id: Some(client.to_owned()),
        }
    }

    fn patch(&self) -> Value {
        json!({ "spec": { "parameters": {
            "usePodIdentity": self.use_pod_identity, "clientID": self.client_id,
        } } })
    }
}

/// A class as its workloads need it after the switch.
pub fn manifest(class: &Class, mut manifest: Value) -> Option<Value> {
    let client = class.client.as_ref().ok()?;
    super::object::merge(&mut manifest, &Parameters::switched(client).patch());
    Some(manifest)
}

/// Why a class cannot change, whatever its workloads can.
pub async fn check(run: &Run<'_>, class: &Class) -> Result<(), Error> {
    if let Err(reason) = &class.client {
        return Err(Error::Other(reason.clone()));
    }
    read(run, class).await.map(drop)
}

async fn read(run: &Run<'_>, class: &Class) -> Result<DynamicObject, Error> {
    let found = get(run.kubernetes, &class.at.namespace, &class.at.name).await?;
    let found = found.ok_or_else(|| Error::Other("it is not in the cluster".to_owned()))?;
    if let Some(keeper) = keeper(&found).filter(|_| !run.args.include_managed) {
        return Err(Error::Other(format!(
            "{keeper} would change it back: change it there (wib migrate reads the files), or say --include-managed"
        )));
    }
    Ok(found)
}

async fn get(kubernetes: &Kubernetes, namespace: &str, name: &str) -> Result<Option<DynamicObject>, Error> {
    kubernetes.get(GROUP, KIND, Some(namespace), name).await
}

/// Changes a class. Says whether there was anything to change.
pub async fn switch(run: &Run<'_>, class: &Class) -> Result<bool, Error> {
    let client = class.client.clone().map_err(Error::Other)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let found = read(run, class).await?;
        let (before, after) = (Parameters::read(&json!(found)), Parameters::switched(&client));
        if before == after {
            return Ok(false);
        }
        let patch = after.patch();
        let entry = Entry::Class(SwitchedClass {
            name: class.at.name.clone(),
            before,
            after,
            users: class.users.iter().map(ToString::to_string).collect(),
        });
        journal::put(run.kubernetes, &class.at.namespace, &entry).await?;
        match run.kubernetes.change(GROUP, &found, patch).await {
            Err(error) if error.is_conflict() && tries < TRIES => {}
            other => return other.map(|()| true),
        }
    }
}

/// Brings a class back. Says whether there was anything to change.
pub async fn restore(kubernetes: &Kubernetes, namespace: &str, class: &SwitchedClass) -> Result<bool, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Some(found) = get(kubernetes, namespace, &class.name).await? else {
            return Ok(false);
        };
        let now = Parameters::read(&json!(found));
        if now == class.before {
            return Ok(false);
        }
        if now != class.after {
            return Err(Error::Other(
                "it was changed after it was switched, and is left as it is: give it the usePodIdentity and the clientID \
                 that the ConfigMap wib-migration notes as before, or as after"
                    .to_owned(),
            ));
        }
        match kubernetes.change(GROUP, &found, class.before.patch()).await {
            Err(error) if error.is_conflict() && tries < TRIES => {}
            other => return other.map(|()| true),
        }
    }
}
