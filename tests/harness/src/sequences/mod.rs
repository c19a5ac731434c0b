//! Sequences of what people do to bindings and to what they stand on, generated from the definition's schema.

mod operations;
mod schema;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use operations::Operation;
pub use schema::Schema;
pub use view::{View, differences};

/// Names that sequences play with: few, so that they meet.
pub const IDENTITIES: [&str; 2] = ["one", "two"];
/// ServiceAccounts of a sequence.
pub const ACCOUNTS: [&str; 2] = ["web", "api"];
/// Bindings of a sequence.
pub const BINDINGS: [&str; 3] = ["first", "second", "third"];

/// A ServiceAccount and an identity.
pub type Pair = (String, String);

/// What people have asked for so far.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Specs by binding.
    pub specs: BTreeMap<String, Value>,
    /// What is granted.
    pub grants: BTreeSet<Pair>,
    /// Credentials that somebody else has made.
    pub foreign: BTreeSet<Pair>,
    /// What `Retain` has left behind on purpose.
    pub retained: BTreeSet<Pair>,
}

/// The pair that a spec names.
pub fn pair(spec: &Value) -> Pair {
    let account = spec["serviceAccount"]["name"].as_str().unwrap_or_default();
    let identity = &spec["identity"];
    let by_id = identity["resourceId"]
        .as_str()
        .and_then(|id| id.rsplit('/').next());
    let name = by_id.or_else(|| identity["name"].as_str()).unwrap_or_default();
    (account.to_owned(), name.to_lowercase())
}
