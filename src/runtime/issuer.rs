//! The cluster's issuer, byte for byte as its tokens carry it. Never normalised: a slash more or
//! less is another issuer to Entra.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use kube::Client;
use serde::Deserialize;
use tokio::sync::watch;
use tracing::{info, warn};

/// Where the ServiceAccount token of a pod lies by default.
pub const DEFAULT_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Where the issuer is learnt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerSource {
    /// The user has said it.
    Fixed(String),
    /// `iss` of a token that this cluster has signed: the truth for signing. With several
    /// `--service-account-issuer` flags the API server signs with the first.
    TokenFile(PathBuf),
    /// The API server's discovery document.
    Discovery,
}

/// Why the issuer is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token cannot be read.
    #[error("cannot read the ServiceAccount token {path}: {source}")]
    File {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The file holds no token.
    #[error("{0} holds no ServiceAccount token with an iss claim")]
    Token(PathBuf),
    /// The API server does not hand out its discovery document.
    #[error(
        "cannot read the issuer from the API server's /.well-known/openid-configuration: {0}; pass --issuer"
    )]
    Discovery(Box<kube::Error>),
    /// Azure could not fetch the keys of such an issuer.
    #[error(
        "the cluster's issuer is {0:?}, but Azure accepts only an https URL that it can reach; give the API server a public --service-account-issuer"
    )]
    NotHttps(String),
}

#[derive(Deserialize)]
struct TokenClaims {
    iss: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

/// Reads the issuer once.
///
/// # Errors
/// Says where it was looked for and what to do.
pub async fn read(source: &IssuerSource, client: &Client) -> Result<String, Error> {
    let issuer = match source {
        IssuerSource::Fixed(issuer) => issuer.clone(),
        IssuerSource::TokenFile(path) => {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|source| Error::File {
                path: path.clone(),
                source,
            })?;
            issuer_of(token.trim()).ok_or_else(|| Error::Token(path.clone()))?
        }
        IssuerSource::Discovery => {
            let request = Request::get("/.well-known/openid-configuration").body(Vec::new());
            let request = request.map_err(|e| Error::Discovery(Box::new(kube::Error::Service(e.into()))))?;
            let document: Discovery = client
                .request(request)
                .await
                .map_err(|e| Error::Discovery(Box::new(e)))?;
            document.issuer
        }
    };
    if issuer.starts_with("https://") {
        Ok(issuer)
    } else {
        Err(Error::NotHttps(issuer))
    }
}

/// Reads the issuer again and again, and publishes it when it has changed. Never ends.
///
/// A read that fails leaves the last known issuer in force: credentials must not move on account
/// of a moment without an API server.
pub async fn follow(source: IssuerSource, client: Client, every: Duration, publish: watch::Sender<String>) {
    loop {
        tokio::time::sleep(every).await;
        match read(&source, &client).await {
            Ok(issuer) => {
                publish.send_if_modified(|known| {
                    let changed = *known != issuer;
                    if changed {
                        info!(old = *known, new = issuer, "the cluster's issuer has changed");
                        known.clone_from(&issuer);
                    }
                    changed
                });
            }
            Err(error) => warn!("the issuer could not be read again: {error}"),
        }
    }
}

/// `iss` of a token. The signature is not checked: the token is our own, from our own disk, and
/// the issuer is no secret.
pub(crate) fn issuer_of(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<TokenClaims>(&claims)
        .ok()
        .map(|claims| claims.iss)
}

/// The issuer that a discovery document names.
#[cfg(any(test, fuzzing))]
pub(crate) fn issuer_in(document: &[u8]) -> Option<String> {
    serde_json::from_slice::<Discovery>(document)
        .ok()
        .map(|d| d.issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_issuer_is_taken_byte_for_byte() {
        let iss = "https://Region.oic.example/Tenant//x/";
        assert_eq!(
            issuer_of(&token(&format!(r#"{{"iss":"{iss}"}}"#))).as_deref(),
            Some(iss)
        );
    }

    #[test]
    fn what_is_no_token_has_no_issuer() {
        for text in [
            "",
            "a.b.c",
            "..",
            &token("{}"),
            &token("[]"),
            &token(r#"{"iss":1}"#),
        ] {
            assert_eq!(issuer_of(text), None, "{text:?}");
        }
    }
}
