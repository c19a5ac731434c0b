//! The faults, and what each of them means to each call.

use std::time::Duration;

use azure_emulator::{External, FaultAction, Identity, Operation};

/// What a binding shows, and how soon it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// This reason, `Reconciling`; tried again within seconds.
    Soon(&'static str),
    /// The same, but not before so many milliseconds.
    Wait(&'static str, u64),
    /// This reason, `Reconciling`; tried again slowly.
    Slow(&'static str),
    /// This reason, `Stalled`; tried again slowly.
    Stalled(&'static str),
    /// For a deletion, success: what is to be deleted is not there.
    Gone,
    /// It took effect; at most a moment is lost.
    Works,
}
use Meaning::{Gone, Slow, Soon, Stalled, Wait, Works};

impl Meaning {
    /// The reason that a person reads.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Soon(reason) | Wait(reason, _) | Slow(reason) | Stalled(reason) => Some(reason),
            Gone | Works => None,
        }
    }

    /// Whether it passes by itself.
    pub fn is_transient(self) -> bool {
        matches!(self, Soon(_) | Wait(..) | Works)
    }
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub action: FaultAction,
    /// To a GET of the identity, a LIST, a PUT and a DELETE.
    meanings: [Meaning; 4],
}

impl Case {
    pub fn means(&self, operation: Operation) -> Meaning {
        self.meanings[match operation {
            Operation::GetIdentity => 0,
            Operation::ListCredentials => 1,
            Operation::PutCredential => 2,
            _ => 3,
        }]
    }
}

const fn all(meaning: Meaning) -> [Meaning; 4] {
    [meaning; 4]
}

/// Not for a deletion, whose goal it is.
const fn absent(meaning: Meaning) -> [Meaning; 4] {
    [meaning, meaning, meaning, Gone]
}

const DOWN: Meaning = Soon("AzureUnavailable");
const MISSING: Meaning = Stalled("IdentityNotFound");
const CONCURRENT: &str = "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity";
const NO_CREDENTIAL: &str = "Resource '/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i/federatedIdentityCredentials/f' was not found.";
const NO_GRAPH: &str = "MS Graph resource not found during Federated Identity Credential creation.";
const DUPLICATE: &str = "Issuer and subject combination already exists for this Managed Identity.";
const LIMIT: &str = "Too many Federated Identity Credentials";
const BUSY: &str = "Too many Federated Identity Credentials are written concurrently.";

type Answer = (&'static str, u16, &'static str, &'static str, [Meaning; 4]);

/// Every answer that is one, with the words of Azure where they matter or are known.
#[rustfmt::skip]
const ANSWERS: [Answer; 25] = [
    ("unauthorized", 401, "InvalidAuthenticationToken", "The access token is invalid.", all(Soon("AzureLoginFailed"))),
    ("forbidden", 403, "AuthorizationFailed", "The client 'c' may not.", all(Slow("AzureAccessDenied"))),
    ("policy", 403, "RequestDisallowedByPolicy", "Disallowed by policy.", all(Stalled("PolicyDenied"))),
    ("no-credential", 404, "NotFound", NO_CREDENTIAL, [MISSING, DOWN, DOWN, Gone]),
    ("no-identity", 404, "ResourceNotFound", "The Resource was not found.", absent(MISSING)),
    ("no-parent", 404, "ParentResourceNotFound", "The parent is not there.", [MISSING, MISSING, Soon("IdentityNotReady"), Gone]),
    ("no-group", 404, "ResourceGroupNotFound", "Resource group 'g' could not be found.", absent(MISSING)),
    ("no-subscription", 404, "SubscriptionNotFound", "The subscription 's' could not be found.", all(Stalled("SubscriptionNotFound"))),
    ("no-graph-object", 404, "NotFound", NO_GRAPH, all(Soon("IdentityNotReady"))),
    ("unknown-404", 404, "Mystery", "Nobody has seen this.", all(DOWN)),
    ("no-region", 405, "MethodNotAllowed", "Not enabled.", all(Stalled("RegionNotSupported"))),
    ("concurrent", 409, CONCURRENT, BUSY, all(Soon("WriteContended"))),
    ("duplicate-400", 400, "BadRequest", DUPLICATE, all(Stalled("CredentialConflict"))),
    ("duplicate-409", 409, "Conflict", DUPLICATE, all(Stalled("CredentialConflict"))),
    ("locked", 409, "ScopeLocked", "The scope is locked.", all(Stalled("ResourceLocked"))),
    ("unknown-409", 409, "Mystery", "Nobody has seen this.", all(DOWN)),
    ("precondition", 412, "PreconditionFailed", "A precondition failed.", all(Stalled("AzureRejected"))),
    ("limit", 400, "BadRequest", LIMIT, all(Stalled("CredentialLimitReached"))),
    ("rejected", 400, "BadRequest", "The request format was unexpected.", all(Stalled("AzureRejected"))),
    ("timeout-408", 408, "RequestTimeout", "Timed out.", all(DOWN)),
    ("server-error", 500, "InternalServerError", "Sorry.", all(DOWN)),
    ("unavailable", 503, "ServiceUnavailable", "Try later.", all(DOWN)),
    ("gateway-timeout", 504, "GatewayTimeout", "No answer from the provider.", all(DOWN)),
    ("throttled-seconds", 429, "TooManyRequests", "Slow down.", all(Wait("AzureThrottled", 2000))),
    ("throttled-text", 429, "TooManyRequests", "Please try again after '3' seconds.", all(Wait("AzureThrottled", 3000))),
];

fn answers() -> impl Iterator<Item = Case> {
    ANSWERS
        .into_iter()
        .map(|(name, status, code, message, meanings)| {
            let after = (name == "throttled-seconds").then(|| ("Retry-After".to_owned(), "2".to_owned()));
            let action = FaultAction::Status {
                status,
                code: code.to_owned(),
                message: message.to_owned(),
                headers: after.into_iter().collect(),
            };
            Case {
                name,
                action,
                meanings,
            }
        })
}

/// Connections that break, and answers that are none.
fn breaks() -> Vec<Case> {
    // A write that is carried out is found by the next list, whatever became of its answer.
    let lost = [DOWN, DOWN, Works, Works];
    let late = FaultAction::DelayAfterCommit(Duration::from_secs(8));
    let case = |name, action, meanings| Case {
        name,
        action,
        meanings,
    };
    vec![
        case("html-502", FaultAction::Html502, all(DOWN)),
        case("reset-before", FaultAction::ResetBeforeCommit, all(DOWN)),
        case("reset-after", FaultAction::ResetAfterCommit, lost),
        case("half-a-body", FaultAction::HalfBody, lost),
        case("garbage", FaultAction::Garbage, lost),
        case("no-answer", FaultAction::HangForever, all(DOWN)),
        case("no-answer-after", FaultAction::HangAfterCommit, lost),
        case("too-late", late, lost),
        case("slow", FaultAction::Delay(Duration::from_millis(300)), [Works; 4]),
        case(
            "slow-body",
            FaultAction::SlowBody(Duration::from_millis(300)),
            [Works; 4],
        ),
    ]
}

/// A request that is delivered a second time: what it asks for has happened already.
fn twice(operation: Operation, identity: &Identity) -> Case {
    let id = identity.resource_id.clone();
    let action = if operation == Operation::DeleteCredential {
        FaultAction::ExternallyBefore(External::new(move |azure| {
            for credential in azure.credentials(&id) {
                azure.delete_credential(&id, &credential.name);
            }
        }))
    } else {
        FaultAction::ExternallyAfter(External::new(move |azure| {
            for credential in azure.credentials(&id) {
                azure.put_credential(&id, credential);
            }
        }))
    };
    Case {
        name: "twice",
        action,
        meanings: [Works; 4],
    }
}

/// How many there are.
pub fn count() -> usize {
    ANSWERS.len() + breaks().len() + 1
}

/// One of them, for an operation on an identity.
pub fn case(index: usize, operation: Operation, identity: &Identity) -> Case {
    let known = answers().chain(breaks()).nth(index);
    known.unwrap_or_else(|| twice(operation, identity))
}
