//! What a kubelet makes of a pod of the operator: its files, its environment and its arguments, for a process on this
//! machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use azure_emulator::Emulator;
use k8s_openapi::api::core::v1::{ConfigMap, EnvVar, PodSpec, ProjectedVolumeSource};
use kube::Api;
use kube::config::AuthInfo;

use crate::{Cluster, Program};

/// Where the operator looks for the token of the Kubernetes API.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod that is about to be started.
pub struct Pod {
    /// Arguments of the container.
    pub arguments: Vec<String>,
    /// Its environment, as far as the spec gives it.
    pub environment: Vec<(String, String)>,
    directory: tempfile::TempDir,
}

impl Pod {
    /// Mounts the volumes of a pod below a folder of its own, and works out environment and arguments. Only what the
    /// operator's pod has is understood.
    pub async fn new(cluster: &Cluster, spec: &PodSpec, namespace: &str, name: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let container = spec.containers.first().context("a pod without a container")?;
        for mount in container.volume_mounts.iter().flatten() {
            let volume = spec.volumes.iter().flatten().find(|v| v.name == mount.name);
            let volume = volume.with_context(|| format!("there is no volume {}", mount.name))?;
            let projected = volume
                .projected
                .as_ref()
                .context("a volume that is not projected")?;
            let account = spec.service_account_name.as_deref().unwrap_or("default");
            let target = below(directory.path(), &mount.mount_path);
            project(cluster, projected, (namespace, account), &target).await?;
        }
        let mut environment = Vec::new();
        for source in container.env_from.iter().flatten() {
            let reference = source
                .config_map_ref
                .as_ref()
                .context("envFrom of another kind")?;
            let maps: Api<ConfigMap> = Api::namespaced(cluster.admin(), namespace);
            environment.extend(maps.get(&reference.name).await?.data.unwrap_or_default());
        }
        for variable in container.env.iter().flatten() {
            let value = value(variable, namespace, name)?;
            // A path into a volume.
            let inside = container
                .volume_mounts
                .iter()
                .flatten()
                .any(|m| value.starts_with(&format!("{}/", m.mount_path)));
            let value = if inside {
                below(directory.path(), &value).display().to_string()
            } else {
                value
            };
            environment.push((variable.name.clone(), value));
        }
        Ok(Self {
            arguments: container.args.clone().unwrap_or_default(),
            environment,
            directory,
        })
    }

    /// Starts a program as this pod's container. What differs from a pod is where Kubernetes and Azure are, and the
    /// port: the program is given a free one.
    pub fn start(&self, program: &Path, cluster: &Cluster, azure: &Emulator) -> Result<Program> {
        let token = below(self.directory.path(), SERVICE_ACCOUNT).join("token");
        let mut kubeconfig = cluster.control_plane.kubeconfig_for_token("");
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(AuthInfo {
                token_file: Some(token.display().to_string()),
                ..AuthInfo::default()
            });
        }
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        std::fs::write(file("kubeconfig"), serde_yaml::to_string(&kubeconfig)?)?;
        std::fs::write(file("azure-ca.pem"), azure.ca_pem())?;
        let mut arguments = self.arguments.clone();
        arguments.extend([
            format!("--kubeconfig={}", file("kubeconfig")),
            format!("--issuer-token-file={}", token.display()),
            format!("--azure-endpoint={}", azure.url()),
            format!("--azure-authority-host={}", azure.url()),
            format!("--azure-ca-bundle={}", file("azure-ca.pem")),
        ]);
        let environment = self.environment.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let environment: Vec<_> = environment.filter(|(k, _)| *k != "WIB_HTTP_ADDRESS").collect();
        Program::start(program, &arguments, &environment)
    }
}

/// An absolute path of the container, as it is on this machine.
fn below(directory: &Path, path: &str) -> PathBuf {
    directory.join(path.trim_start_matches('/'))
}

async fn project(
    cluster: &Cluster,
    volume: &ProjectedVolumeSource,
    (namespace, account): (&str, &str),
    target: &Path,
) -> Result<()> {
    std::fs::create_dir_all(target)?;
    for source in volume.sources.iter().flatten() {
        if let Some(token) = &source.service_account_token {
            let audience = token.audience.as_deref().unwrap_or_default();
            let seconds = token.expiration_seconds.unwrap_or(3600);
            let text = cluster
                .control_plane
                .token(namespace, account, audience, seconds)
                .await?;
            std::fs::write(target.join(&token.path), text)?;
        } else if let Some(map) = &source.config_map {
            // kube-controller-manager's publisher of this one does not run here.
            if map.name != "kube-root-ca.crt" {
                bail!("a volume of ConfigMap {}", map.name);
            }
            std::fs::write(target.join("ca.crt"), cluster.control_plane.ca_pem())?;
        } else if let Some(fields) = &source.downward_api {
            for item in fields.items.iter().flatten() {
                let field = item.field_ref.as_ref().map(|f| f.field_path.as_str());
                if field != Some("metadata.namespace") {
                    bail!("a volume of field {field:?}");
                }
                std::fs::write(target.join(&item.path), namespace)?;
            }
        } else {
            bail!("a volume of another kind: {source:?}");
        }
    }
    Ok(())
}

fn value(variable: &EnvVar, namespace: &str, name: &str) -> Result<String> {
    let source = variable.value_from.as_ref();
    match source.map(|s| s.field_ref.as_ref().map(|f| f.field_path.as_str())) {
        None => Ok(variable.value.clone().unwrap_or_default()),
        Some(Some("metadata.name")) => Ok(name.to_owned()),
        Some(Some("metadata.namespace")) => Ok(namespace.to_owned()),
        Some(_) => bail!("{} comes from elsewhere", variable.name),
    }
}
