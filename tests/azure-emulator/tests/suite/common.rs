//! An emulator with an operator logged in to it.

use std::time::Duration;

use azure_emulator::{Clock, Credential, Emulator, Identity, Options, client};
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};

pub const OPERATOR: &str = "0fe7a704-0000-4000-8000-00000000000a";
pub const SECRET: &str = "not-a-secret";
pub const VERSION: &str = "2023-01-31";
pub const AUDIENCE: &str = "api://AzureADTokenExchange";

/// An emulator, an HTTP client that trusts it, and the operator's access token.
pub struct Azure {
    pub emulator: Emulator,
    pub http: Client,
    pub token: String,
}

/// An answer of ARM.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub raw: String,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// Status, code, and whether the gateway says that it was the gateway.
    pub fn is(&self, status: u16, code: &str, gateway: bool) {
        let cause = self.header("x-ms-failure-cause");
        assert_eq!((self.status, self.code()), (status, code), "{}", self.raw);
        assert_eq!(cause, gateway.then_some("gateway"), "{}", self.raw);
    }
}

pub fn http(ca_pem: &str) -> Client {
    client_builder(ca_pem).build().unwrap()
}

pub fn client_builder(ca_pem: &str) -> reqwest::ClientBuilder {
    let ca = Certificate::from_pem(ca_pem.as_bytes()).unwrap();
    Client::builder().tls_certs_only([ca]).no_proxy()
}

impl Azure {
    pub async fn start() -> Self {
        let emulator = Emulator::start(Options::default()).await.unwrap();
        emulator.add_app(OPERATOR, Some(SECRET), None);
        let http = http(emulator.ca_pem());
        let mut azure = Self {
            emulator,
            http,
            token: String::new(),
        };
        azure.token = azure.login(OPERATOR).await;
        azure.emulator.clear_journal();
        azure
    }

    /// The clock stands still from the beginning.
    pub async fn frozen() -> Self {
        let mut azure = Self::start().await;
        azure
            .emulator
            .knobs(|knobs| knobs.clock = Clock::Fixed("2030-01-01T00:00:00Z".parse().unwrap()));
        azure.token = azure.login(OPERATOR).await;
        azure.emulator.clear_journal();
        azure
    }

    pub async fn login(&self, client_id: &str) -> String {
        let azure = &self.emulator;
        client::secret_login(azure.url(), azure.ca_pem(), azure.tenant_id(), client_id, SECRET)
            .await
            .unwrap()
            .token
    }

    /// Sends a request with the operator's token; without a query the usual api-version is added.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.send_as(&self.token, method, path, body).await
    }

    pub async fn send_as(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let query = if path.contains('?') {
            String::new()
        } else {
            format!("?api-version={VERSION}")
        };
        let method: Method = method.parse().unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{path}{query}", self.emulator.url()));
        request = request.bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    pub async fn put_fic(&self, identity: &Identity, name: &str, subject: &str) -> Answer {
        self.send(
            "PUT",
            &fic(identity, name),
            Some(properties("https://issuer.test", subject, AUDIENCE)),
        )
        .await
    }

    pub async fn list(&self, identity: &Identity) -> Vec<String> {
        let answer = self.get(&fics(identity)).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        names(&answer)
    }

    pub fn identity(&self) -> Identity {
        self.emulator.create_identity("rg-shop", "checkout")
    }
}

pub async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let raw = response.text().await?;
    let body = serde_json::from_str(&raw).unwrap_or_default();
    Ok(Answer {
        status,
        headers,
        raw,
        body,
    })
}

pub fn names(list: &Answer) -> Vec<String> {
    let value = list.body["value"].as_array().unwrap();
    value
        .iter()
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

pub fn fics(identity: &Identity) -> String {
    format!("{}/federatedIdentityCredentials", identity.resource_id)
}

pub fn fic(identity: &Identity, name: &str) -> String {
    format!("{}/federatedIdentityCredentials/{name}", identity.resource_id)
}

pub fn properties(issuer: &str, subject: &str, audience: &str) -> Value {
    json!({ "properties": { "issuer": issuer, "subject": subject, "audiences": [audience] } })
}

pub fn credential(name: &str, subject: &str) -> Credential {
    Credential::new(name, "https://issuer.test", subject, AUDIENCE)
}

/// Waits for something that happens in the background.
pub async fn eventually(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect("did not happen");
}
