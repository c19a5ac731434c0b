//! Every fault of Azure at every call that the operator makes: what is told, when it is tried again, what is
//! left alone meanwhile, and that it ends in order.

mod logins;
mod rows;
mod table;
mod waits;

use std::time::Instant;

use anyhow::{Result, ensure};
use azure_emulator::Operation::{self, DeleteCredential, GetIdentity, ListCredentials, PutCredential};
use futures::future::{try_join, try_join_all};
use kube::api::DeleteParams;
use pretty_assertions::assert_eq;
use wib_harness::{Operator, World};

use crate::runner::{self, trials};
use logins::{
    a_login_that_fails_later_is_told_and_harms_nothing, a_login_that_stumbles_at_the_start_is_tried_again,
    a_revoked_token_is_replaced, each_refusal_of_entra_ends_the_start_with_its_code,
};
use rows::{Row, flags, rows};
use table::Meaning;
use waits::{a_date_is_obeyed, absurd_waits_end, without_a_number_it_is_twenty_seconds};

trials![
    shared a_new_binding_meets_every_fault_of_get,
    shared a_new_binding_meets_every_fault_of_list,
    shared a_new_binding_meets_every_fault_of_put,
    shared a_ready_binding_meets_every_fault_of_get,
    shared a_ready_binding_meets_every_fault_of_list,
    shared a_repair_meets_every_fault_of_put,
    shared a_deletion_meets_every_fault_of_delete,
    shared a_deletion_meets_every_fault_of_list,
    shared a_date_is_obeyed,
    shared without_a_number_it_is_twenty_seconds,
    shared absurd_waits_end,
    shared each_refusal_of_entra_ends_the_start_with_its_code,
    shared a_login_that_stumbles_at_the_start_is_tried_again,
    shared a_login_that_fails_later_is_told_and_harms_nothing,
    shared a_revoked_token_is_replaced,
];

/// Looked at every second; delays after failures are the product's.
const OFTEN: [&str; 2] = ["--drift-interval=1s", "--max-retry-interval=60s"];

const CLIENT_ID: &str = "azure.workload.identity/client-id";

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;

async fn a_new_binding_meets_every_fault_of_get(world: World) -> Result<()> {
    new_bindings(&world, &[GetIdentity]).await
}

async fn a_new_binding_meets_every_fault_of_list(world: World) -> Result<()> {
    new_bindings(&world, &[GetIdentity, ListCredentials]).await
}

async fn a_new_binding_meets_every_fault_of_put(world: World) -> Result<()> {
    new_bindings(&world, &[GetIdentity, ListCredentials, PutCredential]).await
}

/// Bindings whose first visit gets as far as the last of these calls, which fails until faults are cleared.
async fn new_bindings(world: &World, reached: &[Operation]) -> Result<()> {
    let rows = rows(world, *reached.last().expect("a call")).await?;
    for row in &rows {
        row.inject(world, None);
    }
    let _operator = world.operator_with(&flags(&[])).await?;
    let since = Instant::now();
    try_join_all(
        rows.iter()
            .map(|row| world.bind(&row.name, &row.name, &row.identity)),
    )
    .await?;
    let meets = async |row: &Row| {
        if row.meaning == Meaning::Works {
            return row.recovered(world, 1).await;
        }
        row.shown(world).await?;
        row.tried(world, since, 3).await?;
        row.check_calls(world, since, reached)?;
        let held = world.azure.credentials(&row.identity.resource_id);
        ensure!(held.is_empty(), "{}: {held:#?}", row.case.name);
        let annotated = world.annotation(&row.name, CLIENT_ID).await?;
        ensure!(annotated.is_none(), "{}: annotated without trust", row.case.name);
        row.shown(world).await
    };
    try_join_all(rows.iter().map(meets)).await?;
    world.azure.clear_faults();
    try_join_all(rows.iter().map(|row| row.recovered(world, 1))).await?;
    ended(world, "new", &rows);
    Ok(())
}

async fn a_ready_binding_meets_every_fault_of_get(world: World) -> Result<()> {
    ready_bindings(&world, GetIdentity).await
}

async fn a_ready_binding_meets_every_fault_of_list(world: World) -> Result<()> {
    ready_bindings(&world, ListCredentials).await
}

/// Bindings that are in order when somebody looks and cannot see.
async fn ready_bindings(world: &World, operation: Operation) -> Result<()> {
    let (rows, _operator) = in_order(world, operation, &OFTEN).await?;
    let meets = async |row: &Row| {
        let version = row.version(world).await?;
        let since = Instant::now();
        row.inject(world, Some(2));
        if !row.meaning.is_transient() {
            row.shown(world).await?;
            // What was there stays there: it may be the answer that is wrong.
            let annotated = world.annotation(&row.name, CLIENT_ID).await?;
            ensure!(
                annotated.as_ref() == Some(&row.identity.client_id),
                "{}: {annotated:?}",
                row.case.name
            );
            return world.assert_accepted(&row.name, &row.identity.client_id).await;
        }
        let looks = || {
            row.calls(world, since)
                .iter()
                .filter(|e| e.operation == operation)
                .count()
        };
        world.until(row.case.name, || looks() >= 4).await?;
        let after = row.version(world).await?;
        ensure!(after == version, "{}: its status was changed", row.case.name);
        Ok(())
    };
    try_join_all(rows.iter().map(meets)).await?;
    try_join_all(rows.iter().map(|row| row.recovered(world, 1))).await?;
    ended(world, "ready", &rows);
    Ok(())
}

/// Bindings whose credential somebody has deleted: nobody may call them ready until it is back.
async fn a_repair_meets_every_fault_of_put(world: World) -> Result<()> {
    let (rows, _operator) = in_order(&world, PutCredential, &OFTEN).await?;
    let meets = async |row: &Row| {
        row.inject(&world, Some(2));
        let lose = async {
            for credential in world.azure.credentials(&row.identity.resource_id) {
                world
                    .azure
                    .delete_credential(&row.identity.resource_id, &credential.name);
            }
            Ok(())
        };
        if row.meaning == Meaning::Works {
            lose.await?;
        } else {
            try_join(row.shown(&world), lose).await?;
        }
        let there = || !world.azure.credentials(&row.identity.resource_id).is_empty();
        world.until(row.case.name, there).await?;
        row.recovered(&world, 2).await
    };
    try_join_all(rows.iter().map(meets)).await?;
    ended(&world, "repair", &rows);
    Ok(())
}

async fn a_deletion_meets_every_fault_of_delete(world: World) -> Result<()> {
    let (rows, _operator) = in_order(&world, DeleteCredential, &[]).await?;
    deletions(&world, "delete", &rows).await
}

async fn a_deletion_meets_every_fault_of_list(world: World) -> Result<()> {
    let (mut rows, _operator) = in_order(&world, ListCredentials, &OFTEN[..1]).await?;
    for row in &mut rows {
        // Where there is no identity, there is no credential.
        if row.meaning == Meaning::Stalled("IdentityNotFound") {
            row.meaning = Meaning::Gone;
        }
    }
    deletions(&world, "list before delete", &rows).await
}

async fn deletions(world: &World, what: &str, rows: &[Row]) -> Result<()> {
    for row in rows {
        row.inject(world, None);
    }
    let meets = async |row: &Row| {
        if row.operation == ListCredentials {
            // A deletion would go by the last good list, for ten seconds.
            row.tried(world, Instant::now(), 2).await?;
        }
        let since = Instant::now();
        world
            .bindings()
            .delete(&row.name, &DeleteParams::default())
            .await?;
        if row.meaning.reason().is_none() {
            return world.gone(&row.name).await;
        }
        row.shown(world).await?;
        row.tried(world, since, 3).await?;
        row.check_calls(world, since, &[GetIdentity, ListCredentials, DeleteCredential])?;
        let held = world.azure.credentials(&row.identity.resource_id);
        ensure!(held.len() == 1, "{}: {held:#?}", row.case.name);
        row.shown(world).await
    };
    try_join_all(rows.iter().map(meets)).await?;
    world.azure.clear_faults();
    let ends = async |row: &Row| {
        world.gone(&row.name).await?;
        let annotated = world.annotation(&row.name, CLIENT_ID).await?;
        ensure!(annotated.is_none(), "{}: {annotated:?}", row.case.name);
        if row.meaning == Meaning::Gone {
            return Ok(());
        }
        let held = world.azure.credentials(&row.identity.resource_id);
        ensure!(held.is_empty(), "{}: left behind {held:#?}", row.case.name);
        world
            .assert_refused(&row.name, &row.identity.client_id, NO_CREDENTIAL)
            .await
    };
    try_join_all(rows.iter().map(ends)).await?;
    ended(world, what, rows);
    Ok(())
}

/// The rows of an operation, all ready, and an operator with these settings that comes to them. The one that
/// made them ready had time for every call.
async fn in_order(world: &World, operation: Operation, settings: &[&str]) -> Result<(Vec<Row>, Operator)> {
    let rows = rows(world, operation).await?;
    let operator = world
        .operator_with(&["--authorization=none", "--azure-pacing=off"])
        .await?;
    try_join_all(
        rows.iter()
            .map(|row| world.bind(&row.name, &row.name, &row.identity)),
    )
    .await?;
    try_join_all(rows.iter().map(|row| world.ready(&row.name))).await?;
    operator.stop().await?;
    let since = Instant::now();
    let operator = world.operator_with(&flags(settings)).await?;
    // Otherwise what comes next could be seen by the first visit already, and again by its own.
    let first_visits = rows.iter().map(|row| async move {
        let lists = || {
            row.calls(world, since)
                .into_iter()
                .any(|e| e.operation == ListCredentials && e.ended.is_some())
        };
        world.until("the first visit", lists).await
    });
    try_join_all(first_visits).await?;
    Ok((rows, operator))
}

fn ended(world: &World, what: &str, rows: &[Row]) {
    assert_eq!(world.azure.overlapping_writes(), []);
    runner::figure(format!(
        "azure faults, {what}, {:?}: {} pairs, 0 violations",
        rows[0].operation,
        rows.len()
    ));
}
