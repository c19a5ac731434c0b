//! The cluster's issuer, byte for byte as its tokens carry it. Never normalised: a slash more or
//! less is another issuer to Entra.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use kube::Client;
use serde::Deserialize;
use tracing::warn;

/// Where the ServiceAccount token of a pod lies by default.
pub const DEFAULT_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Where the issuer is learnt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerSource {
    /// The user has said it.
    Fixed(String),
    /// `iss` of a token that this cluster has signed. It lasts as long as the token, so a change shows when
    /// the kubelet renews that: at four fifths of its life.
    TokenFile(PathBuf),
    /// The API server's discovery document: with several `--service-account-issuer` flags it names the first,
    /// which signs, from the moment on that it does. Where the operator may not read it, the token of this
    /// file, if there is one.
    Discovery(Option<PathBuf>),
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
        IssuerSource::TokenFile(path) => of_file(path).await?,
        IssuerSource::Discovery(token) => match (discovered(client).await, token) {
            (Ok(issuer), _) => issuer,
            (Err(error), Some(path)) if is_withheld(&error) => of_file(path).await?,
            (Err(error), _) => return Err(Error::Discovery(Box::new(error))),
        },
    };
    if issuer.starts_with("https://") {
        Ok(issuer)
    } else {
        Err(Error::NotHttps(issuer))
    }
}

async fn of_file(path: &Path) -> Result<String, Error> {
    let token = tokio::fs::read_to_string(path).await;
    let token = token.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    issuer_of(token.trim()).ok_or_else(|| Error::Token(path.to_owned()))
}

async fn discovered(client: &Client) -> kube::Result<String> {
    let request = Request::get("/.well-known/openid-configuration").body(Vec::new());
    let request = request.map_err(|e| kube::Error::Service(e.into()))?;
    client
        .request::<Discovery>(request)
        .await
        .map(|document| document.issuer)
}

/// Whether the operator may not read the document, or there is none. Not so when nobody could be asked: then
/// the token would say what was true some time ago.
fn is_withheld(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
}

/// Reads the issuer again and again, and hands it over. Never ends.
///
/// A read that fails leaves the last known issuer in force: credentials must not move on account
/// of a moment without an API server.
pub async fn follow(
    mut source: IssuerSource,
    client: Client,
    every: Duration,
    mut take_in: impl FnMut(String),
) {
    loop {
        tokio::time::sleep(every).await;
        // An API server that has just started may refuse for a moment what it has allowed before.
        if matches!(source, IssuerSource::Discovery(Some(_))) && discovered(&client).await.is_ok() {
            source = IssuerSource::Discovery(None);
        }
        match read(&source, &client).await {
            Ok(issuer) => take_in(issuer),
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
