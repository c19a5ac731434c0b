//! What an identity holds: the credentials that can be read, and the names of those that cannot.

use super::Credential;

/// Everything on one identity, whoever made it.
///
/// An entry that the operator cannot hold in a [`Credential`] (a flexible credential has no subject,
/// for one) is kept by its name alone. It takes one of the identity's places, equals nothing, and is
/// neither overwritten nor deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Holdings {
    /// What can be read.
    pub credentials: Vec<Credential>,
    /// Names of what cannot be read; empty where an entry has not even a name.
    pub unreadable: Vec<String>,
}

impl Holdings {
    /// How many entries there are, readable or not: Azure's limit counts both.
    pub fn len(&self) -> usize {
        self.credentials.len() + self.unreadable.len()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an entry of this name is there and cannot be read. Letter case is ignored: nobody
    /// knows whether Azure tells it apart in names, and a PUT overwrites whatever has its name.
    pub fn is_unreadable(&self, name: &str) -> bool {
        self.unreadable
            .iter()
            .any(|found| found.eq_ignore_ascii_case(name))
    }

    /// The readable credential of exactly this name.
    pub fn named(&self, name: &str) -> Option<&Credential> {
        self.credentials.iter().find(|c| c.name == name)
    }
}

impl From<Vec<Credential>> for Holdings {
    fn from(credentials: Vec<Credential>) -> Self {
        Self {
            credentials,
            unreadable: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Tuple;

    #[test]
    fn what_cannot_be_read_counts_and_has_no_contents() {
        let tuple = Tuple::for_service_account("https://issuer/", "shop", "web", "aud");
        let ours = Credential::named_by_us("wib", tuple);
        let held = Holdings {
            credentials: vec![ours.clone()],
            unreadable: vec!["Flexible".to_owned(), String::new()],
        };
        assert_eq!((held.len(), held.is_empty()), (3, false));
        assert!(held.is_unreadable("flexible") && held.named("Flexible").is_none());
        assert!(!held.is_unreadable(&ours.name));
        assert_eq!(held.named(&ours.name), Some(&ours));
    }

    #[test]
    fn an_identity_without_any_entry_is_empty() {
        assert!(Holdings::default().is_empty());
        let held = Holdings {
            unreadable: vec![String::new()],
            ..Holdings::default()
        };
        assert_eq!((held.is_empty(), held.len()), (false, 1));
    }
}
