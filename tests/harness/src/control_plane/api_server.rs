//! The API server's process: its files, its flags, and when it is ready.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};

use super::access::{Address, anonymous};
use super::pki::{Pki, service_account_key};
use super::workdir::WorkDir;

/// Generous, because a loaded machine starts it ten times slower than an idle one, which needs 3 s.
const START_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_EVERY: Duration = Duration::from_millis(50);
const POLL_TIMEOUT: Duration = Duration::from_secs(5);

const READY: &str = "/readyz";
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Kubernetes' own role for reading the issuer's discovery document and keys.
const DISCOVERY_ROLE: &str = "system:service-account-issuer-discovery";

/// The files that the API server reads. Written once: the keys outlive a restart.
pub(super) struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    service_account_key: PathBuf,
    generated: PathBuf,
}

impl Files {
    pub fn write(pki: &Pki, directory: &WorkDir) -> Result<Self> {
        let serving = pki.serving()?;
        Ok(Self {
            ca: directory.write("ca.crt", &pki.ca_pem())?,
            certificate: directory.write("apiserver.crt", &serving.certificate)?,
            key: directory.write("apiserver.key", &serving.key)?,
            service_account_key: directory.write("service-account.key", &service_account_key()?)?,
            generated: directory.path("generated"),
        })
    }

    /// The flags of kube-apiserver.
    pub fn flags(&self, port: u16, etcd_port: u16, issuers: &[String], more: &[String]) -> Vec<String> {
        let service_account_key = self.service_account_key.display();
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // Else it keeps the Endpoints of the service `kubernetes`, and refuses a loopback address there.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", self.generated.display()),
            format!("--tls-cert-file={}", self.certificate.display()),
            format!("--tls-private-key-file={}", self.key.display()),
            format!("--client-ca-file={}", self.ca.display()),
            "--authorization-mode=RBAC".to_owned(),
            // Whoever verifies tokens (Entra) reads the keys without credentials.
            "--anonymous-auth=true".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--profiling=false".to_owned(),
            format!("--service-account-key-file={service_account_key}"),
            format!("--service-account-signing-key-file={service_account_key}"),
        ];
        if let Some(first) = issuers.first().filter(|issuer| has_discovery(issuer)) {
            flags.push(format!(
                "--service-account-jwks-uri={}/openid/v1/jwks",
                first.trim_end_matches('/')
            ));
        }
        flags.extend(
            issuers
                .iter()
                .map(|issuer| format!("--service-account-issuer={issuer}")),
        );
        flags.extend_from_slice(more);
        flags
    }
}

/// Waits until the API server serves, and everybody may read how its tokens are verified.
/// `ensure_running` fails when its process has ended.
pub(super) async fn wait_until_ready(
    address: &Address,
    issuer: &str,
    admin: &Client,
    mut ensure_running: impl FnMut() -> Result<()>,
) -> Result<()> {
    poll(admin, READY, &mut ensure_running).await?;
    publish_discovery(admin).await?;
    if has_discovery(issuer) {
        // The authorizer learns of the new binding a moment later.
        poll(
            &address.client(anonymous()).await?,
            DISCOVERY,
            &mut ensure_running,
        )
        .await?;
    }
    Ok(())
}

/// The API server publishes keys only for an issuer that can be reached over TLS.
fn has_discovery(issuer: &str) -> bool {
    issuer.starts_with("https://")
}

/// Repeats a GET until it succeeds.
async fn poll(client: &Client, path: &str, ensure_running: &mut impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        ensure_running()?;
        let request = http::Request::get(path).body(Vec::new())?;
        let answer = tokio::time::timeout(POLL_TIMEOUT, client.request_text(request)).await;
        let problem = match answer {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() > deadline {
            bail!(
                "the API server does not serve {path} after {} s: {problem}",
                START_TIMEOUT.as_secs()
            );
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Lets everybody read the discovery document and the keys, in the way that Kubernetes documents for third parties.
async fn publish_discovery(admin: &Client) -> Result<()> {
    let everybody = ["system:authenticated", "system:unauthenticated"].map(|group| Subject {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "Group".to_owned(),
        name: group.to_owned(),
        namespace: None,
    });
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(format!("{DISCOVERY_ROLE}:everybody")),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: DISCOVERY_ROLE.to_owned(),
        },
        subjects: Some(everybody.into()),
    };
    match Api::all(admin.clone())
        .create(&PostParams::default(), &binding)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()), // after a restart
        Err(error) => {
            Err(error).with_context(|| format!("creating the ClusterRoleBinding {}", binding.name_any()))
        }
    }
}
