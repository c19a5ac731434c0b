//! Two tenants on one identity: whatever fails, nothing of the one is told to the other.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Fault, FaultAction, Identity, Operation};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use wib_harness::{AUDIENCE, Cluster, Program, World};

use crate::process::WIB;
use crate::runner;

/// In every name, subject, issuer and text of the other tenant.
const MARK: &str = "kassandra";

/// Everything that a tenant can read, or is sent from the log.
#[derive(Default)]
struct Read(Vec<String>);

impl Read {
    async fn statuses(&mut self, world: &World) -> Result<()> {
        for binding in world.bindings().list(&ListParams::default()).await?.items {
            self.0.push(serde_json::to_string(&binding.status)?);
        }
        Ok(())
    }

    async fn events(&mut self, world: &World) -> Result<()> {
        let events: Api<Event> = Api::namespaced(world.admin(), &world.namespace);
        for event in events.list(&ListParams::default()).await?.items {
            self.0.push(format!("{:?} {:?}", event.reason, event.note));
        }
        Ok(())
    }

    fn log(&mut self, log: &str, namespace: &str) {
        let about = log.lines().filter(|line| line.contains(namespace));
        self.0.extend(about.map(str::to_owned));
    }
}

fn foreign(n: usize) -> Credential {
    Credential {
        name: format!("{MARK}-{n}"),
        issuer: format!("https://{MARK}.example/{n}"),
        subject: format!("system:serviceaccount:{MARK}:{MARK}-{n}"),
        audiences: vec![AUDIENCE.to_owned()],
    }
}

/// An answer whose every word is about somebody else.
fn telling(status: u16, code: &str, text: &str) -> FaultAction {
    FaultAction::Status {
        status,
        code: code.to_owned(),
        message: format!("Resource '{MARK}' of client '{MARK}': {text} '{MARK}' https://{MARK}.example"),
        headers: vec![("x-ms-request-id".to_owned(), MARK.to_owned())],
    }
}

fn answers() -> Vec<(&'static str, FaultAction)> {
    let of = telling;
    vec![
        ("AzureRejected", of(400, "BadRequest", "wrong")),
        ("AzureRejected", of(400, &format!("/{MARK}/"), "wrong")),
        (
            "AzureLoginFailed",
            of(401, "InvalidAuthenticationToken", "expired"),
        ),
        ("AzureAccessDenied", of(403, "AuthorizationFailed", "no right")),
        ("PolicyDenied", of(403, "RequestDisallowedByPolicy", "denied by")),
        ("IdentityNotFound", of(404, "ResourceNotFound", "not found")),
        ("IdentityNotFound", of(404, "ResourceGroupNotFound", "not found")),
        (
            "SubscriptionNotFound",
            of(404, "SubscriptionNotFound", "not found"),
        ),
        ("AzureUnavailable", of(404, "Mystery", "not found")),
        ("RegionNotSupported", of(405, "MethodNotAllowed", "not here")),
        (
            "WriteContended",
            of(
                409,
                "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
                "busy",
            ),
        ),
        (
            "CredentialConflict",
            of(
                409,
                "Conflict",
                "Issuer and subject combination already exists for this Managed Identity",
            ),
        ),
        ("ResourceLocked", of(409, "ScopeLocked", "locked by")),
        ("AzureUnavailable", of(409, "Mystery", "no")),
        ("AzureUnavailable", of(500, "InternalServerError", "oh")),
        ("AzureUnavailable", of(503, "ServiceUnavailable", "oh")),
    ]
}

pub async fn nothing_of_one_tenant_reaches_another() -> Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    let world = World::named(cluster.clone(), "tenant-a").await?;
    let other = world.beside(cluster, &format!("{MARK}-b")).await?;
    let shared = world.identity("shared");
    let secret = world.identity(&format!("{MARK}-identity"));
    let account = format!("{MARK}-sa");
    other.service_account(&account).await?;
    other.grant(&account, &shared).await?;
    other.grant(&account, &secret).await?;
    let all = world.operator_arguments(&["--watch-namespace=", "--drift-interval=300ms"]);
    let environment = [
        ("WIB_LOG_LEVEL", "workload_identity_binding=trace,info"),
        ("WIB_LOG_FORMAT", "json"),
    ];
    let mut program = Program::start(Path::new(WIB), &all[1..], &environment)?;
    program.ready().await?;
    other.bind(MARK, &account, &shared).await?;
    other.ready(MARK).await?;
    for n in 0..3 {
        world.azure.put_credential(&shared.resource_id, foreign(n));
    }

    let mut read = Read::default();
    let cases = answers();
    let count = cases.len();
    for (n, (reason, action)) in cases.into_iter().enumerate() {
        let name = format!("web-{n}");
        world.service_account(&name).await?;
        world.grant(&name, &shared).await?;
        let operation = if reason == "AzureUnavailable" {
            Operation::ListCredentials
        } else {
            Operation::PutCredential
        };
        world
            .azure
            .fault(Fault::on(operation).path("/shared/").always().action(action));
        world.bind(&name, &name, &shared).await?;
        world
            .not_ready(&name, reason)
            .await
            .with_context(|| format!("case {n}"))?;
        read.statuses(&world).await?;
        world.azure.clear_faults();
        world.delete(&name).await?;
    }
    deeds(&world, &shared, &mut read).await?;
    read.events(&world).await?;
    let ended = program.terminate().await?;
    read.log(&ended.log, &world.namespace);

    ensure!(ended.log.contains(MARK), "the log says nothing of Azure's words");
    ensure!(read.0.len() > 100, "only {} texts", read.0.len());
    let client = [
        &secret.client_id,
        &secret.principal_id,
        &other.operator_identity.client_id,
    ];
    let marks = [MARK].into_iter().chain(client.map(String::as_str));
    for mark in marks {
        let found = read.0.iter().find(|text| text.to_lowercase().contains(mark));
        ensure!(found.is_none(), "{mark} was told: {found:?}");
    }
    other.assert_accepted(&account, &shared.client_id).await?;
    runner::figure(format!("hostile: secrecy over {count} answers of Azure, 0 leaks"));
    Ok(())
}

/// A full identity, a deletion that fails, and an identity that is not granted.
async fn deeds(world: &World, shared: &Identity, read: &mut Read) -> Result<()> {
    world.service_account("late").await?;
    world.grant("late", shared).await?;
    for n in 0..19 {
        world.azure.put_credential(&shared.resource_id, foreign(n));
    }
    world.bind("late", "late", shared).await?;
    world.stalled("late", "CredentialLimitReached").await?;
    read.statuses(world).await?;
    world
        .azure
        .delete_credential(&shared.resource_id, &foreign(0).name);
    world.ready("late").await?;

    let denied = telling(403, "AuthorizationFailed", "no right");
    let fault = Fault::on(Operation::DeleteCredential).path("/shared/").always();
    world.azure.fault(fault.action(denied));
    world.bindings().delete("late", &DeleteParams::default()).await?;
    world.not_ready("late", "AzureAccessDenied").await?;
    read.statuses(world).await?;
    world.azure.clear_faults();
    world.gone("late").await?;

    let spec =
        json!({ "identity": { "resourceId": shared.resource_id }, "serviceAccount": { "name": "none" } });
    world.create("none", spec).await?;
    world.stalled("none", "NotAuthorized").await?;
    read.statuses(world).await
}
