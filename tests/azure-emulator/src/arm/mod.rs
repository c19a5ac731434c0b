//! Azure Resource Manager: the gateway's checks in [`guard`], then the resources.

mod answers;
mod credentials;
mod errors;
mod groups;
mod guard;
mod headers;
mod identities;
mod metadata;
mod paths;
mod policy;
mod slot;
mod validate;
mod versions;

pub(crate) use errors::ArmError;
pub(crate) use guard::bearer;
pub(crate) use paths::{IdentityPath, Target};
pub(crate) use slot::WriteSlot;

use crate::call::Call;
use crate::operation::Operation;
use crate::reply::Reply;

/// Answers one request.
pub(crate) async fn handle(call: &Call, target: &Target) -> Reply {
    let mut counters = Vec::new();
    let answer = match guard::admit(call, target, &mut counters) {
        Ok(()) => dispatch(call, target).await,
        Err(error) => Err(error),
    };
    headers::complete(answer.unwrap_or_else(ArmError::into_reply), call, &counters)
}

async fn dispatch(call: &Call, target: &Target) -> Result<Reply, ArmError> {
    if !call.operation.is_credential_write() {
        call.take_time().await;
    }
    match (target, call.operation) {
        (Target::Metadata, _) => Ok(metadata::endpoints(call)),
        (Target::Tenants, _) => Ok(metadata::tenants(call)),
        (Target::Subscriptions, _) => Ok(metadata::subscriptions(call)),
        (Target::Subscription(_), _) => Ok(metadata::subscription(call)),
        (Target::Group { name, .. }, _) => groups::handle(call, name),
        (Target::OperationResult(_), _) => Ok(Reply::empty(200)),
        (Target::Identities { group, .. }, Operation::ListIdentities) => {
            identities::list(call, group.as_deref())
        }
        (Target::Identity(path), Operation::GetIdentity) => identities::get(call, path),
        (Target::Identity(path), Operation::PutIdentity) => identities::put(call, path),
        (Target::Identity(path), Operation::PatchIdentity) => identities::patch(call, path),
        (Target::Identity(path), Operation::DeleteIdentity) => identities::delete(call, path),
        (Target::RevokeTokens(path), Operation::RevokeTokens) => identities::revoke(call, path),
        (Target::Credentials(path), Operation::ListCredentials) => credentials::list(call, path),
        (Target::Credential(path, name), Operation::GetCredential) => credentials::get(call, path, name),
        (Target::Credential(path, name), Operation::PutCredential) => {
            credentials::put(call, path, name).await
        }
        (Target::Credential(path, name), Operation::DeleteCredential) => {
            credentials::delete(call, path, name).await
        }
        (Target::Unknown, _) => Err(ArmError::invalid_resource_type(&call.path)),
        _ => Err(ArmError::method_not_allowed(&call.method)),
    }
}
