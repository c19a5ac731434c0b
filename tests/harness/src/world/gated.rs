//! Operators whose calls go through gates.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::World;
use crate::gate::{Call, Gate, Transport};
use crate::operator::Operator;

/// The two ways out of one operator. One pair for each operator, so that the caller of a call is known.
pub struct Gates {
    /// To the API server.
    pub kubernetes: Gate,
    /// To Azure: Resource Manager and Entra.
    pub azure: Gate,
    directory: tempfile::TempDir,
}

impl Gates {
    /// The flags that lead an operator through these gates.
    pub fn flags(&self) -> Vec<String> {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        vec![
            format!("--kubeconfig={}", file("kubeconfig")),
            format!("--azure-endpoint={}", self.azure.url()),
            format!("--azure-authority-host={}", self.azure.url()),
            format!("--azure-ca-bundle={}", file("ca.pem")),
        ]
    }

    /// The gate to one side.
    pub const fn to(&self, transport: Transport) -> &Gate {
        match transport {
            Transport::Kubernetes => &self.kubernetes,
            Transport::Azure => &self.azure,
        }
    }

    /// The calls at both gates, in order of arrival.
    pub fn journal(&self) -> Vec<Call> {
        let mut calls = self.kubernetes.journal();
        calls.extend(self.azure.journal());
        calls.sort_by_key(|call| call.received);
        calls
    }

    /// Closes both for good; see [`Gate::close`].
    pub async fn close(&self) {
        tokio::join!(self.kubernetes.close(), self.azure.close());
    }
}

impl World {
    /// New gates, for one operator.
    pub async fn gated(&self) -> Result<Gates> {
        let control_plane = &self.cluster.control_plane;
        let api_server = Gate::open(Transport::Kubernetes, control_plane.url(), control_plane.ca_pem());
        let azure = Gate::open(Transport::Azure, self.azure.url(), self.azure.ca_pem());
        let (kubernetes, azure) = tokio::try_join!(api_server, azure)?;

        let token = std::fs::read_to_string(self.directory().join("api-token"))?;
        let mut kubeconfig = control_plane.kubeconfig_for_token(&token);
        let cluster = kubeconfig
            .clusters
            .first_mut()
            .and_then(|named| named.cluster.as_mut());
        let cluster = cluster.context("the kubeconfig names no cluster")?;
        cluster.server = Some(kubernetes.url().to_owned());
        cluster.certificate_authority_data = Some(BASE64_STANDARD.encode(kubernetes.ca_pem()));
        let directory = tempfile::tempdir()?;
        std::fs::write(
            directory.path().join("kubeconfig"),
            serde_yaml::to_string(&kubeconfig)?,
        )?;
        std::fs::write(directory.path().join("ca.pem"), azure.ca_pem())?;
        Ok(Gates {
            kubernetes,
            azure,
            directory,
        })
    }

    /// The arguments of `wib` for this world, through gates.
    pub fn gated_arguments(&self, gates: &Gates, flags: &[&str]) -> Vec<String> {
        let through = gates.flags();
        let flags: Vec<&str> = through
            .iter()
            .map(String::as_str)
            .chain(flags.iter().copied())
            .collect();
        self.operator_arguments(&flags)
    }

    /// Starts an operator whose calls go through gates.
    pub async fn operator_through(&self, gates: &Gates, flags: &[&str]) -> Result<Operator> {
        Operator::start(self.gated_arguments(gates, flags)).await
    }
}
