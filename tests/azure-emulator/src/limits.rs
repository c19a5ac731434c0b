//! How much is allowed: Azure Resource Manager's limits (per caller) and the resource provider's (per resource).

use crate::throttle::Kind;

/// Refill and size of one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens per second.
    pub per_second: f64,
    /// Tokens in a full bucket.
    pub burst: f64,
}

impl Rate {
    /// A bucket.
    pub const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst }
    }

    /// Four seconds' worth, at least one: the published numbers do not name a window (unverified).
    const fn published(per_second: f64) -> Self {
        Self::new(per_second, if per_second < 0.25 { 1.0 } else { per_second * 4.0 })
    }
}

/// Limits of one kind of operation at the resource provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// All callers of the tenant together.
    pub tenant: Rate,
    /// All callers of the subscription together.
    pub subscription: Rate,
    /// One identity.
    pub resource: Rate,
}

impl Limit {
    const fn published(tenant: f64, subscription: f64, resource: f64) -> Self {
        Self {
            tenant: Rate::published(tenant),
            subscription: Rate::published(subscription),
            resource: Rate::published(resource),
        }
    }
}

/// Limits of Microsoft.ManagedIdentity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RpBuckets {
    /// `PUT` and `PATCH`.
    pub write: Limit,
    /// `GET` of one resource.
    pub get: Limit,
    /// `GET` of a list.
    pub list: Limit,
    /// `DELETE`.
    pub delete: Limit,
}

impl RpBuckets {
    /// Requests per second as published for identities (documented:
    /// <https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>). That
    /// credential calls share them is an assumption.
    pub const fn published() -> Self {
        Self {
            write: Limit::published(10.0, 2.0, 0.25),
            get: Limit::published(30.0, 10.0, 0.5),
            list: Limit::published(15.0, 5.0, 0.25),
            delete: Limit::published(10.0, 2.0, 0.25),
        }
    }
}

/// Limits of Azure Resource Manager per subscription and caller; all callers together have fifteen times that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArmBuckets {
    /// `GET` and `HEAD`.
    pub reads: Rate,
    /// `PUT`, `PATCH` and `POST`.
    pub writes: Rate,
    /// `DELETE`.
    pub deletes: Rate,
}

impl ArmBuckets {
    /// As published (documented:
    /// <https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>).
    pub const fn published() -> Self {
        Self {
            reads: Rate::new(25.0, 250.0),
            writes: Rate::new(10.0, 200.0),
            deletes: Rate::new(10.0, 200.0),
        }
    }

    /// Hourly counters of the time before token buckets (observed).
    pub(crate) const fn hourly() -> Self {
        Self {
            reads: Rate::new(12_000.0 / 3600.0, 12_000.0),
            writes: Rate::new(1_200.0 / 3600.0, 1_200.0),
            deletes: Rate::new(15_000.0 / 3600.0, 15_000.0),
        }
    }

    pub(crate) const fn of(&self, kind: Kind) -> Rate {
        match kind {
            Kind::Reads => self.reads,
            Kind::Writes => self.writes,
            Kind::Deletes => self.deletes,
        }
    }
}
