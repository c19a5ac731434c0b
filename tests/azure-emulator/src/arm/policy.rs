//! Locks and Azure Policy.

use super::errors::ArmError;
use crate::call::Call;
use crate::knobs::{LockLevel, Policy};
use crate::model::Credential;
use crate::rbac::scope_contains;

/// Refuses writes and deletes below a lock.
pub(super) fn check_locks(call: &Call) -> Result<(), ArmError> {
    let verb = match call.method.as_str() {
        "GET" | "HEAD" => return Ok(()),
        "DELETE" => "delete",
        _ => "write",
    };
    let path = call.path.to_ascii_lowercase();
    let stops = |level| verb == "delete" || level == LockLevel::ReadOnly;
    let locked = call.knobs.locks.iter().find(|lock| {
        stops(lock.level)
            && scope_contains(
                lock.scope.trim_end_matches('/').to_ascii_lowercase().as_str(),
                &path,
            )
    });
    match locked {
        Some(lock) => Err(ArmError::scope_locked(&call.path, verb, &lock.scope)),
        None => Ok(()),
    }
}

/// Refuses a credential that the policy does not allow.
pub(super) fn check(call: &Call, credential: &Credential) -> Result<(), ArmError> {
    let allowed = match &call.knobs.policy {
        None => true,
        Some(Policy::DenyAll) => false,
        Some(Policy::AllowedIssuers(issuers)) => issuers.contains(&credential.issuer),
    };
    if allowed {
        return Ok(());
    }
    Err(ArmError::disallowed_by_policy(
        &credential.name,
        &call.shared.subscription_id,
    ))
}
