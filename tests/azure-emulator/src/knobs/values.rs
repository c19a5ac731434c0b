//! The values of knobs that are more than a number or a switch.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::operation::Operation;

/// Status, code and text of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorShape {
    /// HTTP status.
    pub status: u16,
    /// `error.code`.
    pub code: String,
    /// `error.message`.
    pub message: String,
}

impl ErrorShape {
    /// All three parts.
    pub fn new(status: u16, code: &str, message: &str) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }
}

/// Status and code of the duplicate error; the text is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateError {
    /// 400 `BadRequest` (status documented, code unverified).
    BadRequest,
    /// 409 `Conflict` (reported from deployment logs).
    Conflict,
}

/// The answer to the `DELETE` of an absent credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMissing {
    /// 204 (documented).
    NoContent,
    /// 404 `NotFound` (other emulators and some providers do that).
    NotFound,
}

/// Where the `nextLink` of a list leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextLink {
    /// To the next page, if there is one.
    NextPage,
    /// From every page to itself (a broken Azure; never seen).
    Itself,
    /// From every page to one more, behind the last entry too (a broken Azure; never seen).
    Endless,
}

/// How a credential is shown. What Azure answers for flexible credentials at api-versions that do not know
/// them is unverified: each of these is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `claimsMatchingExpression` instead of `subject` (documented for the previews).
    Flexible,
    /// `claimsMatchingExpression` beside a `subject`.
    FlexibleWithSubject,
    /// No `subject`.
    NoSubject,
    /// `"subject": null`.
    NullSubject,
    /// `"subject": ""`.
    EmptySubject,
    /// No `issuer`.
    NoIssuer,
    /// No `audiences`.
    NoAudiences,
    /// `"audiences": []`.
    EmptyAudiences,
    /// No `properties`.
    NoProperties,
    /// `"properties": null`.
    NullProperties,
    /// No `name`; the id has it still.
    NoName,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Flexible,
        Self::FlexibleWithSubject,
        Self::NoSubject,
        Self::NullSubject,
        Self::EmptySubject,
        Self::NoIssuer,
        Self::NoAudiences,
        Self::EmptyAudiences,
        Self::NoProperties,
        Self::NullProperties,
        Self::NoName,
    ];

    /// Brings the usual form of a credential into this one.
    pub(crate) fn apply(self, credential: &mut Value) {
        let expression = || {
            let value = "claims['sub'] matches 'repo:contoso/*'";
            json!({ "value": value, "languageVersion": 1 })
        };
        let properties = &mut credential["properties"];
        match self {
            Self::Flexible => {
                remove(properties, "subject");
                properties["claimsMatchingExpression"] = expression();
            }
            Self::FlexibleWithSubject => properties["claimsMatchingExpression"] = expression(),
            Self::NoSubject => remove(properties, "subject"),
            Self::NullSubject => properties["subject"] = Value::Null,
            Self::EmptySubject => properties["subject"] = json!(""),
            Self::NoIssuer => remove(properties, "issuer"),
            Self::NoAudiences => remove(properties, "audiences"),
            Self::EmptyAudiences => properties["audiences"] = json!([]),
            Self::NoProperties => remove(credential, "properties"),
            Self::NullProperties => *properties = Value::Null,
            Self::NoName => remove(credential, "name"),
        }
    }
}

fn remove(value: &mut Value, member: &str) {
    if let Some(members) = value.as_object_mut() {
        members.remove(member);
    }
}

/// Duration of operations; zero by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Operations without an entry.
    pub default: Duration,
    /// By operation.
    pub by_operation: BTreeMap<Operation, Duration>,
}

impl Latency {
    /// The same for every operation.
    pub fn all(duration: Duration) -> Self {
        Self {
            default: duration,
            by_operation: BTreeMap::new(),
        }
    }

    /// Only for these operations.
    pub fn of<const N: usize>(operations: [(Operation, Duration); N]) -> Self {
        Self {
            default: Duration::ZERO,
            by_operation: operations.into(),
        }
    }

    /// The middle of what public recordings of 2024 show (observed).
    pub fn realistic() -> Self {
        let ms = Duration::from_millis;
        Self {
            default: ms(500),
            by_operation: [
                (Operation::PutIdentity, ms(2_600)),
                (Operation::GetIdentity, ms(880)),
                (Operation::PutCredential, ms(1_800)),
                (Operation::DeleteCredential, ms(1_500)),
                (Operation::GetCredential, ms(800)),
                (Operation::ListCredentials, ms(800)),
            ]
            .into(),
        }
    }

    pub(crate) fn for_operation(&self, operation: Operation) -> Duration {
        self.by_operation.get(&operation).copied().unwrap_or(self.default)
    }
}

/// How reads of credentials lag behind writes (reported: a `GET` right after a `PUT` can be 404, and one good
/// answer does not mean that the next one is good).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadLag {
    /// Reads are always right.
    #[default]
    None,
    /// Reads show the past of this long ago.
    Time(Duration),
    /// The next reads of the identity after a write are old.
    Reads(u32),
    /// The next reads are in turn old and right, beginning with an old one.
    Flapping(u32),
}

/// Credential writes fail on a new identity (reported).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YoungIdentity {
    /// Until this age.
    pub until: Duration,
    /// With this answer.
    pub answer: YoungAnswer,
}

/// Which 404 a young identity gives; both are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YoungAnswer {
    /// The gateway does not know the identity yet.
    ParentResourceNotFound,
    /// The provider does not find the Graph object yet.
    GraphObjectNotFound,
}

/// How a 429 tells the time to wait; Azure uses all of these (reported).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleAnswer {
    /// In `Retry-After`.
    pub header: bool,
    /// In the message.
    pub text: bool,
    /// `Retry-After` as an HTTP date instead of seconds.
    pub as_date: bool,
}

impl Default for ThrottleAnswer {
    fn default() -> Self {
        Self {
            header: true,
            text: true,
            as_date: false,
        }
    }
}

/// Which rate-limit headers ARM answers carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateHeaders {
    /// None.
    Off,
    /// Hourly counters from before 2024: 1199 writes, 11999 reads, 14999 deletes (observed).
    Old,
    /// Token buckets: 199 writes, 249 reads, 199 deletes and the global counters (documented, reported).
    New,
}

/// An Azure Policy assignment that denies credentials (documented:
/// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-block-using-azure-policy>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// No credential at all.
    DenyAll,
    /// Only these issuers.
    AllowedIssuers(Vec<String>),
}

/// A management lock on a scope and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Resource id of the subscription, resource group or identity.
    pub scope: String,
    /// What it stops.
    pub level: LockLevel,
}

/// Level of a lock (documented:
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/lock-resources>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockLevel {
    /// Stops deletes.
    CanNotDelete,
    /// Stops writes and deletes.
    ReadOnly,
}

/// Letter case of resource group and identity names in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdCase {
    /// As at creation.
    AsCreated,
    /// As in the request.
    AsRequested,
    /// Lower case.
    Lower,
}
