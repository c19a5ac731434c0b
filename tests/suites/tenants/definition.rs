//! The definition of bindings is deleted, and comes back with the same bindings: nobody loses access, and the record
//! tells ours from what others have made.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use azure_emulator::Operation;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use kube::api::{Api, DeleteParams};
use pretty_assertions::assert_eq;
use wib_harness::{Cluster, World};
use workload_identity_binding::api::{CredentialState, WorkloadIdentityBinding};

use super::{ready, refused_soon};

pub async fn a_definition_that_is_deleted_releases_and_one_that_comes_back_takes_up_again() -> Result<()> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let (identity, operator) = ready(&world, &["--orphan-grace-period=1s"]).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(world.admin());
    let name = WorkloadIdentityBinding::crd_name();
    crds.delete(name, &DeleteParams::default()).await?;
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while crds.get_opt(name).await?.is_some() {
        ensure!(tokio::time::Instant::now() < end, "the definition hangs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world
        .in_state(&identity, "web", CredentialState::Released)
        .await?;
    // Released is no orphan: a grace ends nothing of it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world
        .in_state(&identity, "web", CredentialState::Released)
        .await?;
    world.assert_accepted("web", &identity.client_id).await?;
    ensure!(!operator.has_ended(), "the operator has ended");

    world.cluster.install_crd().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.in_state(&identity, "web", CredentialState::Wanted).await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);

    // Ours again, and so it goes with the binding.
    world.delete("web").await?;
    refused_soon(&world, "web", &identity).await
}
