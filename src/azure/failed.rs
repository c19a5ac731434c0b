//! From a failed call to an [`AzureError`] that may be shown to whoever owns the binding.
//!
//! Resource Manager's own words can hold what is others': names, subjects and ids of other
//! resources, of policies and of callers. They go into the operator's log, with no binding beside
//! them; a binding is told what they mean, in our words. So nothing can leak, whatever they say.

use azure_core_mgmt as legacy;
use legacy::error::ErrorKind;

use super::login::LoginError;
use super::transport::ArmRefusal;
use super::{AzureError, Operation, classify};
use crate::core::{Fault, IdentityId, text};

/// Longest AADSTS code that is quoted; today's have 12 or 13 characters.
const MAX_LOGIN_CODE: usize = 20;

/// Longest code that is shown; the longest known one has 68 characters.
const MAX_CODE: usize = 100;

/// Classifies the error of a call that was about this identity.
pub(super) fn call(operation: Operation, id: &IdentityId, error: &legacy::Error) -> AzureError {
    if let Some(LoginError(message)) = error.downcast_ref() {
        return login(message);
    }
    let Some(refusal) = error.downcast_ref::<ArmRefusal>() else {
        // What a parser says quotes what it met.
        return if matches!(error.kind(), ErrorKind::DataConversion) {
            broken(operation, "the answer cannot be understood")
        } else {
            broken(operation, &text::cause(error))
        };
    };
    let fault = classify::fault(classify::FailedAnswer {
        operation,
        status: refusal.status,
        code: &refusal.code,
        message: &refusal.message,
    });
    tracing::info!(
        operation = operation.as_str(),
        identity = id.key(),
        fault = fault.as_str(),
        status = refusal.status,
        code = text::quote(&refusal.code),
        request_id = refusal.request_id,
        "Azure refused a call: {}",
        text::quote(&refusal.message)
    );
    let code = Some(&refusal.code).filter(|code| is_code(code)).cloned();
    AzureError {
        operation,
        fault,
        status: Some(refusal.status),
        message: told(fault, id, refusal.status, code.as_deref()),
        code,
        request_id: refusal.request_id.clone(),
        retry_after: classify::retry_after(fault, refusal.retry_after, &refusal.message),
    }
}

/// No answer, or one that makes no sense. A write may have been carried out. The message is ours or
/// that of the HTTP client.
pub(super) fn broken(operation: Operation, message: &str) -> AzureError {
    AzureError {
        operation,
        fault: Fault::Unavailable,
        status: None,
        code: None,
        message: text::quote(message),
        request_id: None,
        retry_after: None,
    }
}

/// Entra's words are about the operator's own login, and shown.
pub(super) fn login(message: &str) -> AzureError {
    let code = message.find("AADSTS").map(|at| {
        message[at..]
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .take(MAX_LOGIN_CODE)
            .collect::<String>()
    });
    AzureError {
        fault: Fault::LoginFailed,
        code,
        ..broken(Operation::GetToken, message)
    }
}

fn told(fault: Fault, id: &IdentityId, status: u16, code: Option<&str>) -> String {
    let answer = code.map_or_else(
        || format!("HTTP {status}"),
        |code| format!("HTTP {status}, {code}"),
    );
    match fault {
        Fault::LoginFailed => format!("Azure does not accept the operator's login ({answer})"),
        Fault::SubscriptionNotFound => format!(
            "subscription {} does not exist, or the operator's tenant cannot see it ({answer})",
            id.subscription()
        ),
        Fault::ResourceGroupGone => {
            format!("resource group {} does not exist ({answer})", id.resource_group())
        }
        Fault::IdentityGone => format!("managed identity {} does not exist ({answer})", id.name()),
        Fault::IdentityNotReady => {
            format!(
                "managed identity {} is too new for credentials; it will be tried again ({answer})",
                id.name()
            )
        }
        Fault::PolicyDenied => format!(
            "it is disallowed by policy: an Azure Policy on the resource group or above denies it ({answer}); the operator's log names the policy"
        ),
        Fault::Locked => format!(
            "the identity is locked, by a lock on itself, its resource group or its subscription ({answer})"
        ),
        Fault::RegionNotSupported => {
            format!("the identity's region has no federated identity credentials ({answer})")
        }
        Fault::Duplicate => {
            format!("another credential on the identity has the same issuer and subject already ({answer})")
        }
        Fault::Rejected => format!(
            "Azure rejects the request and would do so again ({answer}); the operator's log holds Azure's words"
        ),
        Fault::Unexpected | Fault::CredentialGone => {
            format!("Azure's answer is not understood ({answer}); the operator's log holds Azure's words")
        }
        // Most of these have sentences of their own, in `Display`.
        Fault::Queued
        | Fault::Contended
        | Fault::LimitReached
        | Fault::Throttled
        | Fault::AccessDenied
        | Fault::Unavailable => {
            format!("Azure answered {answer}")
        }
    }
}

/// Codes are shown because they are Azure's own vocabulary; what is no code may be anything.
fn is_code(code: &str) -> bool {
    (1..=MAX_CODE).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    const OTHERS: &str = "kassandra";

    fn id() -> IdentityId {
        IdentityId::new("00000000-0000-0000-0000-00000000000a", "shop", "web").unwrap()
    }

    #[test]
    fn no_word_of_azure_reaches_a_binding() {
        for status in (400..=599).chain([200, 301]) {
            let refusal = ArmRefusal {
                status,
                code: format!("/{OTHERS}"),
                message: format!("Resource '{OTHERS}' was not found. Policy '{OTHERS}'."),
                request_id: Some(OTHERS.to_owned()),
                retry_after: None,
            };
            let error = legacy::Error::new(ErrorKind::Other, refusal);
            let shown = call(Operation::PutCredential, &id(), &error).to_string();
            assert!(!shown.contains(OTHERS), "{status}: {shown}");
        }
    }

    #[test]
    fn what_a_parser_quotes_does_not_either() {
        let parsed = serde_json::from_value::<Vec<u8>>(OTHERS.into()).unwrap_err();
        assert!(parsed.to_string().contains(OTHERS), "{parsed}");
        let shown = call(Operation::ListCredentials, &id(), &legacy::Error::from(parsed)).to_string();
        assert!(!shown.contains(OTHERS), "{shown}");
    }

    #[test]
    fn every_fault_is_told_with_its_code() {
        for fault in Fault::iter() {
            let told = told(fault, &id(), 409, Some("ScopeLocked"));
            assert!(told.contains("HTTP 409, ScopeLocked"), "{told}");
        }
    }
}
