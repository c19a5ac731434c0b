//! 409 and 429: not now.

use std::fmt::Write;

use super::{ArmError, Wait};

impl ArmError {
    /// Reported many times; never with a `Retry-After`. Provider and type are in lower case, names are not.
    pub(in crate::arm) fn concurrent_writes(subscription: &str, group: &str, identity: &str) -> Self {
        let text = format!(
            "Too many Federated Identity Credentials are written concurrently for the managed identity \
             '/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.managedidentity/\
             userassignedidentities/{identity}'. Concurrent Federated Identity Credentials writes under the \
             same managed identity are not supported."
        );
        Self::provider(
            409,
            "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
            text,
        )
    }

    /// ARM-wide code; the text is unverified.
    pub(in crate::arm) fn scope_locked(scope: &str, verb: &str, locked: &str) -> Self {
        let text = format!(
            "The scope '{scope}' cannot perform {verb} operation because following scope(s) are locked: \
             '{locked}'. Please remove the lock and try again."
        );
        Self::gateway(409, "ScopeLocked", text)
    }

    /// Reported.
    pub(in crate::arm) fn arm_throttled(subscription: &str, operation: &str, wait: Wait) -> Self {
        let mut text = format!(
            "Number of requests for subscription '{subscription}' and operation '{operation}' exceeded the \
             backend storage limit."
        );
        if wait.answer.text {
            let _ = write!(text, " Please try again after '{}' seconds.", wait.seconds);
        }
        wait.add_to(Self::gateway(429, "SubscriptionRequestsThrottled", text))
    }

    /// Reported in 2020; the code is a guess.
    pub(in crate::arm) fn rp_throttled(resource: &str, wait: Wait) -> Self {
        let mut text = format!(
            "Request is temporarily throttled because resource {resource} has issued too many requests."
        );
        if wait.answer.text {
            let _ = write!(text, " Retry after {} seconds.", wait.seconds);
        }
        wait.add_to(Self::provider(429, "TooManyRequests", text))
    }
}
