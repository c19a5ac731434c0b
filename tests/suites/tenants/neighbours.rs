//! Two operators of one cluster, each for a namespace of its own, share an identity and its record, and neither touches
//! what is the other's.

use anyhow::{Result, ensure};
use azure_emulator::{Identity, Operation};
use pretty_assertions::assert_eq;
use wib_harness::World;
use wib_harness::world::records::entry;
use workload_identity_binding::api::{CredentialState, ManagedIdentity};

use super::{SOON, WATCHFUL};

/// Credentials have the issuer of the token, and none its subject.
const NO_SUBJECT: i64 = 700_213;

pub async fn two_operators_share_a_record_and_touch_their_own_only(one: World) -> Result<()> {
    let two = one.neighbour(&format!("{}-b", one.namespace)).await?;
    let identity = one.identity("shared");
    for (world, name) in [(&one, "web"), (&two, "api")] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let flags: Vec<&str> = WATCHFUL.into_iter().chain(["--orphan-grace-period=1s"]).collect();
    let first = one.operator_with(&flags).await?;
    let second = two.operator_with(&flags).await?;
    one.bind("web", "web", &identity).await?;
    two.bind("api", "api", &identity).await?;
    one.ready("web").await?;
    two.ready("api").await?;

    // One record of both, which nobody writes when nothing changes.
    let both = |r: &ManagedIdentity| {
        let states = ["web", "api"].map(|name| entry(r, name).map(|c| c.state));
        states == [Some(CredentialState::Wanted); 2] && r.status.as_ref().is_some_and(|s| s.ours == 2)
    };
    one.recorded(&identity, "one of both", both).await?;
    let quiet = one.quiet(&identity).await?;
    ensure!(both(&quiet), "it is no longer: {:#?}", quiet.status);
    lists(&one, 4).await?;
    let later = one.quiet(&identity).await?;
    assert_eq!(later.metadata.resource_version, quiet.metadata.resource_version);
    assert_eq!(one.azure.count(Operation::PutCredential), 2);

    // What is revoked while its own operator is away waits for it.
    second.stop().await?;
    two.revoke("api", &identity).await?;
    lists(&one, 6).await?;
    two.assert_accepted("api", &identity.client_id).await?;
    let second = two.operator_with(&flags).await?;
    refused(&two, "api", &identity).await?;
    one.recorded(&identity, "one of the first alone", |r| {
        entry(r, "api").is_none() && entry(r, "web").is_some()
    })
    .await?;
    one.assert_accepted("web", &identity.client_id).await?;

    // The last one takes the record along.
    first.stop().await?;
    second.stop().await?;
    let _first = one.operator_with(&flags).await?;
    one.delete("web").await?;
    one.unrecorded(&identity).await
}

async fn refused(world: &World, name: &str, identity: &Identity) -> Result<()> {
    world
        .refused_within(name, &identity.client_id, NO_SUBJECT, SOON)
        .await
        .map(|_| ())
}

/// Waits until the identity was looked at so many times more.
async fn lists(world: &World, more: usize) -> Result<()> {
    let lists = || world.azure.count(Operation::ListCredentials);
    let until = lists() + more;
    world
        .until("more looks at the identity", || lists() >= until)
        .await
}
