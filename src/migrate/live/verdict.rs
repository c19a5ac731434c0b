//! What becomes of the bindings and identities that switched workloads used. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::DynamicObject;
use serde_json::Value;

use super::client::title;
use super::journal::{Entries, Entry, Switched};
use super::object::keeper;
use super::read::{Scope, User};

/// Why an object is not for this run to remove, whoever uses it.
pub fn hold(object: &DynamicObject, scope: &Scope, include_managed: bool) -> Option<Fate> {
    if !scope.holds(object.metadata.namespace.as_deref().unwrap_or_default()) {
        let why = "it is in another namespace: run the step there, or with -A";
        return Some(Fate::Keep(why.to_owned()));
    }
    let keeper = keeper(object).filter(|_| !include_managed)?;
    Some(Fate::Refuse(format!(
        "{keeper} would make it anew: remove it there, or say --include-managed"
    )))
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Remove,
    /// It has to stay.
    Keep(String),
    /// It should go, but not by this command.
    Refuse(String),
}

/// An object, and what becomes of it.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub object: &'a DynamicObject,
    pub fate: Fate,
}

/// What an object is called.
pub fn name_of(object: &DynamicObject) -> String {
    let metadata = &object.metadata;
    title(
        kind(object),
        metadata.namespace.as_deref(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

pub fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// What becomes of the bindings and identities that the switched workloads used: bindings first. Pure.
pub fn verdicts<'a>(
    journals: &Entries,
    pod_identity: &'a [DynamicObject],
    users: &[User],
    hold: &dyn Fn(&DynamicObject) -> Option<Fate>,
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
        let used = users.map(|users| {
            Fate::Keep(format!(
                "until they are migrated: {}",
                some(users.iter().copied())
            ))
        });
        let fate = used.or_else(|| hold(object)).unwrap_or(Fate::Remove);
        if !wanted || fate != Fate::Remove {
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            let identity = format!("{namespace}/{}", field(object, "azureIdentity"));
            staying.entry(identity).or_default().insert(name(object));
        }
        if wanted {
            verdicts.push(Verdict { object, fate });
        }
    }
    for object in pod_identity.iter().filter(|o| kind(o) == "AzureIdentity") {
        if identities.contains(name(object).as_str()) {
            let used = staying.get(&name(object)).map(|bindings| {
                let bindings = some(bindings.iter().map(String::as_str));
                Fate::Keep(format!("as long as there are bindings to it: {bindings}"))
            });
            let fate = used.or_else(|| hold(object)).unwrap_or(Fate::Remove);
            verdicts.push(Verdict { object, fate });
        }
    }
    verdicts
}

/// Namespace and name.
pub fn name(object: &DynamicObject) -> String {
    let metadata = &object.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
}

/// A text of the spec, in any case, as pod identity up to 1.5 read it.
pub fn field<'a>(object: &'a DynamicObject, key: &str) -> &'a str {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::journal::State;
    use super::*;

    fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
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
            &json!({ "AzureIdentity": identity, "selector": selector }),
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
            object("AzureIdentity", "id", &json!({})),
        ];
        all.extend(more.iter().cloned());
        let verdicts = verdicts(&journals(after), &all, users, &|_| None);
        verdicts
            .iter()
            .map(|v| (name_of(v.object), v.fate == Fate::Remove))
            .collect()
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
            object("AzureIdentity", "other", &json!({})),
        ];
        assert_eq!(decided(None, &other, &[]), both(true, true));
    }

    #[test]
    fn an_identity_stays_with_a_binding_that_is_not_to_be_removed() {
        let all = [
            binding("web", "id", "web"),
            object("AzureIdentity", "id", &json!({})),
        ];
        let hold = |object: &DynamicObject| {
            (kind(object) == "AzureIdentityBinding").then(|| Fate::Refuse("Helm".to_owned()))
        };
        let journals = journals(None);
        let verdicts = verdicts(&journals, &all, &[], &hold);
        let fates: Vec<&Fate> = verdicts.iter().map(|v| &v.fate).collect();
        assert!(matches!(fates[..], [Fate::Refuse(_), Fate::Keep(_)]), "{fates:?}");
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
