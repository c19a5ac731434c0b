//! Resource groups, as far as clients of identities need them.

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::errors::ArmError;
use super::{identities, validate};
use crate::call::Call;
use crate::reply::Reply;
use crate::shared::lock;
use crate::state::Group;

/// The answer's member order (observed).
#[derive(Serialize)]
struct Resource {
    id: String,
    name: String,
    r#type: &'static str,
    location: String,
    tags: Map<String, Value>,
    properties: Value,
}

impl Resource {
    fn new(call: &Call, group: &Group) -> Self {
        Self {
            id: format!(
                "/subscriptions/{}/resourceGroups/{}",
                call.shared.subscription_id, group.name
            ),
            name: group.name.clone(),
            r#type: "Microsoft.Resources/resourceGroups",
            location: group.location.clone(),
            tags: group.tags.clone(),
            properties: serde_json::json!({ "provisioningState": "Succeeded" }),
        }
    }
}

/// `GET`, `HEAD`, `PUT` and `DELETE`.
pub(super) fn handle(call: &Call, name: &str) -> Result<Reply, ArmError> {
    let body = if call.method == "PUT" {
        validate::json_body(call)?
    } else {
        Map::new()
    };
    let mut world = lock(&call.shared.world);
    let missing = || ArmError::group_not_found(name);
    match call.method.as_str() {
        "GET" => Ok(Reply::json(
            200,
            &Resource::new(call, world.group(name).ok_or_else(missing)?),
        )),
        "HEAD" => Ok(Reply::empty(if world.group(name).is_some() { 204 } else { 404 })),
        "PUT" => {
            let Some(location) = body.get("location").and_then(Value::as_str) else {
                return Err(ArmError::location_required());
            };
            let created = world.put_group(name, location, identities::tags(&body).unwrap_or_default());
            let group = world.group(name).ok_or_else(missing)?;
            Ok(Reply::json(
                if created { 201 } else { 200 },
                &Resource::new(call, group),
            ))
        }
        "DELETE" if world.delete_group(name) => {
            let (url, subscription) = (&call.shared.url, &call.shared.subscription_id);
            let operation = Uuid::new_v4();
            let result = format!(
                "{url}/subscriptions/{subscription}/operationresults/{operation}?api-version=2020-06-01"
            );
            Ok(Reply::empty(202)
                .with("location", &result)
                .with("retry-after", "15"))
        }
        "DELETE" => Err(missing()),
        method => Err(ArmError::method_not_allowed(method)),
    }
}
