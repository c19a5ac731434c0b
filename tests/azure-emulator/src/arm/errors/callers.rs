//! 401 and 403: callers that may not.

use super::ArmError;

impl ArmError {
    pub(in crate::arm) fn unauthenticated(
        code: &str,
        message: impl Into<String>,
        url: &str,
        tenant: &str,
    ) -> Self {
        let challenge = format!(
            "Bearer authorization_uri=\"{url}/{tenant}\", error=\"invalid_token\", \
             error_description=\"The authentication failed because of missing or invalid 'Authorization' header.\""
        );
        Self::gateway(401, code, message).header("www-authenticate", challenge)
    }

    /// Documented ARM-wide text.
    pub(in crate::arm) fn authorization_failed(
        client: &str,
        object: &str,
        action: &str,
        scope: &str,
    ) -> Self {
        let text = format!(
            "The client '{client}' with object id '{object}' does not have authorization to perform action \
             '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please \
             refresh your credentials."
        );
        Self::gateway(403, "AuthorizationFailed", text)
    }

    /// Documented: <https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-policy-requestdisallowedbypolicy>.
    pub(in crate::arm) fn disallowed_by_policy(name: &str, subscription: &str) -> Self {
        let text = format!(
            "Resource '{name}' was disallowed by policy. Policy identifiers: '[{{\"policyAssignment\":{{\"name\":\
             \"Federated credentials\",\"id\":\"/subscriptions/{subscription}/providers/Microsoft.Authorization/\
             policyAssignments/federated-credentials\"}}}}]'."
        );
        Self::gateway(403, "RequestDisallowedByPolicy", text).with_target(name)
    }
}
