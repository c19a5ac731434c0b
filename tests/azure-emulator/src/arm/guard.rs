//! What the gateway checks before a resource provider sees a request. The order is an assumption.

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::errors::{ArmError, Wait};
use super::paths::{IdentityPath, Target};
use super::{policy, versions};
use crate::call::Call;
use crate::entra::{TokenFault, verify_access_token};
use crate::limits::Rate;
use crate::operation::Operation;
use crate::rbac::Caller;
use crate::shared::{Shared, lock};
use crate::state::World;
use crate::throttle::Kind;

/// Reads the caller from the bearer token: signed by the emulator's Entra, for ARM, in time, not revoked.
pub(crate) fn bearer(shared: &Shared, headers: &HeaderMap) -> Result<Caller, ArmError> {
    let refuse = |code: &str, message: &str| {
        Err(ArmError::unauthenticated(
            code,
            message,
            &shared.url,
            &shared.tenant_id,
        ))
    };
    let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        let text = "Authentication failed. The 'Authorization' header is missing.";
        return refuse("AuthenticationFailed", text);
    };
    let Some(token) = value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
    else {
        let text = "Authentication failed. The 'Authorization' header is provided in an invalid format.";
        return refuse("AuthenticationFailedInvalidHeader", text);
    };
    match verify_access_token(shared, token.1.trim()) {
        Ok(caller) => Ok(caller),
        Err(TokenFault::Invalid) => refuse("InvalidAuthenticationToken", "The access token is invalid."),
        Err(TokenFault::Expired(at)) => {
            let text = format!(
                "The access token expiry UTC time '{at}' is earlier than current UTC time '{}'.",
                shared.now()
            );
            refuse("ExpiredAuthenticationToken", &text)
        }
        Err(TokenFault::Audience(audience)) => {
            let text = format!(
                "The access token has been obtained for wrong audience or resource '{audience}'. It should \
                 exactly match with one of the allowed audiences '{0}','{0}/'.",
                shared.url
            );
            refuse("InvalidAuthenticationTokenAudience", &text)
        }
        Err(TokenFault::Revoked) => refuse(
            "TokenRevoked",
            "The access token has been revoked for this managed identity.",
        ),
    }
}

/// Lets a request through or refuses it. `counters` get the rate-limit headers of an authenticated request.
pub(super) fn admit(call: &Call, target: &Target, counters: &mut Vec<(String, u64)>) -> Result<(), ArmError> {
    if matches!(target, Target::Metadata) {
        return Ok(());
    }
    let caller = call.caller.clone()?;
    if let Some(subscription) = target.subscription()
        && !subscription.eq_ignore_ascii_case(&call.shared.subscription_id)
    {
        return Err(ArmError::subscription_not_found(subscription));
    }
    versions::check(call, target)?;
    throttle(call, &caller, counters)?;
    if target.subscription().is_some() {
        authorize(call, &caller)?;
        policy::check_locks(call)?;
    }
    Ok(())
}

fn authorize(call: &Call, caller: &Caller) -> Result<(), ArmError> {
    let action = match (call.operation, call.method.as_str()) {
        (Operation::ResourceGroup, "PUT" | "PATCH") => {
            "Microsoft.Resources/subscriptions/resourceGroups/write"
        }
        (Operation::ResourceGroup, "DELETE") => "Microsoft.Resources/subscriptions/resourceGroups/delete",
        (operation, _) => operation.action(),
    };
    let known = lock(&call.shared.world).knows(&caller.object_id);
    let lag = call.knobs.rbac_lag;
    let allowed = lock(&call.shared.rbac).allows(caller, action, &call.path, call.now(), lag);
    if known && allowed {
        return Ok(());
    }
    Err(ArmError::authorization_failed(
        &caller.client_id,
        &caller.object_id,
        action,
        &call.path,
    ))
}

fn throttle(call: &Call, caller: &Caller, counters: &mut Vec<(String, u64)>) -> Result<(), ArmError> {
    let (shared, kind, now) = (&call.shared, Kind::of(&call.method), call.now());
    let mut throttle = lock(&shared.throttle);
    *counters = throttle.count(
        call.knobs.rate_headers,
        &shared.subscription_id,
        &caller.object_id,
        kind,
        now,
    );
    let Some(buckets) = call.knobs.arm_buckets else {
        return Ok(());
    };
    let rate = buckets.of(kind);
    let global = Rate::new(rate.per_second * 15.0, rate.burst * 15.0);
    let wanted = [
        (format!("arm/{}/{kind:?}", caller.object_id), rate),
        (format!("arm/{kind:?}"), global),
    ];
    throttle.take(&wanted, now).map(|_| ()).map_err(|seconds| {
        let operation = format!("{}/{}", call.method, call.operation.action());
        let answer = call.knobs.throttle_answer;
        ArmError::arm_throttled(&shared.subscription_id, &operation, Wait { seconds, answer, now })
    })
}

/// The provider's own limits, for one identity or for lists of identities.
pub(super) fn rp_throttle(call: &Call, path: Option<&IdentityPath>) -> Result<(), ArmError> {
    let Some(buckets) = call.knobs.rp_buckets else {
        return Ok(());
    };
    let (name, limit) = match call.operation {
        Operation::ListCredentials | Operation::ListIdentities => ("list", buckets.list),
        Operation::GetCredential | Operation::GetIdentity => ("get", buckets.get),
        Operation::DeleteCredential | Operation::DeleteIdentity => ("delete", buckets.delete),
        _ => ("write", buckets.write),
    };
    let mut wanted = vec![
        (format!("rp/{name}/tenant"), limit.tenant),
        (format!("rp/{name}/subscription"), limit.subscription),
    ];
    if let Some(path) = path {
        wanted.push((format!("rp/{name}/{:?}", path.key()), limit.resource));
    }
    let now = call.now();
    lock(&call.shared.throttle)
        .take(&wanted, now)
        .map(|_| ())
        .map_err(|seconds| {
            let resource = path.map_or(call.path.as_str(), |path| path.id.as_str());
            ArmError::rp_throttled(
                resource,
                Wait {
                    seconds,
                    answer: call.knobs.throttle_answer,
                    now,
                },
            )
        })
}

/// The parent of a credential must exist. A `DELETE` asks for the parent only (observed), the others for the
/// resource group first (assumed).
pub(super) fn check_parent(world: &World, call: &Call, path: &IdentityPath) -> Result<(), ArmError> {
    let verb = match call.operation {
        Operation::PutCredential => "write",
        Operation::DeleteCredential => "delete",
        _ => "read",
    };
    if verb != "delete" && world.group(&path.group).is_none() {
        return Err(ArmError::group_not_found(&path.group));
    }
    if world.identity(&path.key()).is_none() {
        return Err(ArmError::parent_not_found(verb, &path.id));
    }
    Ok(())
}
