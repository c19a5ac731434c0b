//! The operator's login, handed from `azure_identity` 1.x to `azure_core` 0.21.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core_mgmt as legacy;
use legacy::error::ErrorKind;

use super::credentials::{self, CredentialSettings};
use super::{AzureSettings, SetupError};
use crate::core::text;

/// Azure may refuse a token for longer than a new one takes to get: no flood of logins then.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// Marks an error of [`Login`] on its way through `azure_core`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct LoginError(pub String);

/// A login that can be made anew: `azure_identity` keeps a token until five minutes before its
/// end, up to a day, and knows no way to drop one that Azure has revoked.
pub(super) struct Login {
    settings: AzureSettings,
    http: reqwest::Client,
    current: Mutex<(Arc<dyn TokenCredential>, Option<Instant>)>,
}

impl Login {
    /// Sets up the login. No call is made.
    pub fn new(settings: &AzureSettings, http: reqwest::Client) -> Result<Self, SetupError> {
        let credential = credentials::login(&settings.credential, &settings.endpoints, http.clone())?;
        Ok(Self {
            settings: settings.clone(),
            http,
            current: Mutex::new((credential, None)),
        })
    }

    /// A login that needs no setting up.
    #[cfg(any(test, fuzzing))]
    pub fn fixed(settings: &AzureSettings, credential: Arc<dyn TokenCredential>) -> Self {
        Self {
            settings: settings.clone(),
            http: reqwest::Client::new(),
            current: Mutex::new((credential, None)),
        }
    }

    /// A token for Resource Manager, from memory while it lasts.
    pub async fn token(&self) -> azure_core::Result<AccessToken> {
        let credential = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.0.clone()
        };
        credential
            .get_token(&[&self.settings.endpoints.scope], None)
            .await
    }

    /// Azure has refused the token: the next call gets a new one.
    pub fn refused(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.is_some_and(|last| last.elapsed() < RENEW_EVERY) {
            return;
        }
        let AzureSettings {
            credential,
            endpoints,
            ..
        } = &self.settings;
        // What worked at the start and cannot be set up now is tried with the old one.
        if let Ok(new) = credentials::login(credential, endpoints, self.http.clone()) {
            *current = (new, Some(Instant::now()));
        }
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let credential: &CredentialSettings = &self.settings.credential;
        f.debug_tuple("Login").field(credential).finish()
    }
}

#[async_trait]
impl legacy::auth::TokenCredential for Login {
    async fn get_token(&self, _: &[&str]) -> legacy::Result<legacy::auth::AccessToken> {
        let token = self.token().await;
        let token =
            token.map_err(|e| legacy::Error::new(ErrorKind::Credential, LoginError(text::cause(&e))))?;
        Ok(legacy::auth::AccessToken::new(
            token.token.secret().to_owned(),
            token.expires_on,
        ))
    }

    async fn clear_cache(&self) -> legacy::Result<()> {
        Ok(())
    }
}
