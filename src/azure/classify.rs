//! From an answer of Azure to its meaning: status, code *and* message, never status alone.
//!
//! 409 has at least three meanings and 404 at least six. Codes and messages are compared without
//! regard to letter case. Sources: the Azure REST API specifications of `Microsoft.ManagedIdentity`
//! and <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>.

use std::time::Duration;

use super::error::Operation;
use crate::core::Fault;

/// An answer that is no success.
#[derive(Clone, Copy, Debug)]
pub struct FailedAnswer<'a> {
    /// What was asked.
    pub operation: Operation,
    /// HTTP status.
    pub status: u16,
    /// `error.code`, or nothing when the body was not ARM's.
    pub code: &'a str,
    /// `error.message`.
    pub message: &'a str,
}

/// Wait of a throttled call when Azure names none.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(20);

/// Longest wait that is believed. Azure counts in minutes at most; a number beyond is a mistake of
/// somebody, and must not silence an identity for days.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// The meaning of an answer.
pub fn fault(answer: FailedAnswer<'_>) -> Fault {
    let FailedAnswer {
        operation,
        status,
        code,
        message,
    } = answer;
    let is = |wanted: &str| code.eq_ignore_ascii_case(wanted);
    let message = message.to_ascii_lowercase();
    let says = |part: &str| message.contains(part);

    match status {
        401 => Fault::LoginFailed,
        403 if is("RequestDisallowedByPolicy") => Fault::PolicyDenied,
        403 => Fault::AccessDenied,
        404 => not_found(operation, code, &message),
        405 => Fault::RegionNotSupported,
        408 | 500..=599 => Fault::Unavailable,
        429 => Fault::Throttled,
        _ if is("ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity") => Fault::Contended,
        _ if says("written concurrently") => Fault::Contended,
        // 400 by the documentation, 409 by deployment logs: only the message is sure.
        _ if says("issuer and subject combination already exists") => Fault::Duplicate,
        _ if says("too many federated identity credentials") => Fault::LimitReached,
        409 if is("ScopeLocked") => Fault::Locked,
        409 => Fault::Unexpected,
        400..=499 => Fault::Rejected,
        _ => Fault::Unavailable,
    }
}

fn not_found(operation: Operation, code: &str, message: &str) -> Fault {
    let is = |wanted: &str| code.eq_ignore_ascii_case(wanted);
    if is("SubscriptionNotFound") || is("InvalidSubscriptionId") {
        Fault::SubscriptionNotFound
    } else if is("ResourceGroupNotFound") {
        Fault::ResourceGroupGone
    } else if is("ParentResourceNotFound") {
        // A write meets it for minutes after the identity was made.
        if operation == Operation::PutCredential {
            Fault::IdentityNotReady
        } else {
            Fault::IdentityGone
        }
    } else if is("ResourceNotFound") {
        Fault::IdentityGone
    } else if message.contains("ms graph resource not found") {
        Fault::IdentityNotReady
    } else if operation == Operation::DeleteCredential
        && is("NotFound")
        && message.contains("federatedidentitycredentials")
    {
        // To any other call it makes no sense: least of all does it say that a list is empty.
        Fault::CredentialGone
    } else if is("NotFound") && operation == Operation::GetIdentity {
        Fault::IdentityGone
    } else {
        Fault::Unexpected
    }
}

/// How long to wait: the larger of the header and a number in the text, an hour at most; 20 s with neither.
pub fn retry_after(fault: Fault, header: Option<Duration>, message: &str) -> Option<Duration> {
    let stated = header.max(seconds_in(message));
    let wait = match fault {
        Fault::Throttled => Some(stated.unwrap_or(DEFAULT_THROTTLE)),
        _ => header,
    };
    wait.map(|wait| wait.min(MAX_WAIT))
}

/// `Retry after 20 seconds` and `try again after '6' seconds`.
fn seconds_in(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    let (_, rest) = message.split_once("after ")?;
    let number: String = rest
        .trim_start_matches('\'')
        .chars()
        .take_while(char::is_ascii_digit)
        .take(6)
        .collect();
    let seconds = rest
        .trim_start_matches('\'')
        .trim_start_matches(|c: char| c.is_ascii_digit());
    let is_seconds = seconds
        .trim_start_matches('\'')
        .trim_start()
        .starts_with("second");
    number
        .parse()
        .ok()
        .filter(|_| is_seconds)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
