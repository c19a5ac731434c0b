//! An API server that dies, a network that falls silent, an answer that never ends, a token that is revoked: work goes
//! on where it was, nothing leaks, and there is one credential.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Fault, FaultAction, Operation};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use pretty_assertions::assert_eq;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wib_harness::cluster::{OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT};
use wib_harness::gate::Rule;
use wib_harness::world::bindings::is_ready;
use wib_harness::{Cluster, World};
use workload_identity_binding::runtime::client;
use workload_identity_binding::runtime::leader::Leadership;
use workload_identity_binding::runtime::metrics::Metrics;

use crate::runner::{figure, trials};

trials![
    alone an_api_server_that_is_killed_loses_nothing_and_leaks_nothing,
    shared a_partition_at_any_moment_is_outlived,
    shared a_token_that_is_revoked_is_replaced_from_its_file,
    alone an_answer_that_never_ends_is_given_up,
];

async fn kill(world: &mut World) -> Result<()> {
    let cluster = Arc::get_mut(&mut world.cluster).context("the cluster is shared")?;
    cluster.control_plane.kill_api_server().await;
    Ok(())
}

async fn revive(world: &mut World) -> Result<()> {
    let cluster = Arc::get_mut(&mut world.cluster).context("the cluster is shared")?;
    cluster.control_plane.start_api_server().await
}

async fn an_api_server_that_is_killed_loses_nothing_and_leaks_nothing() -> Result<()> {
    let mut world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;

    // Before the first visit: the operator starts against a port on which nobody listens.
    kill(&mut world).await?;
    let operator = world.operator_with(&["--startup-timeout=1m"]).await?;
    let slow = Duration::from_secs(2);
    world
        .azure
        .fault(Fault::on(Operation::PutCredential).action(FaultAction::DelayAfterCommit(slow)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(operator.get("/readyz").await?.0, 503);
    revive(&mut world).await?;

    let (azure, id) = (world.azure.clone(), identity.resource_id.clone());
    let held = move || azure.credentials(&id);
    // Between intent and end: the credential is written while the API server is away.
    world
        .until("the credential is written", || !held().is_empty())
        .await?;
    kill(&mut world).await?;
    tokio::time::sleep(slow).await;
    revive(&mut world).await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 1);

    // During the deletion.
    world
        .azure
        .fault(Fault::on(Operation::DeleteCredential).action(FaultAction::DelayAfterCommit(slow)));
    world.bindings().delete("web", &DeleteParams::default()).await?;
    world
        .until("the credential is deleted", || held().is_empty())
        .await?;
    kill(&mut world).await?;
    tokio::time::sleep(slow).await;
    revive(&mut world).await?;
    world.gone("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    assert_eq!(
        world
            .annotation("web", "azure.workload.identity/client-id")
            .await?,
        None
    );
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    ensure!(!operator.has_ended(), "the operator has ended");
    figure("kubernetes faults: API server killed at 3 moments: 1 credential, nothing left");
    Ok(())
}

/// Silence in both directions for three seconds, with one call or another under way.
async fn a_partition_at_any_moment_is_outlived(world: World) -> Result<()> {
    const LASTS: Duration = Duration::from_secs(3);
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let operator = world.operator_through(&gates, &["--watch-timeout=5s"]).await?;
    // Which call is under way, and whether in the binding's end.
    let moments = [
        ("k8s PATCH workloadidentitybindings", false),
        ("k8s POST subjectaccessreviews", false),
        ("k8s PATCH workloadidentitybindings/status", false),
        ("k8s PATCH serviceaccounts", false),
        ("k8s PATCH serviceaccounts", true),
        ("k8s PATCH workloadidentitybindings", true),
    ];
    for (index, (call, ending)) in moments.into_iter().enumerate() {
        let name = format!("web-{index}");
        let identity = world.workload(&name).await?;
        if ending {
            world.bind(&name, &name, &identity).await?;
            world.ready(&name).await?;
        }
        let parked = gate.rule(Rule::on(call).park_after_commit());
        if ending {
            world.bindings().delete(&name, &DeleteParams::default()).await?;
        } else {
            world.bind(&name, &name, &identity).await?;
        }
        parked
            .reached()
            .await
            .with_context(|| format!("{call} is never called"))?;
        gate.freeze();
        parked.release();
        tokio::time::sleep(LASTS).await;
        gate.thaw();
        if ending {
            world.gone(&name).await?;
        } else {
            world.ready(&name).await?;
            world.assert_accepted(&name, &identity.client_id).await?;
            world.delete(&name).await?;
        }
        assert_eq!(world.azure.credentials(&identity.resource_id), [], "{call}");
    }
    assert_eq!(world.azure.count(Operation::PutCredential), moments.len());
    assert_eq!(world.azure.count(Operation::DeleteCredential), moments.len());
    assert_eq!(operator.get("/readyz").await?.0, 200);
    figure("kubernetes faults: partition of 3 s at 6 moments: 1 credential each, nothing left");
    Ok(())
}

/// A token of the operator that is good for as long as a Secret is there.
async fn bound_token(world: &World, secret: &str) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(world.admin(), OPERATOR_NAMESPACE);
    let body = serde_json::from_value(json!({ "metadata": { "name": secret } }))?;
    let uid = secrets.create(&PostParams::default(), &body).await?.metadata.uid;
    let request: TokenRequest = serde_json::from_value(json!({
        "metadata": {},
        "spec": {
            "audiences": [], "expirationSeconds": 3600,
            "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": secret, "uid": uid },
        },
    }))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(world.admin(), OPERATOR_NAMESPACE);
    let answer = accounts
        .create_token_request(OPERATOR_SERVICE_ACCOUNT, &PostParams::default(), &request)
        .await?;
    Ok(answer.status.context("no token")?.token)
}

async fn a_token_that_is_revoked_is_replaced_from_its_file(world: World) -> Result<()> {
    let secret = format!("{}-first", world.namespace);
    let first = bound_token(&world, &secret).await?;
    let file = world.directory().join("rotating-token");
    std::fs::write(&file, &first)?;
    let control_plane = &world.cluster.control_plane;
    let mut kubeconfig = control_plane.kubeconfig_for_token("");
    let user = kubeconfig
        .auth_infos
        .first_mut()
        .and_then(|u| u.auth_info.as_mut());
    let user = user.context("no user")?;
    user.token = None;
    user.token_file = Some(file.display().to_string());
    let flag = world.write_kubeconfig("rotating", &kubeconfig)?;
    let operator = world
        .operator_with(&[&flag, "--watch-timeout=2s", "--drift-interval=2s"])
        .await?;
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;
    let before = world.ready("web").await?;

    // The new one lies in the file; the old one ends at once, which a kubelet would never do.
    let rotated = world.cluster.operator_token("").await?;
    std::fs::write(&file, rotated)?;
    let secrets: Api<Secret> = Api::namespaced(world.admin(), OPERATOR_NAMESPACE);
    secrets.delete(&secret, &DeleteParams::default()).await?;
    let started = Instant::now();
    let api = world.workload("api").await?;
    world.bind("api", "api", &api).await?;
    // The file is read once a minute.
    let end = started + Duration::from_secs(90);
    while !is_ready(&world.bindings().get("api").await?) {
        ensure!(Instant::now() < end, "the new token is not used after 90 s");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let after = world.ready("web").await?;
    assert_eq!(after.metadata.generation, before.metadata.generation);
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    ensure!(!operator.has_ended(), "the operator has ended");
    figure(format!(
        "kubernetes faults: token revoked: back after {:.0} s, nothing taken away",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The head comes, and then half a body and silence: nothing but the read timeout of the connection ends that.
async fn an_answer_that_never_ends_is_given_up() -> Result<()> {
    wib_harness::control_plane::install_crypto();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let half =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"major\":";
            let _ = stream.write_all(half.as_bytes()).await;
            open.push(stream);
        }
    });
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "clusters": [{ "name": "k", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "u", "user": {} }],
    });
    std::fs::write(&path, config.to_string())?;
    let cluster = client::Cluster::find(Some(&path), None, Duration::from_secs(1)).await?;
    let kubernetes = cluster.client(Leadership::always(), &Metrics::default().requests)?;
    let started = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(30), kubernetes.apiserver_version()).await;
    let error = answer
        .context("it still waits after 30 s")?
        .err()
        .context("half an answer was taken")?;
    let took = started.elapsed();
    ensure!(
        (Duration::from_secs(10)..Duration::from_secs(14)).contains(&took),
        "given up after {took:?}: {error}"
    );
    server.abort();
    Ok(())
}
