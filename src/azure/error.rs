//! Failed calls to Azure.

use std::fmt;
use std::time::Duration;

use crate::core::Fault;

/// A call at Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Operation {
    /// Get an access token from Entra.
    GetToken,
    /// Read an identity.
    GetIdentity,
    /// List the credentials of an identity.
    ListCredentials,
    /// Create or overwrite a credential.
    PutCredential,
    /// Delete a credential.
    DeleteCredential,
}

impl Operation {
    /// Name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it changes credentials: Azure takes one such call at a time on an identity.
    pub fn is_write(self) -> bool {
        matches!(self, Self::PutCredential | Self::DeleteCredential)
    }

    fn attempted(self) -> &'static str {
        match self {
            Self::GetToken => "log in to Azure",
            Self::GetIdentity => "read the managed identity",
            Self::ListCredentials => "list the identity's federated credentials",
            Self::PutCredential => "write the federated credential",
            Self::DeleteCredential => "delete the federated credential",
        }
    }
}

/// A failed call, classified.
///
/// `Display` is fit for conditions: it holds no request id, no time, and nothing of other tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureError {
    /// What was attempted.
    pub operation: Operation,
    /// What it means.
    pub fault: Fault,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// `error.code` of ARM, or the AADSTS code of Entra.
    pub code: Option<String>,
    /// What it means, in one line of ours; of a login, what Entra said.
    pub message: String,
    /// `x-ms-request-id`, to give to Azure support.
    pub request_id: Option<String>,
    /// How long Azure wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for AzureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempted = self.operation.attempted();
        if self.fault == Fault::Queued {
            return write!(
                f,
                "waits its turn to {attempted}: Azure is asked no more often than it allows"
            );
        }
        write!(f, "cannot {attempted}: ")?;
        match self.fault {
            // Azure's own text names a number of seconds, which differs from call to call.
            Fault::Throttled => f.write_str("Azure asks to slow down"),
            Fault::Contended => f.write_str(
                "another client is writing credentials on this identity at the moment; it will be tried again",
            ),
            Fault::LimitReached => f.write_str(
                "the identity holds as many federated credentials as Azure allows (20); remove one or use another identity",
            ),
            Fault::AccessDenied => f.write_str(
                "the operator's Azure identity lacks a right; it needs userAssignedIdentities/read and federatedIdentityCredentials/read, write and delete on this identity",
            ),
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for AzureError {}
