//! Paths of the authority host.

use crate::operation::Operation;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntraTarget {
    Token(String),
    Discovery(String),
    Keys(String),
    Instance,
    Unknown,
}

impl EntraTarget {
    pub(crate) fn parse(path: &str) -> Self {
        let lower = path.to_ascii_lowercase();
        let segments: Vec<&str> = lower.split('/').filter(|segment| !segment.is_empty()).collect();
        match segments.as_slice() {
            ["common", "discovery", "instance"] => Self::Instance,
            [tenant, "oauth2", "v2.0", "token"] => Self::Token((*tenant).to_owned()),
            [tenant, "v2.0", ".well-known", "openid-configuration"] => Self::Discovery((*tenant).to_owned()),
            [tenant, "discovery", "v2.0", "keys"] => Self::Keys((*tenant).to_owned()),
            _ => Self::Unknown,
        }
    }

    pub(crate) fn operation(&self, method: &str) -> Operation {
        match (self, method) {
            (Self::Token(_), "POST") => Operation::Token,
            (Self::Discovery(_) | Self::Instance, "GET") => Operation::Discovery,
            (Self::Keys(_), "GET") => Operation::Keys,
            _ => Operation::Other,
        }
    }
}
