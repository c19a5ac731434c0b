//! ARM ids of user-assigned managed identities, parsed strictly.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The ARM id of a user-assigned managed identity.
///
/// Only this type reaches a URL path, so its parts hold nothing that could steer one: a GUID, and
/// ASCII names by Azure's naming rules
/// (<https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>).
/// Two ids that differ in letter case only are equal, as they are in Azure.
#[derive(Clone, Debug)]
pub struct IdentityId {
    subscription: String,
    resource_group: String,
    name: String,
    key: String,
}

/// Why a text is no ARM id of a user-assigned managed identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentityId {
    /// The segments are not those of an identity.
    #[error(
        "the identity's ARM id must have the form /subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>"
    )]
    Shape,
    /// The subscription is no GUID.
    #[error("the subscription id must be a GUID")]
    Subscription,
    /// The resource group breaks Azure's naming rule.
    #[error(
        "the resource group must be 1 to 90 letters, digits, hyphens, underscores, periods and parentheses, and must not end in a period"
    )]
    ResourceGroup,
    /// The name breaks Azure's naming rule.
    #[error(
        "the identity's name must be 3 to 128 letters, digits, hyphens and underscores, and start with a letter or digit"
    )]
    Name,
}

impl IdentityId {
    /// Builds an id of its parts.
    ///
    /// # Errors
    /// Says which part breaks Azure's naming rules.
    pub fn new(subscription: &str, resource_group: &str, name: &str) -> Result<Self, InvalidIdentityId> {
        check_subscription(subscription)?;
        check_resource_group(resource_group)?;
        if !is_identity_name(name) {
            return Err(InvalidIdentityId::Name);
        }
        let key = path(subscription, resource_group, name).to_ascii_lowercase();
        Ok(Self {
            subscription: subscription.to_owned(),
            resource_group: resource_group.to_owned(),
            name: name.to_owned(),
            key,
        })
    }

    /// Subscription id.
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Resource group.
    pub fn resource_group(&self) -> &str {
        &self.resource_group
    }

    /// Name of the identity.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id in lower case: the key of lanes, and the name that grants carry.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl FromStr for IdentityId {
    type Err = InvalidIdentityId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let segments: Vec<&str> = text.split('/').collect();
        let [
            "",
            subscriptions,
            subscription,
            groups,
            group,
            providers,
            provider,
            kind,
            name,
        ] = segments[..]
        else {
            return Err(InvalidIdentityId::Shape);
        };
        let fixed = [
            (subscriptions, "subscriptions"),
            (groups, "resourceGroups"),
            (providers, "providers"),
            (provider, "Microsoft.ManagedIdentity"),
            (kind, "userAssignedIdentities"),
        ];
        if fixed
            .iter()
            .any(|(found, wanted)| !found.eq_ignore_ascii_case(wanted))
        {
            return Err(InvalidIdentityId::Shape);
        }
        Self::new(subscription, group, name)
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path(&self.subscription, &self.resource_group, &self.name))
    }
}

impl PartialEq for IdentityId {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for IdentityId {}

impl Hash for IdentityId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

fn path(subscription: &str, group: &str, name: &str) -> String {
    format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

/// Whether this is a subscription id.
///
/// # Errors
/// Says the rule.
pub fn check_subscription(text: &str) -> Result<(), InvalidIdentityId> {
    is_guid(text).then_some(()).ok_or(InvalidIdentityId::Subscription)
}

/// Whether Azure takes this as the name of a resource group.
///
/// # Errors
/// Says the rule.
pub fn check_resource_group(text: &str) -> Result<(), InvalidIdentityId> {
    is_resource_group(text)
        .then_some(())
        .ok_or(InvalidIdentityId::ResourceGroup)
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_resource_group(text: &str) -> bool {
    (1..=90).contains(&text.len())
        && !text.ends_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.()".contains(&b))
}

fn is_identity_name(text: &str) -> bool {
    (3..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/Shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Web";

    #[test]
    fn parses_and_prints_the_same_id() {
        let id: IdentityId = ID.parse().unwrap();
        assert_eq!(id.to_string(), ID);
        assert_eq!((id.resource_group(), id.name()), ("Shop", "Web"));
    }

    #[test]
    fn letter_case_does_not_tell_ids_apart() {
        let lower: IdentityId = ID.to_lowercase().parse().unwrap();
        let upper: IdentityId = ID.to_uppercase().parse().unwrap();
        assert_eq!(lower, upper);
        assert_eq!(lower.key(), ID.to_lowercase());
    }

    #[test]
    fn a_hostile_id_is_refused() {
        let swap = |from: &str, to: &str| ID.replace(from, to);
        for hostile in [
            swap("Web", "../../../x"),
            swap("Web", "We%2fb"),
            swap("Web", "Web?api-version=1"),
            swap("Web", "Wéb"),
            swap("Web", "Web\u{200b}"),
            swap("Web", "ab"),
            swap("Web", &"a".repeat(129)),
            swap("Shop", ".."),
            swap("Shop", "Shop."),
            swap("Shop", ""),
            swap("Shop", &"g".repeat(91)),
            swap("00000000-0000-0000-0000-00000000000a", "me"),
            swap("ManagedIdentity", "Compute"),
            swap("/subscriptions", "subscriptions"),
            format!("{ID}/federatedIdentityCredentials/x"),
            format!("{ID}/"),
            format!(" {ID}"),
            format!("{ID}\n"),
            String::new(),
        ] {
            assert!(hostile.parse::<IdentityId>().is_err(), "{hostile:?} was accepted");
        }
    }

    #[test]
    fn the_longest_and_the_shortest_parts_are_taken() {
        let guid = "00000000-0000-0000-0000-00000000000a";
        let longest = IdentityId::new(guid, &"g".repeat(90), &"n".repeat(128)).unwrap();
        assert_eq!((longest.subscription(), longest.name().len()), (guid, 128));
        assert!(IdentityId::new(guid, "g", "abc").is_ok());
        assert!(IdentityId::new(guid, "(a).b_c-1", "1-_").is_ok());
    }

    #[test]
    fn a_refusal_names_the_part_that_is_wrong() {
        use InvalidIdentityId::{Name, ResourceGroup, Subscription};
        let guid = "00000000-0000-0000-0000-00000000000a";
        let refused = |subscription, group, name| IdentityId::new(subscription, group, name).unwrap_err();
        assert_eq!(refused("x", "", ""), Subscription);
        // As long, with hyphens elsewhere, and with letters that are no digits.
        assert_eq!(
            refused("0000000-00000-0000-0000-00000000000a", "g", "web"),
            Subscription
        );
        assert_eq!(
            refused("00000000-0000-0000-0000-00000000000g", "g", "web"),
            Subscription
        );
        for group in ["", ".", "a.", "a/b", "a b", "é"] {
            assert_eq!(refused(guid, group, "web"), ResourceGroup, "{group}");
        }
        for name in ["", "ab", "-ab", "_ab", "a.b", "a b", "wéb"] {
            assert_eq!(refused(guid, "g", name), Name, "{name}");
        }
    }

    #[test]
    fn every_fixed_segment_is_looked_at() {
        for segment in [
            "subscriptions",
            "resourceGroups",
            "providers",
            "Microsoft.ManagedIdentity",
            "userAssignedIdentities",
        ] {
            let other = ID.replacen(segment, "other", 1);
            assert_eq!(
                other.parse::<IdentityId>(),
                Err(InvalidIdentityId::Shape),
                "{segment}"
            );
        }
    }

    #[test]
    fn ids_of_other_parts_are_others() {
        let id = |text: String| text.parse::<IdentityId>().unwrap();
        let web = id(ID.to_owned());
        assert_ne!(web, id(ID.replace("Web", "Api")));
        assert_ne!(web, id(ID.replace("Shop", "Pay")));
        assert_ne!(web, id(ID.replace("000a", "000b")));
    }
}
