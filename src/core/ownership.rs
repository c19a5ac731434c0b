//! How a credential is reported in a binding's status. Never the other way round: a status is no proof of
//! anything, since tenants can write it. What is ours is on record: see [`record`](super::record).

use super::Credential;
use crate::api::{CredentialOrigin, CredentialStatus};

/// A credential, as a status reports it.
pub fn reported(credential: &Credential, origin: CredentialOrigin) -> CredentialStatus {
    CredentialStatus {
        name: credential.name.clone(),
        issuer: credential.tuple.issuer.clone(),
        subject: credential.tuple.subject.clone(),
        audience: credential.tuple.audience.clone(),
        origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_trusted_and_who_made_it() {
        let tuple = crate::core::Tuple::for_service_account("https://issuer/", "shop", "web", "aud");
        let credential = Credential {
            name: "name".to_owned(),
            tuple,
        };
        let expected = CredentialStatus {
            name: "name".to_owned(),
            issuer: "https://issuer/".to_owned(),
            subject: "system:serviceaccount:shop:web".to_owned(),
            audience: "aud".to_owned(),
            origin: CredentialOrigin::Adopted,
        };
        assert_eq!(reported(&credential, CredentialOrigin::Adopted), expected);
    }
}
