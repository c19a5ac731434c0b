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
mod tests;
