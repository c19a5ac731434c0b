//! A workload with a token of its own issuer, and an identity that trusts it.

use azure_emulator::client::{AccessToken, TokenError, exchange};
use azure_emulator::{Credential, Identity};

use crate::common::{AUDIENCE, Azure};
use crate::issuer::Issuer;

pub const WEB: &str = "system:serviceaccount:shop:web";
pub const TENANT: &str = "7e7a7e7a-0000-4000-8000-000000000001";

/// A workload `shop:web` whose identity trusts its issuer.
pub struct Workload {
    pub azure: Azure,
    pub issuer: Issuer,
    pub identity: Identity,
}

impl Workload {
    pub async fn start() -> Self {
        Self::of(Issuer::start().await).await
    }

    pub async fn of(issuer: Issuer) -> Self {
        let azure = Azure::frozen().await;
        azure.emulator.trust_issuer_ca(&issuer.ca_pem);
        let identity = azure.identity();
        let workload = Self {
            azure,
            issuer,
            identity,
        };
        workload.trust(&workload.issuer.url, WEB, AUDIENCE);
        workload
    }

    pub fn trust(&self, issuer: &str, subject: &str, audience: &str) {
        let credential = Credential::new("web", issuer, subject, audience);
        self.azure
            .emulator
            .put_credential(&self.identity.resource_id, credential);
    }

    pub fn now(&self) -> i64 {
        self.azure.emulator.now().as_second()
    }

    pub async fn present(&self, token: &str) -> Result<AccessToken, TokenError> {
        let azure = &self.azure.emulator;
        exchange(
            azure.url(),
            azure.ca_pem(),
            TENANT,
            &self.identity.client_id,
            token,
        )
        .await
    }

    pub async fn good(&self) -> Result<AccessToken, TokenError> {
        self.present(&self.issuer.token(WEB, self.now())).await
    }

    /// Presents a token and answers the code and the status of the refusal.
    pub async fn code(&self, token: &str) -> (i64, u16) {
        let error = self.present(token).await.expect_err("refused");
        assert!(
            error.description.starts_with(&format!("AADSTS{}: ", error.code)),
            "{error}"
        );
        (error.code, error.status)
    }
}
