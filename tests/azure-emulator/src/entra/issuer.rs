//! Other issuers: their discovery document and keys, fetched over TLS and cached.
//!
//! Only issuers on loopback are ever connected to; the emulator must not reach out of the machine.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use jiff::Timestamp;
use reqwest::{Certificate, Client, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::jwt;
use crate::clock::passed;
use crate::shared::lock;

/// Longest wait for one answer. How long Entra waits is not published; a busy machine is to be no reason.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often an issuer is asked that cannot be reached, or is too busy.
const TRIES: u32 = 3;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// A published RSA key.
#[derive(Clone, Debug)]
pub(crate) struct IssuerKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl IssuerKey {
    pub(super) fn verify(&self, message: &str, signature: &[u8]) -> bool {
        RsaPublicKeyComponents {
            n: &self.n,
            e: &self.e,
        }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), signature)
        .is_ok()
    }
}

/// The issuers seen so far.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    roots: Mutex<Vec<Certificate>>,
    first_seen: Mutex<HashMap<String, Timestamp>>,
    cache: Mutex<HashMap<String, Cached>>,
}

#[derive(Clone, Debug)]
struct Cached {
    fetched: Timestamp,
    keys: HashMap<String, IssuerKey>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: String,
    n: Option<String>,
    e: Option<String>,
}

impl Issuers {
    /// Trusts the certificates of a PEM bundle.
    pub(crate) fn trust(&self, pem: &str) -> anyhow::Result<()> {
        let bundle = Certificate::from_pem_bundle(pem.as_bytes()).context("issuer CA")?;
        ensure!(!bundle.is_empty(), "issuer CA: no certificate in PEM");
        lock(&self.roots).extend(bundle);
        Ok(())
    }

    /// When the first token of the issuer was presented.
    pub(super) fn first_seen(&self, issuer: &str, now: Timestamp) -> Timestamp {
        *lock(&self.first_seen).entry(issuer.to_owned()).or_insert(now)
    }

    /// The key with this id. An unknown id, or a cache older than `ttl`, makes it ask the issuer.
    pub(super) async fn key(
        &self,
        issuer: &str,
        kid: &str,
        now: Timestamp,
        ttl: Duration,
    ) -> anyhow::Result<Option<IssuerKey>> {
        let cached = lock(&self.cache)
            .get(issuer)
            .filter(|cached| !passed(cached.fetched, ttl, now))
            .cloned();
        if let Some(key) = cached.and_then(|cached| cached.keys.get(kid).cloned()) {
            return Ok(Some(key));
        }
        let keys = self.fetch(issuer).await?;
        let key = keys.get(kid).cloned();
        lock(&self.cache).insert(issuer.to_owned(), Cached { fetched: now, keys });
        Ok(key)
    }

    async fn fetch(&self, issuer: &str) -> anyhow::Result<HashMap<String, IssuerKey>> {
        let client = self.client()?;
        // OpenID Connect Discovery 1.0, section 4.1: a terminating slash is removed before appending.
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let discovery: Discovery = get(&client, &url).await?;
        ensure!(
            discovery.issuer == issuer,
            "the document is about {}",
            discovery.issuer
        );
        let set: KeySet = get(&client, &discovery.jwks_uri).await?;
        let number = |text: Option<&String>| text.and_then(|text| jwt::decode(text)).unwrap_or_default();
        let rsa = set.keys.into_iter().filter(|key| key.kty == "RSA");
        Ok(rsa
            .map(|key| {
                let (n, e) = (number(key.n.as_ref()), number(key.e.as_ref()));
                (key.kid, IssuerKey { n, e })
            })
            .collect())
    }

    fn client(&self) -> anyhow::Result<Client> {
        let roots = lock(&self.roots).clone();
        let client = Client::builder()
            .tls_certs_only(roots)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .resolve("localhost", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .timeout(PATIENCE);
        Ok(client.build()?)
    }
}

async fn get<T: DeserializeOwned>(client: &Client, url: &str) -> anyhow::Result<T> {
    let url = Url::parse(url).with_context(|| format!("{url} is not a URL"))?;
    if !on_loopback(&url) {
        bail!("{url} is not on loopback");
    }
    let mut attempt = 1;
    let response = loop {
        let response = client.get(url.clone()).send().await;
        match response.and_then(reqwest::Response::error_for_status) {
            Err(error) if attempt < TRIES && is_passing(&error) => attempt += 1,
            response => break response?,
        }
        tokio::time::sleep(PAUSE).await;
    };
    Ok(response.json().await?)
}

/// Whether the next try may end otherwise.
fn is_passing(error: &reqwest::Error) -> bool {
    match error.status() {
        Some(status) => status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
        None => error.is_request() || error.is_timeout(),
    }
}

fn on_loopback(url: &Url) -> bool {
    url.scheme() == "https"
        && match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_ever_asked() {
        let loopback = |url: &str| on_loopback(&Url::parse(url).unwrap());
        for good in [
            "https://127.0.0.1:8443/x",
            "https://[::1]/",
            "https://localhost:1/",
        ] {
            assert!(loopback(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1/",
            "https://10.0.0.1/",
            "https://localhost.example.com/",
            "https://127.0.0.1.example.com/",
            "https://kubernetes.default.svc/",
            "https://user@example.com/",
        ] {
            assert!(!loopback(bad), "{bad}");
        }
    }
}
