//! The api-versions of Microsoft.ManagedIdentity (documented: Azure/azure-rest-api-specs,
//! `specification/msi/resource-manager/Microsoft.ManagedIdentity`).

use super::errors::ArmError;
use super::paths::Target;
use crate::call::Call;

/// Version, and whether it has federated identity credentials, `revokeTokens` and `isolationScope`.
const VERSIONS: [(&str, bool, bool, bool); 10] = [
    ("2018-11-30", false, false, false),
    ("2021-09-30-preview", false, false, false),
    ("2022-01-31-preview", true, false, false),
    ("2023-01-31", true, false, false),
    ("2023-07-31-preview", true, true, false),
    ("2024-11-30", true, true, true),
    ("2025-01-31-preview", true, true, true),
    ("2025-05-31-preview", true, true, true),
    ("2026-04-30", true, true, true),
    ("2026-05-31", true, true, true),
];

/// A request without an api-version, or with one that the resource type does not have, is refused.
pub(super) fn check(call: &Call, target: &Target) -> Result<(), ArmError> {
    let Some(version) = call.query("api-version").filter(|version| !version.is_empty()) else {
        return Err(ArmError::missing_api_version());
    };
    if matches!(target, Target::Unknown) {
        return Ok(());
    }
    let in_provider = target.identity().is_some() || matches!(target, Target::Identities { .. });
    if !in_provider {
        return if looks_like_a_version(version) {
            Ok(())
        } else {
            Err(ArmError::invalid_api_version(version))
        };
    }
    let has = |credential: bool, revoke: bool| match target {
        Target::Credentials(_) | Target::Credential(..) => credential,
        Target::RevokeTokens(_) => revoke,
        _ => true,
    };
    let supported: Vec<&str> = VERSIONS
        .iter()
        .filter(|(_, credential, revoke, _)| has(*credential, *revoke))
        .map(|(version, ..)| *version)
        .collect();
    if supported.iter().any(|known| known.eq_ignore_ascii_case(version)) {
        return Ok(());
    }
    let kind = match target {
        Target::Credentials(_) | Target::Credential(..) => {
            "userAssignedIdentities/federatedIdentityCredentials"
        }
        _ => "userAssignedIdentities",
    };
    Err(ArmError::unsupported_api_version(
        kind,
        version,
        &supported.join(", "),
    ))
}

/// Whether answers of this version carry `isolationScope`.
pub(super) fn has_isolation_scope(version: Option<&str>) -> bool {
    VERSIONS
        .iter()
        .any(|(known, .., isolation)| *isolation && version.is_some_and(|v| known.eq_ignore_ascii_case(v)))
}

fn looks_like_a_version(version: &str) -> bool {
    version
        .get(..10)
        .is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok())
}
