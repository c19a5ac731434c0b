//! How often Azure may be asked, as documented.
//!
//! Source: <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>,
//! requests per second to `Microsoft.ManagedIdentity`. That calls for credentials share them with
//! calls for identities is an assumption; nothing is documented on bursts.

use crate::azure::Operation;

/// Refill and size of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens per second.
    pub per_second: f64,
    /// Tokens in a full bucket.
    pub burst: f64,
}

impl Rate {
    pub const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst }
    }
}

/// Limits of one sort of call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// On one identity.
    pub identity: Rate,
    /// In one subscription.
    pub subscription: Rate,
    /// In the tenant.
    pub tenant: Rate,
}

/// As many credentials as an identity holds may be written at once: recorded exchanges went through
/// so, one after the other.
const IDENTITY_BURST: f64 = 20.0;

/// Four seconds' worth where many share a limit, and no less than one identity may take: a handful of
/// bindings must not wait for a limit that nothing is documented on.
const fn shared(per_second: f64) -> Rate {
    let burst = per_second * 4.0;
    Rate::new(
        per_second,
        if burst < IDENTITY_BURST {
            IDENTITY_BURST
        } else {
            burst
        },
    )
}

/// How often Azure is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pacing {
    /// At the documented limits, and faster where Azure does not refuse.
    #[default]
    Documented,
    /// As often as there is something to ask. What Azure says in `Retry-After` is obeyed all the same.
    Off,
}

/// More than any process asks.
const NO_LIMIT: Rate = Rate::new(1e6, 1e6);

/// The limits of one sort of call.
pub const fn limits(pacing: Pacing, operation: Operation) -> Limits {
    match pacing {
        Pacing::Documented => documented(operation),
        Pacing::Off => Limits {
            identity: NO_LIMIT,
            subscription: NO_LIMIT,
            tenant: NO_LIMIT,
        },
    }
}

const fn documented(operation: Operation) -> Limits {
    let (tenant, subscription, identity) = match operation {
        Operation::GetIdentity | Operation::GetToken => (30.0, 10.0, 0.5),
        Operation::ListCredentials => (15.0, 5.0, 0.25),
        Operation::PutCredential | Operation::DeleteCredential => (10.0, 2.0, 0.25),
    };
    Limits {
        identity: Rate::new(identity, IDENTITY_BURST),
        subscription: shared(subscription),
        tenant: shared(tenant),
    }
}
