//! Errors of the token endpoint, in one table.
//!
//! Codes are documented at <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>; the
//! texts of the federation family are reported from public logs. Clients should go by `error_codes`, not by
//! the status: the family was 400 `invalid_request` in 2022 and is 401 `invalid_client` since 2023.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::call::Call;
use crate::reply::Reply;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntraError {
    status: u16,
    error: &'static str,
    code: i64,
    text: String,
}

/// Member order as reported.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: String,
    error_codes: [i64; 1],
    timestamp: String,
    trace_id: String,
    correlation_id: String,
    error_uri: String,
}

const LEARN: &str = "https://learn.microsoft.com/entra/workload-id/workload-identity-federation";
const CHECK: &str =
    "Check your federated identity credential Subject, Audience and Issuer against the presented assertion.";
const NO_MATCH: &str = "No matching federated identity record found for presented assertion";

impl EntraError {
    pub(crate) fn into_reply(self, call: &Call) -> Reply {
        let timestamp = call.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let trace_id = Uuid::new_v4().to_string();
        let asked = call
            .headers
            .get("client-request-id")
            .and_then(|value| value.to_str().ok());
        let correlation_id = asked.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        let Self {
            status,
            error,
            code,
            text,
        } = self;
        let body = Body {
            error,
            error_description: format!(
                "AADSTS{code}: {text}\r\nTrace ID: {trace_id}\r\nCorrelation ID: {correlation_id}\r\n\
                 Timestamp: {timestamp}"
            ),
            error_codes: [code],
            timestamp,
            trace_id,
            correlation_id,
            error_uri: format!("{}/error?code={code}", call.shared.url),
        };
        Reply::json(status, &body).error(format!("AADSTS{code}"))
    }

    fn new(status: u16, error: &'static str, code: i64, text: impl Into<String>) -> Self {
        Self {
            status,
            error,
            code,
            text: text.into(),
        }
    }

    fn client(code: i64, text: impl Into<String>) -> Self {
        Self::new(401, "invalid_client", code, text)
    }

    // --- the request ---

    pub(super) fn missing_parameter(name: &str) -> Self {
        let text = format!("The request body must contain the following parameter: '{name}'.");
        Self::new(400, "invalid_request", 900_144, text)
    }

    pub(super) fn unsupported_grant(grant: &str) -> Self {
        let text = format!("The app requested an unsupported grant type '{grant}'.");
        Self::new(400, "unsupported_grant_type", 70_003, text)
    }

    pub(super) fn invalid_scope(scope: &str) -> Self {
        let text = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope \
             value with /.default suffixed to the resource identifier (application ID URI)."
        );
        Self::new(400, "invalid_scope", 1_002_012, text)
    }

    /// Unverified text.
    pub(super) fn tenant_not_found(tenant: &str) -> Self {
        let text = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing \
             into the correct cloud. Check with your subscription administrator, this may happen if there are \
             no active subscriptions for the tenant."
        );
        Self::new(400, "invalid_request", 90_002, text)
    }

    pub(super) fn unknown_client(client: &str, tenant: &str) -> Self {
        let text = format!(
            "Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen \
             if the application has not been installed by the administrator of the tenant or consented to by \
             any user in the tenant. You may have sent your authentication request to the wrong tenant."
        );
        Self::new(400, "unauthorized_client", 700_016, text)
    }

    pub(super) fn no_proof() -> Self {
        let text = "The request body must contain the following parameter: 'client_assertion' or \
                    'client_secret'.";
        Self::client(7_000_218, text)
    }

    // --- secrets and certificates ---

    pub(super) fn wrong_secret(client: &str) -> Self {
        let text = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
             value, not the client secret ID, for a secret added to app '{client}'."
        );
        Self::client(7_000_215, text)
    }

    pub(super) fn unknown_certificate(thumbprint: &str) -> Self {
        let text = format!(
            "The certificate with identifier used to sign the client assertion is not registered on \
             application. [Reason - The key was not found., Thumbprint of key used by client: '{thumbprint}']"
        );
        Self::client(700_027, text)
    }

    pub(super) fn wrong_realm() -> Self {
        Self::client(
            700_023,
            "Client assertion audience claim does not match Realm issuer.",
        )
    }

    pub(super) fn wrong_assertion_subject() -> Self {
        let text = "Client assertion application identifier doesn't match 'client_id' parameter.";
        Self::client(700_021, text)
    }

    // --- assertions ---

    pub(super) fn malformed_assertion() -> Self {
        Self::client(50_027, "JWT token is invalid or malformed.")
    }

    pub(super) fn bad_signature(reason: &str) -> Self {
        Self::client(
            700_027,
            format!("Client assertion failed signature validation. [Reason - {reason}]"),
        )
    }

    pub(super) fn out_of_time(now: Timestamp, from: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        let show =
            |time: Option<Timestamp>| time.map_or_else(|| "<none>".to_owned(), |time| time.to_string());
        let text = format!(
            "Client assertion is not within its valid time range. Current time: {now}, assertion valid from \
             {}, expiry time of assertion {}. Review the documentation at https://docs.microsoft.com/azure/\
             active-directory/develop/active-directory-certificate-credentials .",
            show(from),
            show(until)
        );
        Self::client(700_024, text)
    }

    // --- federation ---

    pub(super) fn no_credentials() -> Self {
        Self::client(
            70_025,
            "The client has no configured federated identity credentials.",
        )
    }

    pub(super) fn no_issuer(issuer: &str) -> Self {
        Self::client(700_211, format!("{NO_MATCH} issuer '{issuer}'. {LEARN}"))
    }

    pub(super) fn no_subject(subject: &str) -> Self {
        Self::client(
            700_213,
            format!("{NO_MATCH} subject '{subject}'. {CHECK} {LEARN}"),
        )
    }

    pub(super) fn subject_case(subject: &str) -> Self {
        let text = format!(
            "{NO_MATCH} subject '{subject}'. The subject matches with case-insensitive comparison, but not \
             with case-sensitive comparison. {CHECK} {LEARN}"
        );
        Self::client(7_002_138, text)
    }

    pub(super) fn no_audience(audience: &str) -> Self {
        Self::client(700_212, format!("{NO_MATCH} audience '{audience}'. {LEARN}"))
    }

    /// The generic answer of 2022.
    pub(super) fn legacy_no_match(issuer: &str, subject: &str, audience: &str) -> Self {
        let text = format!(
            "{NO_MATCH}. Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion Audience: \
             '{audience}'. https://docs.microsoft.com/en-us/azure/active-directory/develop/\
             workload-identity-federation"
        );
        Self::new(400, "invalid_request", 70_021, text)
    }

    pub(super) fn unknown_kid(kid: &str) -> Self {
        let text = format!(
            "The certificate with identifier '{kid}' used to sign the federated credential could not be found \
             in the metadata of the identity provider"
        );
        Self::client(7_000_272, text)
    }

    pub(super) fn issuer_unreachable() -> Self {
        Self::new(
            400,
            "invalid_request",
            50_166,
            "Request to External OIDC endpoint failed.",
        )
    }
}
