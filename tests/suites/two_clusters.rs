//! Two clusters on one Azure: the same namespaces, names and identities, and nobody in charge of both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Identity, Latency, Operation};
use futures::future::{try_join, try_join_all};
use pretty_assertions::assert_eq;
use wib_harness::{Cluster, World};

use crate::runner::{self, trials};

trials![
    shared two_clusters_share_an_identity_in_peace,
    shared ten_bindings_of_two_clusters_meet_on_one_identity,
    shared the_limit_is_shared_and_told_to_the_losers_only,
    shared a_cluster_that_is_lost_and_rebuilt_harms_nobody,
];

const WATCHFUL: [&str; 2] = ["--drift-interval=300ms", "--read-after-write-grace=10ms"];

/// A second cluster on the Azure of the first, with a namespace of the same name.
async fn second(first: &World) -> Result<World> {
    first
        .beside(Arc::new(Cluster::start().await?), &first.namespace)
        .await
}

/// A ServiceAccount of this name in both, which may use the identity.
async fn in_both(worlds: [&World; 2], name: &str, identity: &Identity) -> Result<()> {
    for world in worlds {
        world.service_account(name).await?;
        world.grant(name, identity).await?;
    }
    Ok(())
}

/// What a cluster's issuer stands for on an identity.
fn trusted(world: &World, identity: &Identity) -> Vec<Credential> {
    let issuer = world.cluster.control_plane.issuer();
    let held = world.azure.credentials(&identity.resource_id).into_iter();
    held.filter(|c| c.issuer == issuer).collect()
}

/// How many answered calls of this kind the operator of a world has made.
fn calls(world: &World, wanted: impl Fn(Operation) -> bool) -> usize {
    let caller = Some(world.operator_identity.client_id.as_str());
    let journal = world.azure.journal();
    let mine = journal.iter().filter(|e| e.caller.as_deref() == caller);
    mine.filter(|e| wanted(e.operation) && e.status.is_some()).count()
}

async fn rounds(world: &World, more: usize) -> Result<()> {
    let lists = || calls(world, |o| o == Operation::ListCredentials);
    let until = lists() + more;
    world
        .until("more rounds of drift detection", || lists() >= until)
        .await
}

async fn version(world: &World) -> Result<Option<String>> {
    Ok(world.ready("web").await?.metadata.resource_version)
}

async fn two_clusters_share_an_identity_in_peace(one: World) -> Result<()> {
    let two = second(&one).await?;
    let identity = one.identity("web");
    in_both([&one, &two], "web", &identity).await?;
    let _operators = try_join(one.operator_with(&WATCHFUL), two.operator_with(&WATCHFUL)).await?;
    try_join(
        one.bind("web", "web", &identity),
        two.bind("web", "web", &identity),
    )
    .await?;
    try_join(one.ready("web"), two.ready("web")).await?;
    one.assert_accepted("web", &identity.client_id).await?;
    two.assert_accepted("web", &identity.client_id).await?;
    let held = one.azure.credentials(&identity.resource_id);
    let names: BTreeSet<_> = held.iter().map(|c| &c.name).collect();
    assert_eq!((held.len(), names.len()), (2, 2), "{held:#?}");

    // Neither takes the other's for drift.
    try_join(rounds(&one, 2), rounds(&two, 2)).await?;
    let writes = || calls(&one, Operation::is_write) + calls(&two, Operation::is_write);
    let before = (writes(), try_join(version(&one), version(&two)).await?);
    try_join(rounds(&one, 8), rounds(&two, 8)).await?;
    assert_eq!((writes(), try_join(version(&one), version(&two)).await?), before);

    // Only its owner misses a credential.
    let (mine, theirs) = (calls(&one, Operation::is_write), calls(&two, Operation::is_write));
    let lost = trusted(&two, &identity).pop().context("no credential")?;
    one.azure.delete_credential(&identity.resource_id, &lost.name);
    one.until("it is back", || trusted(&two, &identity) == [lost.clone()])
        .await?;
    try_join(rounds(&one, 3), rounds(&two, 3)).await?;
    assert_eq!(calls(&one, Operation::is_write), mine);
    assert_eq!(calls(&two, Operation::is_write), theirs + 1);

    two.delete("web").await?;
    rounds(&one, 2).await?;
    assert_eq!(trusted(&two, &identity), []);
    one.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(calls(&one, Operation::is_write), mine);
    assert_eq!(one.azure.overlapping_writes(), []);
    Ok(())
}

async fn ten_bindings_of_two_clusters_meet_on_one_identity(one: World) -> Result<()> {
    let two = second(&one).await?;
    let identity = one.identity("web");
    let names: Vec<_> = (0..5).map(|n| format!("web-{n}")).collect();
    for name in &names {
        in_both([&one, &two], name, &identity).await?;
    }
    // A write holds the identity for as long.
    let slow = Latency::of([(Operation::PutCredential, Duration::from_millis(600))]);
    one.azure.knobs(|k| k.latency = slow);
    let _operators = try_join(one.operator(), two.operator()).await?;
    let (first, other) = (&one, &two);
    let all = || {
        [first, other]
            .into_iter()
            .flat_map(|w| names.iter().map(move |n| (w, n)))
    };
    try_join_all(all().map(|(world, name)| world.bind(name, name, &identity))).await?;
    try_join_all(all().map(|(world, name)| world.ready(name))).await?;
    try_join_all(all().map(|(world, name)| world.assert_accepted(name, &identity.client_id))).await?;

    let held = one.azure.credentials(&identity.resource_id);
    let different: BTreeSet<_> = held.iter().map(|c| &c.name).collect();
    assert_eq!((held.len(), different.len()), (10, 10));
    assert_eq!(one.azure.overlapping_writes(), [], "a cluster has met itself");
    let journal = one.azure.journal();
    let met = journal.iter().filter(|e| e.status == Some(409)).count();
    ensure!(met > 0, "they never met: the trial shows nothing");
    let written = journal
        .iter()
        .filter(|e| e.operation.is_write() && e.committed.is_some())
        .count();
    assert_eq!(written, 10);
    runner::figure("two clusters: 5 + 5 bindings on one identity, 0 violations");
    Ok(())
}

async fn the_limit_is_shared_and_told_to_the_losers_only(one: World) -> Result<()> {
    let two = second(&one).await?;
    let identity = one.identity("web");
    for name in ["early", "late"] {
        in_both([&one, &two], name, &identity).await?;
    }
    for n in 0..18 {
        let foreign = one.foreign_credential(&format!("terraform-{n}"), &format!("job-{n}"));
        one.azure.put_credential(&identity.resource_id, foreign);
    }
    let _operators = try_join(one.operator_with(&WATCHFUL), two.operator_with(&WATCHFUL)).await?;
    try_join(
        one.bind("early", "early", &identity),
        two.bind("early", "early", &identity),
    )
    .await?;
    try_join(one.ready("early"), two.ready("early")).await?;
    try_join(
        one.bind("late", "late", &identity),
        two.bind("late", "late", &identity),
    )
    .await?;
    let limit = "CredentialLimitReached";
    let told = try_join(one.stalled("late", limit), two.stalled("late", limit)).await?;
    ensure!(told.0.contains("20") && told.1.contains("20"), "{told:?}");
    try_join(rounds(&one, 3), rounds(&two, 3)).await?;
    try_join(one.ready("early"), two.ready("early")).await?;

    // One leaves, and one of the two that wait gets its place.
    two.delete("early").await?;
    tokio::select! {
        ready = one.ready("late") => drop(ready?),
        ready = two.ready("late") => drop(ready?),
    }
    try_join(rounds(&one, 3), rounds(&two, 3)).await?;
    assert_eq!(one.azure.credentials(&identity.resource_id).len(), 20);
    let (winner, loser) = if trusted(&two, &identity).is_empty() {
        (&one, &two)
    } else {
        (&two, &one)
    };
    winner.ready("late").await?;
    winner.assert_accepted("late", &identity.client_id).await?;
    loser.stalled("late", limit).await?;
    one.ready("early").await?;
    one.assert_accepted("early", &identity.client_id).await
}

async fn a_cluster_that_is_lost_and_rebuilt_harms_nobody(one: World) -> Result<()> {
    let two = second(&one).await?;
    let identity = one.identity("web");
    in_both([&one, &two], "web", &identity).await?;
    let operators = try_join(one.operator_with(&WATCHFUL), two.operator_with(&WATCHFUL)).await?;
    try_join(
        one.bind("web", "web", &identity),
        two.bind("web", "web", &identity),
    )
    .await?;
    try_join(one.ready("web"), two.ready("web")).await?;
    let old = trusted(&two, &identity);

    // The second one is gone for ever, with its operator.
    drop(operators.1);
    drop(two);
    rounds(&one, 3).await?;
    one.ready("web").await?;
    one.assert_accepted("web", &identity.client_id).await?;

    // Built anew with the same names, it has another issuer.
    let rebuilt = second(&one).await?;
    rebuilt.service_account("web").await?;
    rebuilt.grant("web", &identity).await?;
    let _operator = rebuilt.operator_with(&WATCHFUL).await?;
    rebuilt.bind("web", "web", &identity).await?;
    rebuilt.ready("web").await?;
    rebuilt.assert_accepted("web", &identity.client_id).await?;
    rounds(&rebuilt, 3).await?;
    let held = one.azure.credentials(&identity.resource_id);
    assert_eq!(held.len(), 3);
    ensure!(
        held.contains(&old[0]),
        "the lost cluster's credential was touched"
    );

    // Nor does its deletion reach what the lost cluster left: that is a person's, see docs/many-clusters.md.
    rebuilt.delete("web").await?;
    ensure!(
        one.azure.credentials(&identity.resource_id).contains(&old[0]),
        "it reached too far"
    );
    one.assert_accepted("web", &identity.client_id).await
}
