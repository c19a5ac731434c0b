//! 400, 405 and 415: requests that are wrong in themselves.
//!
//! Texts of the provider's validation are documented at
//! <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>; codes are assumed.

use super::ArmError;
use crate::knobs::{DuplicateError, ErrorShape};

impl ArmError {
    /// Documented ARM-wide code.
    pub(in crate::arm) fn missing_api_version() -> Self {
        let text = "The api-version query parameter (?api-version=) is required for all requests.";
        Self::gateway(400, "MissingApiVersionParameter", text)
    }

    /// Unverified text.
    pub(in crate::arm) fn invalid_api_version(version: &str) -> Self {
        Self::gateway(
            400,
            "InvalidApiVersionParameter",
            format!("The api-version '{version}' is invalid."),
        )
    }

    /// ARM-wide; which status and code the provider's types give is unverified.
    pub(in crate::arm) fn unsupported_api_version(kind: &str, version: &str, supported: &str) -> Self {
        let text = format!(
            "No registered resource provider found for location '' and API version '{version}' for type \
             '{kind}'. The supported api-versions are '{supported}'. The supported locations are ''."
        );
        Self::gateway(400, "NoRegisteredProviderFound", text)
    }

    pub(in crate::arm) fn invalid_resource_type(path: &str) -> Self {
        let text = format!("The resource type could not be found for the request path '{path}'.");
        Self::gateway(404, "InvalidResourceType", text)
    }

    pub(in crate::arm) fn method_not_allowed(method: &str) -> Self {
        let text = format!("The http method '{method}' is not supported for this resource.");
        Self::gateway(405, "HttpMethodNotAllowed", text)
    }

    pub(in crate::arm) fn invalid_request_content(reason: &str) -> Self {
        let text = format!("The request content was invalid and could not be deserialized: '{reason}'.");
        Self::gateway(400, "InvalidRequestContent", text)
    }

    pub(in crate::arm) fn unsupported_media_type(given: &str) -> Self {
        let text = format!(
            "The content media type '{given}' is not supported. Only 'application/json' is supported."
        );
        Self::gateway(415, "UnsupportedMediaType", text)
    }

    pub(in crate::arm) fn location_required() -> Self {
        Self::gateway(
            400,
            "LocationRequired",
            "The location property is required for this definition.",
        )
    }

    pub(in crate::arm) fn invalid_location(name: &str, old: &str, group: &str, new: &str) -> Self {
        let text = format!(
            "The resource '{name}' already exists in location '{old}' in resource group '{group}'. A resource \
             with the same name cannot be created in location '{new}'. Please select a new resource name."
        );
        Self::gateway(409, "InvalidResourceLocation", text)
    }

    pub(in crate::arm) fn audience_count() -> Self {
        Self::provider(
            400,
            "BadRequest",
            "Federated identity credentials must have exactly one audience.",
        )
    }

    /// Reported with this code.
    pub(in crate::arm) fn missing_property() -> Self {
        let text = "The request format was unexpected. Federated Identity Credential must specify 'issuer', \
                    'subject' and 'audience'.";
        Self::provider(400, "BadRequest", text)
    }

    pub(in crate::arm) fn empty_properties() -> Self {
        Self::provider(
            400,
            "BadRequest",
            "Federated Identity Credential from HTTP body has empty properties",
        )
    }

    pub(in crate::arm) fn invalid_name(name: &str) -> Self {
        Self::provider(
            400,
            "BadRequest",
            format!("Federated Identity Credential name '{name}' is invalid."),
        )
    }

    /// The limit of 600 characters is documented, the text is not.
    pub(in crate::arm) fn too_long(property: &str) -> Self {
        let text = format!("Federated Identity Credential property '{property}' exceeds 600 characters.");
        Self::provider(400, "BadRequest", text)
    }

    pub(in crate::arm) fn region_unsupported() -> Self {
        let text =
            "The request format was unexpected: Support for federated identity credentials not enabled.";
        Self::provider(405, "MethodNotAllowed", text)
    }

    /// The limit is documented; status, code and text are a knob.
    pub(in crate::arm) fn limit(shape: &ErrorShape) -> Self {
        Self::provider(shape.status, &shape.code, shape.message.as_str())
    }

    /// Text reported, status documented as 400 and reported as 409.
    pub(in crate::arm) fn duplicate(kind: DuplicateError) -> Self {
        let text = "Issuer and subject combination already exists for this Managed Identity.";
        match kind {
            DuplicateError::BadRequest => Self::provider(400, "BadRequest", text),
            DuplicateError::Conflict => Self::provider(409, "Conflict", text),
        }
    }
}
