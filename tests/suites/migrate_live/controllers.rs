//! What the controllers of Deployments and StatefulSets do, which the control plane of the tests does not run: one pod of
//! each, replaced when the template changes, and the status that says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use serde_json::json;
use tokio::task::JoinHandle;
use wib_harness::World;

/// Controllers of one namespace. Dropped, they end.
pub struct Controllers {
    task: JoinHandle<()>,
    stopped: Arc<AtomicBool>,
}

impl Controllers {
    pub fn start(world: &World) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let (client, namespace, pause) = (world.admin(), world.namespace.clone(), stopped.clone());
        let task = tokio::spawn(async move {
            loop {
                if !pause.load(Ordering::Relaxed) {
                    for kind in ["Deployment", "StatefulSet"] {
                        // Whoever writes at the same time wins; the next round mends it.
                        let _ = round(&client, &namespace, kind).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { task, stopped }
    }

    /// Lets the pods be as they are.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Goes on.
    pub fn go_on(&self) {
        self.stopped.store(false, Ordering::Relaxed);
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn round(client: &Client, namespace: &str, kind: &str) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for object in api.list(&ListParams::default()).await?.items {
        let name = object.metadata.name.clone().unwrap_or_default();
        let generation = object.metadata.generation.unwrap_or_default();
        if object.data["status"]["observedGeneration"].as_i64() == Some(generation) {
            continue;
        }
        let current = format!("{name}-{generation}");
        let mut template = object.data["spec"]["template"].clone();
        template["metadata"]["name"] = json!(current);
        template["metadata"]["labels"]["of"] = json!(format!("{kind}.{name}"));
        template["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": object.metadata.uid, "controller": true,
        }]);
        if pods.get_opt(&current).await?.is_none() {
            pods.create(&PostParams::default(), &serde_json::from_value(template)?)
                .await?;
        }
        let own = ListParams::default().labels(&format!("of={kind}.{name}"));
        for pod in pods.list(&own).await?.items {
            let old = pod.metadata.name.unwrap_or_default();
            if old != current {
                pods.delete(&old, &DeleteParams::default().grace_period(0))
                    .await?;
            }
        }
        let status = json!({
            "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
            "availableReplicas": 1, "currentRevision": current, "updateRevision": current,
        });
        let status = if kind == "Deployment" {
            let mut status = status;
            for key in ["currentRevision", "updateRevision"] {
                status.as_object_mut().map(|map| map.remove(key));
            }
            status
        } else {
            status
        };
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}
