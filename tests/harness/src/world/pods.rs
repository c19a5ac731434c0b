//! Pods, as a workload's own team writes them, and what a kubelet would put into them. No pod runs: there are no nodes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use azure_emulator::client::{AccessToken, TokenError, exchange};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Container, Pod, ServiceAccountTokenProjection, VolumeMount};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::World;
use crate::control_plane::{Webhook, WebhookOptions};

/// The variable that names the file with the token.
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

impl World {
    /// Starts the webhook for the pods of this namespace, with this world's Entra.
    pub async fn webhook(&self, tenant_id: &str, audience: &str) -> Result<Webhook> {
        let options = WebhookOptions {
            namespace: self.namespace.clone(),
            tenant_id: tenant_id.to_owned(),
            authority_host: self.azure.url().to_owned(),
            audience: audience.to_owned(),
        };
        self.cluster.control_plane.webhook(&options).await
    }

    /// The pods of this namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.admin(), &self.namespace)
    }

    /// Creates a pod with the webhook's label, or changed in any way before, and answers what the API server made of it.
    pub async fn pod(&self, service_account: &str, change: impl FnOnce(&mut Value)) -> Result<Pod> {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": format!("{service_account}-"),
                "labels": { "azure.workload.identity/use": "true" },
            },
            "spec": {
                "serviceAccountName": service_account,
                "containers": [{ "name": "app", "image": "app" }],
            },
        });
        change(&mut pod);
        let pod = serde_json::from_value(pod)?;
        Ok(self.pods().create(&PostParams::default(), &pod).await?)
    }

    /// What a process in the container `app` of the pod sees: it logs in with nothing else.
    pub fn inside(&self, pod: &Pod) -> Result<Inside> {
        self.inside_of(pod, "app")
    }

    /// The same for any container.
    pub fn inside_of(&self, pod: &Pod, container: &str) -> Result<Inside> {
        let spec = pod.spec.as_ref().context("a pod without a spec")?;
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let found: Vec<&Container> = containers.filter(|c| c.name == container).collect();
        let container = found.first().context("no such container")?;
        let environment: BTreeMap<String, String> = container
            .env
            .iter()
            .flatten()
            .map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default()))
            .collect();
        let projection = environment
            .get(TOKEN_FILE)
            .map(|file| mounted(pod, container, file))
            .transpose()?;
        Ok(Inside {
            environment,
            projection,
            pod: BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            },
            service_account: spec.service_account_name.clone().unwrap_or_default(),
        })
    }

    /// Writes the token file of a pod as its kubelet does: by exactly the projection that its spec asks for.
    pub async fn token_file(&self, inside: &Inside) -> Result<String> {
        let projection = inside.projection.as_ref().context("no token is projected")?;
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: projection.audience.iter().cloned().collect(),
                expiration_seconds: projection.expiration_seconds,
                bound_object_ref: Some(inside.pod.clone()),
            },
            ..TokenRequest::default()
        };
        let answer = self
            .service_accounts()
            .create_token_request(&inside.service_account, &PostParams::default(), &request)
            .await?;
        Ok(answer.status.context("no token")?.token)
    }

    /// Logs in from inside a pod as any Azure SDK does: with the variables and the file, and for the client id that
    /// the workload names itself, if it does. The outer error is the test's, the inner one Entra's answer.
    pub async fn login(
        &self,
        inside: &Inside,
        client_id: Option<&str>,
    ) -> Result<Result<AccessToken, TokenError>> {
        let variable = |name: &str| {
            inside
                .environment
                .get(name)
                .with_context(|| format!("{name} is not set"))
        };
        let client_id = match client_id {
            Some(id) => id,
            None => variable("AZURE_CLIENT_ID")?,
        };
        let host = variable("AZURE_AUTHORITY_HOST")?.trim_end_matches('/');
        let token = self.token_file(inside).await?;
        let tenant = variable("AZURE_TENANT_ID")?;
        Ok(exchange(host, self.azure.ca_pem(), tenant, client_id, &token).await)
    }
}

/// What a process in a container of a pod sees.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What the kubelet writes to the file that `AZURE_FEDERATED_TOKEN_FILE` names.
    pub projection: Option<ServiceAccountTokenProjection>,
    pod: BoundObjectReference,
    service_account: String,
}

/// The token that lies behind a path in a container: through its mounts and the pod's volumes.
fn mounted(pod: &Pod, container: &Container, file: &str) -> Result<ServiceAccountTokenProjection> {
    let spec = pod.spec.as_ref().context("a pod without a spec")?;
    let token = |mount: &VolumeMount| {
        let path = file.strip_prefix(&mount.mount_path)?.strip_prefix('/')?;
        let volume = spec.volumes.iter().flatten().find(|v| v.name == mount.name)?;
        let sources = volume.projected.as_ref()?.sources.iter().flatten();
        let mut tokens = sources.filter_map(|source| source.service_account_token.as_ref());
        tokens.find(|token| token.path == path)
    };
    let found = container.volume_mounts.iter().flatten().find_map(token);
    found
        .cloned()
        .with_context(|| format!("nothing is mounted at {file}"))
}
