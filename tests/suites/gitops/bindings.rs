//! Bindings that come from Git: no drift where there is none, and an end when they are pruned.

use anyhow::{Result, ensure};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::World;

use super::states::raw;
use super::tools::{TOOLS, merged};

/// The bindings of a world as they are, with what the types of the operator do not know.
pub fn api(world: &World) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("workload-identity.io", "v1alpha1", "WorkloadIdentityBinding");
    let resource = ApiResource::from_gvk_with_plural(&kind, "workloadidentitybindings");
    Api::namespaced_with(world.admin(), &world.namespace, &resource)
}

/// The least that a manifest can say, and all of it: the API server's defaults are no drift to anybody.
pub async fn a_manifest_applied_again_changes_nothing(world: World) -> Result<()> {
    let _operator = world.operator().await?;
    for tool in TOOLS {
        for whole in [false, true] {
            let name = format!("{}-{whole}", tool.manager());
            let identity = world.workload(&name).await?;
            let mut spec = json!({
                "identity": { "resourceId": identity.resource_id },
                "serviceAccount": { "name": name },
            });
            if whole {
                let account = json!({ "name": name, "create": false, "annotate": true, "tokenExpirationSeconds": 3600 });
                spec["serviceAccount"] = account;
                spec["adoption"] = "IfEqual".into();
                spec["deletionPolicy"] = "Delete".into();
                spec["suspend"] = false.into();
            }
            let manifest = json!({
                "apiVersion": "workload-identity.io/v1alpha1", "kind": "WorkloadIdentityBinding",
                "metadata": { "name": name, "namespace": world.namespace }, "spec": spec,
            });
            let params = PatchParams::apply(tool.manager()).force();
            let patch = Patch::Apply(&manifest);
            api(&world).patch(&name, &params, &patch).await?;
            world.ready(&name).await?;
            let live = raw(&world, &name).await?;

            // Flux, and Argo CD with Server-Side Diff: a dry run differs from what is there.
            let dry_run = api(&world)
                .patch(&name, &params.clone().dry_run(), &patch)
                .await?;
            assert_eq!(serde_json::to_value(dry_run)?, live);
            // Argo CD's own diff: what Git lists, put over what is there.
            assert_eq!(merged(&live, &manifest), live);
            api(&world).patch(&name, &params, &patch).await?;
            assert_eq!(raw(&world, &name).await?, live, "applied again, it moved");
            assert_eq!(live["metadata"]["generation"], 1);
        }
    }
    Ok(())
}

/// Binding, grant, ServiceAccount and identity's other users go in whatever order a tool prunes them.
pub async fn a_pruned_binding_ends_in_every_order(world: World) -> Result<()> {
    let _operator = world.operator().await?;
    let orders = [
        ["binding", "grant", "account"],
        ["grant", "account", "binding"],
        ["account", "binding", "grant"],
    ];
    for (number, order) in orders.into_iter().enumerate() {
        let name = format!("web-{number}");
        let identity = world.workload(&name).await?;
        world.bind(&name, &name, &identity).await?;
        world.ready(&name).await?;
        for what in order {
            match what {
                "binding" => {
                    world
                        .bindings()
                        .delete(&name, &DeleteParams::background())
                        .await?;
                }
                "grant" => world.revoke(&name, &identity).await?,
                _ => {
                    world
                        .service_accounts()
                        .delete(&name, &DeleteParams::background())
                        .await?;
                }
            }
        }
        world.gone(&name).await?;
        let left = world.azure.credentials(&identity.resource_id);
        ensure!(left.is_empty(), "{order:?} leaves {left:?}");
    }
    Ok(())
}
