//! The issuer: found out, never normalised, and followed when it changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::world::bindings::{condition, is_ready};
use wib_harness::{Cluster, Operator, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use crate::runner::{figure, trials};

trials![
    shared the_discovery_document_does_without_a_token,
    shared the_flag_overrides_and_is_taken_byte_for_byte,
    alone a_new_issuer_is_trusted_before_the_old_one_goes,
    alone a_swap_of_issuers_is_followed_at_once_and_tokens_of_both_are_good,
    shared issuers_by_turns_both_stay,
    alone a_restarted_api_server_changes_nothing,
];

async fn the_discovery_document_does_without_a_token(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let arguments = world.operator_arguments(&[]).into_iter();
    let arguments = arguments
        .filter(|a| !a.starts_with("--issuer-token-file"))
        .collect();
    let _operator = wib_harness::Operator::start(arguments).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn the_flag_overrides_and_is_taken_byte_for_byte(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    // One slash short: another issuer to Entra.
    let issuer = world
        .cluster
        .control_plane
        .issuer()
        .trim_end_matches('/')
        .to_owned();
    let _operator = world.operator_with(&[&format!("--issuer={issuer}")]).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let held = world.azure.credentials(&identity.resource_id);
    assert_eq!(held.first().map(|c| c.issuer.as_str()), Some(issuer.as_str()));
    world.assert_refused("web", &identity.client_id, 700_211).await
}

async fn a_new_issuer_is_trusted_before_the_old_one_goes() -> Result<()> {
    let mut world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.identity("web");
    for name in ["web", "api"] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let flags = ["--issuer-refresh-interval=200ms", "--former-issuer-retention=2s"];
    let _operator = world.operator_with(&flags).await?;
    for name in ["web", "api"] {
        world.bind(name, name, &identity).await?;
        world.ready(name).await?;
    }
    let old = world.cluster.control_plane.issuer().to_owned();
    let new = world.cluster.control_plane.alternative_issuer();

    let cluster = Arc::get_mut(&mut world.cluster).context("the cluster is shared")?;
    cluster.control_plane.restart_with_issuers(&[&new, &old]).await?;
    world.trust_operator(&new);
    world.azure.clear_journal();
    // What the kubelet does when the token comes of age.
    world.write_operator_files().await?;

    for name in ["web", "api"] {
        let new = new.clone();
        world
            .wait(name, "ready under the new issuer", move |b| {
                let credential = b.status.as_ref().and_then(|s| s.credential.as_ref());
                is_ready(b) && credential.is_some_and(|c| c.issuer == new)
            })
            .await?;
        world.assert_accepted(name, &identity.client_id).await?;
    }
    world
        .until("the credentials of the former issuer are gone", || {
            let held = world.azure.credentials(&identity.resource_id);
            held.len() == 2 && held.iter().all(|c| c.issuer == new)
        })
        .await?;
    // At no moment was a workload without a credential: each subject got its new one first.
    for name in ["web", "api"] {
        let writes: Vec<_> = world
            .azure
            .journal()
            .into_iter()
            .filter(|e| e.operation.is_write() && e.path.contains(&format!("-{name}-")))
            .map(|e| e.operation)
            .collect();
        assert_eq!(writes, [Operation::PutCredential, Operation::DeleteCredential]);
    }
    Ok(())
}

/// Longest wait for tokens of a new issuer to be accepted.
const PATIENCE: Duration = Duration::from_mins(1);

/// As Kubernetes documents it: two issuers, and their order is swapped. The operator goes by the discovery document, as in
/// a pod; nobody has renewed its token.
async fn a_swap_of_issuers_is_followed_at_once_and_tokens_of_both_are_good() -> Result<()> {
    let mut world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.workload("web").await?;
    let mut arguments = world.operator_arguments(&["--issuer-refresh-interval=200ms"]);
    arguments.retain(|argument| !argument.starts_with("--issuer-token-file"));
    let _operator = Operator::start(arguments).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let before = world.workload_token("web").await?;
    let old = world.cluster.control_plane.issuer().to_owned();
    let new = world.cluster.control_plane.alternative_issuer();

    let cluster = Arc::get_mut(&mut world.cluster).context("the cluster is shared")?;
    cluster.control_plane.restart_with_issuers(&[&new, &old]).await?;
    let after = world.workload_token("web").await?;
    let swapped = Instant::now();
    while world.exchange_token(&after, &identity.client_id).await.is_err() {
        let accepted = world.exchange_token(&before, &identity.client_id).await;
        ensure!(accepted.is_ok(), "a token of before is refused: {accepted:?}");
        ensure!(
            swapped.elapsed() < PATIENCE,
            "a token of the new issuer is refused"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    figure(format!(
        "issuer: tokens of a new one were accepted {} s after the API server was back",
        swapped.elapsed().as_secs()
    ));
    // Both stand until the last token of the old one has expired, and the binding says so.
    let binding = world.ready("web").await?;
    let (_, _, told) = condition(&binding, "CredentialSynced").context("no condition")?;
    ensure!(told.contains(&old) && told.contains("former"), "{told}");
    for token in [&before, &after] {
        let accepted = world.exchange_token(token, &identity.client_id).await;
        ensure!(accepted.is_ok(), "{accepted:?}");
    }
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    Ok(())
}

/// Two API servers behind one address, with different flags: which of them answers is chance.
async fn issuers_by_turns_both_stay(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let file = world.directory().join("by-turns");
    let tell = |issuer: &str| -> Result<()> {
        let claims = json!({ "iss": issuer }).to_string();
        // At once: a token that is half written would be none.
        let new = file.with_extension("new");
        std::fs::write(&new, format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)))?;
        Ok(std::fs::rename(new, &file)?)
    };
    let (real, other) = (world.cluster.control_plane.issuer(), "https://other.test/");
    tell(real)?;
    let from = format!("--issuer-token-file={}", file.display());
    let flags = [
        from.as_str(),
        "--issuer-refresh-interval=100ms",
        "--former-issuer-retention=4s",
    ];
    let _operator = world.operator_with(&flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    for turn in 0..60 {
        tell(if turn % 2 == 0 { other } else { real })?;
        tokio::time::sleep(Duration::from_millis(130)).await;
    }
    let both = |b: &WorkloadIdentityBinding| {
        let told = condition(b, "CredentialSynced").map(|(_, _, message)| message);
        is_ready(b) && told.is_some_and(|told| told.contains("--service-account-issuer"))
    };
    world.wait("web", "ready, and told", both).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 2);
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_restarted_api_server_changes_nothing() -> Result<()> {
    let mut world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.workload("web").await?;
    let _operator = world.operator_with(&["--issuer-refresh-interval=200ms"]).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let writes = world.kubernetes_writes_after(1).await?.len();

    let cluster = Arc::get_mut(&mut world.cluster).context("the cluster is shared")?;
    cluster.control_plane.kill_api_server().await;
    cluster.control_plane.start_api_server().await?;

    // A second binding becomes ready: the operator is back at work.
    world.service_account("api").await?;
    world.grant("api", &identity).await?;
    world.bind("api", "api", &identity).await?;
    world.ready("api").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    let of_web = world
        .kubernetes_writes_after(2)
        .await?
        .split_off(writes)
        .into_iter()
        .filter(|w| w.name == "web")
        .count();
    assert_eq!(of_web, 0);
    Ok(())
}
