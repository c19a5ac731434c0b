//! What a binding asks for, worked out from its spec, the operator's settings and the issuer.

use super::arm_id::InvalidIdentityId;
use super::{Credential, IdentityId, Tuple, grant};
use crate::api::{
    Adoption, DeletionPolicy, IdentityReference, ServiceAccountReference, WorkloadIdentityBindingSpec,
};

/// The operator's settings that complete a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Subscription of identities that are given by name only.
    pub subscription_id: Option<String>,
    /// Resource group of identities that are given by name only.
    pub resource_group: Option<String>,
    /// Policy of bindings that name none.
    pub deletion_policy: DeletionPolicy,
    /// Audience of every credential.
    pub audience: String,
    /// First part of every credential name.
    pub prefix: String,
}

/// A spec that has been understood. Past this point nobody reads the spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Desired {
    /// Namespace of binding and ServiceAccount.
    pub namespace: String,
    /// The identity.
    pub identity: IdentityId,
    /// The credential, under the name that the operator gives it.
    pub credential: Credential,
    /// The ServiceAccount and what to write on it.
    pub service_account: ServiceAccountReference,
    /// What to do with an equal credential under another name.
    pub adoption: Adoption,
    /// What happens on deletion.
    pub deletion_policy: DeletionPolicy,
    /// Write nothing.
    pub suspend: bool,
}

/// Why a spec cannot be understood. The API server refuses most of these; an object may be older
/// than the rule, and a default may be missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// None or both of the two forms of an identity.
    #[error("spec.identity needs exactly one of resourceId and name")]
    IdentityForm,
    /// The name form lacks a part that the operator has no default for.
    #[error(
        "spec.identity.{field} is not set and the operator has no default for it: set it, or start the operator with {flag}"
    )]
    NoDefault {
        /// Field of the spec.
        field: &'static str,
        /// Flag of the operator.
        flag: &'static str,
    },
    /// A part breaks Azure's rules.
    #[error("spec.identity: {0}")]
    Identity(#[from] InvalidIdentityId),
    /// The name would steer an address, or stand for another subject.
    #[error(
        "spec.serviceAccount.name must be a name that Kubernetes takes: lower-case letters, digits, hyphens and periods, 253 at most"
    )]
    ServiceAccount,
    /// Azure takes at most 600 characters in issuer, subject and audience.
    #[error("the {0} is longer than the 600 characters that Azure takes")]
    TooLong(&'static str),
}

/// Longest issuer, subject and audience
/// (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>).
const MAX_TUPLE_PART: usize = 600;

impl Desired {
    /// Understands a spec.
    ///
    /// # Errors
    /// Says what is wrong and how to mend it.
    pub fn new(
        namespace: &str,
        spec: &WorkloadIdentityBindingSpec,
        defaults: &Defaults,
        issuer: &str,
    ) -> Result<Self, InvalidSpec> {
        let identity = identity(&spec.identity, defaults)?;
        if !is_service_account_name(&spec.service_account.name) {
            return Err(InvalidSpec::ServiceAccount);
        }
        let tuple =
            Tuple::for_service_account(issuer, namespace, &spec.service_account.name, &defaults.audience);
        for (what, text) in [
            ("issuer", &tuple.issuer),
            ("subject", &tuple.subject),
            ("audience", &tuple.audience),
        ] {
            if text.chars().count() > MAX_TUPLE_PART {
                return Err(InvalidSpec::TooLong(what));
            }
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            identity,
            credential: Credential::named_by_us(&defaults.prefix, tuple),
            service_account: spec.service_account.clone(),
            adoption: spec.adoption,
            deletion_policy: spec.deletion_policy.unwrap_or(defaults.deletion_policy),
            suspend: spec.suspend,
        })
    }

    /// The question to ask before anything else.
    pub fn grant(&self) -> grant::Request {
        grant::Request {
            namespace: self.namespace.clone(),
            service_account: self.service_account.name.clone(),
            identity: self.identity.clone(),
        }
    }
}

/// The identity that a reference names.
///
/// # Errors
/// Says which part is missing or breaks Azure's rules.
pub fn identity(reference: &IdentityReference, defaults: &Defaults) -> Result<IdentityId, InvalidSpec> {
    match (&reference.resource_id, &reference.name) {
        (Some(id), None) => Ok(id.parse()?),
        (None, Some(name)) => {
            let subscription = reference
                .subscription_id
                .as_ref()
                .or(defaults.subscription_id.as_ref());
            let group = reference
                .resource_group
                .as_ref()
                .or(defaults.resource_group.as_ref());
            let subscription = subscription.ok_or(InvalidSpec::NoDefault {
                field: "subscriptionId",
                flag: "--subscription-id",
            })?;
            let group = group.ok_or(InvalidSpec::NoDefault {
                field: "resourceGroup",
                flag: "--resource-group",
            })?;
            Ok(IdentityId::new(subscription, group, name)?)
        }
        _ => Err(InvalidSpec::IdentityForm),
    }
}

/// Whether Kubernetes takes this as a ServiceAccount's name, a DNS subdomain
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>). Names from objects
/// become parts of addresses and subjects, so admission is not trusted with this.
pub fn is_service_account_name(name: &str) -> bool {
    (1..=253).contains(&name.len()) && name.split('.').all(is_label)
}

/// Whether Kubernetes takes this as a namespace's name, a DNS label (same page).
pub fn is_namespace_name(name: &str) -> bool {
    name.len() <= 63 && is_label(name)
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().next().is_some_and(inner)
        && text.bytes().next_back().is_some_and(inner)
        && text.bytes().all(|b| inner(b) || b == b'-')
}

/// Whether credentials can have this audience: Entra compares it byte for byte with the token's, so
/// white space that nobody sees in a manifest would make trust that never works.
pub fn is_audience(text: &str) -> bool {
    (1..=MAX_TUPLE_PART).contains(&text.chars().count())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000000a";

    fn defaults() -> Defaults {
        Defaults {
            subscription_id: None,
            resource_group: None,
            deletion_policy: DeletionPolicy::Delete,
            audience: "api://AzureADTokenExchange".into(),
            prefix: "wib".into(),
        }
    }

    fn by_name() -> IdentityReference {
        IdentityReference {
            name: Some("web".into()),
            ..IdentityReference::default()
        }
    }

    #[test]
    fn the_name_form_takes_the_operators_defaults() {
        let defaults = Defaults {
            subscription_id: Some(SUBSCRIPTION.into()),
            resource_group: Some("shop".into()),
            ..defaults()
        };
        let id = identity(&by_name(), &defaults).unwrap();
        assert_eq!(
            (id.subscription(), id.resource_group(), id.name()),
            (SUBSCRIPTION, "shop", "web")
        );
    }

    #[test]
    fn a_missing_default_is_named_with_its_flag() {
        let error = identity(&by_name(), &defaults()).unwrap_err();
        assert!(error.to_string().contains("--subscription-id"), "{error}");
    }

    #[test]
    fn both_forms_or_none_are_refused() {
        assert_eq!(
            identity(&IdentityReference::default(), &defaults()),
            Err(InvalidSpec::IdentityForm)
        );
        let both = IdentityReference {
            resource_id: Some("/x".into()),
            ..by_name()
        };
        assert_eq!(identity(&both, &defaults()), Err(InvalidSpec::IdentityForm));
    }

    #[test]
    fn a_hostile_service_account_name_is_refused() {
        for name in ["web", "a", "0-1.b", &"a".repeat(253)] {
            assert!(is_service_account_name(name), "{name:?} was refused");
        }
        let long = "a".repeat(254);
        for name in [
            "",
            "..",
            ".",
            "a..b",
            "../web",
            "web/token",
            "web?x=1",
            "web#",
            "web%2ftoken",
            "a:b",
            "*",
            "Web",
            "-web",
            "web-",
            "web.",
            "web\n",
            "we b",
            "w\u{0}b",
            "wéb",
            "\u{212a}",
            "web\u{200b}",
            &long,
        ] {
            assert!(!is_service_account_name(name), "{name:?} was accepted");
        }
    }

    fn spec(json: serde_json::Value) -> WorkloadIdentityBindingSpec {
        serde_json::from_value(json).unwrap()
    }

    fn by_id(extra: &serde_json::Value) -> WorkloadIdentityBindingSpec {
        let id = format!(
            "/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
        );
        let mut json = serde_json::json!({
            "identity": { "resourceId": id },
            "serviceAccount": { "name": "web" },
        });
        let fields = extra.as_object().unwrap().clone();
        json.as_object_mut().unwrap().extend(fields);
        spec(json)
    }

    fn understood(spec: &WorkloadIdentityBindingSpec) -> Desired {
        Desired::new("shop", spec, &defaults(), "https://issuer/").unwrap()
    }

    #[test]
    fn a_spec_and_the_settings_make_the_credential_and_the_question() {
        let desired = understood(&by_id(&serde_json::json!({})));
        let tuple =
            Tuple::for_service_account("https://issuer/", "shop", "web", "api://AzureADTokenExchange");
        assert_eq!(desired.credential, Credential::named_by_us("wib", tuple));
        assert_eq!((desired.namespace.as_str(), desired.suspend), ("shop", false));
        assert_eq!(desired.identity.name(), "web");
        assert_eq!(desired.service_account.name, "web");
        let request = grant::Request {
            namespace: "shop".to_owned(),
            service_account: "web".to_owned(),
            identity: desired.identity.clone(),
        };
        assert_eq!(desired.grant(), request);
    }

    #[test]
    fn what_a_spec_says_of_deletion_speaks_before_the_setting() {
        let policy = |extra, default| {
            let defaults = Defaults {
                deletion_policy: default,
                ..defaults()
            };
            let desired = Desired::new("shop", &by_id(&extra), &defaults, "i").unwrap();
            desired.deletion_policy
        };
        let none = serde_json::json!({});
        assert_eq!(
            policy(none.clone(), DeletionPolicy::Delete),
            DeletionPolicy::Delete
        );
        assert_eq!(policy(none, DeletionPolicy::Retain), DeletionPolicy::Retain);
        let delete = serde_json::json!({"deletionPolicy": "Delete"});
        assert_eq!(policy(delete, DeletionPolicy::Retain), DeletionPolicy::Delete);
    }

    #[test]
    fn adoption_and_suspension_are_those_of_the_spec() {
        let desired = understood(&by_id(&serde_json::json!({"adoption": "Never", "suspend": true})));
        assert_eq!((desired.adoption, desired.suspend), (Adoption::Never, true));
    }

    #[test]
    fn the_form_by_name_speaks_before_the_settings_and_misses_each_by_itself() {
        let settings = Defaults {
            subscription_id: Some("00000000-0000-0000-0000-00000000000b".into()),
            resource_group: Some("other".into()),
            ..defaults()
        };
        let own = IdentityReference {
            subscription_id: Some(SUBSCRIPTION.into()),
            resource_group: Some("shop".into()),
            ..by_name()
        };
        let id = identity(&own, &settings).unwrap();
        assert_eq!((id.subscription(), id.resource_group()), (SUBSCRIPTION, "shop"));
        let without_group = IdentityReference {
            resource_group: None,
            ..own
        };
        let error = identity(&without_group, &defaults()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "spec.identity.resourceGroup is not set and the operator has no default for it: set it, or start the operator with --resource-group"
        );
    }

    #[test]
    fn a_name_that_would_steer_an_address_is_told() {
        let spec = by_id(&serde_json::json!({"serviceAccount": {"name": "../web"}}));
        let error = Desired::new("shop", &spec, &defaults(), "i").unwrap_err();
        assert_eq!(error, InvalidSpec::ServiceAccount);
    }

    #[test]
    fn azure_takes_600_characters_of_each_part() {
        let made = |issuer: usize, audience: usize, namespace: usize| {
            let defaults = Defaults {
                audience: "é".repeat(audience),
                ..defaults()
            };
            let spec = by_id(&serde_json::json!({}));
            Desired::new(&"n".repeat(namespace), &spec, &defaults, &"é".repeat(issuer)).map(|_| ())
        };
        // system:serviceaccount:<namespace>:web
        let namespace = 600 - "system:serviceaccount::web".len();
        assert_eq!(made(600, 600, namespace), Ok(()));
        assert_eq!(made(601, 600, namespace), Err(InvalidSpec::TooLong("issuer")));
        assert_eq!(made(600, 601, namespace), Err(InvalidSpec::TooLong("audience")));
        assert_eq!(
            made(600, 600, namespace + 1),
            Err(InvalidSpec::TooLong("subject"))
        );
    }

    #[test]
    fn a_namespace_is_one_label() {
        for name in ["shop", "a", "0-1", &"a".repeat(63)] {
            assert!(is_namespace_name(name), "{name:?} was refused");
        }
        for name in ["", "-a", "a-", "a.b", "A", "a/b", "é", &"a".repeat(64)] {
            assert!(!is_namespace_name(name), "{name:?} was accepted");
        }
    }

    #[test]
    fn an_audience_has_no_character_that_nobody_sees() {
        for audience in [
            "api://AzureADTokenExchange",
            "a",
            &"a".repeat(600),
            &"é".repeat(600),
        ] {
            assert!(is_audience(audience), "{audience:?} was refused");
        }
        for audience in [
            "",
            " a",
            "a ",
            "a b",
            "a\n",
            "a\u{0}",
            "a\u{a0}b",
            &"a".repeat(601),
        ] {
            assert!(!is_audience(audience), "{audience:?} was accepted");
        }
    }
}
