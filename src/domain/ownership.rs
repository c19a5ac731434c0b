//! What is ours on an identity, and so may be overwritten or deleted.
//!
//! Azure has neither tags nor ETags on credentials, so ownership is proven by the name together
//! with what it holds. `status` is a hint, never a proof by itself: it is bounded here to
//! credentials of the binding's own namespace, so that a forged one reaches nobody else's.

use super::{Credential, Desired, IdentityId, Tuple};
use crate::api::{CredentialOrigin, CredentialStatus, Superseded, WorkloadIdentityBindingStatus};

/// The credential on the identity that `remembered` stands for, if it is ours to remove.
///
/// The name holds the hash of what we remember to have put there, so it is ours even if somebody
/// has edited it in place since.
pub fn removable<'a>(
    found: &'a [Credential],
    remembered: &CredentialStatus,
    namespace: &str,
) -> Option<&'a Credential> {
    let entry = found.iter().find(|c| c.name == remembered.name);
    entry.filter(|entry| is_ours(remembered, namespace) && !entry.is_aks_identity_binding())
}

/// The name to delete for `remembered` to be gone for certain, if it is ours to remove.
///
/// What a list does not show may be there all the same: the list is older than our write, or Azure
/// still works on one whose answer never came. Its name alone proves that it is ours.
pub fn doomed(found: &[Credential], remembered: &CredentialStatus, namespace: &str) -> Option<String> {
    let is_listed = found.iter().any(|c| c.name == remembered.name);
    let ours = if is_listed {
        removable(found, remembered, namespace).is_some()
    } else {
        is_ours(remembered, namespace)
    };
    ours.then(|| remembered.name.clone())
}

/// Whether what is remembered is a credential that an operator has made for this namespace.
fn is_ours(remembered: &CredentialStatus, namespace: &str) -> bool {
    let made = Credential {
        name: remembered.name.clone(),
        tuple: tuple_of(remembered),
    };
    let account = made.tuple.service_account();
    remembered.origin == CredentialOrigin::Created
        && account.is_some_and(|(ns, _)| ns == namespace)
        && made.carries_our_hash()
}

/// What `status` remembers on an identity and `desired` no longer asks for.
pub fn superseded(status: &WorkloadIdentityBindingStatus, desired: &Desired) -> Vec<Superseded> {
    let latest = latest(status).filter(|s| s.credential.origin == CredentialOrigin::Created);
    let mut old: Vec<Superseded> = Vec::new();
    for candidate in status.superseded.iter().cloned().chain(latest) {
        let wanted = is_on(&candidate, &desired.identity)
            && tuple_of(&candidate.credential) == desired.credential.tuple;
        if !wanted && !old.contains(&candidate) {
            old.push(candidate);
        }
    }
    old
}

/// Everything that `status` remembers, wanted or not: what a deletion has to take back.
pub fn remembered(status: &WorkloadIdentityBindingStatus) -> Vec<Superseded> {
    status.superseded.iter().cloned().chain(latest(status)).collect()
}

/// What `status` remembers of the credential under exactly this name on this identity.
pub fn memory_of<'a>(
    status: &'a WorkloadIdentityBindingStatus,
    identity: &IdentityId,
) -> Option<&'a CredentialStatus> {
    let on = status.identity.as_ref()?.resource_id.parse::<IdentityId>().ok()?;
    (on == *identity).then_some(status.credential.as_ref()).flatten()
}

/// Whether a remembered credential stands on this identity.
pub fn is_on(superseded: &Superseded, identity: &IdentityId) -> bool {
    superseded
        .resource_id
        .parse::<IdentityId>()
        .is_ok_and(|id| id == *identity)
}

/// The tuple that a status records.
pub fn tuple_of(credential: &CredentialStatus) -> Tuple {
    Tuple {
        issuer: credential.issuer.clone(),
        subject: credential.subject.clone(),
        audience: credential.audience.clone(),
    }
}

/// The record of a credential in a status.
pub fn record(credential: &Credential, origin: CredentialOrigin) -> CredentialStatus {
    CredentialStatus {
        name: credential.name.clone(),
        issuer: credential.tuple.issuer.clone(),
        subject: credential.tuple.subject.clone(),
        audience: credential.tuple.audience.clone(),
        origin,
    }
}

fn latest(status: &WorkloadIdentityBindingStatus) -> Option<Superseded> {
    Some(Superseded {
        resource_id: status.identity.as_ref()?.resource_id.clone(),
        credential: status.credential.clone()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "wib";

    fn ours(namespace: &str) -> Credential {
        Credential::named_by_us(
            PREFIX,
            Tuple::for_service_account("https://issuer/", namespace, "web", "aud"),
        )
    }

    #[test]
    fn what_we_made_is_ours() {
        let found = [ours("shop")];
        let memory = record(&found[0], CredentialOrigin::Created);
        assert_eq!(removable(&found, &memory, "shop"), Some(&found[0]));
    }

    #[test]
    fn what_we_adopted_is_not() {
        let found = [ours("shop")];
        let memory = record(&found[0], CredentialOrigin::Adopted);
        assert_eq!(removable(&found, &memory, "shop"), None);
    }

    #[test]
    fn a_forged_status_reaches_no_other_namespace() {
        let found = [ours("payments")];
        let memory = record(&found[0], CredentialOrigin::Created);
        assert_eq!(removable(&found, &memory, "shop"), None);
    }

    #[test]
    fn a_foreign_name_is_left_alone_whatever_the_status_says() {
        let found = [Credential {
            name: "terraform".into(),
            ..ours("shop")
        }];
        let memory = record(&found[0], CredentialOrigin::Created);
        assert_eq!(removable(&found, &memory, "shop"), None);
    }

    #[test]
    fn ours_that_no_list_shows_is_deleted_by_its_name_and_nobody_elses() {
        let memory = record(&ours("shop"), CredentialOrigin::Created);
        assert_eq!(doomed(&[], &memory, "shop"), Some(memory.name.clone()));
        assert_eq!(doomed(&[], &memory, "payments"), None);
        let adopted = record(&ours("shop"), CredentialOrigin::Adopted);
        assert_eq!(doomed(&[], &adopted, "shop"), None);
        let forged = CredentialStatus {
            name: "terraform".into(),
            ..memory
        };
        assert_eq!(doomed(&[], &forged, "shop"), None);
    }

    #[test]
    fn ours_under_an_earlier_prefix_is_still_ours() {
        let found = [Credential::named_by_us("old", ours("shop").tuple)];
        let memory = record(&found[0], CredentialOrigin::Created);
        assert_eq!(removable(&found, &memory, "shop"), Some(&found[0]));
    }

    #[test]
    fn ours_that_somebody_edited_is_still_ours() {
        let memory = record(&ours("shop"), CredentialOrigin::Created);
        let found = [Credential {
            name: memory.name.clone(),
            tuple: Tuple::for_service_account("https://edited/", "shop", "web", "aud"),
        }];
        assert_eq!(removable(&found, &memory, "shop"), Some(&found[0]));
    }
}
