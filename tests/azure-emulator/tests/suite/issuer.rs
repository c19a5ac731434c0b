//! An OpenID Connect issuer on loopback: discovery and keys over TLS, and tokens.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::common::AUDIENCE;

/// Two keys for all tests, because making one takes time.
pub fn key(index: usize) -> &'static RsaKeyPair {
    static KEYS: [OnceLock<RsaKeyPair>; 2] = [OnceLock::new(), OnceLock::new()];
    KEYS[index].get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

pub fn sign(key: &RsaKeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn jwk(kid: &str, key: &RsaKeyPair) -> Value {
    let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap();
    let (_, spki) = SubjectPublicKeyInfo::from_der(der.as_ref()).unwrap();
    let PublicKey::RSA(rsa) = spki.parsed().unwrap() else {
        panic!("not RSA")
    };
    let number = |bytes: &[u8]| {
        URL_SAFE_NO_PAD.encode(
            bytes
                .iter()
                .copied()
                .skip_while(|byte| *byte == 0)
                .collect::<Vec<_>>(),
        )
    };
    json!({ "kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": number(rsa.modulus), "e": number(rsa.exponent) })
}

/// What the issuer publishes: by path.
type Documents = Arc<Mutex<BTreeMap<String, Value>>>;

/// What it has been asked, and how often more it is too busy to answer.
#[derive(Default)]
struct Asked {
    hits: Vec<String>,
    busy: u32,
}

pub struct Issuer {
    /// `iss`, exactly.
    pub url: String,
    pub ca_pem: String,
    documents: Documents,
    asked: Arc<Mutex<Asked>>,
    server: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Issuer {
    pub async fn start() -> Self {
        Self::with_suffix("").await
    }

    /// The suffix ends `iss`: a path, or a slash.
    pub async fn with_suffix(suffix: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], private)
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let (documents, asked) = (Documents::default(), Arc::default());
        let server = tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            Arc::clone(&documents),
            Arc::clone(&asked),
        ));
        let issuer = Self {
            url: format!("{base}{suffix}"),
            ca_pem: certificate.pem(),
            documents,
            asked,
            server,
        };
        issuer.publish(&issuer.url, &issuer.url);
        issuer.rotate(&[("key-0", 0)]);
        issuer
    }

    /// The discovery document of `iss` says that the issuer is `says`.
    pub fn publish(&self, iss: &str, says: &str) {
        let path = iss
            .splitn(4, '/')
            .nth(3)
            .unwrap_or_default()
            .trim_end_matches('/');
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        };
        let document = json!({ "issuer": says, "jwks_uri": format!("{}/keys", self.base()) });
        let mut documents = self.documents.lock().unwrap();
        documents.insert(format!("{path}/.well-known/openid-configuration"), document);
    }

    /// Publishes these keys and no others.
    pub fn rotate(&self, keys: &[(&str, usize)]) {
        let keys: Vec<Value> = keys.iter().map(|(kid, index)| jwk(kid, key(*index))).collect();
        self.documents
            .lock()
            .unwrap()
            .insert("/keys".to_owned(), json!({ "keys": keys }));
    }

    /// Answers 404 to everything from now on.
    pub fn forget(&self) {
        self.documents.lock().unwrap().clear();
    }

    /// Paths asked for so far.
    pub fn hits(&self) -> Vec<String> {
        self.asked.lock().unwrap().hits.clone()
    }

    /// Answers 429 to so many requests from now on.
    pub fn busy(&self, times: u32) {
        self.asked.lock().unwrap().busy = times;
    }

    /// A good token of the first key for the next hour of `now`.
    pub fn token(&self, subject: &str, now: i64) -> String {
        self.token_with(subject, now, |_, _| {})
    }

    pub fn token_with(&self, subject: &str, now: i64, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({ "alg": "RS256", "typ": "JWT", "kid": "key-0" });
        let mut claims = json!({
            "iss": self.url, "sub": subject, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600
        });
        change(&mut header, &mut claims);
        sign(key(0), &header, &claims)
    }

    fn base(&self) -> String {
        self.url.split('/').take(3).collect::<Vec<_>>().join("/")
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, documents: Documents, asked: Arc<Mutex<Asked>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, documents, asked) = (acceptor.clone(), Arc::clone(&documents), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request: Request<Incoming>| {
                let path = request.uri().path().to_owned();
                let document = documents.lock().unwrap().get(&path).cloned();
                let mut asked = asked.lock().unwrap();
                asked.hits.push(path);
                let (status, body) = match document {
                    _ if asked.busy > 0 => (StatusCode::TOO_MANY_REQUESTS, String::new()),
                    Some(document) => (StatusCode::OK, document.to_string()),
                    None => (StatusCode::NOT_FOUND, String::new()),
                };
                asked.busy = asked.busy.saturating_sub(1);
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
