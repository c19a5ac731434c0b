//! A way in for ServiceAccounts that no API server has sent.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::core::PartialObjectMeta;

use super::service_account::{present, prune};
use crate::core::annotations::Present;

/// What stands on a ServiceAccount, before and after what the controller does not need is dropped.
pub fn annotations(json: &[u8]) -> Option<(Present, Present)> {
    let mut account: PartialObjectMeta<ServiceAccount> = serde_json::from_slice(json).ok()?;
    let before = present(&account.metadata);
    prune(&mut account);
    Some((before, present(&account.metadata)))
}
