//! The operator's own login: refused at the start and later on, by Entra and by Resource Manager.

use std::time::Duration;

use anyhow::{Result, ensure};
use azure_emulator::{Credential, Fault, FaultAction, Operation};
use wib_harness::world::bindings::condition;
use wib_harness::{World, cluster};
use workload_identity_binding::app::Failure;

use crate::runner;

type Change = fn(&mut Credential);

/// Tokens of one second, of which none is kept.
fn short_tokens(world: &World) {
    world.azure.knobs(|k| k.expires_in = 1);
}

fn own_credential(world: &World) -> Credential {
    Credential {
        name: "operator".to_owned(),
        issuer: world.cluster.control_plane.issuer().to_owned(),
        subject: cluster::OPERATOR_USER.to_owned(),
        audiences: vec![wib_harness::AUDIENCE.to_owned()],
    }
}

/// Starts an operator that is to give up, and checks the code that it names.
async fn gives_up(world: &World, flags: &[&str], code: &str) -> Result<()> {
    let flags: Vec<_> = flags.iter().copied().chain(["--startup-timeout=500ms"]).collect();
    match world.operator_with(&flags).await?.ended().await {
        Err(Failure::Azure(told)) => ensure!(told.contains(&format!("{code}:")), "{code}: {told}"),
        other => anyhow::bail!("{code}: {other:?}"),
    }
    Ok(())
}

pub async fn each_refusal_of_entra_ends_the_start_with_its_code(world: World) -> Result<()> {
    let (azure, own) = (world.azure.clone(), own_credential(&world));
    let place = world.operator_identity.resource_id.clone();
    let with = |change: Change| {
        let mut changed = own.clone();
        change(&mut changed);
        azure.put_credential(&place, changed);
    };
    let wrong: [(&str, Change); 4] = [
        ("AADSTS700211", |c| c.issuer.push('x')),
        ("AADSTS700213", |c| c.subject.push('x')),
        ("AADSTS7002138", |c| c.subject.make_ascii_uppercase()),
        ("AADSTS700212", |c| c.audiences = vec!["other".to_owned()]),
    ];
    for (code, change) in wrong {
        with(change);
        gives_up(&world, &[], code).await?;
    }
    azure.delete_credential(&place, "operator");
    gives_up(&world, &[], "AADSTS70025").await?;
    with(|_| {});
    let elsewhere = "0a0a0a0a-0000-4000-8000-00000000000a";
    gives_up(
        &world,
        &[&format!("--azure-client-id={elsewhere}")],
        "AADSTS700016",
    )
    .await?;
    gives_up(
        &world,
        &[&format!("--azure-tenant-id={elsewhere}")],
        "AADSTS90002",
    )
    .await?;
    azure.knobs(|k| k.legacy_no_match = true);
    with(|c| c.subject.push('x'));
    gives_up(&world, &[], "AADSTS70021").await?;
    with(|_| {});
    azure.advance_clock(Duration::from_hours(3));
    gives_up(&world, &[], "AADSTS700024").await?;
    azure.knobs(|k| k.clock = azure_emulator::Clock::default());

    // Put right, it starts.
    let identity = world.workload("web").await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    runner::figure("azure faults, logins: 9 AADSTS codes at the start, 0 violations");
    Ok(())
}

fn stumbles() -> [(&'static str, FaultAction); 7] {
    let status = |status| FaultAction::Status {
        status,
        code: "Trouble".to_owned(),
        message: "Sorry.".to_owned(),
        headers: Vec::new(),
    };
    [
        ("login503", status(503)),
        ("login429", status(429)),
        ("loginhtml", FaultAction::Html502),
        ("loginreset", FaultAction::ResetBeforeCommit),
        ("loginhalf", FaultAction::HalfBody),
        ("logingarbage", FaultAction::Garbage),
        ("loginhang", FaultAction::HangForever),
    ]
}

pub async fn a_login_that_stumbles_at_the_start_is_tried_again(world: World) -> Result<()> {
    // A few at a time: the waits between the tries double.
    for stumbles in stumbles().chunks(3) {
        let name = stumbles[0].0;
        let identity = world.workload(name).await?;
        for (_, action) in stumbles {
            world
                .azure
                .fault(Fault::on(Operation::Token).action(action.clone()));
        }
        let before = world.azure.count(Operation::Token);
        let operator = world
            .operator_with(&["--azure-timeout=1s", "--startup-timeout=60s"])
            .await?;
        world.bind(name, name, &identity).await?;
        world.ready(name).await?;
        world.assert_accepted(name, &identity.client_id).await?;
        operator.stop().await?;
        let tries = world.azure.count(Operation::Token) - before;
        ensure!(tries > stumbles.len(), "{tries} logins from {name} on");
    }
    runner::figure("azure faults, logins: 7 stumbles at the start, 0 violations");
    Ok(())
}

pub async fn a_login_that_fails_later_is_told_and_harms_nothing(world: World) -> Result<()> {
    short_tokens(&world);
    let identity = world.workload("web").await?;
    let names = stumbles().map(|(name, _)| name);
    let mut waiting = Vec::new();
    for name in names.into_iter().chain(["loginrefused"]) {
        waiting.push(world.workload(name).await?);
    }
    let flags = [
        "--azure-timeout=1s",
        "--drift-interval=300ms",
        "--max-retry-interval=30s",
    ];
    let _operator = world.operator_with(&flags).await?;
    world.bind("web", "web", &identity).await?;
    let before = world.ready("web").await?.metadata.resource_version;

    // What is in order stays so while the login fails twice.
    world
        .azure
        .delete_credential(&world.operator_identity.resource_id, "operator");
    let journal = world.azure.journal().len();
    let refused = || {
        let journal = world.azure.journal().split_off(journal);
        journal
            .iter()
            .filter(|e| e.operation == Operation::Token && e.status != Some(200))
            .count()
    };
    world
        .until("the login was refused twice", || refused() >= 2)
        .await?;
    let after = world.bindings().get("web").await?;
    ensure!(
        after.metadata.resource_version == before,
        "the status was changed: {after:#?}"
    );
    world.assert_accepted("web", &identity.client_id).await?;

    // What is new is told why it has to wait, and Resource Manager is not asked.
    let asked = |id: &str| {
        world
            .azure
            .journal()
            .iter()
            .any(|e| e.identity.as_deref() == Some(id))
    };
    let last = waiting.last().expect("one");
    world.bind("loginrefused", "loginrefused", last).await?;
    let told = world.not_ready("loginrefused", "AzureLoginFailed").await?;
    let told = condition(&told, "Reconciling").map(|c| c.2).unwrap_or_default();
    ensure!(told.contains("AADSTS70025"), "{told}");
    ensure!(!asked(&last.resource_id.to_lowercase()), "asked without a login");
    world
        .azure
        .put_credential(&world.operator_identity.resource_id, own_credential(&world));
    world.ready("loginrefused").await?;

    for ((name, action), identity) in stumbles().into_iter().zip(&waiting) {
        world
            .azure
            .fault(Fault::on(Operation::Token).always().action(action));
        world.bind(name, name, identity).await?;
        world.not_ready(name, "AzureLoginFailed").await?;
        ensure!(
            !asked(&identity.resource_id.to_lowercase()),
            "{name}: asked without a login"
        );
        world.azure.clear_faults();
        world.ready(name).await?;
        world.assert_accepted(name, &identity.client_id).await?;
    }
    world.ready("web").await?;
    runner::figure("azure faults, logins: 8 failures later on, 0 violations");
    Ok(())
}

pub async fn a_revoked_token_is_replaced(world: World) -> Result<()> {
    let (web, api) = (world.workload("web").await?, world.workload("api").await?);
    let _operator = world
        .operator_with(&["--drift-interval=300ms", "--max-retry-interval=60s"])
        .await?;
    world.bind("web", "web", &web).await?;
    let before = world.ready("web").await?.metadata.resource_version;
    let logins = world.azure.count(Operation::Token);

    world.azure.revoke_tokens(&world.operator_identity.resource_id);
    world
        .until("a new login", || world.azure.count(Operation::Token) > logins)
        .await?;
    world.bind("api", "api", &api).await?;
    world.ready("api").await?;
    world.assert_accepted("api", &api.client_id).await?;
    let after = world.ready("web").await?;
    ensure!(
        after.metadata.resource_version == before,
        "the status was changed: {after:#?}"
    );
    Ok(())
}
