//! Asking kstatus, Argo CD with our script, and Flux with our expressions.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use wib_harness::Tool;

/// Where the script and its tests are, as Argo CD wants them contributed.
pub const ARGO: &str =
    "config/gitops/argocd/resource_customizations/workload-identity.io/WorkloadIdentityBinding";
const FLUX: &str = "config/gitops/flux/shop.yaml";

/// What one of them says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Opinion {
    pub status: String,
    pub message: String,
}

/// What all of them say of an object.
#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    pub kstatus: Opinion,
    pub argo: Opinion,
    pub flux: Opinion,
}

impl Health {
    /// What kstatus, Argo CD and Flux say, in one word each.
    pub fn statuses(&self) -> [&str; 3] {
        [&self.kstatus, &self.argo, &self.flux].map(|o| o.status.as_str())
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Asks about several objects.
pub async fn ask(objects: &[&Value]) -> Result<Vec<Health>> {
    let file = |path: &Path| root().join(path).display().to_string();
    let lua = file(&Path::new(ARGO).join("health.lua"));
    let input: Vec<String> = objects.iter().map(ToString::to_string).collect();
    let answers = Tool::Health
        .run(
            &["--lua", &lua, "--flux", &file(Path::new(FLUX))],
            &input.join("\n"),
        )
        .await?;
    let answers: Vec<Health> = answers
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(answers.len() == objects.len(), "{} answers", answers.len());
    Ok(answers)
}
