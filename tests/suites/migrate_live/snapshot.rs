//! Everything that a migration may touch, before and after.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use kube::api::ListParams;
use serde_json::{Value, json};

use super::stage::{
    BINDING, CLASS, CONFIG_MAP, CRON_JOB, DEPLOYMENT, IDENTITY, Kind, PLATFORM, SERVICE_ACCOUNT,
    STATEFUL_SET, Stage,
};

/// Everything that a migration may touch.
const TOUCHED: [Kind; 11] = [
    CLASS,
    DEPLOYMENT,
    STATEFUL_SET,
    CRON_JOB,
    IDENTITY,
    BINDING,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    ("workload-identity.io", "v1alpha1", "WorkloadIdentityBinding"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
];

impl Stage {
    /// Everything that a migration may touch, as it is now, but for what the API server sets.
    pub async fn snapshot(&self) -> Result<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        for kind in TOUCHED {
            for namespace in ["shop", PLATFORM] {
                for object in self
                    .api(kind, namespace)
                    .list(&ListParams::default())
                    .await?
                    .items
                {
                    let mut value = json!(object);
                    let name = format!(
                        "{} {namespace}/{}",
                        kind.2,
                        object.metadata.name.unwrap_or_default()
                    );
                    if let Some(map) = value.as_object_mut() {
                        map.remove("status");
                    }
                    if let Some(metadata) = value["metadata"].as_object_mut() {
                        metadata.retain(|key, _| {
                            ![
                                "uid",
                                "resourceVersion",
                                "generation",
                                "creationTimestamp",
                                "managedFields",
                            ]
                            .contains(&key.as_str())
                        });
                    }
                    found.insert(name, value);
                }
            }
        }
        Ok(found)
    }

    /// Fails unless everything that a migration may touch is as it was.
    pub async fn assert_unchanged_since(&self, before: &BTreeMap<String, Value>) -> Result<()> {
        let now = self.snapshot().await?;
        let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let changed = names
            .into_iter()
            .filter(|name| before.get(*name) != now.get(*name));
        let shown = |state: &BTreeMap<String, Value>, name: &String| {
            state
                .get(name)
                .map_or_else(|| "nothing".to_owned(), Value::to_string)
        };
        let changed: Vec<String> = changed
            .map(|name| {
                format!(
                    "{name}\n  was {}\n  is  {}",
                    shown(before, name),
                    shown(&now, name)
                )
            })
            .collect();
        ensure!(changed.is_empty(), "changed:\n{}", changed.join("\n"));
        Ok(())
    }

    /// Names of the identities and bindings of pod identity that are there.
    pub async fn left_of_pod_identity(&self) -> Result<Vec<String>> {
        let snapshot = self.snapshot().await?;
        Ok(snapshot
            .into_keys()
            .filter(|name| name.starts_with("AzureIdentity"))
            .collect())
    }
}
