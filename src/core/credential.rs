//! Federated identity credentials and the names that the operator gives them.

use sha2::{Digest, Sha256};

/// Longest name of a federated identity credential, in characters
/// (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>).
pub const MAX_NAME: usize = 120;

/// Most credentials that one identity holds; Azure counts every one, whoever made it (same page).
pub const MAX_PER_IDENTITY: usize = 20;

/// Name of the credential that AKS identity bindings keep on an identity. Counted, never touched.
pub const AKS_IDENTITY_BINDING: &str = "aks-identity-binding";

/// Host of the issuer of AKS identity bindings.
const AKS_IDENTITY_BINDING_ISSUER: &str = "https://ib.oic.prod-aks.azure.com/";

/// Hexadecimal digits of the hash in a name: 64 bits, so that a clash on one identity, which
/// holds 20 names, does not happen.
const HASH_DIGITS: usize = 16;

/// Issuer, subject and audience: what Entra compares byte for byte with a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// `iss` of the token.
    pub issuer: String,
    /// `sub` of the token.
    pub subject: String,
    /// `aud` of the token.
    pub audience: String,
}

/// A federated identity credential as Azure holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credential {
    /// Name on the identity, its only mark of ownership: Azure has no tags and no description here.
    pub name: String,
    /// What it trusts.
    pub tuple: Tuple,
}

impl Tuple {
    /// The tuple of a ServiceAccount's tokens.
    pub fn for_service_account(issuer: &str, namespace: &str, name: &str, audience: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            subject: format!("system:serviceaccount:{namespace}:{name}"),
            audience: audience.to_owned(),
        }
    }

    /// Namespace and name of the ServiceAccount that the subject stands for.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        service_account(&self.subject)
    }

    /// Whether Azure counts the two as the same: the audience is no part of its uniqueness rule.
    pub fn collides_with(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }

    /// Same issuer and subject up to letter case, yet not equal. Token exchange tells case apart.
    pub fn differs_in_case_only(&self, other: &Self) -> bool {
        self != other
            && self.issuer.eq_ignore_ascii_case(&other.issuer)
            && self.subject.eq_ignore_ascii_case(&other.subject)
            && self.audience.eq_ignore_ascii_case(&other.audience)
    }
}

impl Credential {
    /// The credential that the operator makes for a tuple.
    pub fn named_by_us(prefix: &str, tuple: Tuple) -> Self {
        Self {
            name: name_for(prefix, &tuple),
            tuple,
        }
    }

    /// Whether the name ends in the hash of this tuple, under whichever prefix. No other tool names
    /// credentials so; with an equal issuer and subject it is the proof of ownership.
    pub fn carries_our_hash(&self) -> bool {
        self.name.ends_with(&format!("-{}", hash(&self.tuple)))
    }

    /// Belongs to AKS identity bindings: counted against the limit, never touched.
    pub fn is_aks_identity_binding(&self) -> bool {
        self.name.eq_ignore_ascii_case(AKS_IDENTITY_BINDING)
            || self
                .tuple
                .issuer
                .to_ascii_lowercase()
                .starts_with(AKS_IDENTITY_BINDING_ISSUER)
    }
}

/// Namespace and name of the ServiceAccount that a subject stands for.
pub fn service_account(subject: &str) -> Option<(&str, &str)> {
    subject.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// `<prefix>-<namespace>-<serviceaccount>-<hash>`, lower case, at most 120 characters.
///
/// The hash covers issuer, subject and audience, so that two clusters never share a name: a PUT
/// silently overwrites whatever has its name. The readable part gives way when it is too long.
fn name_for(prefix: &str, tuple: &Tuple) -> String {
    let (namespace, service_account) = tuple.service_account().unwrap_or(("", ""));
    let readable: String = format!("{prefix}-{namespace}-{service_account}")
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .take(MAX_NAME - HASH_DIGITS - 1)
        .collect();
    format!("{readable}-{}", hash(tuple))
}

fn hash(tuple: &Tuple) -> String {
    let mut hasher = Sha256::new();
    for part in [&tuple.issuer, &tuple.subject, &tuple.audience] {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut digits = format!("{:x}", hasher.finalize());
    digits.truncate(HASH_DIGITS);
    digits
}

/// Whether a text can stand in front of credential names: 1 to 20 lower-case letters, digits and
/// hyphens, starting with a letter or digit.
pub fn is_valid_prefix(prefix: &str) -> bool {
    (1..=20).contains(&prefix.len())
        && prefix.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple(issuer: &str, namespace: &str, name: &str) -> Tuple {
        Tuple::for_service_account(issuer, namespace, name, "api://AzureADTokenExchange")
    }

    #[test]
    fn a_name_reads_well_and_is_stable() {
        let name = Credential::named_by_us("wib", tuple("https://issuer/", "shop", "web")).name;
        assert_eq!(name, "wib-shop-web-147a1ae1af9b8930");
    }

    #[test]
    fn a_trailing_slash_makes_another_name() {
        let one = Credential::named_by_us("wib", tuple("https://issuer/", "shop", "web"));
        let two = Credential::named_by_us("wib", tuple("https://issuer", "shop", "web"));
        assert_ne!(one.name, two.name);
    }

    #[test]
    fn namespace_and_name_cannot_trade_letters() {
        let one = Credential::named_by_us("wib", tuple("https://issuer/", "a-b", "c"));
        let two = Credential::named_by_us("wib", tuple("https://issuer/", "a", "b-c"));
        assert_ne!(one.name, two.name);
    }

    #[test]
    fn aks_identity_bindings_are_recognised_by_name_and_by_issuer() {
        let by_name = Credential {
            name: "aks-identity-binding".into(),
            tuple: tuple("https://x", "a", "b"),
        };
        let by_issuer = Credential {
            name: "any".into(),
            tuple: tuple("https://ib.oic.prod-aks.azure.com/t/c", "a", "b"),
        };
        assert!(by_name.is_aks_identity_binding() && by_issuer.is_aks_identity_binding());
    }

    proptest! {
        #[test]
        fn every_name_keeps_azures_rule(ns in "[a-z0-9-]{1,63}", sa in "[a-z0-9.-]{1,253}", issuer in ".{0,600}") {
            let name = Credential::named_by_us("wib", tuple(&issuer, &ns, &sa)).name;
            prop_assert!((3..=MAX_NAME).contains(&name.len()));
            prop_assert!(name.starts_with(|c: char| c.is_ascii_alphanumeric()));
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)));
        }
    }

    #[test]
    fn the_service_account_of_a_subject_is_its_namespace_and_name() {
        assert_eq!(tuple("i", "shop", "web").service_account(), Some(("shop", "web")));
        for subject in [
            "repo:x/y:ref",
            "system:serviceaccount:shop",
            "serviceaccount:a:b",
            "",
        ] {
            let other = Tuple {
                subject: subject.to_owned(),
                ..tuple("i", "shop", "web")
            };
            assert_eq!(other.service_account(), None, "{subject}");
        }
    }

    #[test]
    fn azure_counts_two_as_the_same_by_issuer_and_subject() {
        let one = tuple("i", "shop", "web");
        assert!(one.collides_with(&Tuple {
            audience: "other".to_owned(),
            ..one.clone()
        }));
        assert!(!one.collides_with(&tuple("j", "shop", "web")));
        assert!(!one.collides_with(&tuple("i", "shop", "api")));
    }

    #[test]
    fn letter_case_alone_makes_a_difference_of_its_own() {
        let one = tuple("i", "shop", "web");
        let with = |issuer: &str, account: &str, audience: &str| {
            Tuple::for_service_account(issuer, "shop", account, audience)
        };
        let audience = "api://AzureADTokenExchange";
        assert!(one.differs_in_case_only(&with("I", "web", audience)));
        assert!(one.differs_in_case_only(&with("i", "WEB", audience)));
        assert!(one.differs_in_case_only(&with("i", "web", &audience.to_uppercase())));
        assert!(!one.differs_in_case_only(&one));
        assert!(!one.differs_in_case_only(&with("x", "WEB", audience)));
        assert!(!one.differs_in_case_only(&with("I", "api", audience)));
        assert!(!one.differs_in_case_only(&with("I", "WEB", "other")));
    }

    #[test]
    fn a_hash_is_carried_only_of_what_the_credential_trusts() {
        let ours = Credential::named_by_us("any", tuple("i", "shop", "web"));
        assert!(ours.carries_our_hash());
        let edited = Credential {
            tuple: tuple("j", "shop", "web"),
            ..ours.clone()
        };
        assert!(!edited.carries_our_hash());
        let bare = Credential {
            name: ours.name.rsplit_once('-').unwrap().1.to_owned(),
            ..ours
        };
        assert!(!bare.carries_our_hash(), "the hyphen is part of the mark");
    }

    #[test]
    fn nothing_but_akss_is_akss() {
        let named = |name: &str, issuer: &str| Credential {
            name: name.to_owned(),
            tuple: tuple(issuer, "a", "b"),
        };
        assert!(named("AKS-Identity-Binding", "https://x").is_aks_identity_binding());
        assert!(named("any", "https://IB.oic.prod-aks.azure.com/t").is_aks_identity_binding());
        assert!(!named("aks-identity-binding-2", "https://x").is_aks_identity_binding());
        assert!(!named("any", "https://oic.prod-aks.azure.com/t").is_aks_identity_binding());
    }

    #[test]
    fn the_readable_part_gives_way_to_the_hash_and_is_cleaned() {
        let long = Credential::named_by_us("wib", tuple("i", &"n".repeat(63), &"s".repeat(253)));
        assert_eq!(long.name.len(), MAX_NAME);
        assert!(long.carries_our_hash());
        let odd = Credential::named_by_us("wib", tuple("i", "Shop_1", "a.b")).name;
        assert!(odd.starts_with("wib-shop_1-a-b-"), "{odd}");
        // Beyond the readable part nothing may be lost: the hash tells them apart.
        let other = Credential::named_by_us("wib", tuple("i", &"n".repeat(63), &"s".repeat(252)));
        assert_ne!(long.name, other.name);
        let nobody = Tuple {
            subject: "repo:x".to_owned(),
            ..tuple("i", "a", "b")
        };
        assert!(Credential::named_by_us("wib", nobody).name.starts_with("wib---"));
    }

    #[test]
    fn a_prefix_is_short_and_begins_with_a_letter_or_digit() {
        for prefix in ["w", "0", "wib-2", &"a".repeat(20)] {
            assert!(is_valid_prefix(prefix), "{prefix:?} was refused");
        }
        for prefix in ["", "-w", "Wib", "wIb", "w_b", "w.b", "wéb", &"a".repeat(21)] {
            assert!(!is_valid_prefix(prefix), "{prefix:?} was accepted");
        }
    }
}
