//! Bindings, as their users write and read them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_emulator::Identity;
use futures::StreamExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::World;

/// Longest wait for anything; what takes longer is a failure, not slowness.
const PATIENCE: Duration = Duration::from_secs(90);

/// A condition's status, reason and message.
pub fn condition<'a>(
    binding: &'a WorkloadIdentityBinding,
    kind: &str,
) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = &binding.status.as_ref()?.conditions;
    let found = conditions.iter().find(|c| c.type_ == kind)?;
    Some((&found.status, &found.reason, &found.message))
}

/// Whether the current generation is ready.
pub fn is_ready(binding: &WorkloadIdentityBinding) -> bool {
    let observed = binding.status.as_ref().and_then(|s| s.observed_generation);
    observed == binding.metadata.generation && condition(binding, "Ready").is_some_and(|c| c.0 == "True")
}

impl World {
    /// The bindings of this namespace.
    pub fn bindings(&self) -> Api<WorkloadIdentityBinding> {
        Api::namespaced(self.admin(), &self.namespace)
    }

    /// Creates a binding of the usual kind.
    pub async fn bind(
        &self,
        name: &str,
        service_account: &str,
        identity: &Identity,
    ) -> Result<WorkloadIdentityBinding> {
        let spec = json!({
            "identity": { "resourceId": identity.resource_id },
            "serviceAccount": { "name": service_account },
        });
        self.create(name, spec).await
    }

    /// Creates a binding with any spec.
    pub async fn create(&self, name: &str, spec: Value) -> Result<WorkloadIdentityBinding> {
        let binding = serde_json::from_value(json!({
            "apiVersion": "workload-identity.io/v1alpha1",
            "kind": "WorkloadIdentityBinding",
            "metadata": { "name": name },
            "spec": spec,
        }))?;
        let created = self.bindings().create(&PostParams::default(), &binding).await;
        created.with_context(|| format!("cannot create binding {name}"))
    }

    /// Changes a binding by merge patch.
    pub async fn change(&self, name: &str, patch: Value) -> Result<WorkloadIdentityBinding> {
        Ok(self
            .bindings()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?)
    }

    /// Deletes a binding and waits until it is gone.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.bindings().delete(name, &DeleteParams::default()).await?;
        self.gone(name).await
    }

    /// Waits until a binding is gone.
    pub async fn gone(&self, name: &str) -> Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        while let Some(binding) = self.bindings().get_opt(name).await? {
            anyhow::ensure!(
                tokio::time::Instant::now() < end,
                "binding {name} is not gone after {PATIENCE:?}:\n{}",
                describe(&binding)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until a binding is as the predicate wants it; the failure shows how it was.
    pub async fn wait(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&WorkloadIdentityBinding) -> bool,
    ) -> Result<WorkloadIdentityBinding> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut stream = watcher(self.bindings(), config)
            .default_backoff()
            .applied_objects()
            .boxed();
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(event) = stream.next().await {
                let Ok(binding) = event else { continue };
                if wanted(&binding) {
                    return Some(binding);
                }
                last = Some(binding);
            }
            None
        })
        .await;
        found.ok().flatten().with_context(|| {
            let last = last.as_ref().map_or_else(|| "never seen".to_owned(), describe);
            format!("binding {name} did not become {what} within {PATIENCE:?}:\n{last}")
        })
    }

    /// Waits until a binding is ready.
    pub async fn ready(&self, name: &str) -> Result<WorkloadIdentityBinding> {
        self.wait(name, "ready", is_ready).await
    }

    /// Waits until a binding is not ready for this reason.
    pub async fn not_ready(&self, name: &str, reason: &str) -> Result<WorkloadIdentityBinding> {
        self.wait(name, reason, |b| {
            condition(b, "Ready").is_some_and(|c| c.0 != "True" && c.1 == reason)
        })
        .await
    }

    /// The same, and a person has to act on it. Answers what that person is told.
    pub async fn stalled(&self, name: &str, reason: &str) -> Result<String> {
        let binding = self.not_ready(name, reason).await?;
        let (status, why, message) = condition(&binding, "Stalled").with_context(|| describe(&binding))?;
        anyhow::ensure!((status, why) == ("True", reason), "{}", describe(&binding));
        Ok(message.to_owned())
    }

    /// Waits for something that no binding shows.
    pub async fn until(&self, what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !so() {
            anyhow::ensure!(
                tokio::time::Instant::now() < end,
                "not after {PATIENCE:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// A binding as a person would look at it.
pub fn describe(binding: &WorkloadIdentityBinding) -> String {
    serde_yaml::to_string(&json!({ "spec": binding.spec, "status": binding.status })).unwrap_or_default()
}
