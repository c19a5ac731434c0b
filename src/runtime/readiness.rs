//! What the operator still waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that has to be there before the operator is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadinessGate {
    /// The API server answers.
    Kubernetes,
    /// The CustomResourceDefinition is served.
    Crd,
    /// Azure gives us a token.
    AzureLogin,
    /// The cluster's issuer is known.
    Issuer,
    /// The lease of the leader election can be read.
    Lease,
    /// Bindings and ServiceAccounts are listed.
    Watches,
}

impl ReadinessGate {
    const ALL: [Self; 6] = [
        Self::Kubernetes,
        Self::AzureLogin,
        Self::Issuer,
        Self::Crd,
        Self::Lease,
        Self::Watches,
    ];

    fn waits_for(self) -> &'static str {
        match self {
            Self::Kubernetes => "the Kubernetes API",
            Self::Crd => "the CustomResourceDefinition",
            Self::AzureLogin => "the login to Azure",
            Self::Issuer => "the cluster's issuer",
            Self::Lease => "the lease of the leader election",
            Self::Watches => "the first list of bindings and ServiceAccounts",
        }
    }
}

/// Which gates are open, and whether the operator works or stands by. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<ReadinessState>>);

#[derive(Debug)]
struct ReadinessState {
    pending: Vec<ReadinessGate>,
    standby: bool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(ReadinessState {
            pending: ReadinessGate::ALL.to_vec(),
            standby: false,
        })))
    }
}

impl Readiness {
    fn state(&self) -> MutexGuard<'_, ReadinessState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a gate.
    pub fn open(&self, gate: ReadinessGate) {
        self.state().pending.retain(|g| *g != gate);
    }

    /// From now on it stands by, or no longer. A standby lists nothing and is ready without that:
    /// otherwise a rolling update would wait for a new pod that waits for the old one.
    pub fn stand_by(&self, standby: bool) {
        self.state().standby = standby;
    }

    /// `Ok` when ready, with what it does; else what is pending. Both for a person to read.
    ///
    /// # Errors
    /// What is pending.
    pub fn report(&self) -> Result<&'static str, String> {
        let state = self.state();
        let pending = state.pending.iter();
        let names: Vec<_> = pending
            .filter(|gate| !(state.standby && **gate == ReadinessGate::Watches))
            .map(|gate| gate.waits_for())
            .collect();
        match (names.is_empty(), state.standby) {
            (true, true) => Ok("standby"),
            (true, false) => Ok("ok"),
            (false, _) => Err(format!("waiting for {}", names.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open() {
        let readiness = Readiness::default();
        for gate in ReadinessGate::ALL {
            let pending = readiness.report().unwrap_err();
            assert!(pending.contains(gate.waits_for()), "{pending}");
            readiness.open(gate);
        }
        assert_eq!(readiness.report(), Ok("ok"));
    }

    #[test]
    fn a_standby_is_ready_without_watches_and_a_new_leader_only_with_them() {
        let readiness = Readiness::default();
        readiness.stand_by(true);
        for gate in ReadinessGate::ALL
            .into_iter()
            .filter(|gate| *gate != ReadinessGate::Watches)
        {
            assert!(readiness.report().is_err());
            readiness.open(gate);
        }
        assert_eq!(readiness.report(), Ok("standby"));
        readiness.stand_by(false);
        let pending = readiness.report().unwrap_err();
        assert!(pending.contains(ReadinessGate::Watches.waits_for()), "{pending}");
        readiness.open(ReadinessGate::Watches);
        assert_eq!(readiness.report(), Ok("ok"));
    }
}
