//! The third step: bindings and identities of pod identity that the switched workloads used, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DeleteParams, DynamicObject, Preconditions};
use serde_json::{Value, json};

use super::Run;
use super::client::{Error, Kubernetes, is_not_found, title};
use super::journal::{self, Entries, Entry, Removed, State, Switched};
use super::object::{keeper, recreatable};
use super::read::{Scope, Snapshot, User, read};
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
    let verdicts = verdicts(&journals, &snapshot.pod_identity, &users);
    run.say.begin("clean", verdicts.len());
    for verdict in &verdicts {
        let object = verdict.object;
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(why) = &verdict.keep {
            run.say.left("kept", verdict.title(), why);
        } else if !run.scope.holds(namespace) {
            run.say.left(
                "kept",
                verdict.title(),
                "it is in another namespace: run the step there, or with -A",
            );
        } else if let Some(keeper) = keeper(object).filter(|_| !run.args.include_managed) {
            let why = format!("{keeper} would make it anew: remove it there, or say --include-managed");
            run.say.failed(verdict.title(), why);
        } else {
            match remove(run.kubernetes, namespace, object).await {
                Ok(()) => run.say.done("removed", verdict.title()),
                Err(error) => run.say.failed(verdict.title(), error),
            }
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

/// What becomes of an object.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub object: &'a DynamicObject,
    /// Why it has to stay.
    pub keep: Option<String>,
}

impl Verdict<'_> {
    pub fn title(&self) -> String {
        let metadata = &self.object.metadata;
        title(
            kind(self.object),
            metadata.namespace.as_deref(),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// What becomes of the bindings and identities that the switched workloads used: bindings first. Pure.
pub fn verdicts<'a>(
    journals: &Entries,
    pod_identity: &'a [DynamicObject],
    users: &[User],
) -> Vec<Verdict<'a>> {
    let switched: Vec<(&String, &Switched)> = journals
        .iter()
        .flat_map(|(namespace, entries)| entries.values().map(move |entry| (namespace, entry)))
        .filter_map(|(namespace, entry)| match entry {
            Entry::Switched(switched) => Some((namespace, &**switched)),
            _ => None,
        })
        .collect();
    // Pods that kept the label for the sake of a selector carry both.
    let kept: BTreeSet<(&str, &str)> = switched
        .iter()
        .filter_map(|(namespace, s)| Some((namespace.as_str(), s.after.aadpodidbinding.as_deref()?)))
        .collect();
    let mut by_label: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for user in users {
        let Some(label) = user.label.as_deref() else {
            continue;
        };
        if !(user.uses && kept.contains(&(user.namespace.as_str(), label))) {
            by_label.entry(label).or_default().insert(&user.title);
        }
    }
    let named = |list: fn(&Switched) -> &Vec<String>| -> BTreeSet<&str> {
        switched
            .iter()
            .flat_map(|(_, s)| list(s))
            .map(String::as_str)
            .collect()
    };
    let (bindings, identities) = (named(|s| &s.bindings), named(|s| &s.identities));
    let mut verdicts = Vec::new();
    let mut staying: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in pod_identity.iter().filter(|o| kind(o) == "AzureIdentityBinding") {
        let selector = field(object, "selector");
        let users = by_label.get(selector).filter(|_| !selector.is_empty());
        let wanted = bindings.contains(name(object).as_str());
        if wanted {
            let keep = users.map(|users| format!("until they are migrated: {}", some(users.iter().copied())));
            verdicts.push(Verdict { object, keep });
        }
        if !wanted || users.is_some() {
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            let identity = format!("{namespace}/{}", field(object, "azureIdentity"));
            staying.entry(identity).or_default().insert(name(object));
        }
    }
    for object in pod_identity.iter().filter(|o| kind(o) == "AzureIdentity") {
        if identities.contains(name(object).as_str()) {
            let keep = staying.get(&name(object)).map(|bindings| {
                format!(
                    "as long as there are bindings to it: {}",
                    some(bindings.iter().map(String::as_str))
                )
            });
            verdicts.push(Verdict { object, keep });
        }
    }
    verdicts
}

/// Namespace and name.
fn name(object: &DynamicObject) -> String {
    let metadata = &object.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
}

/// A text of the spec, in any case, as pod identity up to 1.5 read it.
fn field<'a>(object: &'a DynamicObject, key: &str) -> &'a str {
    let spec = object.data["spec"].as_object();
    let exact = spec.and_then(|spec| spec.get(key));
    let any = || {
        spec?
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    };
    exact.or_else(any).and_then(Value::as_str).unwrap_or_default()
}

/// The first of some names, and how many more.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let first = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(3) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, spec: Value) -> DynamicObject {
        let value = json!({
            "apiVersion": "aadpodidentity.k8s.io/v1", "kind": kind,
            "metadata": { "namespace": "shop", "name": name }, "spec": spec,
        });
        serde_json::from_value(value).unwrap()
    }

    fn binding(name: &str, identity: &str, selector: &str) -> DynamicObject {
        object(
            "AzureIdentityBinding",
            name,
            json!({ "AzureIdentity": identity, "selector": selector }),
        )
    }

    fn journals(after: Option<&str>) -> Entries {
        let label = |label: &str| State {
            aadpodidbinding: Some(label.to_owned()),
            ..State::default()
        };
        let switched = Entry::Switched(Box::new(Switched {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
            before: label("web"),
            after: after.map(label).unwrap_or_default(),
            bindings: vec!["shop/web".to_owned()],
            identities: vec!["shop/id".to_owned()],
        }));
        Entries::from([("shop".to_owned(), BTreeMap::from([(switched.key(), switched)]))])
    }

    fn user(title: &str, label: &str, uses: bool) -> User {
        User {
            title: title.to_owned(),
            namespace: "shop".to_owned(),
            label: Some(label.to_owned()),
            uses,
            account: "web".to_owned(),
        }
    }

    fn decided(after: Option<&str>, more: &[DynamicObject], users: &[User]) -> Vec<(String, bool)> {
        let mut all = vec![
            binding("web", "id", "web"),
            object("AzureIdentity", "id", json!({})),
        ];
        all.extend(more.iter().cloned());
        let verdicts = verdicts(&journals(after), &all, users);
        verdicts.iter().map(|v| (v.title(), v.keep.is_none())).collect()
    }

    fn both(binding: bool, identity: bool) -> Vec<(String, bool)> {
        vec![
            ("AzureIdentityBinding shop/web".to_owned(), binding),
            ("AzureIdentity shop/id".to_owned(), identity),
        ]
    }

    #[test]
    fn what_nothing_uses_goes_and_what_nobody_switched_stays_out() {
        let other = [
            binding("other", "other", "other"),
            object("AzureIdentity", "other", json!({})),
        ];
        assert_eq!(decided(None, &other, &[]), both(true, true));
    }

    #[test]
    fn what_something_uses_stays() {
        let old = user("Pod shop/web-1", "web", false);
        assert_eq!(decided(None, &[], std::slice::from_ref(&old)), both(false, false));
        let other = binding("second", "id", "second");
        assert_eq!(
            decided(None, std::slice::from_ref(&other), &[]),
            both(true, false)
        );
    }

    #[test]
    fn pods_that_kept_the_label_for_a_selector_are_no_users_once_they_are_switched() {
        assert_eq!(
            decided(Some("web"), &[], &[user("Pod shop/web-1", "web", true)]),
            both(true, true)
        );
        assert_eq!(
            decided(Some("web"), &[], &[user("Pod shop/web-1", "web", false)]),
            both(false, false)
        );
        // Nobody says of these that they were switched.
        assert_eq!(
            decided(None, &[], &[user("Pod shop/web-1", "web", true)]),
            both(false, false)
        );
    }
}
