//! Everything about Azure that varies, is unknown, or has to be provoked. [`Knobs::default`] is a calm Azure.

mod values;

use std::collections::BTreeMap;
use std::time::Duration;

pub use values::{
    DeleteMissing, DuplicateError, ErrorShape, IdCase, Latency, Lock, LockLevel, NextLink, Policy,
    RateHeaders, ReadLag, Shape, ThrottleAnswer, YoungAnswer, YoungIdentity,
};

use crate::clock::Clock;
use crate::limits::{ArmBuckets, RpBuckets};

/// The behaviour of the emulator; change it at any time with [`Emulator::knobs`](crate::Emulator::knobs).
///
/// Scripted outages are [`Fault`](crate::Fault)s, permissions are
/// [`Emulator::deny`](crate::Emulator::deny) and [`Emulator::grant`](crate::Emulator::grant), and edits behind
/// the operator's back are the out-of-band functions of [`Emulator`](crate::Emulator).
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Knobs {
    /// Credentials per identity. 20 in Azure (documented); smaller for quick quota tests.
    pub max_fics: usize,
    /// The answer to one credential too many: the real body is unknown (unverified).
    pub limit_error: ErrorShape,
    /// The answer to a second credential with the same issuer and subject: sources disagree.
    pub duplicate_error: DuplicateError,
    /// Whether the duplicate check ignores letter case (unverified; exact by default).
    pub duplicate_ignores_case: bool,
    /// The answer to the `DELETE` of an absent credential.
    pub delete_missing: DeleteMissing,
    /// How long operations take. Credential writes hold their identity for that long.
    pub latency: Latency,
    /// Share of credential writes refused as concurrent, as if other clusters were writing: 0.0 to 1.0,
    /// spread evenly (0.5 refuses every second write).
    pub conflict_rate: f64,
    /// How long reads lag behind writes.
    pub read_lag: ReadLag,
    /// Credentials cannot be written on an identity younger than this.
    pub young_identity: Option<YoungIdentity>,
    /// Throttling by the resource provider; off by default.
    pub rp_buckets: Option<RpBuckets>,
    /// Throttling by Azure Resource Manager; off by default.
    pub arm_buckets: Option<ArmBuckets>,
    /// How a 429 tells the time to wait.
    pub throttle_answer: ThrottleAnswer,
    /// The `x-ms-ratelimit-remaining-*` headers.
    pub rate_headers: RateHeaders,
    /// How long a new grant, or the end of a denial, takes to have an effect.
    pub rbac_lag: Duration,
    /// An Azure Policy that refuses credentials.
    pub policy: Option<Policy>,
    /// Resource locks.
    pub locks: Vec<Lock>,
    /// Regions without support for federated identity credentials.
    pub regions_without_support: Vec<String>,
    /// Largest page of a list; more entries are behind a `nextLink`.
    pub page_size: Option<usize>,
    /// Where the `nextLink` of a list leads.
    pub next_link: NextLink,
    /// Credentials, by name, that are shown in another shape than Azure's usual one. They are real in all
    /// else: they count, and nobody may write over them unnoticed.
    pub shapes: BTreeMap<String, Shape>,
    /// Letter case of names in returned ids (unverified in Azure).
    pub id_case: IdCase,
    /// How long Entra does not know about a new or changed credential.
    pub fic_propagation: Duration,
    /// How long Entra still accepts a deleted credential.
    pub delete_propagation: Duration,
    /// Share of good token requests refused with 700213 all the same; 0.022 was reported in production.
    pub flap_rate: f64,
    /// How long a new issuer's keys stay unknown (7000272), counted from its first token.
    pub issuer_cache_cold: Duration,
    /// How long fetched keys are used before they are fetched again.
    pub issuer_cache_ttl: Duration,
    /// Answer like Entra did in 2022: 400 `invalid_request` 70021 for every mismatch.
    pub legacy_no_match: bool,
    /// Lifetime of access tokens in seconds.
    pub expires_in: u64,
    /// The time.
    pub clock: Clock,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            max_fics: 20,
            limit_error: ErrorShape::new(400, "BadRequest", "Too many Federated Identity Credentials"),
            duplicate_error: DuplicateError::BadRequest,
            duplicate_ignores_case: false,
            delete_missing: DeleteMissing::NoContent,
            latency: Latency::default(),
            conflict_rate: 0.0,
            read_lag: ReadLag::None,
            young_identity: None,
            rp_buckets: None,
            arm_buckets: None,
            throttle_answer: ThrottleAnswer::default(),
            rate_headers: RateHeaders::New,
            rbac_lag: Duration::ZERO,
            policy: None,
            locks: Vec::new(),
            regions_without_support: Vec::new(),
            page_size: None,
            next_link: NextLink::NextPage,
            shapes: BTreeMap::new(),
            id_case: IdCase::AsCreated,
            fic_propagation: Duration::ZERO,
            delete_propagation: Duration::ZERO,
            flap_rate: 0.0,
            issuer_cache_cold: Duration::ZERO,
            issuer_cache_ttl: Duration::from_hours(24),
            legacy_no_match: false,
            expires_in: 86_399,
            clock: Clock::Real,
        }
    }
}
