//! What the operator still waits for.

use std::sync::{Arc, Mutex, PoisonError};

/// Something that has to be there before the operator is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// The API server answers.
    Kubernetes,
    /// The CustomResourceDefinition is served.
    Crd,
    /// Azure gives us a token.
    AzureLogin,
    /// The cluster's issuer is known.
    Issuer,
    /// Bindings and ServiceAccounts are listed.
    Watches,
}

impl Gate {
    const ALL: [Self; 5] = [
        Self::Kubernetes,
        Self::AzureLogin,
        Self::Issuer,
        Self::Crd,
        Self::Watches,
    ];

    fn waits_for(self) -> &'static str {
        match self {
            Self::Kubernetes => "the Kubernetes API",
            Self::Crd => "the CustomResourceDefinition",
            Self::AzureLogin => "the login to Azure",
            Self::Issuer => "the cluster's issuer",
            Self::Watches => "the first list of bindings and ServiceAccounts",
        }
    }
}

/// Which gates are open. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Vec<Gate>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Gate::ALL.to_vec())))
    }
}

impl Readiness {
    /// Opens a gate.
    pub fn open(&self, gate: Gate) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|g| *g != gate);
    }

    /// `None` when ready; else what is pending, for a person to read.
    pub fn pending(&self) -> Option<String> {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = pending.iter().map(|gate| gate.waits_for()).collect();
        (!names.is_empty()).then(|| format!("waiting for {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open() {
        let readiness = Readiness::default();
        for gate in Gate::ALL {
            let pending = readiness.pending().unwrap();
            assert!(pending.contains(gate.waits_for()), "{pending}");
            readiness.open(gate);
        }
        assert_eq!(readiness.pending(), None);
    }
}
