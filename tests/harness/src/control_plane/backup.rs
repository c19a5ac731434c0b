//! Backups of etcd, and what comes back with them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use super::process::Process;
use super::workdir::WorkDir;
use super::{ControlPlane, PORT_ATTEMPTS, ports, wait_until_listening};

/// What etcd held at one moment.
pub struct Backup(WorkDir);

impl ControlPlane {
    /// Makes a backup of etcd, which ends and begins again for it. Clients hardly notice.
    pub async fn back_up(&mut self) -> Result<Backup> {
        let backup = WorkDir::create()?;
        self.stop_etcd().await;
        copy(&self.directory.path("etcd"), &backup.path("etcd")).context("copying the data of etcd")?;
        self.start_etcd().await?;
        Ok(Backup(backup))
    }

    /// Replaces what etcd holds by a backup, as an administrator does: the API server is stopped before, and started
    /// after it.
    pub async fn restore(&mut self, backup: &Backup) -> Result<()> {
        self.restore_data(backup).await?;
        self.start_api_server().await
    }

    /// The same, and so much is written before the API server starts that the newest version from before is passed
    /// again, as `etcdutl snapshot restore --bump-revision` does.
    pub async fn restore_and_advance(&mut self, backup: &Backup, writes: usize) -> Result<()> {
        self.restore_data(backup).await?;
        let second = self.second_api_server().await?;
        advance(second.admin(), writes).await?;
        drop(second);
        self.start_api_server().await
    }

    /// Writes something of no account, so often.
    pub async fn advance(&self, writes: usize) -> Result<()> {
        advance(self.admin(), writes).await
    }

    async fn restore_data(&mut self, backup: &Backup) -> Result<()> {
        self.kill_api_server().await;
        self.stop_etcd().await;
        let data = self.directory.path("etcd");
        fs::remove_dir_all(&data).context("removing the data of etcd")?;
        copy(&backup.0.path("etcd"), &data).context("copying the data of etcd back")?;
        self.start_etcd().await
    }

    async fn stop_etcd(&mut self) {
        if let Some(etcd) = self.etcd.take() {
            etcd.kill().await;
        }
    }

    async fn start_etcd(&mut self) -> Result<()> {
        for attempt in 1.. {
            let command = self.binaries.etcd(&self.directory.path("etcd"), self.etcd_port);
            let mut etcd = Process::spawn("etcd", command, self.directory.path("etcd.log"))?;
            match wait_until_listening(&mut etcd, self.etcd_port).await {
                Ok(()) => {
                    self.etcd = Some(etcd);
                    break;
                }
                Err(error) => {
                    let error = etcd.with_log(&error);
                    if attempt >= PORT_ATTEMPTS || !ports::is_taken(&error) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

async fn advance(admin: kube::Client, writes: usize) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(admin, "default");
    let mut map = ConfigMap::default();
    map.metadata.name = Some("of-no-account".to_owned());
    let mut map = maps.create(&PostParams::default(), &map).await?;
    for n in 0..writes {
        map.data = Some([("n".to_owned(), n.to_string())].into());
        map = maps
            .replace("of-no-account", &PostParams::default(), &map)
            .await?;
    }
    maps.delete("of-no-account", &DeleteParams::default()).await?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
