//! Good and bad specs, made of the definition that the project ships.

use anyhow::{Context as _, Result};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{ACCOUNTS, IDENTITIES};
use crate::platform;
use crate::world::RESOURCE_GROUP;

/// The schema of `spec`.
pub struct Schema {
    spec: Value,
    subscription: String,
}

impl Schema {
    /// Reads the definition.
    pub fn read(subscription: &str) -> Result<Self> {
        let path = platform::root().join("crds/workload-identity.io_workloadidentitybindings.yaml");
        let crd: Value = serde_yaml::from_str(&std::fs::read_to_string(path)?)?;
        let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
        Ok(Self {
            spec: spec.context("the definition has no spec")?.clone(),
            subscription: subscription.to_owned(),
        })
    }

    /// A good spec.
    pub fn good(&self, rng: &mut Rng) -> Value {
        let mut spec = self.value(&self.spec, "", rng);
        // The rules between fields: one form of the identity; a lifetime is an annotation.
        let identity = json!({ "resourceId": spec["identity"]["resourceId"] });
        let by_name = json!({
            "name": spec["identity"]["name"],
            "resourceGroup": spec["identity"]["resourceGroup"],
            "subscriptionId": spec["identity"]["subscriptionId"],
        });
        let by_name = by_name
            .as_object()
            .is_some_and(|o| o.values().all(Value::is_string))
            .then_some(by_name);
        spec["identity"] = match by_name {
            Some(by_name) if identity["resourceId"].is_null() || rng.bool() => by_name,
            _ => json!({ "resourceId": self.string("resourceId", rng) }),
        };
        if spec["serviceAccount"]["annotate"] == false
            && let Some(account) = spec["serviceAccount"].as_object_mut()
        {
            account.remove("tokenExpirationSeconds");
        }
        spec
    }

    /// Every way in which the schema lets one field of a good spec be wrong, each with what is wrong.
    pub fn bad(&self, good: &Value) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        wrong(&self.spec, good, &mut Vec::new(), &mut |path, value| {
            let mut spec = good.clone();
            let pointer: String = path.iter().flat_map(|p| ["/", p]).collect();
            let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
            if let Some(Value::Object(parent)) = spec.pointer_mut(parent) {
                match &value {
                    Some(value) => parent.insert(key.to_owned(), value.clone()),
                    None => parent.remove(key),
                };
                found.push((format!("{pointer} = {value:?}"), spec));
            }
        });
        for (what, identity) in [
            ("no identity", json!({})),
            (
                "both forms",
                json!({ "resourceId": self.string("resourceId", &mut Rng::with_seed(1)), "name": "one" }),
            ),
        ] {
            let mut spec = good.clone();
            spec["identity"] = identity;
            found.push((what.to_owned(), spec));
        }
        found
    }

    fn value(&self, schema: &Value, name: &str, rng: &mut Rng) -> Value {
        if let Some(Value::Array(values)) = schema.get("enum") {
            return rng.choice(values).cloned().unwrap_or_default();
        }
        match schema["type"].as_str() {
            Some("object") => {
                let required = |key: &str| {
                    schema["required"]
                        .as_array()
                        .is_some_and(|r| r.contains(&json!(key)))
                };
                let mut object = Map::new();
                for (key, property) in schema["properties"].as_object().into_iter().flatten() {
                    if required(key) || rng.bool() {
                        object.insert(key.clone(), self.value(property, key, rng));
                    }
                }
                Value::Object(object)
            }
            // A field that stops everything is rarer than its opposite.
            Some("boolean") => json!(if name == "suspend" {
                rng.u8(..8) == 0
            } else {
                rng.bool()
            }),
            Some("integer") => {
                let (low, high) = (bound(schema, "minimum"), bound(schema, "maximum"));
                let between = rng.i64(low..=high);
                json!(rng.choice([low, high, between]))
            }
            _ => json!(self.string(name, rng)),
        }
    }

    /// A string for a field whose meaning the schema cannot say.
    fn string(&self, field: &str, rng: &mut Rng) -> String {
        let identity = rng.choice(IDENTITIES).unwrap_or_default();
        let text = match field {
            "resourceId" => format!(
                "/subscriptions/{}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{identity}",
                self.subscription
            ),
            "subscriptionId" => self.subscription.clone(),
            "resourceGroup" => RESOURCE_GROUP.to_owned(),
            // Of an identity; a ServiceAccount is put in afterwards.
            _ => identity.to_owned(),
        };
        if rng.u8(..4) == 0 {
            text.to_uppercase()
        } else {
            text
        }
    }

    /// A good spec for one of the ServiceAccounts.
    pub fn any(&self, rng: &mut Rng) -> Value {
        let mut spec = self.good(rng);
        spec["serviceAccount"]["name"] = json!(rng.choice(ACCOUNTS));
        spec
    }
}

#[allow(clippy::cast_possible_truncation, reason = "bounds are whole numbers")]
fn bound(schema: &Value, which: &str) -> i64 {
    schema[which].as_f64().unwrap_or_default() as i64
}

/// Walks the schema along a good value, and hands out wrong values; `None` takes the field away.
fn wrong(
    schema: &Value,
    good: &Value,
    path: &mut Vec<String>,
    hand: &mut impl FnMut(&[String], Option<Value>),
) {
    let kind = schema["type"].as_str().unwrap_or_default();
    if !path.is_empty() {
        let other = if kind == "string" { json!(7) } else { json!("x") };
        hand(path, Some(other));
        if schema.get("enum").is_some() {
            hand(path, Some(json!("Other")));
        }
        for (which, beyond) in [("minimum", -1), ("maximum", 1)] {
            if schema.get(which).is_some() {
                hand(path, Some(json!(bound(schema, which) + beyond)));
            }
        }
        if let Some(longest) = schema["maxLength"].as_u64().and_then(|n| usize::try_from(n).ok()) {
            hand(path, Some(json!("a".repeat(longest + 1))));
            hand(path, Some(json!("")));
            hand(path, Some(json!("../x y")));
        }
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(key.clone());
        if let Some(value) = good.get(key) {
            if schema["required"]
                .as_array()
                .is_some_and(|r| r.contains(&json!(key)))
            {
                hand(path, None);
            }
            wrong(property, value, path, hand);
        }
        path.pop();
    }
}
