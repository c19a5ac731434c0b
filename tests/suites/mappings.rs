//! One to one, many to one, one to many: which binding gets what, and who comes first.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Identity, Operation};
use futures::future::try_join_all;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{AUDIENCE, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use crate::runner::trials;

trials![
    shared one_identity_for_one_service_account,
    shared twenty_service_accounts_share_an_identity_and_its_reads,
    shared the_twenty_first_waits_for_a_free_slot,
    shared a_slot_that_somebody_else_frees_is_noticed,
    shared one_service_account_may_use_several_identities,
    shared a_name_is_completed_by_the_operators_settings,
    shared a_name_in_the_spec_goes_before_the_operators_settings,
    shared a_missing_setting_is_named_with_its_flag,
    shared the_credential_goes_only_with_the_last_binding,
    shared the_older_of_two_annotates_and_the_other_succeeds_it,
    shared of_two_made_at_once_exactly_one_annotates,
];

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;
/// Credentials match, but none has this subject.
const NO_SUBJECT: i64 = 700_213;

/// A read is shared as long as in production, however slow the machine is.
const UNHURRIED: &str = "--slow-retry-interval=2m";

const CLIENT_ID: &str = "azure.workload.identity/client-id";

async fn one_identity_for_one_service_account(world: World) -> Result<()> {
    let identities = [world.identity("web"), world.identity("api")];
    let _operator = world.operator().await?;
    for identity in &identities {
        granted(&world, &identity.name, identity).await?;
        world.bind(&identity.name, &identity.name, identity).await?;
    }
    for identity in &identities {
        world.ready(&identity.name).await?;
        world.assert_accepted(&identity.name, &identity.client_id).await?;
        let annotated = world.annotation(&identity.name, CLIENT_ID).await?;
        assert_eq!(annotated.as_ref(), Some(&identity.client_id));
    }
    world
        .assert_refused("web", &identities[1].client_id, NO_SUBJECT)
        .await?;
    world
        .assert_refused("api", &identities[0].client_id, NO_SUBJECT)
        .await
}

async fn twenty_service_accounts_share_an_identity_and_its_reads(world: World) -> Result<()> {
    let identity = world.identity("web");
    let names: Vec<_> = (1..=20).map(|n| format!("web-{n}")).collect();
    try_join_all(names.iter().map(|name| granted(&world, name, &identity))).await?;
    let _operator = world.operator_with(&[UNHURRIED]).await?;

    try_join_all(names.iter().map(|name| world.bind(name, name, &identity))).await?;
    try_join_all(names.iter().map(|name| world.ready(name))).await?;

    assert_eq!(world.azure.count(Operation::GetIdentity), 1);
    assert_eq!(world.azure.count(Operation::ListCredentials), 1);
    assert_eq!(world.azure.count(Operation::PutCredential), 20);
    let journal = world.azure.journal();
    let refused: Vec<_> = journal
        .iter()
        .filter(|e| e.status.is_none_or(|s| s >= 400))
        .collect();
    ensure!(refused.is_empty(), "Azure refused {refused:#?}");
    assert_eq!(world.azure.overlapping_writes(), []);
    try_join_all(
        names
            .iter()
            .map(|name| world.assert_accepted(name, &identity.client_id)),
    )
    .await?;
    Ok(())
}

async fn the_twenty_first_waits_for_a_free_slot(world: World) -> Result<()> {
    let identity = world.identity("web");
    fill(&world, &identity, 19);
    for name in ["first", "late"] {
        granted(&world, name, &identity).await?;
    }
    let _operator = world.operator().await?;
    world.bind("first", "first", &identity).await?;
    world.ready("first").await?;

    world.bind("late", "late", &identity).await?;
    let told = world.stalled("late", "CredentialLimitReached").await?;
    ensure!(told.contains("20"), "the count is missing: {told}");
    ensure!(
        !told.contains("system:serviceaccount") && !told.contains("tenant"),
        "others are named: {told}"
    );
    world
        .assert_refused("late", &identity.client_id, NO_SUBJECT)
        .await?;
    ensure!(
        world.annotation("late", CLIENT_ID).await?.is_none(),
        "annotated without trust"
    );

    world.delete("first").await?;
    world.ready("late").await?;
    world.assert_accepted("late", &identity.client_id).await?;
    world
        .assert_refused("first", &identity.client_id, NO_SUBJECT)
        .await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 20);
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    Ok(())
}

async fn a_slot_that_somebody_else_frees_is_noticed(world: World) -> Result<()> {
    let identity = world.identity("web");
    fill(&world, &identity, 20);
    granted(&world, "web", &identity).await?;
    let _operator = world.operator_with(&["--drift-interval=300ms"]).await?;
    world.bind("web", "web", &identity).await?;
    world.stalled("web", "CredentialLimitReached").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 0);

    world.azure.delete_credential(&identity.resource_id, "tenant-7");
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn one_service_account_may_use_several_identities(world: World) -> Result<()> {
    let identities = ["main", "second", "third"].map(|name| world.identity(name));
    world.service_account("web").await?;
    let _operator = world.operator().await?;
    for (n, identity) in identities.iter().enumerate() {
        world.grant("web", identity).await?;
        world
            .create(
                &identity.name,
                spec(identity, &json!({ "name": "web", "annotate": n == 0 })),
            )
            .await?;
    }
    for identity in &identities {
        world.ready(&identity.name).await?;
        world.assert_accepted("web", &identity.client_id).await?;
    }
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identities[0].client_id)
    );

    world.delete("second").await?;
    world
        .assert_refused("web", &identities[1].client_id, NO_CREDENTIAL)
        .await?;
    world.assert_accepted("web", &identities[0].client_id).await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identities[0].client_id)
    );
    Ok(())
}

async fn a_name_is_completed_by_the_operators_settings(world: World) -> Result<()> {
    let identity = world.identity("web");
    granted(&world, "web", &identity).await?;
    let subscription = format!("--subscription-id={}", world.azure.subscription_id());
    let _operator = world
        .operator_with(&[&subscription, "--resource-group=shop"])
        .await?;

    let spec = json!({ "identity": { "name": "web" }, "serviceAccount": { "name": "web" } });
    world.create("web", spec).await?;
    let binding = world.ready("web").await?;

    world.assert_accepted("web", &identity.client_id).await?;
    let found = binding
        .status
        .and_then(|s| s.identity)
        .context("no identity in the status")?;
    assert_eq!(
        found.resource_id.to_lowercase(),
        identity.resource_id.to_lowercase()
    );
    Ok(())
}

async fn a_name_in_the_spec_goes_before_the_operators_settings(world: World) -> Result<()> {
    let identity = world.azure.create_identity("other-group", "web");
    granted(&world, "web", &identity).await?;
    let elsewhere = "--subscription-id=00000000-0000-0000-0000-000000000000";
    let _operator = world.operator_with(&[elsewhere, "--resource-group=shop"]).await?;

    let reference = json!({
        "name": "web",
        "resourceGroup": "other-group",
        "subscriptionId": world.azure.subscription_id(),
    });
    world
        .create(
            "web",
            json!({ "identity": reference, "serviceAccount": { "name": "web" } }),
        )
        .await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_missing_setting_is_named_with_its_flag(world: World) -> Result<()> {
    let identity = world.identity("web");
    granted(&world, "web", &identity).await?;
    let _operator = world.operator_with(&["--resource-group=shop"]).await?;
    let spec = json!({ "identity": { "name": "web" }, "serviceAccount": { "name": "web" } });
    world.create("web", spec).await?;
    let told = world.stalled("web", "InvalidSpec").await?;
    ensure!(
        told.contains("subscriptionId") && told.contains("--subscription-id"),
        "{told}"
    );
    ensure!(!told.contains("--resource-group"), "{told}");
    assert_eq!(world.azure.count(Operation::GetIdentity), 0);

    let subscription = json!({ "subscriptionId": world.azure.subscription_id() });
    world
        .change("web", json!({ "spec": { "identity": subscription } }))
        .await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn the_credential_goes_only_with_the_last_binding(world: World) -> Result<()> {
    let identity = world.identity("web");
    granted(&world, "web", &identity).await?;
    let _operator = world.operator().await?;
    for name in ["one", "two"] {
        world.bind(name, "web", &identity).await?;
    }
    for name in ["one", "two"] {
        world.ready(name).await?;
    }
    assert_eq!(world.azure.count(Operation::PutCredential), 1);

    world.delete("one").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&identity.client_id)
    );
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);

    world.delete("two").await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await?;
    assert_eq!(world.annotation("web", CLIENT_ID).await?, None);
    Ok(())
}

async fn the_older_of_two_annotates_and_the_other_succeeds_it(world: World) -> Result<()> {
    let (first, second) = (world.identity("first"), world.identity("second"));
    world.service_account("web").await?;
    for identity in [&first, &second] {
        world.grant("web", identity).await?;
    }
    let _operator = world.operator().await?;
    world.bind("first", "web", &first).await?;
    world.ready("first").await?;
    // Kubernetes keeps the time of creation in whole seconds.
    tokio::time::sleep(Duration::from_millis(1050)).await;
    world.bind("second", "web", &second).await?;

    let told = world.stalled("second", "ServiceAccountTaken").await?;
    ensure!(
        told.contains("first") && told.contains("annotate: false"),
        "{told}"
    );
    world.ready("first").await?;
    world.assert_accepted("web", &first.client_id).await?;
    world
        .assert_refused("web", &second.client_id, NO_CREDENTIAL)
        .await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&first.client_id)
    );

    world.delete("first").await?;
    world.ready("second").await?;
    world.assert_accepted("web", &second.client_id).await?;
    world
        .assert_refused("web", &first.client_id, NO_CREDENTIAL)
        .await?;
    assert_eq!(
        world.annotation("web", CLIENT_ID).await?.as_ref(),
        Some(&second.client_id)
    );
    Ok(())
}

async fn of_two_made_at_once_exactly_one_annotates(world: World) -> Result<()> {
    let identities = [world.identity("one"), world.identity("two")];
    world.service_account("web").await?;
    for identity in &identities {
        world.grant("web", identity).await?;
    }
    let _operator = world.operator().await?;
    let made = try_join_all(
        identities
            .iter()
            .map(|identity| world.bind(&identity.name, "web", identity)),
    )
    .await?;

    let age = |b: &WorkloadIdentityBinding| {
        (
            b.metadata.creation_timestamp.as_ref().map(|t| t.0),
            b.metadata.uid.clone(),
        )
    };
    let (winner, loser) = if age(&made[0]) < age(&made[1]) {
        (0, 1)
    } else {
        (1, 0)
    };
    world
        .stalled(&identities[loser].name, "ServiceAccountTaken")
        .await?;
    world.ready(&identities[winner].name).await?;
    // The loser may have been first for a moment: the watch of the ServiceAccount puts that right.
    while world.annotation("web", CLIENT_ID).await?.as_ref() != Some(&identities[winner].client_id) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.assert_accepted("web", &identities[winner].client_id).await
}

/// A ServiceAccount with a grant.
async fn granted(world: &World, service_account: &str, identity: &Identity) -> Result<()> {
    world.service_account(service_account).await?;
    world.grant(service_account, identity).await
}

/// Credentials of other tenants.
fn fill(world: &World, identity: &Identity, count: usize) {
    for n in 1..=count {
        let (name, subject) = (
            format!("tenant-{n}"),
            format!("system:serviceaccount:tenant:job-{n}"),
        );
        let credential = Credential::new(&name, "https://issuer.tenant.test/", &subject, AUDIENCE);
        world.azure.put_credential(&identity.resource_id, credential);
    }
}

fn spec(identity: &Identity, service_account: &Value) -> Value {
    json!({ "identity": { "resourceId": identity.resource_id }, "serviceAccount": service_account })
}
