//! The issuer of the cluster changes while pods hold tokens of the former one: its credentials stay until those have
//! expired, unless the grant goes or the slot is needed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Identity, Operation};
use pretty_assertions::assert_eq;
use tokio::time::Instant;
use wib_harness::world::bindings::{condition, is_ready};
use wib_harness::{AUDIENCE, Cluster, Operator, World};
use workload_identity_binding::api::ManagedIdentity;

use super::{NO_CREDENTIAL, SOON, ready};

/// No credential has the issuer of the token.
const NO_ISSUER: i64 = 700_211;

/// Credentials that an identity holds at most.
const SLOTS: usize = 20;

/// A workload whose cluster is about to change its issuer.
struct Stage {
    world: World,
    identity: Identity,
    /// A token that a pod got before.
    token: String,
    former: String,
}

impl Stage {
    async fn set(flags: &[&str]) -> Result<(Self, Operator)> {
        let world = World::new(Arc::new(Cluster::start().await?)).await?;
        let (identity, operator) = ready(&world, flags).await?;
        let token = world.workload_token("web").await?;
        let former = world.cluster.control_plane.issuer().to_owned();
        let stage = Self {
            world,
            identity,
            token,
            former,
        };
        // Entra has the keys of the former issuer from now on.
        ensure!(stage.pod_has_access().await, "Entra refuses a good token");
        Ok((stage, operator))
    }

    /// The API server signs with another issuer from now on, and accepts both.
    async fn change_issuer(&mut self) -> Result<()> {
        let new = self.world.cluster.control_plane.alternative_issuer();
        let cluster = Arc::get_mut(&mut self.world.cluster).context("the cluster is shared")?;
        let issuers = [new.as_str(), self.former.as_str()];
        cluster.control_plane.restart_with_issuers(&issuers).await?;
        self.world.trust_operator(&new);
        self.world.write_operator_files().await
    }

    /// Waits until new tokens are trusted. Answers what the binding says of it.
    async fn new_tokens_are_trusted(&self) -> Result<String> {
        let new = self.world.cluster.control_plane.issuer().to_owned();
        let under_new = self.world.wait("web", "ready under the new issuer", move |b| {
            let credential = b.status.as_ref().and_then(|s| s.credential.as_ref());
            is_ready(b) && credential.is_some_and(|c| c.issuer == new)
        });
        let binding = under_new.await?;
        self.world
            .assert_accepted("web", &self.identity.client_id)
            .await?;
        let told = condition(&binding, "CredentialSynced").map(|c| c.2.to_owned());
        told.context("no condition")
    }

    /// Whether Entra accepts the token that a running pod still has.
    async fn pod_has_access(&self) -> bool {
        let answer = self.world.exchange_token(&self.token, &self.identity.client_id);
        answer.await.is_ok()
    }

    fn held(&self) -> Vec<Credential> {
        self.world.azure.credentials(&self.identity.resource_id)
    }
}

const QUICK: &str = "--issuer-refresh-interval=200ms";

fn names(record: &ManagedIdentity, issuer: &str) -> bool {
    let status = record.status.as_ref();
    status.is_some_and(|s| s.former_issuers.iter().any(|f| f.issuer == issuer))
}

pub async fn a_former_issuer_is_kept_for_pods_that_run() -> Result<()> {
    let (mut stage, _operator) = Stage::set(&[QUICK]).await?;
    stage.change_issuer().await?;
    let told = stage.new_tokens_are_trusted().await?;
    ensure!(stage.pod_has_access().await, "the pod has lost its access");
    assert_eq!(stage.held().len(), 2);
    assert_eq!(stage.world.azure.count(Operation::DeleteCredential), 0);
    ensure!(
        told.contains(&stage.former),
        "the binding does not say so: {told}"
    );
    let both = |r: &ManagedIdentity| {
        let ours = r.status.as_ref().map_or(0, |s| s.credentials.len());
        names(r, &stage.former) && ours == 2
    };
    stage
        .world
        .recorded(&stage.identity, "one of both issuers", both)
        .await?;

    // Both go with the binding.
    stage.world.delete("web").await?;
    assert_eq!(stage.held(), []);
    stage.world.unrecorded(&stage.identity).await
}

pub async fn a_former_issuer_goes_when_its_tokens_have_expired() -> Result<()> {
    let (mut stage, _operator) = Stage::set(&[QUICK, "--former-issuer-retention=8s"]).await?;
    stage.change_issuer().await?;
    stage.new_tokens_are_trusted().await?;
    ensure!(
        stage.pod_has_access().await,
        "the pod has lost its access at once"
    );
    let end = Instant::now() + Duration::from_secs(30);
    let (token, client_id) = (&stage.token, &stage.identity.client_id);
    stage
        .world
        .token_refused(token, client_id, NO_ISSUER, end)
        .await?;
    assert_eq!(stage.held().len(), 1);
    stage.world.assert_accepted("web", client_id).await?;
    let forgotten = |r: &ManagedIdentity| !names(r, &stage.former);
    stage
        .world
        .recorded(&stage.identity, "one without former issuers", forgotten)
        .await?;
    Ok(())
}

pub async fn a_former_issuer_is_revoked_with_the_grant() -> Result<()> {
    let (mut stage, _operator) = Stage::set(&[QUICK]).await?;
    stage.change_issuer().await?;
    stage.new_tokens_are_trusted().await?;
    ensure!(stage.pod_has_access().await, "the pod has lost its access");
    stage.world.revoke("web", &stage.identity).await?;
    let end = Instant::now() + SOON;
    let (token, client_id) = (&stage.token, &stage.identity.client_id);
    stage
        .world
        .token_refused(token, client_id, NO_CREDENTIAL, end)
        .await?;
    assert_eq!(stage.held(), []);
    Ok(())
}

pub async fn a_former_issuer_gives_way_when_the_identity_is_full() -> Result<()> {
    let (mut stage, _operator) = Stage::set(&[QUICK]).await?;
    let others: Vec<Credential> = (1..SLOTS)
        .map(|n| {
            let subject = format!("system:serviceaccount:tenant:job-{n}");
            Credential::new(
                &format!("tenant-{n}"),
                "https://issuer.tenant.test/",
                &subject,
                AUDIENCE,
            )
        })
        .collect();
    for other in &others {
        let held_by = &stage.identity.resource_id;
        stage.world.azure.put_credential(held_by, other.clone());
    }
    stage.change_issuer().await?;
    let told = stage.new_tokens_are_trusted().await?;
    ensure!(!stage.pod_has_access().await, "an identity with 21 credentials");
    assert_eq!(stage.held().len(), SLOTS);
    super::untouched(&stage.world, &stage.identity, &others)?;
    ensure!(
        told.contains(&stage.former),
        "the binding does not say so: {told}"
    );
    Ok(())
}

pub async fn a_former_issuer_is_known_to_an_operator_that_was_not_there() -> Result<()> {
    let (mut stage, operator) = Stage::set(&[QUICK]).await?;
    operator.stop().await?;
    stage.change_issuer().await?;
    let operator = stage.world.operator_with(&[QUICK]).await?;
    stage.new_tokens_are_trusted().await?;
    ensure!(stage.pod_has_access().await, "the pod has lost its access");
    // And to the next one, when the grant was withdrawn in between.
    operator.stop().await?;
    stage.world.revoke("web", &stage.identity).await?;
    let _operator = stage.world.operator_with(&[QUICK]).await?;
    let end = Instant::now() + SOON;
    let (token, client_id) = (&stage.token, &stage.identity.client_id);
    stage
        .world
        .token_refused(token, client_id, NO_CREDENTIAL, end)
        .await?;
    assert_eq!(stage.held(), []);
    Ok(())
}
