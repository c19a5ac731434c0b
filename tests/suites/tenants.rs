//! What a tenant can write holds no trust, and removes none of others: finalizers, status, annotations, labels, spec,
//! patches without end. The grant is the authority, and the operator's own record (`ManagedIdentity`) its memory.

mod cost;
mod definition;
mod finalizers;
mod forgery;
mod issuers;
mod kept;
mod neighbours;
mod obstacles;
mod orphans;
mod records;
mod refused;
mod siblings;
mod storms;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Identity};
use kube::api::DeleteParams;
use serde_json::json;
use wib_harness::world::Gates;
use wib_harness::world::bindings::{condition, describe};
use wib_harness::{AUDIENCE, Operator, World};
use workload_identity_binding::core::{self, Tuple};

use crate::runner::trials;
use cost::bindings_that_bring_the_finalizer_and_no_grant_cost_azure_nothing;
use definition::a_definition_that_is_deleted_releases_and_one_that_comes_back_takes_up_again;
use finalizers::{
    a_binding_forced_away_before_its_deletion_is_revoked,
    a_binding_forced_away_during_its_deletion_is_revoked,
    a_binding_forced_away_is_revoked_by_an_operator_that_starts_later,
    a_binding_forced_away_is_revoked_by_an_operator_that_was_restarted,
    a_binding_that_another_finalizer_holds_is_revoked,
    a_binding_without_its_finalizer_is_revoked_and_gets_it_back,
};
use forgery::{
    a_forged_status_reaches_no_credential_of_another_cluster,
    a_forged_superseded_reaches_no_credential_of_another_cluster, an_adoption_that_is_a_lie_is_revoked,
    an_adoption_that_is_a_lie_is_revoked_with_its_binding, what_nobody_remembers_is_revoked,
    what_nobody_remembers_is_revoked_with_its_binding,
};
use issuers::{
    a_former_issuer_gives_way_when_the_identity_is_full, a_former_issuer_goes_when_its_tokens_have_expired,
    a_former_issuer_is_kept_for_pods_that_run, a_former_issuer_is_known_to_an_operator_that_was_not_there,
    a_former_issuer_is_revoked_with_the_grant,
};
use kept::{
    a_release_after_the_grant_is_gone_keeps_nothing, retain_keeps_nothing_of_an_earlier_spec_without_a_grant,
    what_is_retained_is_revoked_with_its_grant, what_was_released_is_revoked_with_its_grant,
};
use neighbours::two_operators_share_a_record_and_touch_their_own_only;
use obstacles::{
    a_deletion_that_one_identity_refuses_takes_back_the_others, a_locked_identity_holds_up_no_annotation,
    a_revocation_that_one_identity_refuses_reaches_the_others, every_obstacle_is_told,
};
use orphans::{
    a_binding_made_again_takes_its_orphan_back, an_orphan_goes_after_its_grace_and_strangers_stay,
    an_orphan_is_shown_and_keeps_its_access, many_orphans_at_once_wait_for_a_person,
};
use records::{
    a_credential_is_recorded_before_it_is_made, a_record_deleted_by_hand_is_made_again,
    a_record_deleted_without_an_operator_is_made_again, a_record_goes_with_the_last_credential,
    a_record_shows_who_uses_an_identity_and_how_full_it_is, a_record_without_an_entry_goes,
};
use refused::{
    a_finalizer_that_a_policy_refuses_holds_up_no_sibling, a_finalizer_that_cannot_be_taken_off_is_told,
    a_refusal_that_lasts_costs_ever_less, a_service_account_that_cannot_be_let_go_is_told,
};
use siblings::{
    a_credential_left_to_a_binding_that_never_had_it_goes, a_sibling_without_a_grant_is_in_nobodys_way,
    a_suspended_sibling_is_in_nobodys_way,
};
use storms::{a_storm_holds_up_no_newcomer, no_storm_holds_up_a_revocation};

trials![
    alone no_storm_holds_up_a_revocation,
    alone a_storm_holds_up_no_newcomer,
    shared a_binding_forced_away_before_its_deletion_is_revoked,
    shared a_binding_forced_away_during_its_deletion_is_revoked,
    shared a_binding_that_another_finalizer_holds_is_revoked,
    shared a_binding_without_its_finalizer_is_revoked_and_gets_it_back,
    shared a_binding_forced_away_is_revoked_by_an_operator_that_was_restarted,
    shared a_binding_forced_away_is_revoked_by_an_operator_that_starts_later,
    shared an_orphan_is_shown_and_keeps_its_access,
    shared an_orphan_goes_after_its_grace_and_strangers_stay,
    shared a_binding_made_again_takes_its_orphan_back,
    shared many_orphans_at_once_wait_for_a_person,
    alone a_definition_that_is_deleted_releases_and_one_that_comes_back_takes_up_again,
    shared a_credential_left_to_a_binding_that_never_had_it_goes,
    shared a_sibling_without_a_grant_is_in_nobodys_way,
    shared a_suspended_sibling_is_in_nobodys_way,
    shared a_revocation_that_one_identity_refuses_reaches_the_others,
    shared a_deletion_that_one_identity_refuses_takes_back_the_others,
    shared every_obstacle_is_told,
    shared a_locked_identity_holds_up_no_annotation,
    shared what_nobody_remembers_is_revoked,
    shared what_nobody_remembers_is_revoked_with_its_binding,
    shared an_adoption_that_is_a_lie_is_revoked,
    shared an_adoption_that_is_a_lie_is_revoked_with_its_binding,
    shared a_forged_superseded_reaches_no_credential_of_another_cluster,
    shared a_forged_status_reaches_no_credential_of_another_cluster,
    alone a_former_issuer_is_kept_for_pods_that_run,
    alone a_former_issuer_goes_when_its_tokens_have_expired,
    alone a_former_issuer_is_revoked_with_the_grant,
    alone a_former_issuer_gives_way_when_the_identity_is_full,
    alone a_former_issuer_is_known_to_an_operator_that_was_not_there,
    shared what_was_released_is_revoked_with_its_grant,
    shared what_is_retained_is_revoked_with_its_grant,
    shared a_release_after_the_grant_is_gone_keeps_nothing,
    shared retain_keeps_nothing_of_an_earlier_spec_without_a_grant,
    alone a_finalizer_that_a_policy_refuses_holds_up_no_sibling,
    shared a_finalizer_that_cannot_be_taken_off_is_told,
    alone a_refusal_that_lasts_costs_ever_less,
    shared a_service_account_that_cannot_be_let_go_is_told,
    shared bindings_that_bring_the_finalizer_and_no_grant_cost_azure_nothing,
    shared a_record_shows_who_uses_an_identity_and_how_full_it_is,
    shared a_record_deleted_by_hand_is_made_again,
    shared a_record_deleted_without_an_operator_is_made_again,
    shared a_record_goes_with_the_last_credential,
    shared a_record_without_an_entry_goes,
    shared a_credential_is_recorded_before_it_is_made,
    shared two_operators_share_a_record_and_touch_their_own_only,
];

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;

/// A revocation is in Azure by then.
const SOON: Duration = Duration::from_secs(5);

/// Drift is noticed within a third of a second, and a list is believed at once.
const WATCHFUL: [&str; 2] = ["--drift-interval=300ms", "--read-after-write-grace=10ms"];

/// A workload that is in order, and its operator.
async fn ready(world: &World, flags: &[&str]) -> Result<(Identity, Operator)> {
    let identity = world.workload("web").await?;
    let operator = world.operator_with(flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    Ok((identity, operator))
}

/// The same, the way to the API server through a gate.
async fn ready_through(world: &World, gates: &Gates, flags: &[&str]) -> Result<(Identity, Operator)> {
    let identity = world.workload("web").await?;
    let operator = world.operator_through(gates, flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    Ok((identity, operator))
}

/// The grant is withdrawn: fails unless no credential is left and Entra refuses the workload, soon.
async fn revoked_soon(world: &World, service_account: &str, identity: &Identity) -> Result<()> {
    world.revoke(service_account, identity).await?;
    refused_soon(world, service_account, identity).await
}

/// Fails unless no credential is left and Entra refuses the workload, soon.
async fn refused_soon(world: &World, service_account: &str, identity: &Identity) -> Result<()> {
    world
        .refused_within(service_account, &identity.client_id, NO_CREDENTIAL, SOON)
        .await?;
    let left = world.azure.credentials(&identity.resource_id);
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}

/// Takes our finalizer, and every other, off a binding: whoever may edit it can do that.
async fn strip(world: &World, name: &str) -> Result<()> {
    world
        .change(name, json!({ "metadata": { "finalizers": null } }))
        .await?;
    Ok(())
}

/// Takes bindings away by force: finalizers off, then deleted. The operator behind the gate hears of both at once, so
/// that it cannot put its finalizer back in between.
async fn force_away(world: &World, gates: &Gates, names: &[&str]) -> Result<()> {
    gates.kubernetes.freeze();
    for name in names {
        strip(world, name).await?;
        world.delete(name).await?;
    }
    gates.kubernetes.thaw();
    Ok(())
}

/// Waits until a binding is gone, for less long than anything else may take.
async fn gone_soon(world: &World, name: &str) -> Result<()> {
    let patience = Duration::from_secs(20);
    if let Ok(gone) = tokio::time::timeout(patience, world.gone(name)).await {
        return gone;
    }
    let left = world.bindings().get_opt(name).await?;
    let left = left.as_ref().map(describe).unwrap_or_default();
    anyhow::bail!("{name} hangs for {patience:?}:\n{left}")
}

/// Begins a deletion, and does not wait for its end.
async fn begin_deletion(world: &World, name: &str) -> Result<()> {
    world.bindings().delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until the metrics of an operator hold this line.
async fn measured(operator: &Operator, line: &str) -> Result<()> {
    let mut last = String::new();
    for _ in 0..500 {
        (_, last) = operator.get("/metrics").await?;
        if last.lines().any(|l| l == line) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("no `{line}` after 10 s:\n{last}")
}

/// The credential that the operator of another cluster makes for the ServiceAccount of the same namespace and name.
fn of_another_cluster(world: &World, service_account: &str) -> Credential {
    let issuer = "https://issuer.other-cluster.test/";
    let tuple = Tuple::for_service_account(issuer, &world.namespace, service_account, AUDIENCE);
    let core::Credential { name, tuple } = core::Credential::named_by_us("wib", tuple);
    Credential::new(&name, &tuple.issuer, &tuple.subject, &tuple.audience)
}

/// Puts credentials on an identity that are none of ours, however alike they look.
fn strangers(world: &World, identity: &Identity) -> Vec<Credential> {
    let aks = "https://ib.oic.prod-aks.azure.com/7e7a7e7a-0000-4000-8000-000000000001/cluster";
    let strangers = vec![
        Credential::new(
            "aks-identity-binding",
            aks,
            "system:aks:identity-binding",
            AUDIENCE,
        ),
        of_another_cluster(world, "web"),
        world.foreign_credential("terraform", "job"),
    ];
    for stranger in &strangers {
        world
            .azure
            .put_credential(&identity.resource_id, stranger.clone());
    }
    strangers
}

/// Fails unless all of these are left as they were, and nothing was ever asked of Azure that would change them.
fn untouched(world: &World, identity: &Identity, strangers: &[Credential]) -> Result<()> {
    let held = world.azure.credentials(&identity.resource_id);
    for stranger in strangers {
        ensure!(held.contains(stranger), "{} is not as it was", stranger.name);
        let writes_it = |e: &azure_emulator::Entry| {
            e.operation.is_write() && e.path.ends_with(&format!("/{}", stranger.name))
        };
        let touched = world.azure.journal().into_iter().find(writes_it);
        ensure!(touched.is_none(), "{touched:?}");
    }
    Ok(())
}

/// The text of a condition of a binding.
async fn message(world: &World, binding: &str, kind: &str) -> Result<String> {
    let binding = world.bindings().get(binding).await?;
    condition(&binding, kind)
        .map(|c| c.2.to_owned())
        .context("no such condition")
}
