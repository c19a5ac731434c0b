//! Generated sequences of operations: where one leads to does not depend on the way.
//!
//! After each sequence the world must look like a fresh one that was given only the last specs, every workload
//! whose binding is ready is accepted, and once all is deleted nothing is left.
//!
//! `WIB_SEED` is the first seed, `WIB_SEQUENCES` how many sequences each of the four trials goes through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;
use wib_harness::sequences::{ACCOUNTS, Asked, IDENTITIES, Operation, Schema, View, differences, pair};
use wib_harness::world::bindings::is_ready;
use wib_harness::{Cluster, Operator, World};

use crate::runner::trials;

trials![
    shared sequences_lead_where_their_last_specs_lead_1,
    shared sequences_lead_where_their_last_specs_lead_2,
    shared sequences_lead_where_their_last_specs_lead_3,
    shared sequences_lead_where_their_last_specs_lead_4,
    shared every_wrong_field_is_refused,
];

/// Sequences of one trial.
const SEQUENCES: u64 = 6;
/// Operations of one sequence.
const LENGTH: usize = 10;
/// By then a world has to look as it should.
const PATIENCE: Duration = Duration::from_secs(90);

/// Everything is noticed within a second.
const WATCHFUL: [&str; 2] = ["--drift-interval=400ms", "--read-after-write-grace=10ms"];

async fn sequences_lead_where_their_last_specs_lead_1(world: World) -> Result<()> {
    sequences(1, &world.cluster).await
}

async fn sequences_lead_where_their_last_specs_lead_2(world: World) -> Result<()> {
    sequences(2, &world.cluster).await
}

async fn sequences_lead_where_their_last_specs_lead_3(world: World) -> Result<()> {
    sequences(3, &world.cluster).await
}

async fn sequences_lead_where_their_last_specs_lead_4(world: World) -> Result<()> {
    sequences(4, &world.cluster).await
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

async fn sequences(trial: u64, cluster: &Arc<Cluster>) -> Result<()> {
    let count = setting("WIB_SEQUENCES").unwrap_or(SEQUENCES);
    for at in 0..count {
        let seed = setting("WIB_SEED").unwrap_or(1) + 1000 * (trial - 1) + at;
        let mut length = LENGTH;
        let Err(mut error) = sequence(seed, length, cluster).await else {
            continue;
        };
        // A shorter beginning that fails says more.
        for shorter in [LENGTH / 4, LENGTH / 2] {
            if let Err(again) = sequence(seed, shorter, cluster).await {
                (error, length) = (again, shorter);
                break;
            }
        }
        let again = format!(
            "WIB_SEED={seed} WIB_SEQUENCES=1 cargo test --test suites -- generated::sequences_lead_where_their_last_specs_lead_1"
        );
        return Err(error.context(format!("the first {length} operations of {again}")));
    }
    let operations = count * LENGTH as u64;
    crate::runner::figure(format!(
        "generated, trial {trial}: {count} sequences, {operations} operations, 0 violations"
    ));
    Ok(())
}

/// A world with everything that sequences play with.
async fn stage(cluster: &Arc<Cluster>) -> Result<World> {
    let world = World::new(cluster.clone()).await?;
    for name in IDENTITIES {
        world.identity(name);
    }
    Ok(world)
}

async fn sequence(seed: u64, length: usize, cluster: &Arc<Cluster>) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let world = stage(cluster).await?;
    let schema = Schema::read(world.azure.subscription_id())?;
    let mut asked = Asked::default();
    for account in ACCOUNTS {
        world.service_account(account).await?;
        let identity = IDENTITIES[rng.usize(..IDENTITIES.len())];
        world.grant(account, &world.at(identity)).await?;
        asked.grants.insert((account.to_owned(), identity.to_owned()));
    }
    let mut operator = world.operator_with(&WATCHFUL).await?;
    let mut story = Vec::new();
    for _ in 0..length {
        let operation = Operation::any(&schema, &mut rng);
        story.push(format!("{operation:?}"));
        let done = operation.act(&world, &mut asked).await;
        done.with_context(|| story.join("\n"))?;
        if matches!(operation, Operation::Restart) {
            drop(operator);
            operator = world.operator_with(&WATCHFUL).await?;
        }
    }
    let outcome = ends_well(&world, &mut asked).await;
    outcome.with_context(|| story.join("\n"))?;
    operator.stop().await?;
    ensure!(world.azure.overlapping_writes().is_empty(), "two writes at once");
    Ok(())
}

async fn ends_well(world: &World, asked: &mut Asked) -> Result<()> {
    // Suspended, a binding stays as its history has left it.
    for (name, spec) in &mut asked.specs {
        if spec["suspend"] == true {
            world
                .change(name, json!({ "spec": { "suspend": false } }))
                .await?;
            spec["suspend"] = json!(false);
        }
    }
    let (twin, operator) = fresh(world, asked).await?;
    alike(world, &twin, asked).await?;
    workloads_agree(world).await?;
    there_and_back(world, &twin, asked).await?;
    operator.stop().await?;
    nothing_is_left(world, asked).await
}

/// A world that was never anything else.
async fn fresh(world: &World, asked: &Asked) -> Result<(World, Operator)> {
    let twin = World::new(world.cluster.clone()).await?;
    // Letter case does not matter in an ARM id, and sequences make use of that.
    let (here, there) = (world.azure.subscription_id(), twin.azure.subscription_id());
    let id = |text: &str| {
        text.replace(here, there)
            .replace(&here.to_uppercase(), &there.to_uppercase())
    };
    for name in IDENTITIES {
        if world.azure.identity(&world.at(name).resource_id).is_some() {
            twin.identity(name);
        }
    }
    for (account, identity) in &asked.grants {
        twin.grant(account, &twin.at(identity)).await?;
    }
    for (account, identity) in &asked.foreign {
        let credential = twin.foreign_credential(&format!("by-hand-{account}"), account);
        twin.azure
            .put_credential(&twin.at(identity).resource_id, credential);
    }
    settled_accounts(world).await?;
    for account in world.service_accounts().list(&ListParams::default()).await? {
        // The control plane makes one of its own.
        if account.name_any() != "default" {
            twin.service_account(&account.name_any()).await?;
        }
    }
    let operator = twin.operator_with(&WATCHFUL).await?;
    let mut bindings = world.bindings().list(&ListParams::default()).await?.items;
    bindings.sort_by_key(|b| (b.creation_timestamp().map(|t| t.0), b.uid()));
    for (at, binding) in bindings.iter().enumerate() {
        // Who is older decides; the API knows whole seconds.
        if at > 0 {
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        let spec = &asked.specs[&binding.name_any()];
        let spec = serde_json::from_str(&id(&spec.to_string()))?;
        twin.create(&binding.name_any(), spec).await?;
    }
    Ok((twin, operator))
}

/// Waits until the garbage collector has taken the ServiceAccounts whose binding is gone.
async fn settled_accounts(world: &World) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let bindings = world.bindings().list(&ListParams::default()).await?;
        let alive: Vec<_> = bindings.iter().filter_map(kube::ResourceExt::uid).collect();
        let accounts = world.service_accounts().list(&ListParams::default()).await?;
        let wanted = |name: &str| {
            let mut made = bindings.iter().filter(|b| b.spec.service_account.create);
            made.any(|b| b.spec.service_account.name == name)
        };
        let orphans = accounts.iter().filter(|a| {
            let owners = a.owner_references();
            !owners.is_empty() && owners.iter().all(|o| !alive.contains(&o.uid)) && !wanted(&a.name_any())
        });
        if orphans.count() == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "ServiceAccounts outlive their binding");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until both worlds look alike, and fails with what differs.
async fn alike(world: &World, twin: &World, asked: &Asked) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    let mut before = None;
    loop {
        let (used, fresh) = (View::of(world).await?, View::of(twin).await?);
        let different = differences(&used, &fresh, asked);
        // Twice the same, so that neither is on its way elsewhere.
        if different.is_empty() && before.as_ref() == Some(&(used.clone(), fresh.clone())) {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "unlike a fresh world after {PATIENCE:?}: {different:#?}\n{used:#?}\n{asked:#?}"
        );
        before = Some((used, fresh));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What a workload sees agrees with what its binding says.
async fn workloads_agree(world: &World) -> Result<()> {
    for binding in world.bindings().list(&ListParams::default()).await? {
        let account = &binding.spec.service_account.name;
        let identity = binding.status.as_ref().and_then(|s| s.identity.as_ref());
        let client = identity.and_then(|i| i.client_id.clone());
        if is_ready(&binding)
            && let Some(client) = client
            && world.service_accounts().get_opt(account).await?.is_some()
        {
            world.assert_accepted(account, &client).await?;
        }
    }
    Ok(())
}

/// A binding that is ready is given the other ServiceAccount, and its own again.
async fn there_and_back(world: &World, twin: &World, asked: &Asked) -> Result<()> {
    let bindings = world.bindings().list(&ListParams::default()).await?;
    let Some(binding) = bindings.iter().find(|b| is_ready(b)) else {
        return Ok(());
    };
    let own = &binding.spec.service_account.name;
    let Some(other) = ACCOUNTS.iter().find(|name| *name != own).copied() else {
        return Ok(());
    };
    // One that is made stays for as long as its binding does: there would be no way back.
    let makes = binding.spec.service_account.create;
    if makes && world.service_accounts().get_opt(other).await?.is_none() {
        return Ok(());
    }
    for name in [other, own.as_str()] {
        let patch = json!({ "spec": { "serviceAccount": { "name": name } } });
        world.change(&binding.name_any(), patch).await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    alike(world, twin, asked).await.context("there and back")
}

/// Once all bindings are gone nothing of theirs is left, but for what `Retain` had left before.
async fn nothing_is_left(world: &World, asked: &mut Asked) -> Result<()> {
    for (name, spec) in std::mem::take(&mut asked.specs) {
        if spec["deletionPolicy"] == "Retain" {
            world
                .change(&name, json!({ "spec": { "deletionPolicy": "Delete" } }))
                .await?;
            asked.retained.remove(&pair(&spec));
        }
        world.delete(&name).await?;
    }
    let view = View::of(world).await?;
    for (identity, account, ours) in &view.credentials {
        let retained = asked.retained.contains(&(account.clone(), identity.clone()));
        ensure!(
            !ours || retained,
            "leaked: {identity} trusts {account}\n{view:#?}\n{asked:#?}"
        );
    }
    for (account, (client, _)) in &view.accounts {
        let retained = asked.retained.iter().any(|(name, _)| name == account);
        ensure!(
            client.is_none() || retained,
            "ids left on {account}\n{view:#?}\n{asked:#?}"
        );
    }
    Ok(())
}

async fn every_wrong_field_is_refused(world: World) -> Result<()> {
    let schema = Schema::read(world.azure.subscription_id())?;
    let mut asked = Asked::default();
    let mut rng = Rng::with_seed(setting("WIB_SEED").unwrap_or(7));
    let mut count = 0;
    for _ in 0..12 {
        for (what, spec) in schema.bad(&schema.any(&mut rng)) {
            Operation::Misput("first", what, spec)
                .act(&world, &mut asked)
                .await?;
            count += 1;
        }
    }
    let left = world.bindings().list(&ListParams::default()).await?;
    ensure!(left.items.is_empty(), "half of a refused object is there");
    crate::runner::figure(format!("generated: {count} wrong specs refused"));
    Ok(())
}
