//! User-assigned identities.

use serde::Serialize;
use serde_json::{Map, Value};

use super::answers::cased_id;
use super::errors::ArmError;
use super::guard::rp_throttle;
use super::paths::IdentityPath;
use super::{validate, versions};
use crate::call::Call;
use crate::knobs::IdCase;
use crate::reply::Reply;
use crate::shared::lock;
use crate::state::{ManagedIdentity, World};

/// The answer's member order of recent versions (observed).
#[derive(Serialize)]
struct Resource {
    location: String,
    tags: Map<String, Value>,
    id: String,
    name: String,
    r#type: &'static str,
    properties: Properties,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    tenant_id: String,
    principal_id: String,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation_scope: Option<String>,
}

impl Resource {
    fn new(call: &Call, identity: &ManagedIdentity, path: Option<&IdentityPath>) -> Self {
        let id = path.map_or_else(
            || identity.resource_id(&call.shared.subscription_id),
            |path| cased_id(call, identity, path),
        );
        let name = match (call.knobs.id_case, path) {
            (IdCase::AsRequested, Some(path)) => path.name.clone(),
            (IdCase::Lower, _) => identity.name.to_ascii_lowercase(),
            _ => identity.name.clone(),
        };
        let isolation = versions::has_isolation_scope(call.query("api-version"));
        Self {
            location: identity.location.clone(),
            tags: identity.tags.clone(),
            id,
            name,
            r#type: "Microsoft.ManagedIdentity/userAssignedIdentities",
            properties: Properties {
                tenant_id: call.shared.tenant_id.clone(),
                principal_id: identity.principal_id.clone(),
                client_id: identity.client_id.clone(),
                isolation_scope: identity.isolation_scope.clone().filter(|_| isolation),
            },
        }
    }
}

pub(super) fn get(call: &Call, path: &IdentityPath) -> Result<Reply, ArmError> {
    let mut world = lock(&call.shared.world);
    let identity = existing(&mut world, path)?;
    rp_throttle(call, Some(path))?;
    Ok(Reply::json(200, &Resource::new(call, identity, Some(path))))
}

pub(super) fn list(call: &Call, group: Option<&str>) -> Result<Reply, ArmError> {
    let world = lock(&call.shared.world);
    if let Some(group) = group.filter(|group| world.group(group).is_none()) {
        return Err(ArmError::group_not_found(group));
    }
    rp_throttle(call, None)?;
    let value: Vec<Resource> = world
        .identities(group)
        .into_iter()
        .map(|identity| Resource::new(call, identity, None))
        .collect();
    Ok(Reply::json(200, &serde_json::json!({ "value": value })))
}

pub(super) fn put(call: &Call, path: &IdentityPath) -> Result<Reply, ArmError> {
    let body = validate::json_body(call)?;
    let location = body.get("location").and_then(Value::as_str);
    let mut world = lock(&call.shared.world);
    if world.group(&path.group).is_none() {
        return Err(ArmError::group_not_found(&path.group));
    }
    rp_throttle(call, Some(path))?;
    let created = world.identity(&path.key()).is_none();
    let identity = match (
        world.identity(&path.key()).map(|old| old.location.clone()),
        location,
    ) {
        (Some(old), Some(new)) if !old.eq_ignore_ascii_case(new) => {
            return Err(ArmError::invalid_location(&path.name, &old, &path.group, new));
        }
        (Some(_), _) => existing(&mut world, path)?,
        (None, Some(location)) => world.create_identity(&path.group, &path.name, location, call.now()),
        (None, None) => return Err(ArmError::location_required()),
    };
    identity.tags = tags(&body).unwrap_or_default();
    let isolation = body
        .get("properties")
        .and_then(|properties| properties.get("isolationScope"));
    if let Some(scope) = isolation.and_then(Value::as_str) {
        identity.isolation_scope = Some(scope.to_owned());
    }
    let resource = Resource::new(call, identity, Some(path));
    let reply = Reply::json(if created { 201 } else { 200 }, &resource);
    Ok(if created {
        reply.with("location", &resource.id)
    } else {
        reply
    })
}

pub(super) fn patch(call: &Call, path: &IdentityPath) -> Result<Reply, ArmError> {
    let body = validate::json_body(call)?;
    let mut world = lock(&call.shared.world);
    let identity = existing(&mut world, path)?;
    rp_throttle(call, Some(path))?;
    if let Some(tags) = tags(&body) {
        identity.tags = tags;
    }
    Ok(Reply::json(200, &Resource::new(call, identity, Some(path))))
}

/// 200 when deleted, 204 when absent, 404 without the resource group (all observed or documented).
pub(super) fn delete(call: &Call, path: &IdentityPath) -> Result<Reply, ArmError> {
    let mut world = lock(&call.shared.world);
    if world.group(&path.group).is_none() {
        return Err(ArmError::group_not_found(&path.group));
    }
    rp_throttle(call, Some(path))?;
    Ok(Reply::empty(if world.delete_identity(&path.key()) {
        200
    } else {
        204
    }))
}

/// Voids the identity's access tokens; 200 without a body (observed).
pub(super) fn revoke(call: &Call, path: &IdentityPath) -> Result<Reply, ArmError> {
    let mut world = lock(&call.shared.world);
    let identity = existing(&mut world, path)?;
    rp_throttle(call, Some(path))?;
    identity.revocations += 1;
    Ok(Reply::empty(200))
}

fn existing<'a>(world: &'a mut World, path: &IdentityPath) -> Result<&'a mut ManagedIdentity, ArmError> {
    if world.group(&path.group).is_none() {
        return Err(ArmError::group_not_found(&path.group));
    }
    world
        .identity_mut(&path.key())
        .ok_or_else(|| ArmError::identity_not_found(&path.name, &path.group))
}

pub(super) fn tags(body: &Map<String, Value>) -> Option<Map<String, Value>> {
    body.get("tags").and_then(Value::as_object).cloned()
}
