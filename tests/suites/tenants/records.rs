//! `ManagedIdentity`: who uses an identity and how full it is; written before what it records, kept while anything of
//! ours is left, and made again when somebody deletes it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Identity};
use kube::api::{DeleteParams, PostParams};
use pretty_assertions::assert_eq;
use wib_harness::gate::Rule;
use wib_harness::world::records::entry;
use wib_harness::{AUDIENCE, Operator, World};
use workload_identity_binding::api::{
    CredentialState, ManagedIdentity, ManagedIdentitySpec, ManagedIdentityStatus,
};
use workload_identity_binding::core::{IdentityId, grant};

use super::{ready, refused_soon, revoked_soon};

/// Two workloads of ours and one of somebody else on one identity, recorded.
async fn three_on_one(world: &World) -> Result<(Identity, Operator, ManagedIdentity)> {
    let identity = world.workload("web").await?;
    let stranger = Credential::new(
        "github",
        "https://token.actions.test/",
        "repo:shop/web:ref:refs/heads/main",
        AUDIENCE,
    );
    world.azure.put_credential(&identity.resource_id, stranger);
    world.service_account("api").await?;
    world.grant("api", &identity).await?;
    let operator = world.operator().await?;
    for name in ["web", "api"] {
        world.bind(&format!("of-{name}"), name, &identity).await?;
        world.ready(&format!("of-{name}")).await?;
    }
    let whole = |r: &ManagedIdentity| {
        let status = r.status.as_ref();
        status.is_some_and(|s| s.credentials.len() == 2 && s.held.as_deref() == Some("3/20"))
    };
    let record = world
        .recorded(&identity, "one of two credentials of three", whole)
        .await?;
    Ok((identity, operator, record))
}

pub async fn a_record_shows_who_uses_an_identity_and_how_full_it_is(world: World) -> Result<()> {
    let (identity, _operator, record) = three_on_one(&world).await?;
    ensure!(
        record.metadata.namespace.is_none(),
        "the record is in a namespace"
    );
    let held = world.azure.credentials(&identity.resource_id);
    for name in ["web", "api"] {
        let entry = entry(&record, name).with_context(|| format!("{name} is not recorded"))?;
        let subject = format!("system:serviceaccount:{}:{name}", world.namespace);
        let there = held
            .iter()
            .find(|c| c.subject == subject)
            .context("not in Azure")?;
        assert_eq!((&entry.name, &entry.subject), (&there.name, &subject));
        assert_eq!(
            (entry.issuer.as_str(), entry.audience.as_str()),
            (world.cluster.control_plane.issuer(), AUDIENCE)
        );
        assert_eq!(entry.binding, format!("of-{name}"));
        assert_eq!(entry.state, CredentialState::Wanted);
    }
    let status = record.status.unwrap_or_default();
    assert_eq!(status.name.as_deref(), Some(identity.name.as_str()));
    assert_eq!(status.client_id.as_ref(), Some(&identity.client_id));
    assert_eq!(status.principal_id.as_ref(), Some(&identity.principal_id));
    assert_eq!(status.tenant_id.as_ref(), Some(&identity.tenant_id));
    assert_eq!((status.ours, status.orphaned), (2, 0));
    ensure!(status.former_issuers.is_empty(), "{:?}", status.former_issuers);
    Ok(())
}

async fn remove(world: &World, record: &ManagedIdentity) -> Result<()> {
    let name = record
        .metadata
        .name
        .as_deref()
        .context("a record without a name")?;
    world.records().delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until a record is another object with the same name and contents.
async fn made_again(world: &World, identity: &Identity, before: &ManagedIdentity) -> Result<()> {
    let same = |r: &ManagedIdentity| {
        r.metadata.uid != before.metadata.uid
            && r.metadata.name == before.metadata.name
            && sorted(r.status.clone()) == sorted(before.status.clone())
    };
    world.recorded(identity, "made again as it was", same).await?;
    Ok(())
}

fn sorted(status: Option<ManagedIdentityStatus>) -> ManagedIdentityStatus {
    let mut status = status.unwrap_or_default();
    status.credentials.sort_by(|a, b| a.name.cmp(&b.name));
    status
}

pub async fn a_record_deleted_by_hand_is_made_again(world: World) -> Result<()> {
    let (identity, _operator, before) = three_on_one(&world).await?;
    let writes = azure_writes(&world);
    remove(&world, &before).await?;
    made_again(&world, &identity, &before).await?;
    assert_eq!(azure_writes(&world), writes);
    world.revoke("web", &identity).await?;
    // The other one and the stranger's are left.
    world
        .refused_within("web", &identity.client_id, NO_SUBJECT, super::SOON)
        .await?;
    world.assert_accepted("api", &identity.client_id).await
}

/// Credentials have the issuer of the token, and none its subject.
const NO_SUBJECT: i64 = 700_213;

pub async fn a_record_deleted_without_an_operator_is_made_again(world: World) -> Result<()> {
    let (identity, operator, before) = three_on_one(&world).await?;
    operator.stop().await?;
    let writes = azure_writes(&world);
    remove(&world, &before).await?;
    ensure!(world.record(&identity).await?.is_none(), "it is still there");
    let _operator = world.operator().await?;
    made_again(&world, &identity, &before).await?;
    assert_eq!(azure_writes(&world), writes);
    for name in ["web", "api"] {
        world.assert_accepted(name, &identity.client_id).await?;
    }
    Ok(())
}

/// An operator that ends between making a record and its first entry leaves one that says nothing.
pub async fn a_record_without_an_entry_goes(world: World) -> Result<()> {
    let identity = world.identity("web");
    let id: IdentityId = identity.resource_id.parse()?;
    let spec = ManagedIdentitySpec {
        resource_id: id.key().to_owned(),
    };
    let empty = ManagedIdentity::new(&grant::object_name(&id), spec);
    let records = world.records();
    records.create(&PostParams::default(), &empty).await?;
    let _operator = world.operator().await?;
    // Another operator might have made it, and be about to write: it is given a while.
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(
        world.record(&identity).await?.is_some(),
        "it was taken from under somebody"
    );
    world.unrecorded(&identity).await
}

pub async fn a_record_goes_with_the_last_credential(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &[]).await?;
    world.in_state(&identity, "web", CredentialState::Wanted).await?;
    world.delete("web").await?;
    world.unrecorded(&identity).await?;
    refused_soon(&world, "web", &identity).await?;

    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.in_state(&identity, "web", CredentialState::Wanted).await?;
    revoked_soon(&world, "web", &identity).await?;
    world.unrecorded(&identity).await
}

pub async fn a_credential_is_recorded_before_it_is_made(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let identity = world.workload("web").await?;
    let put = gates
        .azure
        .rule(Rule::on("azure PUT credential").park_before_send());
    let _operator = world.operator_through(&gates, &[]).await?;
    world.bind("web", "web", &identity).await?;
    let call = put.reached().await.context("the gate is gone")?;
    // Azure has not heard of it.
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    let record = world.record(&identity).await?;
    let recorded = record.as_ref().and_then(|r| entry(r, "web"));
    let recorded = recorded.context("a credential is about to be made that nothing records")?;
    ensure!(
        call.path.ends_with(&format!("/{}", recorded.name)),
        "{} is not {}",
        call.path,
        recorded.name
    );
    put.release();
    world.ready("web").await?;
    Ok(())
}

fn azure_writes(world: &World) -> usize {
    let journal = world.azure.journal();
    journal.iter().filter(|e| e.operation.is_write()).count()
}
