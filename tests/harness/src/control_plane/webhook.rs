//! The mutating webhook of Azure Workload Identity beside the control plane: what makes a pod of an annotated
//! ServiceAccount a workload that can log in to Azure.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tokio::process::Command;

use super::process::Process;
use super::workdir::WorkDir;
use super::{ControlPlane, PORT_ATTEMPTS, ports};
use crate::Tool;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How a webhook is installed, as its chart's values say it.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// The only namespace whose pods it sees: other tests share the control plane.
    pub namespace: String,
    /// `AZURE_TENANT_ID`, for ServiceAccounts that do not name a tenant.
    pub tenant_id: String,
    /// Where the SDKs in the pods find Entra. Upstream knows it from the name of the cloud; a private one comes from
    /// a file.
    pub authority_host: String,
    /// Audience of the tokens that it projects.
    pub audience: String,
}

/// The running webhook. Dropped, its process ends; what the API server knows of it goes with [`Self::uninstall`].
pub struct Webhook {
    _process: Process,
    _directory: WorkDir,
    name: String,
    admin: Client,
}

impl ControlPlane {
    /// Starts the webhook and tells the API server of it.
    pub async fn webhook(&self, options: &WebhookOptions) -> Result<Webhook> {
        Tool::Webhook.path().await?;
        let mut attempt = 1;
        loop {
            match self.launch_webhook(options).await {
                Err(error) if attempt < PORT_ATTEMPTS && ports::is_taken(&error) => attempt += 1,
                result => return result.context("starting the webhook"),
            }
        }
    }

    async fn launch_webhook(&self, options: &WebhookOptions) -> Result<Webhook> {
        let (port, directory) = (ports::free_port()?, WorkDir::create()?);
        let serving = self.pki.serving()?;
        let certificate = directory.write("tls.crt", &serving.certificate)?;
        directory.write("tls.key", &serving.key)?;
        let kubeconfig = directory.write("kubeconfig", &serde_json::to_string(&self.kubeconfig())?)?;
        let cloud = json!({ "name": "AzureStackCloud", "activeDirectoryEndpoint": options.authority_host });
        let cloud = directory.write("cloud.json", &cloud.to_string())?;

        let mut command = Command::new(Tool::Webhook.path().await?);
        command
            .env_clear()
            .env("AZURE_TENANT_ID", &options.tenant_id)
            .env("AZURE_ENVIRONMENT", "AzureStackCloud")
            .env("AZURE_ENVIRONMENT_FILEPATH", cloud)
            .arg("--exit-on-stdin-eof")
            .arg(format!("--port={port}"))
            .arg(format!("--audience={}", options.audience))
            .arg("--cert-dir")
            .arg(certificate.parent().context("a file without a directory")?)
            .arg("--kubeconfig")
            .arg(kubeconfig);
        let mut process = Process::spawn("webhook", command.into_std(), directory.path("webhook.log"))?;
        let end = Instant::now() + START_TIMEOUT;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            process
                .ensure_running()
                .map_err(|error| process.with_log(&error))?;
            ensure!(Instant::now() < end, "it does not listen after {START_TIMEOUT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let name = format!("azure-wi-webhook-{}", options.namespace);
        let configuration = self.configuration(&name, port, &options.namespace)?;
        Api::all(self.admin())
            .create(&PostParams::default(), &configuration)
            .await?;
        Ok(Webhook {
            _process: process,
            _directory: directory,
            name,
            admin: self.admin(),
        })
    }

    /// As upstream ships it, but for the address, the name and the namespace.
    fn configuration(&self, name: &str, port: u16, namespace: &str) -> Result<MutatingWebhookConfiguration> {
        Ok(serde_json::from_value(json!({
            "metadata": { "name": name },
            "webhooks": [{
                "name": "mutation.azure-workload-identity.io",
                "clientConfig": {
                    "url": format!("https://127.0.0.1:{port}/mutate-v1-pod"),
                    "caBundle": BASE64_STANDARD.encode(self.ca_pem()),
                },
                "admissionReviewVersions": ["v1", "v1beta1"],
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "objectSelector": { "matchLabels": { "azure.workload.identity/use": "true" } },
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                }],
            }],
        }))?)
    }
}

impl Webhook {
    /// Removes it from the API server, which would otherwise go on asking it.
    pub async fn uninstall(self) -> Result<()> {
        Api::<MutatingWebhookConfiguration>::all(self.admin.clone())
            .delete(&self.name, &DeleteParams::default())
            .await?;
        Ok(())
    }
}
