//! Rights that the operator loses and gets back: nobody is taken a credential away because of it, it says what it lacks,
//! and it goes on when it may.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::cluster::OPERATOR_USER;
use wib_harness::world::bindings::{condition, is_ready};
use wib_harness::{Cluster, Program, World};

use crate::process::WIB;
use crate::runner::{figure, trials};

trials![alone lost_rights_are_told_and_take_nothing_away];

const ROLE: &str = "workload-identity-binding";

/// A right of the operator.
struct Right {
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    verb: &'static str,
}

impl Right {
    const fn new(group: &'static str, resource: &'static str, verb: &'static str) -> Self {
        Self {
            group,
            resource,
            subresource: "",
            verb,
        }
    }

    fn rule(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// Waits until the API server's authorizer has heard of the change.
    async fn is_there(&self, world: &World, wanted: bool) -> Result<()> {
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "spec": {
                "user": OPERATOR_USER,
                "resourceAttributes": {
                    "group": self.group, "resource": self.resource, "subresource": self.subresource,
                    "verb": self.verb, "namespace": "",
                },
            },
        }))?;
        let reviews: Api<SubjectAccessReview> = Api::all(world.admin());
        for _ in 0..400 {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            if answer.status.is_some_and(|s| s.allowed == wanted) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        anyhow::bail!("the change of rights has not taken effect after 10 s")
    }
}

/// Takes rights away; the role as it was is for giving them back.
async fn withdraw(world: &World, rights: &[Right]) -> Result<ClusterRole> {
    let roles: Api<ClusterRole> = Api::all(world.admin());
    let whole = roles.get(ROLE).await?;
    let mut less = whole.clone();
    for rule in less.rules.iter_mut().flatten() {
        for right in rights {
            if rule.resources.iter().flatten().any(|r| *r == right.rule()) {
                rule.verbs.retain(|verb| verb != right.verb);
            }
        }
    }
    less.rules
        .iter_mut()
        .for_each(|rules| rules.retain(|rule| !rule.verbs.is_empty()));
    roles.replace(ROLE, &PostParams::default(), &less).await?;
    for right in rights {
        right.is_there(world, false).await?;
    }
    Ok(whole)
}

async fn give_back(world: &World, whole: &ClusterRole, rights: &[Right]) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(world.admin());
    let mut role = roles.get(ROLE).await?;
    role.rules.clone_from(&whole.rules);
    roles.replace(ROLE, &PostParams::default(), &role).await?;
    for right in rights {
        right.is_there(world, true).await?;
    }
    Ok(())
}

/// A program on a cluster whose roles may be changed, with one binding in order.
struct Scene {
    world: World,
    program: Program,
    client_id: String,
}

impl Scene {
    async fn new(cluster: &Arc<Cluster>, flags: &[&str]) -> Result<Self> {
        let world = World::new(cluster.clone()).await?;
        let mut program = Program::start(Path::new(WIB), &world.operator_arguments(flags)[1..], &[])?;
        program.ready().await?;
        let client_id = world.workload("old").await?.client_id;
        let identity = world
            .azure
            .identities()
            .into_iter()
            .find(|i| i.client_id == client_id);
        world
            .bind("old", "old", &identity.context("no identity")?)
            .await?;
        world.ready("old").await?;
        Ok(Self {
            world,
            program,
            client_id,
        })
    }

    /// What was in order is so, and Azure was written this often. Nothing in the log is an error, or a flood.
    async fn ends(self, puts: usize, deletes: usize) -> Result<usize> {
        let world = &self.world;
        world.wait("old", "ready", is_ready).await?;
        world.assert_accepted("old", &self.client_id).await?;
        assert_eq!(world.azure.count(Operation::PutCredential), puts);
        assert_eq!(world.azure.count(Operation::DeleteCredential), deletes);
        assert_eq!(self.program.get("/readyz").await?.0, 200);
        let log = self.program.log()?;
        ensure!(!log.contains("ERROR"), "{log}");
        Ok(log.matches("WARN").count())
    }
}

/// All in one cluster, one after the other: they change what the operator may do everywhere.
async fn lost_rights_are_told_and_take_nothing_away() -> Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    let warnings = [
        ("status", status(&cluster).await.context("status")?),
        ("records", records(&cluster).await.context("records")?),
        (
            "ServiceAccounts",
            service_accounts(&cluster).await.context("serviceaccounts")?,
        ),
        ("reviews", reviews(&cluster).await.context("reviews")?),
        ("watches", watches(&cluster).await.context("watches")?),
    ];
    for (what, count) in warnings {
        ensure!((1..=60).contains(&count), "{count} warnings about {what}");
    }
    figure(format!(
        "kubernetes faults: 9 rights lost and given back, warnings: {warnings:?}"
    ));
    Ok(())
}

async fn status(cluster: &Arc<Cluster>) -> Result<usize> {
    let scene = Scene::new(cluster, &[]).await?;
    let world = &scene.world;
    let rights = [Right {
        subresource: "status",
        ..Right::new("workload-identity.io", "workloadidentitybindings", "patch")
    }];
    let whole = withdraw(world, &rights).await?;
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;
    let refused = || {
        let writes = world.kubernetes_writes().unwrap_or_default();
        writes
            .iter()
            .filter(|w| w.name == "web" && w.status == 403)
            .count()
    };
    world
        .until("the status is refused several times", || refused() >= 4)
        .await?;
    // A status is a report: what cannot be told is done all the same, once.
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    world.assert_accepted("web", &identity.client_id).await?;
    give_back(world, &whole, &rights).await?;
    world.ready("web").await?;
    let log = scene.program.log()?;
    ensure!(
        log.contains("cannot write the binding's status") && log.contains("forbidden"),
        "{log}"
    );
    scene.ends(2, 0).await
}

async fn records(cluster: &Arc<Cluster>) -> Result<usize> {
    let scene = Scene::new(cluster, &[]).await?;
    let world = &scene.world;
    let rights = [Right {
        subresource: "status",
        ..Right::new("workload-identity.io", "managedidentities", "update")
    }];
    let whole = withdraw(world, &rights).await?;
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;
    let told = world.not_ready("web", "KubernetesUnavailable").await?;
    let message = condition(&told, "Ready").context("no condition")?.2;
    ensure!(
        message.contains("the record of the identity") && message.contains("forbidden"),
        "{message}"
    );
    // What cannot be put on record is not written.
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    give_back(world, &whole, &rights).await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    scene.ends(2, 0).await
}

async fn service_accounts(cluster: &Arc<Cluster>) -> Result<usize> {
    let scene = Scene::new(cluster, &[]).await?;
    let world = &scene.world;
    let leaving = world.workload("leaving").await?;
    world.bind("leaving", "leaving", &leaving).await?;
    world.ready("leaving").await?;
    let rights = [Right::new("", "serviceaccounts", "patch")];
    let whole = withdraw(world, &rights).await?;
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;
    world
        .bindings()
        .delete("leaving", &DeleteParams::default())
        .await?;
    for name in ["web", "leaving"] {
        let binding = world.not_ready(name, "KubernetesUnavailable").await?;
        let message = condition(&binding, "Ready").context("no condition")?.2;
        ensure!(
            message.contains(&format!("cannot write ServiceAccount {}/{name}", world.namespace))
                && message.contains("forbidden"),
            "{message}"
        );
    }
    // Trust first: what is left on the ServiceAccount opens nothing.
    assert_eq!(world.azure.credentials(&leaving.resource_id), []);
    give_back(world, &whole, &rights).await?;
    world.ready("web").await?;
    world.gone("leaving").await?;
    assert_eq!(
        world
            .annotation("leaving", "azure.workload.identity/client-id")
            .await?,
        None
    );
    scene.ends(3, 1).await
}

async fn reviews(cluster: &Arc<Cluster>) -> Result<usize> {
    let scene = Scene::new(cluster, &["--drift-interval=500ms", "--max-retry-interval=1s"]).await?;
    let world = &scene.world;
    let rights = [Right::new(
        "authorization.k8s.io",
        "subjectaccessreviews",
        "create",
    )];
    let whole = withdraw(world, &rights).await?;
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;
    let check = "AuthorizationCheckFailed";
    world.not_ready("web", check).await?;
    // One that was in order is told of later, as not known, and keeps what it has.
    let old = world
        .wait("old", "not known", |b| {
            condition(b, "Ready").is_some_and(|c| c.0 != "True")
        })
        .await?;
    let (status, reason, message) = condition(&old, "Ready").context("no condition")?;
    assert_eq!((status, reason), ("Unknown", check));
    ensure!(message.contains("forbidden"), "{message}");
    world.assert_accepted("old", &scene.client_id).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    give_back(world, &whole, &rights).await?;
    world.ready("web").await?;
    scene.ends(2, 0).await
}

async fn watches(cluster: &Arc<Cluster>) -> Result<usize> {
    let scene = Scene::new(cluster, &["--watch-timeout=1s", "--slow-retry-interval=10m"]).await?;
    let world = &scene.world;
    let revoked = world.workload("revoked").await?;
    world.bind("revoked", "revoked", &revoked).await?;
    world.ready("revoked").await?;
    let rbac = "rbac.authorization.k8s.io";
    let rights = [
        Right::new("workload-identity.io", "workloadidentitybindings", "list"),
        Right::new("workload-identity.io", "workloadidentitybindings", "watch"),
        Right::new(rbac, "clusterroles", "list"),
        Right::new(rbac, "clusterroles", "watch"),
        Right::new(rbac, "clusterrolebindings", "watch"),
    ];
    let whole = withdraw(world, &rights).await?;
    for what in ["bindings", "ClusterRoles", "ClusterRoleBindings"] {
        let told = format!("the watch of {what} was interrupted");
        let said = || scene.program.log().is_ok_and(|log| log.contains(&told));
        world.until(&told, said).await?;
    }
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;
    world.revoke("revoked", &revoked).await?;
    assert_eq!(scene.program.get("/readyz").await?.0, 200);
    give_back(world, &whole, &rights).await?;
    world.ready("web").await?;
    world.stalled("revoked", "NotAuthorized").await?;
    assert_eq!(world.azure.credentials(&revoked.resource_id), []);
    scene.ends(3, 1).await
}
