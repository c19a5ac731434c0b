//! The one HTTP client, for tokens and for Resource Manager alike.

use std::path::Path;
use std::time::Duration;

use super::SetupError;

/// Longest time to open a connection; well below the deadline of a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds the client: `timeout` for every call, no redirects (a token must not follow one), and
/// the certificates of `ca_bundle` trusted beside the system's.
///
/// # Errors
/// Names the bundle that cannot be read or holds no certificate.
pub fn client(ca_bundle: Option<&Path>, timeout: Duration) -> Result<reqwest::Client, SetupError> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_bundle {
        let pem = std::fs::read(path).map_err(|source| SetupError::File {
            what: "the CA bundle",
            path: path.to_owned(),
            source,
        })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| {
                SetupError::Setting(format!(
                    "--azure-ca-bundle {} holds no PEM certificate",
                    path.display()
                ))
            })?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| SetupError::Setting(format!("the HTTP client cannot be set up: {error}")))
}
