//! The pages of a list of credentials, each entry read by itself. No I/O.
//!
//! The models of `azure_mgmt_msi` take one entry without a `subject` for a broken answer, and an
//! answer without a `value` for an empty list. Here it is the other way round: one odd entry costs
//! nothing but itself, and what is no list is an error.

use azure_core_mgmt as legacy;
use legacy::error::ErrorKind;
use serde_json::Value;
use url::Url;

use super::API_VERSION;
use crate::core::{Credential, Holdings, IdentityId, Tuple};

/// Most pages that are read. Azure allows 20 credentials, which have been on one page wherever
/// anybody looked.
const MAX_PAGES: usize = 16;

/// Most entries that are read.
const MAX_ENTRIES: usize = 320;

/// What has been read so far.
pub(super) struct Pages {
    endpoint: Url,
    held: Holdings,
    asked: Vec<Url>,
}

impl Pages {
    /// Nothing yet, and where the first page is. Links are followed to this endpoint only: they are
    /// asked with a token.
    pub fn of(endpoint: &Url, id: &IdentityId) -> (Self, Url) {
        let mut first = endpoint.clone();
        first.set_path(&format!("{id}/federatedIdentityCredentials"));
        first.query_pairs_mut().append_pair("api-version", API_VERSION);
        let pages = Self {
            endpoint: endpoint.clone(),
            held: Holdings::default(),
            asked: vec![first.clone()],
        };
        (pages, first)
    }

    /// All that was read.
    pub fn held(self) -> Holdings {
        self.held
    }

    /// Takes in a page, and answers where the next one is.
    ///
    /// # Errors
    /// When it is no page of a list, or its link cannot or must not be followed.
    pub fn add(&mut self, body: &[u8]) -> legacy::Result<Option<Url>> {
        let page: Value = serde_json::from_slice(body)?;
        let Some(entries) = page.get("value").and_then(Value::as_array) else {
            return Err(broken("Azure's answer is no list of credentials"));
        };
        if self.held.len() + entries.len() > MAX_ENTRIES {
            return Err(broken("Azure lists more credentials than an identity can hold"));
        }
        for found in entries {
            match credential(found) {
                Some(credential) => self.held.credentials.push(credential),
                None => self.held.unreadable.push(name(found)),
            }
        }
        match page.get("nextLink") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(link)) if link.is_empty() => Ok(None),
            Some(Value::String(link)) => self.follow(link).map(Some),
            Some(_) => Err(broken("Azure's link to the next page is no text")),
        }
    }

    fn follow(&mut self, link: &str) -> legacy::Result<Url> {
        let url = self.endpoint.join(link);
        let mut url = url.map_err(|_| broken("Azure's link to the next page is no URL"))?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        if url.origin() != self.endpoint.origin() || has_user {
            return Err(broken(
                "Azure referred to another host; a token is sent to the configured endpoint only",
            ));
        }
        url.set_fragment(None);
        if url.query_pairs().all(|(key, _)| key != "api-version") {
            url.query_pairs_mut().append_pair("api-version", API_VERSION);
        }
        if self.asked.contains(&url) {
            return Err(broken("Azure's list leads back to a page that was read already"));
        }
        if self.asked.len() >= MAX_PAGES {
            return Err(broken("Azure's list has more pages than an identity can fill"));
        }
        self.asked.push(url.clone());
        Ok(url)
    }
}

/// The entry, if it has exactly what the operator compares, and nothing that widens it.
fn credential(found: &Value) -> Option<Credential> {
    let text = |value: Option<&Value>| {
        let text = value?.as_str().filter(|text| !text.is_empty())?;
        Some(text.to_owned())
    };
    let properties = found.get("properties")?;
    let expression = properties.get("claimsMatchingExpression");
    if expression.is_some_and(|expression| !expression.is_null()) {
        return None;
    }
    let [audience] = properties.get("audiences")?.as_array()?.as_slice() else {
        return None;
    };
    Some(Credential {
        name: text(found.get("name"))?,
        tuple: Tuple {
            issuer: text(properties.get("issuer"))?,
            subject: text(properties.get("subject"))?,
            audience: text(Some(audience))?,
        },
    })
}

/// What the entry is called: by its name, or else by its id.
fn name(found: &Value) -> String {
    let text = |member: &str| found.get(member).and_then(Value::as_str).unwrap_or_default();
    let last = text("id").rsplit('/').next().unwrap_or_default();
    let name = Some(text("name")).filter(|name| !name.is_empty());
    name.unwrap_or(last).to_owned()
}

fn broken(message: &'static str) -> legacy::Error {
    legacy::Error::message(ErrorKind::Other, message)
}

#[cfg(test)]
mod tests;
