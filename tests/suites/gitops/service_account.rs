//! One ServiceAccount, and others that apply it: nobody undoes what the other writes, and nobody writes for nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use azure_emulator::Identity;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::world::bindings::condition;
use wib_harness::{Operator, World};

use super::states::raw;
use super::tools::{CLIENT_ID, TOOLS, Tool, replace, take_over};

/// A name for what a tool applies in a trial.
fn name_for(tool: Tool) -> &'static str {
    match tool {
        Tool::Flux => "flux",
        Tool::ArgoServerSide => "argo-ssa",
        Tool::ArgoClientSide => "argo-csa",
    }
}

/// A ready binding on a ServiceAccount that a tool has applied with these annotations.
async fn in_order(world: &World, tool: Tool, annotations: &Value) -> Result<Identity> {
    let name = name_for(tool);
    let identity = world.identity(name);
    in_order_with(world, tool, identity, annotations).await
}

async fn in_order_with(
    world: &World,
    tool: Tool,
    identity: Identity,
    annotations: &Value,
) -> Result<Identity> {
    let name = name_for(tool);
    world.grant(name, &identity).await?;
    tool.apply(world, name, annotations).await?;
    world.bind(name, name, &identity).await?;
    world.ready(name).await?;
    Ok(identity)
}

/// What the operator wrote so far: on a ServiceAccount, and on the status of the binding of the same name. Refused
/// writes do not count.
fn writes(world: &World, name: &str) -> Result<(usize, usize)> {
    let all = world.kubernetes_writes()?;
    let count = |resource: &str| {
        let of_it = all.iter().filter(|w| w.resource == resource && w.name == name);
        of_it.filter(|w| w.status < 300).count()
    };
    Ok((count("serviceaccounts"), count("workloadidentitybindings/status")))
}

/// Lets the operator visit a binding after all that has happened, and see to it that the log tells of it: a later
/// change of its spec is worked on. Adds one write to the ServiceAccount.
async fn settle(world: &World, name: &str) -> Result<()> {
    let (before, _) = writes(world, name)?;
    let change = json!({ "spec": { "serviceAccount": { "tokenExpirationSeconds": 7200 } } });
    world.change(name, change).await?;
    world.ready(name).await?;
    let more = || writes(world, name).is_ok_and(|(after, _)| after > before);
    world.until("the audit log is complete", more).await
}

async fn client_id_becomes(world: &World, name: &str, wanted: &str) -> Result<()> {
    for _ in 0..200 {
        if world.annotation(name, CLIENT_ID).await?.as_deref() == Some(wanted) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("the client id on {name} did not become {wanted}")
}

/// Before and after us, changed and unchanged, and where the ServiceAccount comes last: both sides keep theirs.
pub async fn every_tool_applies_beside_us(world: World) -> Result<()> {
    let _operator = slow(&world).await?;
    for tool in TOOLS {
        let name = name_for(tool);
        let identity = world.identity(name);
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
        world.not_ready(name, "ServiceAccountNotFound").await?;
        tool.apply(&world, name, &json!({ "team": "shop" })).await?;
        world.ready(name).await?;
        let binding = raw(&world, name).await?;

        for round in ["1", "1", "2", "2", "3"] {
            let account = tool.apply(&world, name, &json!({ "round": round })).await?;
            let annotations = account.metadata.annotations.unwrap_or_default();
            assert_eq!(annotations.get(CLIENT_ID), Some(&identity.client_id), "{tool:?}");
            assert_eq!(
                annotations.get("round").map(String::as_str),
                Some(round),
                "{tool:?}"
            );
            ensure!(!annotations.contains_key("team"), "{tool:?} does not prune");
        }
        assert_eq!(raw(&world, name).await?, binding, "{tool:?}: the binding moved");
        if tool != Tool::ArgoClientSide {
            // Flux's and Argo CD's look for drift.
            let dry_run = tool.dry_run(&world, name, &json!({ "round": "3" })).await?;
            let live = world.service_accounts().get(name).await?;
            assert_eq!(dry_run, live, "{tool:?} sees drift");
        }
        settle(&world, name).await?;
        assert_eq!(
            writes(&world, name)?.0,
            2,
            "{tool:?}: writes on the ServiceAccount"
        );
        tool.apply(&world, name, &json!({ "round": "4" })).await?;
        world.assert_accepted(name, &identity.client_id).await?;
        let kept = world.annotation(name, CLIENT_ID).await?;
        assert_eq!(kept.as_ref(), Some(&identity.client_id), "{tool:?}");
    }
    Ok(())
}

/// Nothing is repeated by time alone: what happens, happens because of a watch.
async fn slow(world: &World) -> Result<Operator> {
    world.operator_with(&["--slow-retry-interval=1h"]).await
}

/// Git wins, by force or not; we say who it was and do not write again until Git lets go.
pub async fn another_client_id_in_git_is_told_and_not_fought_over(world: World) -> Result<()> {
    let _operator = slow(&world).await?;
    for tool in TOOLS {
        let name = name_for(tool);
        let identity = in_order(&world, tool, &json!({})).await?;
        for round in ["1", "2", "3"] {
            tool.apply(&world, name, &json!({ CLIENT_ID: "of-git", "round": round }))
                .await?;
            let binding = world.not_ready(name, "FieldConflict").await?;
            let told = condition(&binding, "Stalled").map(|c| c.2).unwrap_or_default();
            ensure!(told.contains(tool.manager()), "{tool:?} is not named: {told}");
        }
        let kept = world.annotation(name, CLIENT_ID).await?;
        assert_eq!(kept.as_deref(), Some("of-git"), "{tool:?}");

        tool.apply(&world, name, &json!({})).await?;
        world.ready(name).await?;
        client_id_becomes(&world, name, &identity.client_id).await?;
        settle(&world, name).await?;
        // The first, the one when Git let go, and the one of the last change.
        assert_eq!(
            writes(&world, name)?.0,
            3,
            "{tool:?}: writes on the ServiceAccount"
        );
    }
    Ok(())
}

/// Ours first, then Git lists the same: both own it. When Git drops it, it stays without a write.
pub async fn the_same_client_id_in_git_is_shared(world: World) -> Result<()> {
    let _operator = slow(&world).await?;
    for tool in [Tool::Flux, Tool::ArgoServerSide] {
        let name = name_for(tool);
        let identity = in_order(&world, tool, &json!({})).await?;
        let binding = raw(&world, name).await?;
        let account = tool
            .apply(&world, name, &json!({ CLIENT_ID: identity.client_id }))
            .await?;
        let owners: Vec<String> = account
            .metadata
            .managed_fields
            .into_iter()
            .flatten()
            .filter(|entry| serde_json::to_string(entry).is_ok_and(|text| text.contains(CLIENT_ID)))
            .filter_map(|entry| entry.manager)
            .collect();
        ensure!(
            owners.len() == 2 && owners.iter().any(|o| o == tool.manager()),
            "{owners:?}"
        );
        tool.apply(&world, name, &json!({})).await?;
        let kept = world.annotation(name, CLIENT_ID).await?;
        assert_eq!(kept.as_ref(), Some(&identity.client_id), "{tool:?}");
        assert_eq!(raw(&world, name).await?, binding, "{tool:?}: the binding moved");
        settle(&world, name).await?;
        assert_eq!(
            writes(&world, name)?.0,
            2,
            "{tool:?}: writes on the ServiceAccount"
        );
    }
    Ok(())
}

/// Git's first, and we had nothing to write: when Git drops it, we write it once.
pub async fn a_client_id_that_git_drops_is_repaired_once(world: World) -> Result<()> {
    let _operator = slow(&world).await?;
    for tool in TOOLS {
        let name = name_for(tool);
        let identity = world.identity(name);
        let ids = json!({
            CLIENT_ID: identity.client_id,
            "azure.workload.identity/tenant-id": identity.tenant_id,
        });
        let identity = in_order_with(&world, tool, identity, &ids).await?;
        tool.apply(&world, name, &json!({})).await?;
        client_id_becomes(&world, name, &identity.client_id).await?;
        tool.apply(&world, name, &json!({})).await?;
        settle(&world, name).await?;
        assert_eq!(
            writes(&world, name)?.0,
            2,
            "{tool:?}: writes on the ServiceAccount"
        );
        let kept = world.annotation(name, CLIENT_ID).await?;
        assert_eq!(kept.as_ref(), Some(&identity.client_id), "{tool:?}");
    }
    Ok(())
}

/// A tool that applies client-side removes what it listed once, though it was ours before: we write it once.
pub async fn a_client_id_that_a_three_way_patch_removes_is_repaired_once(world: World) -> Result<()> {
    let _operator = slow(&world).await?;
    let tool = Tool::ArgoClientSide;
    let name = name_for(tool);
    let identity = in_order(&world, tool, &json!({})).await?;
    tool.apply(&world, name, &json!({ CLIENT_ID: identity.client_id }))
        .await?;
    let dropped = tool.apply(&world, name, &json!({})).await?;
    ensure!(
        !dropped
            .metadata
            .annotations
            .unwrap_or_default()
            .contains_key(CLIENT_ID)
    );
    client_id_becomes(&world, name, &identity.client_id).await?;
    tool.apply(&world, name, &json!({})).await?;
    settle(&world, name).await?;
    assert_eq!(
        writes(&world, name)?.0,
        3,
        "the first, the repair, and the one of the last change"
    );
    Ok(())
}

pub async fn a_replace_without_annotations_is_repaired_once(world: World) -> Result<()> {
    let _operator = slow(&world).await?;
    let tool = Tool::ArgoClientSide;
    let name = name_for(tool);
    let identity = in_order(&world, tool, &json!({ "team": "shop" })).await?;
    let replaced = replace(&world, name, &json!({ "team": "shop" })).await?;
    ensure!(
        !replaced
            .metadata
            .annotations
            .unwrap_or_default()
            .contains_key(CLIENT_ID)
    );
    client_id_becomes(&world, name, &identity.client_id).await?;
    settle(&world, name).await?;
    assert_eq!(
        writes(&world, name)?.0,
        3,
        "the first, the repair, and the one of the last change"
    );
    assert_eq!(world.annotation(name, "team").await?.as_deref(), Some("shop"));
    Ok(())
}

pub async fn a_takeover_of_kubectls_fields_leaves_ours(world: World) -> Result<()> {
    let _operator = slow(&world).await?;
    let name = name_for(Tool::ArgoClientSide);
    // Applied by hand before it came into Git, and not all of it did.
    let identity = in_order(&world, Tool::ArgoClientSide, &json!({ "by-hand": "yes" })).await?;
    let binding = raw(&world, name).await?;
    take_over(&world, name).await?;
    let account = Tool::Flux.apply(&world, name, &json!({ "team": "shop" })).await?;
    let annotations = account.metadata.annotations.unwrap_or_default();
    ensure!(!annotations.contains_key("by-hand"), "nothing was taken over");
    assert_eq!(annotations.get(CLIENT_ID), Some(&identity.client_id));
    assert_eq!(raw(&world, name).await?, binding, "the binding moved");
    settle(&world, name).await?;
    assert_eq!(writes(&world, name)?.0, 2);
    Ok(())
}
