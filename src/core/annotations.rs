//! The annotations that the Azure Workload Identity webhook reads from a ServiceAccount
//! (<https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html>).

use std::collections::BTreeMap;

/// Client id of the identity.
pub const CLIENT_ID: &str = "azure.workload.identity/client-id";
/// Tenant id of the identity.
pub const TENANT_ID: &str = "azure.workload.identity/tenant-id";
/// Lifetime in seconds of the projected token.
pub const TOKEN_EXPIRATION: &str = "azure.workload.identity/service-account-token-expiration";

/// Annotations by key.
pub type Annotations = BTreeMap<String, String>;

/// What a ServiceAccount is to carry for an identity.
pub fn wanted(client_id: &str, tenant_id: &str, token_expiration_seconds: Option<i64>) -> Annotations {
    let mut annotations = Annotations::from([
        (CLIENT_ID.to_owned(), client_id.to_owned()),
        (TENANT_ID.to_owned(), tenant_id.to_owned()),
    ]);
    if let Some(seconds) = token_expiration_seconds {
        annotations.insert(TOKEN_EXPIRATION.to_owned(), seconds.to_string());
    }
    annotations
}

/// What stands on a ServiceAccount: all annotations, and the keys that this operator applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Present {
    /// Every annotation.
    pub all: Annotations,
    /// Keys recorded in `managedFields` under our field manager.
    pub ours: Vec<String>,
}

impl Present {
    /// Whether we had put another client id there.
    pub fn has_other_client_id(&self, client_id: &str) -> bool {
        self.ours.iter().any(|key| key == CLIENT_ID)
            && self
                .all
                .get(CLIENT_ID)
                .is_some_and(|present| present != client_id)
    }

    /// Whether a server-side apply of `wanted` would change anything.
    ///
    /// Another manager may hold the same value: then nothing is to be written. A key that we
    /// applied earlier and no longer want has to go.
    pub fn needs_apply(&self, wanted: &Annotations) -> bool {
        wanted.iter().any(|(key, value)| self.all.get(key) != Some(value))
            || self.ours.iter().any(|key| !wanted.contains_key(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(ours: &[&str]) -> Present {
        Present {
            all: wanted("client", "tenant", None),
            ours: ours.iter().map(|&k| k.to_owned()).collect(),
        }
    }

    #[test]
    fn equal_values_need_no_write_whoever_wrote_them() {
        assert!(!present(&[]).needs_apply(&wanted("client", "tenant", None)));
        assert!(!present(&[CLIENT_ID, TENANT_ID]).needs_apply(&wanted("client", "tenant", None)));
    }

    #[test]
    fn a_changed_or_missing_value_needs_a_write() {
        assert!(present(&[]).needs_apply(&wanted("other", "tenant", None)));
        assert!(present(&[]).needs_apply(&wanted("client", "tenant", Some(7200))));
    }

    #[test]
    fn a_key_of_ours_that_is_no_longer_wanted_needs_a_write() {
        assert!(present(&[CLIENT_ID, TOKEN_EXPIRATION]).needs_apply(&wanted("client", "tenant", None)));
        assert!(present(&[CLIENT_ID]).needs_apply(&Annotations::new()));
        assert!(!present(&[]).needs_apply(&Annotations::new()));
    }

    #[test]
    fn a_service_account_is_to_carry_the_ids_and_the_lifetime_that_is_asked_for() {
        let pairs = |seconds| {
            let wanted = wanted("client", "tenant", seconds);
            let pair = |(key, value): (String, String)| format!("{key}={value}");
            wanted.into_iter().map(pair).collect::<Vec<_>>()
        };
        let client = "azure.workload.identity/client-id=client";
        let tenant = "azure.workload.identity/tenant-id=tenant";
        let seconds = "azure.workload.identity/service-account-token-expiration=7200";
        assert_eq!(pairs(None), [client, tenant]);
        assert_eq!(pairs(Some(7200)), [client, seconds, tenant]);
    }

    #[test]
    fn only_another_client_id_of_ours_is_another_client_id() {
        assert!(present(&[CLIENT_ID]).has_other_client_id("other"));
        assert!(!present(&[CLIENT_ID]).has_other_client_id("client"));
        assert!(!present(&[TENANT_ID]).has_other_client_id("other"));
        let gone = Present {
            all: Annotations::new(),
            ..present(&[CLIENT_ID])
        };
        assert!(!gone.has_other_client_id("other"));
    }
}
