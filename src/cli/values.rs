//! What the values of flags may be. Each error says what would be right.

use std::path::PathBuf;
use std::time::Duration;

use crate::core::arm_id::{check_resource_group, check_subscription};
use crate::core::credential::is_valid_prefix;
use crate::core::desired::{is_audience, is_namespace_name};
use crate::runtime::leader::LONGEST as LONGEST_LEASE;

/// Shortest lease: its claim must outlive a renewal, a retry and the last second, in which no write
/// at Azure begins.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// A duration such as `10m`, `30s` or `1h30m`; at least 10 ms.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "use a duration such as 30s, 10m or 1h".to_owned())?;
    let duration = Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())?;
    if duration < Duration::from_millis(10) {
        return Err("must be at least 10ms".to_owned());
    }
    Ok(duration)
}

/// A duration of whole seconds, from one second to one hour: what the API server takes.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let duration = interval(text)?;
    if duration.subsec_nanos() == 0 && duration <= Duration::from_hours(1) {
        Ok(duration)
    } else {
        Err("must be whole seconds, from 1s to 1h".to_owned())
    }
}

/// A duration of a lease: the object holds whole seconds, and writes at Azure need a second of it.
pub(super) fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = interval(text)?;
    if duration.subsec_nanos() == 0 && (SHORTEST_LEASE..=LONGEST_LEASE).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be whole seconds, 3s to 5m".to_owned())
    }
}

/// A name of an object, which becomes part of a path. Empty stands for none.
pub(super) fn object_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() <= 253 && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("must be lower-case letters, digits and hyphens".to_owned())
    }
}

/// A client or tenant id of the operator, and not the one that the manifests come with.
pub(super) fn own_id(text: &str) -> Result<String, String> {
    if text.contains(['0', '-']) && text.chars().all(|c| matches!(c, '0' | '-')) {
        return Err("this is the placeholder of the manifests. Set AZURE_CLIENT_ID and AZURE_TENANT_ID to clientId and \
             tenantId of the operator's own identity, as `az identity show` prints them (config/default/settings.env, or \
             the ConfigMap in dist/install.yaml)"
            .to_owned());
    }
    Ok(text.to_owned())
}

/// Any path, the empty one too: it stands for none.
#[allow(clippy::unnecessary_wraps)] // the form that a value parser has
pub(super) fn path(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(PathBuf::from(text))
}

pub(super) fn prefix(text: &str) -> Result<String, String> {
    if is_valid_prefix(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "must be 1 to 20 lower-case letters, digits and hyphens, and start with a letter or digit"
                .to_owned(),
        )
    }
}

pub(super) fn audience(text: &str) -> Result<String, String> {
    if is_audience(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "must be 1 to 600 characters, none of them white space or a control character. Leave it out for \
             api://AzureADTokenExchange, which the Azure Workload Identity webhook asks tokens for"
                .to_owned(),
        )
    }
}

/// A subscription id. Empty stands for none.
pub(super) fn subscription(text: &str) -> Result<String, String> {
    let way_out = "`az account show --query id --output tsv` prints it";
    empty_or(
        text,
        check_subscription(text).map_err(|rule| format!("{rule}: {way_out}")),
    )
}

/// The name of a resource group. Empty stands for none.
pub(super) fn resource_group(text: &str) -> Result<String, String> {
    let way_out = "`az group list --query [].name --output tsv` prints them";
    empty_or(
        text,
        check_resource_group(text).map_err(|rule| format!("{rule}: {way_out}")),
    )
}

/// The name of a namespace. Empty stands for none.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let rule = || {
        "must be the name of one namespace, 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at \
         both ends: `kubectl get namespaces` lists them"
            .to_owned()
    };
    empty_or(text, is_namespace_name(text).then_some(()).ok_or_else(rule))
}

/// `WIB_RESOURCE_GROUP=` in a manifest means none.
fn empty_or(text: &str, checked: Result<(), String>) -> Result<String, String> {
    if text.is_empty() { Ok(()) } else { checked }.map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_understood_and_bounded() {
        assert_eq!(interval("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("1m"), Ok(Duration::from_mins(1)));
        assert!(seconds("1500ms").is_err() && seconds("2h").is_err() && seconds("100ms").is_err());
        assert!(interval("0s").is_err() && interval("-5s").is_err() && interval("soon").is_err());
        assert_eq!(lease_duration("15s"), Ok(Duration::from_secs(15)));
        for text in ["2s", "3500ms", "301s", "1h", "long"] {
            assert!(lease_duration(text).is_err(), "{text}");
        }
    }
}
