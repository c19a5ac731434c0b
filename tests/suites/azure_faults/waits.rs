//! How long Azure wants to be left alone, in every form in which it says so.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation::{self, DeleteCredential, GetIdentity, ListCredentials, PutCredential};
use azure_emulator::{Entry, Fault, FaultAction, Identity};
use futures::future::try_join_all;
use jiff::Timestamp;
use kube::api::DeleteParams;
use wib_harness::World;

const OPERATIONS: [(&str, Operation); 3] = [
    ("get", GetIdentity),
    ("list", ListCredentials),
    ("put", PutCredential),
];

fn throttled(after: Option<&str>) -> FaultAction {
    let headers = after.map(|after| ("Retry-After".to_owned(), after.to_owned()));
    FaultAction::Status {
        status: 429,
        code: "TooManyRequests".to_owned(),
        message: "Too many requests.".to_owned(),
        headers: headers.into_iter().collect(),
    }
}

fn about(world: &World, identity: &Identity) -> Vec<Entry> {
    let id = identity.resource_id.to_lowercase();
    let journal = world.azure.journal().into_iter();
    journal.filter(|e| e.identity.as_deref() == Some(&id)).collect()
}

/// The time between the answer 429 and the next call about this identity.
async fn waited(world: &World, identity: &Identity) -> Result<Duration> {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let calls = about(world, identity);
        let at = calls.iter().position(|e| e.status == Some(429));
        if let Some([refused, next]) = at.and_then(|at| calls.get(at..at + 2)) {
            let told = refused.ended.context("the answer has no end")?;
            return Ok(next.started.duration_since(told));
        }
        ensure!(Instant::now() < end, "{}: not tried again", identity.name);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn identities(world: &World) -> Result<Vec<Identity>> {
    try_join_all(OPERATIONS.map(|(name, _)| world.workload(name))).await
}

pub async fn a_date_is_obeyed(world: World) -> Result<()> {
    let identities = identities(&world).await?;
    let _operator = world.operator().await?;
    let until = Timestamp::now() + Duration::from_secs(6);
    let date =
        jiff::fmt::rfc2822::to_string(&until.to_zoned(jiff::tz::TimeZone::UTC))?.replace("+0000", "GMT");
    for (name, operation) in OPERATIONS {
        let fault = Fault::on(operation).path(&format!("/{name}"));
        world.azure.fault(fault.action(throttled(Some(&date))));
    }
    for identity in &identities {
        world.bind(&identity.name, &identity.name, identity).await?;
    }
    let told = identities
        .iter()
        .map(|i| world.not_ready(&i.name, "AzureThrottled"));
    try_join_all(told).await?;
    for identity in &identities {
        waited(&world, identity).await?;
        let calls = about(&world, identity);
        let at = calls
            .iter()
            .position(|e| e.status == Some(429))
            .context("no 429")?;
        // Dates have whole seconds.
        let next = calls[at + 1].started_at;
        ensure!(
            next >= until - Duration::from_secs(1),
            "{}: again at {next}, not at {until}",
            identity.name
        );
        world.ready(&identity.name).await?;
        world.assert_accepted(&identity.name, &identity.client_id).await?;
    }
    Ok(())
}

pub async fn without_a_number_it_is_twenty_seconds(world: World) -> Result<()> {
    let mut identities = identities(&world).await?;
    identities.push(world.workload("delete").await?);
    let _operator = world.operator().await?;
    world.bind("delete", "delete", &identities[3]).await?;
    world.ready("delete").await?;
    for (name, operation) in OPERATIONS.into_iter().chain([("delete", DeleteCredential)]) {
        let fault = Fault::on(operation).path(&format!("/{name}"));
        world.azure.fault(fault.action(throttled(None)));
    }
    world
        .bindings()
        .delete("delete", &DeleteParams::default())
        .await?;
    for identity in &identities[..3] {
        world.bind(&identity.name, &identity.name, identity).await?;
    }
    for identity in &identities {
        let waited = waited(&world, identity).await?;
        ensure!(
            waited >= Duration::from_millis(19_900),
            "{}: {waited:?}",
            identity.name
        );
    }
    world.gone("delete").await?;
    for identity in &identities[..3] {
        world.ready(&identity.name).await?;
        world.assert_accepted(&identity.name, &identity.client_id).await?;
    }
    Ok(())
}

/// A wait of an hour, or of for ever, is one identity's; and nobody's for longer than the operator runs.
pub async fn absurd_waits_end(world: World) -> Result<()> {
    let identities = identities(&world).await?;
    let other = world.workload("other").await?;
    let operator = world.operator().await?;
    let waits = ["3600", "18446744073709551615", "99999999999999999999999999"];
    for ((name, operation), wait) in OPERATIONS.into_iter().zip(waits) {
        let fault = Fault::on(operation).path(&format!("/{name}"));
        world.azure.fault(fault.action(throttled(Some(wait))));
    }
    for identity in &identities {
        world.bind(&identity.name, &identity.name, identity).await?;
    }
    for identity in &identities {
        world.not_ready(&identity.name, "AzureThrottled").await?;
    }
    world.bind("other", "other", &other).await?;
    world.ready("other").await?;
    let calls = |world: &World| identities.iter().map(|i| about(world, i).len()).sum::<usize>();
    let before = calls(&world);
    // Long enough for any quick or slow retry of these settings.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(calls(&world) == before, "it was tried again");

    operator.stop().await?;
    let _operator = world.operator().await?;
    for identity in &identities {
        world.ready(&identity.name).await?;
        world.assert_accepted(&identity.name, &identity.client_id).await?;
        ensure!(
            world.azure.credentials(&identity.resource_id).len() == 1,
            "not one credential"
        );
    }
    Ok(())
}
