//! Every parser of text from outside, one function each: `fuzz/` calls them with what a fuzzer finds, and
//! the tests here with what proptest makes. Nothing of this is in a release.
//!
//! A function returns when all is well, and panics when a promise is broken.

#![allow(clippy::missing_panics_doc, reason = "that is what they are for")]

use crate::api::{WorkloadIdentityBinding, WorkloadIdentityBindingStatus};
use crate::azure::{self, AzureError, Operation};
use crate::controller;
use crate::core::{Credential, Defaults, Desired, Fault, IdentityId, conditions, text};
use crate::runtime::issuer;

/// Longest error that may go into a condition.
const MAX_MESSAGE: usize = 1200;

/// Longest wait that Azure can ask for.
const MAX_WAIT: std::time::Duration = std::time::Duration::from_hours(1);

/// ARM ids.
pub fn arm_id(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(id) = text.parse::<IdentityId>() else {
        return;
    };
    assert_eq!(id.to_string().to_ascii_lowercase(), text.to_ascii_lowercase());
    assert_eq!(id.key(), text.to_ascii_lowercase());
    assert_eq!(id.to_string().parse(), Ok(id.clone()));
    let safe = |c: u8| c.is_ascii_alphanumeric() || b"-_.()/".contains(&c);
    assert!(
        text.bytes().all(safe) && !text.contains("/../") && !text.contains("//"),
        "{text}"
    );
}

/// Refusals of ARM: the first bytes choose operation and status, the first two lines are headers.
pub fn refusal(data: &[u8]) {
    let [operation, high, low, rest @ ..] = data else {
        return;
    };
    let operations = [
        Operation::GetIdentity,
        Operation::ListCredentials,
        Operation::PutCredential,
        Operation::DeleteCredential,
    ];
    let operation = operations[usize::from(*operation) % operations.len()];
    let status = 300 + u16::from_be_bytes([*high, *low]) % 300;
    let mut lines = rest.splitn(3, |b| *b == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (after, sent, body) = (line(), line(), line());
    let error = azure::fuzzing::refused(operation, status, after, sent, body);
    assert_fit(&error);
    if error.fault.is_gone() {
        assert_eq!(status, 404);
        let code = error.code.clone().unwrap_or_default().to_ascii_lowercase();
        let known = [
            "resourcegroupnotfound",
            "parentresourcenotfound",
            "resourcenotfound",
            "notfound",
        ];
        assert!(known.contains(&&*code), "{code} is taken for gone");
        assert!(
            error.fault == Fault::CredentialGone || code != "notfound" || operation == Operation::GetIdentity
        );
    }
    assert_eq!(error.fault == Fault::Throttled, status == 429);
    assert!(error.fault != Fault::Throttled || error.retry_after.is_some());
}

/// Bodies of lists.
pub fn list(data: &[u8]) {
    match azure::fuzzing::list(data) {
        Some(Err(error)) => assert_fit(&error),
        Some(Ok(found)) => {
            assert!(found.len() <= data.len());
            for Credential { name, tuple } in &found.credentials {
                let parts = [name, &tuple.issuer, &tuple.subject, &tuple.audience];
                assert!(parts.iter().all(|part| !part.is_empty()), "{found:?}");
            }
        }
        None => unreachable!("the adapter waits for nothing"),
    }
}

/// Bodies of identities.
pub fn identity(data: &[u8]) {
    match azure::fuzzing::identity(data) {
        Some(Err(error)) => assert_fit(&error),
        Some(Ok(found)) => {
            let ids = [found.client_id, found.principal_id, found.tenant_id];
            assert!(ids.iter().all(|id| !id.is_empty()));
        }
        None => unreachable!("the adapter waits for nothing"),
    }
}

/// What Entra says when a login fails.
pub fn login(data: &[u8]) {
    assert_fit(&azure::fuzzing::login(&String::from_utf8_lossy(data)));
}

/// ServiceAccount tokens.
pub fn token(data: &[u8]) {
    let _ = issuer::issuer_of(&String::from_utf8_lossy(data));
}

/// Discovery documents.
pub fn discovery(data: &[u8]) {
    let _ = issuer::issuer_in(data);
}

/// Bindings, with whatever stands in their status.
pub fn binding(data: &[u8]) {
    let Ok(binding) = serde_json::from_slice::<WorkloadIdentityBinding>(data) else {
        return;
    };
    let again = serde_json::to_vec(&binding)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    assert_eq!(again.as_ref(), Some(&binding));
    let defaults = Defaults {
        subscription_id: None,
        resource_group: None,
        deletion_policy: crate::api::DeletionPolicy::Delete,
        audience: "api://AzureADTokenExchange".to_owned(),
        prefix: "wib".to_owned(),
    };
    status(&binding.status.clone().unwrap_or_default());
    let Ok(desired) = Desired::new("shop", &binding.spec, &defaults, "https://issuer/") else {
        return;
    };
    assert!(desired.credential.name.len() <= 120);
}

/// A status is nothing but a report: read back and written again, it says the same of every step.
fn status(status: &WorkloadIdentityBindingStatus) {
    let outcome = conditions::outcome(status);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let again = conditions::status(&outcome, status, status.observed_generation, now);
    assert_eq!(conditions::outcome(&again).steps(), outcome.steps());
}

/// ServiceAccounts, with whatever stands in their annotations and managedFields.
pub fn service_account(data: &[u8]) {
    let Some((before, after)) = controller::fuzzing::annotations(data) else {
        return;
    };
    let is_ids = |key: &String| key.starts_with("azure.workload.identity/");
    assert_eq!(before.ours, after.ours);
    assert!(after.all.keys().all(is_ids));
    assert!(before.all.iter().filter(|(key, _)| is_ids(key)).eq(&after.all));
}

/// Quoting.
pub fn quote(data: &[u8]) {
    let quoted = text::quote(&String::from_utf8_lossy(data));
    assert!(
        quoted.chars().count() <= 401,
        "{} characters",
        quoted.chars().count()
    );
    assert!(!quoted.chars().any(char::is_control), "{quoted:?}");
    assert_eq!(text::quote(&quoted), quoted);
}

/// Fit for a condition.
fn assert_fit(error: &AzureError) {
    let message = error.to_string();
    assert!(
        message.chars().count() <= MAX_MESSAGE,
        "{} characters",
        message.chars().count()
    );
    assert!(!message.chars().any(char::is_control), "{message:?}");
    assert!(!message.contains("Trace ID:"), "{message:?}");
    assert!(
        error.retry_after.unwrap_or_default() <= MAX_WAIT,
        "{:?}",
        error.retry_after
    );
}

#[cfg(test)]
mod tests;
