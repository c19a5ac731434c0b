//! Federated identity credentials: `GET`, `PUT`, `DELETE` and the list.

use std::time::Instant;

use super::answers::{Credentials, FederatedCredential, Shown, child_id, next_link, page};
use super::errors::ArmError;
use super::guard::{check_parent, rp_throttle};
use super::paths::IdentityPath;
use super::slot::WriteSlot;
use super::{policy, validate};
use crate::call::Call;
use crate::clock::passed;
use crate::knobs::{DeleteMissing, YoungAnswer};
use crate::model::Credential;
use crate::reply::Reply;
use crate::shared::lock;
use crate::state::{ManagedIdentity, World};

pub(super) fn get(call: &Call, path: &IdentityPath, name: &str) -> Result<Reply, ArmError> {
    let mut world = lock(&call.shared.world);
    check_parent(&world, call, path)?;
    rp_throttle(call, Some(path))?;
    let identity = existing(&mut world, call, path)?;
    let seen = identity.credentials.read(call.now(), call.knobs.read_lag);
    match seen
        .iter()
        .find(|credential| credential.name.eq_ignore_ascii_case(name))
    {
        Some(credential) => Ok(Reply::json(200, &Shown::new(call, identity, path, credential))),
        None => Err(ArmError::credential_not_found(&child_id(
            call, identity, path, name,
        ))),
    }
}

pub(super) fn list(call: &Call, path: &IdentityPath) -> Result<Reply, ArmError> {
    let mut world = lock(&call.shared.world);
    check_parent(&world, call, path)?;
    rp_throttle(call, Some(path))?;
    let identity = existing(&mut world, call, path)?;
    let seen = identity.credentials.read(call.now(), call.knobs.read_lag);
    let (from, to) = page(call, seen.len())?;
    let value = seen[from..to]
        .iter()
        .map(|credential| Shown::new(call, identity, path, credential))
        .collect();
    Ok(Reply::json(
        200,
        &Credentials {
            value,
            next_link: next_link(call, to, seen.len()),
        },
    ))
}

pub(super) async fn put(call: &Call, path: &IdentityPath, name: &str) -> Result<Reply, ArmError> {
    check_parent(&lock(&call.shared.world), call, path)?;
    let body = validate::json_body(call)?;
    rp_throttle(call, Some(path))?;
    let credential = validate::credential(name, &body)?;
    policy::check(call, &credential)?;
    check_identity(call, path)?;

    let slot = take_slot(call, path)?;
    call.take_time().await;
    let mut world = lock(&call.shared.world);
    let identity = same(existing(&mut world, call, path)?, &slot, call, path)?;
    check_quota(call, identity, &credential)?;
    let (stored, created) = identity
        .credentials
        .put(credential, call.now(), call.knobs.read_lag);
    call.update(|entry| entry.committed = Some(Instant::now()));
    let resource = FederatedCredential::new(call, identity, path, &stored);
    let reply = Reply::json(if created { 201 } else { 200 }, &resource);
    let reply = if created {
        reply.with("location", &resource.id)
    } else {
        reply
    };
    drop(world);
    Ok(reply)
}

pub(super) async fn delete(call: &Call, path: &IdentityPath, name: &str) -> Result<Reply, ArmError> {
    check_parent(&lock(&call.shared.world), call, path)?;
    rp_throttle(call, Some(path))?;
    let slot = take_slot(call, path)?;
    call.take_time().await;
    let mut world = lock(&call.shared.world);
    let identity = same(existing(&mut world, call, path)?, &slot, call, path)?;
    if identity.credentials.remove(name, call.now(), call.knobs.read_lag) {
        call.update(|entry| entry.committed = Some(Instant::now()));
        drop(world);
        return Ok(Reply::empty(200));
    }
    let missing = ArmError::credential_not_found(&child_id(call, identity, path, name));
    drop(world);
    match call.knobs.delete_missing {
        DeleteMissing::NoContent => Ok(Reply::empty(204)),
        DeleteMissing::NotFound => Err(missing),
    }
}

/// Age and region of the identity.
fn check_identity(call: &Call, path: &IdentityPath) -> Result<(), ArmError> {
    let mut world = lock(&call.shared.world);
    let identity = existing(&mut world, call, path)?;
    let unsupported = &call.knobs.regions_without_support;
    if unsupported
        .iter()
        .any(|region| region.eq_ignore_ascii_case(&identity.location))
    {
        return Err(ArmError::region_unsupported());
    }
    match call.knobs.young_identity {
        Some(young) if !passed(identity.created, young.until, call.now()) => Err(match young.answer {
            YoungAnswer::ParentResourceNotFound => ArmError::parent_not_found("write", &path.id),
            YoungAnswer::GraphObjectNotFound => ArmError::graph_object_not_found(),
        }),
        _ => Ok(()),
    }
}

/// The later of two overlapping writes is refused.
fn take_slot(call: &Call, path: &IdentityPath) -> Result<WriteSlot, ArmError> {
    let foreign = call.shared.chance("conflict", call.knobs.conflict_rate);
    let slot = if foreign {
        None
    } else {
        WriteSlot::take(&call.shared, path.key())
    };
    slot.ok_or_else(|| {
        let world = lock(&call.shared.world);
        let (group, name) = world
            .identity(&path.key())
            .map_or((&path.group, &path.name), |identity| {
                (&identity.group, &identity.name)
            });
        ArmError::concurrent_writes(&call.shared.subscription_id, group, name)
    })
}

/// Uniqueness of (issuer, subject) and the number of credentials; which comes first is an assumption.
fn check_quota(call: &Call, identity: &ManagedIdentity, wanted: &Credential) -> Result<(), ArmError> {
    let current = identity.credentials.current();
    let others = || {
        current
            .iter()
            .filter(|other| !other.name.eq_ignore_ascii_case(&wanted.name))
    };
    let equal = |a: &str, b: &str| {
        if call.knobs.duplicate_ignores_case {
            a.eq_ignore_ascii_case(b)
        } else {
            a == b
        }
    };
    if others().any(|other| equal(&other.issuer, &wanted.issuer) && equal(&other.subject, &wanted.subject)) {
        return Err(ArmError::duplicate(call.knobs.duplicate_error));
    }
    let is_new = others().count() == current.len();
    if is_new && current.len() >= call.knobs.max_fics {
        return Err(ArmError::limit(&call.knobs.limit_error));
    }
    Ok(())
}

fn existing<'a>(
    world: &'a mut World,
    call: &Call,
    path: &IdentityPath,
) -> Result<&'a mut ManagedIdentity, ArmError> {
    check_parent(world, call, path)?;
    let verb = if call.method == "DELETE" {
        "delete"
    } else {
        "write"
    };
    world
        .identity_mut(&path.key())
        .ok_or_else(|| ArmError::parent_not_found(verb, &path.id))
}

/// A write ends on the identity that it began on.
fn same<'a>(
    identity: &'a mut ManagedIdentity,
    slot: &WriteSlot,
    call: &Call,
    path: &IdentityPath,
) -> Result<&'a mut ManagedIdentity, ArmError> {
    if identity.principal_id == slot.principal_id() {
        return Ok(identity);
    }
    let verb = if call.method == "DELETE" {
        "delete"
    } else {
        "write"
    };
    Err(ArmError::parent_not_found(verb, &path.id))
}
