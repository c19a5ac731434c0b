//! What one visit found and did, and what it adds up to.

use std::time::Duration;

use crate::api::{
    ConditionType, CredentialStatus, Disposition, IdentityStatus, Reason, ServiceAccountStatus, Superseded,
};

/// What is said of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True, false, or unknown.
    pub holds: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// A sentence a person can act on. Deterministic: no times, no ids of requests, no counters.
    pub message: String,
}

impl Verdict {
    /// The condition holds.
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(true),
            reason,
            message: message.into(),
        }
    }

    /// The condition does not hold.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(false),
            reason,
            message: message.into(),
        }
    }

    /// It could not be found out.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: None,
            reason,
            message: message.into(),
        }
    }

    /// An earlier step has to succeed first.
    pub fn pending() -> Self {
        Self::unknown(Reason::Pending, "Waits for an earlier step.")
    }
}

/// What one visit found and did. The only input to conditions, requeue, event and metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// May the ServiceAccount use the identity?
    pub authorized: Verdict,
    /// Does the identity exist?
    pub identity_resolved: Verdict,
    /// Does the credential stand?
    pub credential_synced: Verdict,
    /// Does the ServiceAccount carry the ids?
    pub annotated: Verdict,
    /// Set when one sentence stands for the whole object, whatever the steps say.
    pub overall: Option<Verdict>,
    /// Goes into `status.identity`.
    pub identity: Option<IdentityStatus>,
    /// Goes into `status.credential`.
    pub credential: Option<CredentialStatus>,
    /// Goes into `status.serviceAccount`.
    pub service_account: Option<ServiceAccountStatus>,
    /// Goes into `status.superseded`.
    pub superseded: Vec<Superseded>,
    /// The shortest time after which the other side wants to be asked again.
    pub wait: Option<Duration>,
    /// How old the shared read of the identity was.
    pub age: Duration,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            authorized: Verdict::pending(),
            identity_resolved: Verdict::pending(),
            credential_synced: Verdict::pending(),
            annotated: Verdict::pending(),
            overall: None,
            identity: None,
            credential: None,
            service_account: None,
            superseded: Vec::new(),
            wait: None,
            age: Duration::ZERO,
        }
    }
}

impl Outcome {
    /// The four steps, in the order of the flow.
    pub fn steps(&self) -> [(ConditionType, &Verdict); 4] {
        [
            (ConditionType::Authorized, &self.authorized),
            (ConditionType::IdentityResolved, &self.identity_resolved),
            (ConditionType::CredentialSynced, &self.credential_synced),
            (ConditionType::ServiceAccountAnnotated, &self.annotated),
        ]
    }

    /// The verdict on the whole: the first step that does not hold speaks for it.
    pub fn ready(&self) -> Verdict {
        if let Some(overall) = &self.overall {
            return overall.clone();
        }
        let failed = self
            .steps()
            .into_iter()
            .find(|(_, verdict)| verdict.holds != Some(true));
        failed.map_or_else(
            || {
                Verdict::yes(
                    Reason::Synced,
                    "The identity trusts the ServiceAccount and the ServiceAccount carries the ids.",
                )
            },
            |(_, verdict)| Verdict::no(verdict.reason, verdict.message.clone()),
        )
    }

    /// What the reason of [`Self::ready`] means for kstatus and for the next visit.
    pub fn disposition(&self) -> Disposition {
        self.ready().reason.disposition()
    }
}
