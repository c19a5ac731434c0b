//! What changes in Azure behind the operator's back, and what Azure answers on its bad days.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{
    Credential, Entry, Fault, FaultAction, Identity, Knobs, Lock, LockLevel, Operation, Policy, ReadLag,
    YoungAnswer, YoungIdentity,
};
use futures::future::try_join_all;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams};
use pretty_assertions::assert_eq;
use wib_harness::world::bindings::condition;
use wib_harness::{Operator, World};

use crate::runner::trials;

trials![
    shared a_credential_that_somebody_deleted_comes_back,
    shared a_credential_that_somebody_edited_is_put_right,
    shared an_identity_that_was_deleted_is_missed_and_its_successor_used,
    shared an_identity_that_was_replaced_unseen_is_used_at_the_next_look,
    shared in_the_steady_state_nothing_is_written_and_reads_are_shared,
    shared a_list_that_lags_behind_our_own_write_is_no_drift,
    shared lists_that_flap_after_our_own_write_are_no_drift,
    shared a_ready_binding_stays_ready_while_azure_stumbles,
    shared a_long_outage_is_told_and_ends_by_itself,
    shared a_new_binding_waits_for_azure_and_says_so,
    shared missing_rights_are_told_and_picked_up,
    shared a_throttle_is_obeyed_to_the_second,
    shared a_write_of_somebody_else_is_waited_for,
    shared a_policy_is_told_and_its_end_noticed,
    shared a_lock_is_told_and_its_end_noticed,
    shared a_region_without_federation_is_told,
    shared a_young_identity_is_waited_for,
    shared a_put_whose_answer_is_lost_makes_one_credential,
    shared a_delete_whose_answer_is_lost_is_a_delete,
    shared a_missing_subscription_is_told,
    shared a_subscription_that_cannot_be_seen_is_not_gone,
    shared a_deleted_identity_lets_its_binding_go,
    shared one_answer_that_what_exists_is_gone_takes_nothing_off_the_record,
];

const CLIENT_ID: &str = "azure.workload.identity/client-id";

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;

/// Drift is noticed within a third of a second, and a list is believed at once.
const WATCHFUL: [&str; 2] = ["--drift-interval=300ms", "--read-after-write-grace=10ms"];

async fn a_credential_that_somebody_deleted_comes_back(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &WATCHFUL).await?;
    let before = world.azure.credentials(&identity.resource_id);
    world
        .azure
        .delete_credential(&identity.resource_id, &before[0].name);
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await?;

    world
        .until("the credential is back", || {
            world.azure.credentials(&identity.resource_id) == before
        })
        .await?;
    world.assert_accepted("web", &identity.client_id).await?;
    rounds(&world, 2).await?;
    world.ready("web").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    Ok(())
}

async fn a_credential_that_somebody_edited_is_put_right(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &WATCHFUL).await?;
    let before = world.azure.credentials(&identity.resource_id);
    let edited = Credential {
        subject: "system:serviceaccount:elsewhere:job".to_owned(),
        ..before[0].clone()
    };
    world.azure.put_credential(&identity.resource_id, edited);

    world
        .until("the credential is as it was", || {
            world.azure.credentials(&identity.resource_id) == before
        })
        .await?;
    world.assert_accepted("web", &identity.client_id).await?;
    rounds(&world, 2).await?;
    world.ready("web").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    Ok(())
}

async fn an_identity_that_was_deleted_is_missed_and_its_successor_used(world: World) -> Result<()> {
    let (old, _operator) = ready(&world, &WATCHFUL).await?;
    world.azure.delete_identity(&old.resource_id);
    let told = world.stalled("web", "IdentityNotFound").await?;
    ensure!(told.contains("web") && told.contains("shop"), "{told}");
    // Running pods need the id, should the answer have been wrong.
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&old.client_id)
    );

    let new = world.identity("web");
    let binding = world.ready("web").await?;
    let found = binding
        .status
        .and_then(|s| s.identity)
        .context("no identity in the status")?;
    assert_eq!(found.client_id.as_ref(), Some(&new.client_id));
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&new.client_id)
    );
    world.assert_accepted("web", &new.client_id).await?;
    event(&world, "ClientIdChanged").await
}

/// Azure answers 404 for a while for what exists, or with an old list.
async fn one_answer_that_what_exists_is_gone_takes_nothing_off_the_record(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &WATCHFUL).await?;
    world.azure.fault(Fault::on(Operation::DeleteCredential).status(
        404,
        "ParentResourceNotFound",
        "Can not perform requested operation on nested resource. Parent resource not found.",
    ));
    world.revoke("web", &identity).await?;
    world
        .refused_within("web", &identity.client_id, 70_025, Duration::from_mins(1))
        .await?;
    world.unrecorded(&identity).await?;
    ensure!(world.azure.credentials(&identity.resource_id).is_empty());
    Ok(())
}

async fn an_identity_that_was_replaced_unseen_is_used_at_the_next_look(world: World) -> Result<()> {
    let (old, _operator) = ready(&world, &WATCHFUL).await?;
    // One of the same name replaces it: other ids, and no credentials.
    let new = world.identity("web");
    ensure!(old.client_id != new.client_id, "the same identity");
    world
        .wait("web", "ready with the new client id", |b| {
            let found = b
                .status
                .as_ref()
                .and_then(|s| s.identity.as_ref()?.client_id.as_ref());
            wib_harness::world::bindings::is_ready(b) && found == Some(&new.client_id)
        })
        .await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&new.client_id)
    );
    world.assert_accepted("web", &new.client_id).await?;
    event(&world, "ClientIdChanged").await
}

async fn in_the_steady_state_nothing_is_written_and_reads_are_shared(world: World) -> Result<()> {
    let identity = world.identity("web");
    let names = ["one", "two", "three", "four", "five"];
    for name in names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let operator = world.operator_with(&WATCHFUL).await?;
    try_join_all(names.map(|name| world.bind(name, name, &identity))).await?;
    try_join_all(names.map(|name| world.ready(name))).await?;
    rounds(&world, 1).await?;
    let (writes, visits, journal) = (
        world.kubernetes_writes()?,
        visits(&operator).await?,
        world.azure.journal(),
    );

    rounds(&world, 6).await?;

    let new = world.azure.journal().split_off(journal.len());
    let count = |operation| new.iter().filter(|e| e.operation == operation).count();
    let calls = (count(Operation::GetIdentity), count(Operation::ListCredentials));
    assert_eq!(new.iter().filter(|e| e.operation.is_write()).count(), 0);
    assert_eq!(world.kubernetes_writes()?, writes);
    let visits = self::visits(&operator).await? - visits;
    // Five bindings, one look each per round: had each asked for itself, there were five times as many calls.
    ensure!(visits >= 20, "only {visits} visits in six rounds");
    ensure!(
        calls.0 * 4 <= visits && calls.1 * 4 <= visits,
        "{calls:?} calls in {visits} visits"
    );
    Ok(())
}

async fn a_list_that_lags_behind_our_own_write_is_no_drift(world: World) -> Result<()> {
    lagging(&world, ReadLag::Reads(4)).await
}

async fn lists_that_flap_after_our_own_write_are_no_drift(world: World) -> Result<()> {
    lagging(&world, ReadLag::Flapping(6)).await
}

async fn lagging(world: &World, lag: ReadLag) -> Result<()> {
    world.azure.knobs(|k| k.read_lag = lag);
    let (identity, _operator) =
        ready(world, &["--drift-interval=200ms", "--read-after-write-grace=20s"]).await?;
    rounds(world, 1).await?;
    let writes = world.kubernetes_writes()?;
    rounds(world, 8).await?;
    world.ready("web").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    assert_eq!(world.kubernetes_writes()?, writes);
    world.assert_accepted("web", &identity.client_id).await?;

    // Nor does the deletion take an old list for the truth.
    world.delete("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 1);
    Ok(())
}

async fn a_ready_binding_stays_ready_while_azure_stumbles(world: World) -> Result<()> {
    // With the product's own delays: in milliseconds, a ready binding would soon have lost its patience.
    let flags = ["--drift-interval=300ms", "--max-retry-interval=60s"];
    let (identity, _operator) = ready(&world, &flags).await?;
    rounds(&world, 1).await?;
    let writes = world.kubernetes_writes()?;
    let stumble = Fault::on(Operation::ListCredentials).times(2);
    world
        .azure
        .fault(stumble.status(503, "ServiceUnavailable", "try later"));
    let failed = || {
        world
            .azure
            .journal()
            .iter()
            .filter(|e| e.status == Some(503))
            .count()
    };
    world.until("Azure has stumbled twice", || failed() == 2).await?;
    rounds(&world, 2).await?;
    world.ready("web").await?;
    assert_eq!(world.kubernetes_writes()?, writes, "the status was changed");
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_long_outage_is_told_and_ends_by_itself(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &WATCHFUL).await?;
    world.azure.fault(
        Fault::any()
            .path("/subscriptions/")
            .always()
            .action(FaultAction::Html502),
    );
    let binding = world.not_ready("web", "AzureUnavailable").await?;
    ensure!(condition(&binding, "Stalled").is_none(), "nobody can act on it");
    assert_eq!(condition(&binding, "Reconciling").map(|c| c.0), Some("True"));
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );

    world.azure.clear_faults();
    world.ready("web").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_new_binding_waits_for_azure_and_says_so(world: World) -> Result<()> {
    let identity = granted(&world).await?;
    world
        .azure
        .fault(Fault::on(Operation::GetIdentity).always().status(
            503,
            "ServiceUnavailable",
            "The service is unavailable.",
        ));
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let binding = world.not_ready("web", "AzureUnavailable").await?;
    assert_eq!(
        condition(&binding, "IdentityResolved").map(|c| c.0),
        Some("Unknown")
    );
    world.azure.clear_faults();
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn missing_rights_are_told_and_picked_up(world: World) -> Result<()> {
    let identity = granted(&world).await?;
    world
        .azure
        .deny(None, "federatedIdentityCredentials/write", &identity.resource_id);
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let binding = world.not_ready("web", "AzureAccessDenied").await?;
    let told = condition(&binding, "Ready").map(|c| c.2).unwrap_or_default();
    ensure!(told.contains("federatedIdentityCredentials"), "{told}");
    ensure!(
        world.annotation("web", CLIENT_ID).await?.is_none(),
        "annotated without trust"
    );

    world.azure.allow_all();
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_throttle_is_obeyed_to_the_second(world: World) -> Result<()> {
    let identity = granted(&world).await?;
    for name in ["api", "job"] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    world
        .azure
        .fault(Fault::on(Operation::PutCredential).action(FaultAction::Status {
            status: 429,
            code: "TooManyRequests".to_owned(),
            message: "Too many requests.".to_owned(),
            headers: vec![("Retry-After".to_owned(), "2".to_owned())],
        }));
    let _operator = world.operator().await?;
    let names = ["web", "api", "job"];
    try_join_all(names.map(|name| world.bind(name, name, &identity))).await?;
    try_join_all(names.map(|name| world.ready(name))).await?;

    let about = |e: &Entry| e.identity.as_deref() == Some(&identity.resource_id.to_lowercase());
    let calls: Vec<_> = world.azure.journal().into_iter().filter(about).collect();
    let throttled = calls
        .iter()
        .position(|e| e.status == Some(429))
        .context("nothing was throttled")?;
    let end = calls[throttled].ended.context("it did not end")?;
    let next = calls.get(throttled + 1).context("no call after it")?;
    let waited = next.started.duration_since(end);
    ensure!(
        waited >= Duration::from_millis(1990),
        "{:?} came after {waited:?}",
        next.operation
    );
    assert_eq!(calls.iter().filter(|e| e.status == Some(429)).count(), 1);
    try_join_all(names.map(|name| world.assert_accepted(name, &identity.client_id))).await?;
    Ok(())
}

async fn a_write_of_somebody_else_is_waited_for(world: World) -> Result<()> {
    let identity = granted(&world).await?;
    let writing = world
        .azure
        .external_write(&identity.resource_id)
        .context("no such identity")?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let binding = world.not_ready("web", "WriteContended").await?;
    ensure!(condition(&binding, "Stalled").is_none(), "nobody can act on it");
    world
        .until("it is tried again", || {
            world.azure.count(Operation::PutCredential) >= 3
        })
        .await?;

    drop(writing);
    world.ready("web").await?;
    assert_eq!(world.azure.overlapping_writes(), []);
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 1);
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_policy_is_told_and_its_end_noticed(world: World) -> Result<()> {
    let told = refused(
        &world,
        "PolicyDenied",
        |k| k.policy = Some(Policy::DenyAll),
        |k| k.policy = None,
    )
    .await?;
    ensure!(told.contains("disallowed by policy"), "{told}");
    Ok(())
}

async fn a_lock_is_told_and_its_end_noticed(world: World) -> Result<()> {
    let scope = format!(
        "/subscriptions/{}/resourceGroups/shop",
        world.azure.subscription_id()
    );
    let lock = Lock {
        scope,
        level: LockLevel::ReadOnly,
    };
    let told = refused(
        &world,
        "ResourceLocked",
        |k| k.locks = vec![lock],
        |k| k.locks.clear(),
    )
    .await?;
    ensure!(told.contains("locked"), "{told}");
    Ok(())
}

async fn a_region_without_federation_is_told(world: World) -> Result<()> {
    let regions = vec!["westeurope".to_owned()];
    let without = |k: &mut Knobs| k.regions_without_support = regions;
    refused(&world, "RegionNotSupported", without, |k| {
        k.regions_without_support.clear();
    })
    .await?;
    Ok(())
}

/// A binding is stalled for a reason until it goes away.
async fn refused(
    world: &World,
    reason: &str,
    because: impl FnOnce(&mut Knobs),
    no_longer: impl FnOnce(&mut Knobs),
) -> Result<String> {
    let identity = granted(world).await?;
    world.azure.knobs(because);
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let told = world.stalled("web", reason).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    ensure!(
        world.annotation("web", CLIENT_ID).await?.is_none(),
        "annotated without trust"
    );

    world.azure.knobs(no_longer);
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    Ok(told)
}

async fn a_young_identity_is_waited_for(world: World) -> Result<()> {
    let identities = [world.identity("parent"), world.identity("graph")];
    let answers = [
        YoungAnswer::ParentResourceNotFound,
        YoungAnswer::GraphObjectNotFound,
    ];
    let _operator = world.operator().await?;
    for (identity, answer) in identities.iter().zip(answers) {
        let name = &identity.name;
        world.service_account(name).await?;
        world.grant(name, identity).await?;
        world.azure.knobs(|k| {
            k.young_identity = Some(YoungIdentity {
                until: Duration::from_mins(3),
                answer,
            });
        });
        world.bind(name, name, identity).await?;
        let binding = world.not_ready(name, "IdentityNotReady").await?;
        ensure!(condition(&binding, "Stalled").is_none(), "nobody can act on it");
        assert_eq!(condition(&binding, "IdentityResolved").map(|c| c.0), Some("True"));
        ensure!(
            world.annotation(name, CLIENT_ID).await?.is_none(),
            "annotated without trust"
        );
    }
    world.azure.advance_clock(Duration::from_mins(4));
    for identity in &identities {
        world.ready(&identity.name).await?;
        world.assert_accepted(&identity.name, &identity.client_id).await?;
    }
    Ok(())
}

async fn a_put_whose_answer_is_lost_makes_one_credential(world: World) -> Result<()> {
    let identity = granted(&world).await?;
    world
        .azure
        .fault(Fault::on(Operation::PutCredential).reset_after_commit());
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 1);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_delete_whose_answer_is_lost_is_a_delete(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    world
        .azure
        .fault(Fault::on(Operation::DeleteCredential).reset_after_commit());
    world.delete("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await
}

async fn a_missing_subscription_is_told(world: World) -> Result<()> {
    let identity = granted(&world).await?;
    let elsewhere = Identity {
        resource_id: identity.resource_id.replace(
            world.azure.subscription_id(),
            "0a0a0a0a-0000-4000-8000-00000000000a",
        ),
        ..identity
    };
    world.grant("web", &elsewhere).await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &elsewhere).await?;
    let told = world.stalled("web", "SubscriptionNotFound").await?;
    ensure!(told.contains("0a0a0a0a"), "{told}");
    // Nothing was ever made, so nothing holds the binding.
    world.delete("web").await
}

async fn a_subscription_that_cannot_be_seen_is_not_gone(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    let text = "The subscription could not be found.";
    world
        .azure
        .fault(
            Fault::any()
                .path("/subscriptions/")
                .always()
                .status(404, "SubscriptionNotFound", text),
        );
    world.bindings().delete("web", &DeleteParams::default()).await?;
    world.not_ready("web", "SubscriptionNotFound").await?;
    let tries = world.azure.count(Operation::DeleteCredential);
    world
        .until("it is tried again", || {
            world.azure.count(Operation::DeleteCredential) > tries
        })
        .await?;
    ensure!(
        world.bindings().get_opt("web").await?.is_some(),
        "the binding was let go"
    );

    world.azure.clear_faults();
    world.gone("web").await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await
}

async fn a_deleted_identity_lets_its_binding_go(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    world.azure.delete_identity(&identity.resource_id);
    world.delete("web").await?;
    let (again, other) = (world.identity("web"), world.identity("other"));
    world.bind("web", "web", &again).await?;
    world.ready("web").await?;
    world.azure.delete_resource_group("shop");
    world.delete("web").await?;
    ensure!(
        world.azure.identity(&other.resource_id).is_none(),
        "the group is still there"
    );
    Ok(())
}

/// An identity, and a ServiceAccount that may use it.
async fn granted(world: &World) -> Result<Identity> {
    let identity = world.identity("web");
    world.service_account("web").await?;
    world.grant("web", &identity).await?;
    Ok(identity)
}

/// The same, an operator with these flags, and a binding that is ready.
async fn ready(world: &World, flags: &[&str]) -> Result<(Identity, Operator)> {
    let identity = granted(world).await?;
    let operator = world.operator_with(flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    Ok((identity, operator))
}

/// Waits until the operator has looked at the identity so many times more.
async fn rounds(world: &World, more: usize) -> Result<()> {
    let answered = |e: &Entry| e.operation == Operation::ListCredentials && e.status == Some(200);
    let lists = || world.azure.journal().iter().filter(|e| answered(e)).count();
    let until = lists() + more;
    world
        .until("more rounds of drift detection", || lists() >= until)
        .await
}

/// How many visits the operator has ended.
async fn visits(operator: &Operator) -> Result<usize> {
    let (_, text) = operator.get("/metrics").await?;
    let lines = text
        .lines()
        .filter(|line| line.starts_with("controller_runtime_reconcile_total"));
    Ok(lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum())
}

/// Waits for an event on a binding of this world.
async fn event(world: &World, reason: &str) -> Result<()> {
    let events: Api<Event> = Api::namespaced(world.admin(), &world.namespace);
    let mut seen = Vec::new();
    for _ in 0..100 {
        seen = events
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .filter_map(|e| e.reason)
            .collect();
        if seen.iter().any(|r| r == reason) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("no event {reason}, only {seen:?}")
}
