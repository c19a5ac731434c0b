//! The provider's validation (documented:
//! <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>).
//!
//! Issuers are not resolved and audiences are not restricted (both observed). Wildcards are plain characters.

use hyper::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::errors::ArmError;
use crate::call::Call;
use crate::model::Credential;

const LONGEST: usize = 600;

/// The body as an object.
pub(super) fn json_body(call: &Call) -> Result<Map<String, Value>, ArmError> {
    let media = call
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ArmError::unsupported_media_type(media));
    }
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(ArmError::invalid_request_content(
            "The content is not a JSON object.",
        )),
        Err(error) => Err(ArmError::invalid_request_content(&error.to_string())),
    }
}

/// A credential from the body of a `PUT`. Members that Azure does not know are ignored (observed).
pub(super) fn credential(name: &str, body: &Map<String, Value>) -> Result<Credential, ArmError> {
    let properties = match body.get("properties") {
        Some(Value::Object(properties)) if !properties.is_empty() => properties,
        _ => return Err(ArmError::empty_properties()),
    };
    let text = |member: &str| {
        let text = properties.get(member).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            Err(ArmError::missing_property())
        } else {
            Ok(text.to_owned())
        }
    };
    let (issuer, subject) = (text("issuer")?, text("subject")?);
    let audiences: Vec<String> = match properties.get("audiences") {
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().unwrap_or_default().to_owned())
            .collect(),
        _ => return Err(ArmError::missing_property()),
    };
    let [audience] = audiences.as_slice() else {
        return Err(ArmError::audience_count());
    };
    if audience.is_empty() {
        return Err(ArmError::missing_property());
    }
    for (property, value) in [
        ("issuer", &issuer),
        ("subject", &subject),
        ("audiences", audience),
    ] {
        if value.chars().count() > LONGEST {
            return Err(ArmError::too_long(property));
        }
    }
    if !name_is_valid(name) {
        return Err(ArmError::invalid_name(name));
    }
    Ok(Credential {
        name: name.to_owned(),
        issuer,
        subject,
        audiences,
    })
}

/// `^[a-zA-Z0-9]{1}[a-zA-Z0-9-_]{2,119}$`
fn name_is_valid(name: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric();
    (3..=120).contains(&name.len())
        && name.as_bytes().first().is_some_and(alphanumeric)
        && name
            .bytes()
            .all(|byte| alphanumeric(&byte) || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["abc", "A-_", "0x0", &"a".repeat(120)] {
            assert!(name_is_valid(good), "{good}");
        }
        for bad in ["", "ab", "-ab", "_ab", "a.b", "a b", "äbc", &"a".repeat(121)] {
            assert!(!name_is_valid(bad), "{bad}");
        }
    }
}
