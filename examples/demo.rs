//! The whole story in half a minute: `cargo run --example demo`.
//!
//! Starts a real kube-apiserver and an emulated Azure, installs the operator, and follows one
//! WorkloadIdentityBinding from its creation to its end. What counts is what the workload sees: after each
//! step it exchanges its own ServiceAccount token at Entra, as an Azure SDK in a pod does.
//!
//! Needs Rust and Go, nothing else, and leaves nothing behind.

#[path = "demo/screen.rs"]
mod screen;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Identity, Latency};
use clap::Parser as _;
use screen::{Screen, Turns};
use tokio::signal::unix::{SignalKind, signal};
use wib_harness::world::bindings::{condition, is_ready};
use wib_harness::{Cluster, Operator, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

/// Watch a ServiceAccount being trusted by an Azure managed identity, and distrusted again.
///
/// Kubernetes is real (built with Go on the first run, about 5 minutes; or taken from KUBEBUILDER_ASSETS),
/// Azure is emulated. Nothing leaves this machine.
#[derive(clap::Parser)]
struct Options {
    /// Leave everything up at the end and say how to look around, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// What a tenant writes: this identity, that ServiceAccount.
fn sample(identity: &Identity) -> String {
    format!(
        "apiVersion: workload-identity.io/v1alpha1\n\
         kind: WorkloadIdentityBinding\n\
         metadata:\n  name: web\n\
         spec:\n  identity:\n    resourceId: {}\n  serviceAccount:\n    name: web\n",
        identity.resource_id
    )
}

async fn demo(screen: &Screen, options: &Options) -> Result<()> {
    screen.step("Kubernetes and Azure");
    let cluster = Cluster::start().await?;
    let world = World::named(Arc::new(cluster), "shop").await?;
    // As slow as Azure is, so that there is something to see.
    world.azure.knobs(|knobs| knobs.latency = Latency::realistic());
    screen.line("kube-apiserver", world.cluster.control_plane.url());
    screen.line("emulated Azure", world.azure.url());
    screen.line("token issuer", world.cluster.control_plane.issuer());

    screen.step("The operator logs in to Entra with its own ServiceAccount token");
    let operator = world.operator().await?;
    until_ready(&operator).await?;
    screen.line("/readyz", "ok");

    screen.step("A managed identity, and a workload that Entra does not know");
    let identity = world.identity("web");
    world.service_account("web").await?;
    screen.line("identity", &identity.client_id);
    screen.line("ServiceAccount", &format!("{}/web", world.namespace));
    exchange(screen, &world, &identity, false).await?;

    screen.step("A tenant asks for trust");
    screen.block(&sample(&identity));
    let binding: WorkloadIdentityBinding = serde_yaml::from_str(&sample(&identity))?;
    world
        .bindings()
        .create(&kube::api::PostParams::default(), &binding)
        .await?;
    let turns = Turns::default();
    world
        .wait("web", "refused", |binding| {
            turns.show(screen, binding);
            condition(binding, "Ready").is_some_and(|ready| ready.1 == "NotAuthorized")
        })
        .await?;
    exchange(screen, &world, &identity, false).await?;

    screen.step("The platform team grants the identity to that ServiceAccount");
    world.grant("web", &identity).await?;
    turns.restart();
    world
        .wait("web", "ready", |binding| {
            turns.show(screen, binding);
            is_ready(binding)
        })
        .await?;
    exchange(screen, &world, &identity, true).await?;

    screen.step("What stands in the cluster now");
    screen.block(&kubectl_get(&world).await?);
    let account = world.service_accounts().get("web").await?;
    for (key, value) in account.metadata.annotations.unwrap_or_default() {
        screen.line("annotation", &format!("{key}: {value}"));
    }
    if options.keep {
        return keep(screen, &world, &identity, operator).await;
    }

    screen.step("The binding is deleted, and the trust with it");
    let started = Instant::now();
    world.delete("web").await?;
    screen.line("gone", &format!("after {:.1} s", started.elapsed().as_secs_f64()));
    exchange(screen, &world, &identity, false).await?;

    screen.step("What it cost");
    operator.stop().await?;
    let mut calls = world.azure.journal();
    calls.retain(|call| call.operation.is_arm());
    let calls = calls.iter().map(|call| format!("{:?}", call.operation));
    screen.line("Azure calls", &screen::tally(calls));
    let writes = world.kubernetes_writes()?.into_iter();
    let writes = writes.map(|write| format!("{} {}", write.verb, write.resource));
    screen.line("Kubernetes writes", &screen::tally(writes));
    println!("\nNothing is left behind. With --keep everything stays up for you to look around.");
    Ok(())
}

/// Leaves everything up until Ctrl-C.
async fn keep(screen: &Screen, world: &World, identity: &Identity, mut operator: Operator) -> Result<()> {
    let [kubeconfig, ca] = ["admin.kubeconfig", "ca.pem"].map(|name| world.directory().join(name));
    let admin = serde_yaml::to_string(&world.cluster.control_plane.kubeconfig())?;
    std::fs::write(&kubeconfig, admin)?;
    screen.step("Yours until Ctrl-C");
    screen.line("KUBECONFIG", &kubeconfig.display().to_string());
    screen.line("Azure and Entra", world.azure.url());
    screen.line("CA of both", &ca.display().to_string());
    screen.line("tenant", world.azure.tenant_id());
    screen.line("identity web", &identity.client_id);
    screen.line("identity operator", &world.operator_identity.client_id);
    screen.line("operator", &format!("http://{}/metrics", operator.address()));
    screen.block(&format!(
        "export KUBECONFIG={kubeconfig}\n\
         kubectl -n shop get wib web -o yaml\n\
         kubectl -n shop describe wib web\n\
         kubectl delete clusterrolebinding wib-shop-web-web    # takes the grant back\n\
         kubectl -n shop delete wib web\n\
         curl --cacert {ca} {url}/{tenant}/oauth2/v2.0/token \\\n  \
           -d grant_type=client_credentials -d client_id={client} -d scope={url}/.default \\\n  \
           -d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \\\n  \
           -d client_assertion=$(kubectl -n shop create token web --audience api://AzureADTokenExchange)",
        kubeconfig = kubeconfig.display(),
        ca = ca.display(),
        url = world.azure.url(),
        tenant = world.azure.tenant_id(),
        client = identity.client_id,
    ));
    loop {
        // Its tokens live for an hour; a kubelet would rotate them.
        tokio::time::sleep(Duration::from_mins(30)).await;
        world.write_operator_files().await?;
        operator.stop().await?;
        operator = world.operator().await?;
    }
}

/// Waits as a readiness probe does.
async fn until_ready(operator: &Operator) -> Result<()> {
    let started = Instant::now();
    loop {
        let (status, body) = operator.get("/readyz").await.context("the operator has ended")?;
        if status == 200 {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "the operator is not ready: {body}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The workload exchanges its token at Entra; fails unless the answer is the expected one.
async fn exchange(screen: &Screen, world: &World, identity: &Identity, expected: bool) -> Result<()> {
    let answer = world.exchange("web", &identity.client_id).await?;
    ensure!(answer.is_ok() == expected, "Entra did not answer as expected");
    match answer {
        Ok(token) => screen.good(
            "Entra",
            &format!("accepts the workload, token for {} s", token.expires_in),
        ),
        Err(refusal) => {
            let text = refusal.description.lines().next().unwrap_or_default().to_owned();
            screen.bad("Entra", &format!("refuses the workload: {text}"));
        }
    }
    Ok(())
}

/// What `kubectl get workloadidentitybindings` prints: the API server makes the table.
async fn kubectl_get(world: &World) -> Result<String> {
    let path = "/apis/workload-identity.io/v1alpha1/namespaces/shop/workloadidentitybindings";
    let request = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    Ok(screen::table(
        &world.admin().request(request.body(Vec::new())?).await?,
    ))
}

/// Returns when somebody wants us to stop.
async fn stopped() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let screen = Screen::new();
            let result = runtime.block_on(async {
                // Whatever is left when a signal comes is dropped here, and cleans up as it goes.
                tokio::select! {
                    result = demo(&screen, &options) => result,
                    result = stopped() => result.inspect(|()| println!("\nStopped; nothing is left behind.")),
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(2));
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
