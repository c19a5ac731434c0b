//! The operator's whole life with nothing but the rights that a chart or `config/` gives it. The pod's spec says how it
//! runs; the audit log says what it asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};
use kube::{CustomResourceExt as _, ResourceExt as _};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::cluster::{OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT};
use wib_harness::world::RESOURCE_GROUP;
use wib_harness::world::bindings::{condition, is_ready};
use wib_harness::{Cluster, Pod, Program, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::helm::{IDS, Release, one};
use super::rights;
use crate::process::WIB;
use crate::runner::figure;

/// Namespace of the bindings.
const SHOP: &str = "shop";

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;

const CLIENT_ID: &str = "azure.workload.identity/client-id";

/// So that what passes by itself passes soon.
const QUICK: [&str; 2] = [
    "--set-json=extraArgs=[\"--max-retry-interval=3s\",\"--slow-retry-interval=1s\"]",
    "--set=leaderElection.leaseDuration=3s",
];

/// An installation: a cluster with it, and its pods.
pub struct Stage {
    pub world: World,
    pub objects: Vec<Value>,
    replicas: Vec<(Pod, Program)>,
}

impl Stage {
    /// Installs the chart with these flags, and upgrades it to the ids of the world's Azure.
    pub async fn chart(flags: &[&str]) -> Result<Self> {
        let flags: Vec<String> = QUICK.iter().chain(flags).map(|&f| f.to_owned()).collect();
        let first = Release::usual(&[&flags[..], &IDS.map(str::to_owned)].concat());
        let world = Self::world(&first.objects().await?).await?;
        let ids = [
            format!("--set=azure.clientId={}", world.operator_identity.client_id),
            format!("--set=azure.tenantId={}", world.azure.tenant_id()),
            format!("--set=azure.subscriptionId={}", world.azure.subscription_id()),
            format!("--set=azure.resourceGroup={RESOURCE_GROUP}"),
        ];
        let objects = Release::usual(&[flags, ids.into()].concat()).objects().await?;
        world.cluster.apply(&objects).await?;
        Self::with(world, objects).await
    }

    /// Installs what `config/default` makes.
    async fn config() -> Result<Self> {
        let mut objects = super::consistency::config().await?;
        let world = Self::world(&objects).await?;
        let settings = objects
            .iter_mut()
            .find(|o| o["kind"] == "ConfigMap" && o["data"]["AZURE_CLIENT_ID"].is_string());
        let data = &mut settings.context("config/default makes no settings")?["data"];
        for (name, value) in [
            ("AZURE_CLIENT_ID", world.operator_identity.client_id.as_str()),
            ("AZURE_TENANT_ID", world.azure.tenant_id()),
            ("AZURE_SUBSCRIPTION_ID", world.azure.subscription_id()),
            ("WIB_RESOURCE_GROUP", RESOURCE_GROUP),
            ("WIB_LEASE_DURATION", "3s"),
            ("WIB_MAX_RETRY_INTERVAL", "3s"),
            ("WIB_SLOW_RETRY_INTERVAL", "1s"),
        ] {
            data[name] = value.into();
        }
        world.cluster.apply(&objects).await?;
        Self::with(world, objects).await
    }

    async fn world(objects: &[Value]) -> Result<World> {
        let shop = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SHOP } });
        let cluster = Cluster::start_from(&[&[shop], objects].concat()).await?;
        World::named(Arc::new(cluster), SHOP).await
    }

    async fn with(world: World, objects: Vec<Value>) -> Result<Self> {
        let mut stage = Self {
            world,
            objects,
            replicas: Vec::new(),
        };
        for _ in 0..stage.wanted()? {
            stage.start().await?;
        }
        Ok(stage)
    }

    fn wanted(&self) -> Result<u64> {
        let replicas = one(&self.objects, "Deployment")?["spec"]["replicas"].as_u64();
        replicas.context("no number of replicas")
    }

    /// Starts one more pod of the Deployment, and waits until it is ready.
    async fn start(&mut self) -> Result<()> {
        let spec = &one(&self.objects, "Deployment")?["spec"]["template"]["spec"];
        let spec: PodSpec = serde_json::from_value(spec.clone())?;
        assert_eq!(
            spec.service_account_name.as_deref(),
            Some(OPERATOR_SERVICE_ACCOUNT)
        );
        let (cluster, name) = (&self.world.cluster, format!("operator-{}", uuid::Uuid::new_v4()));
        let pod = Pod::new(cluster, &spec, OPERATOR_NAMESPACE, &name).await?;
        let mut program = pod.start(Path::new(WIB), cluster, &self.world.azure)?;
        program.ready().await?;
        self.replicas.push((pod, program));
        Ok(())
    }

    /// Ends the leader, by force or as a rolling update does, and starts another pod.
    async fn replace(&mut self, by_force: bool) -> Result<()> {
        let leader = self.leader().await?;
        let (_pod, leader) = self.replicas.swap_remove(leader);
        if by_force {
            drop(leader);
        } else {
            let ended = leader.terminate().await?;
            assert_eq!(ended.code, Some(0), "{}", ended.log);
        }
        self.start().await
    }

    /// Waits for a pod that leads.
    async fn leader(&self) -> Result<usize> {
        for _ in 0..600 {
            for (index, (_pod, program)) in self.replicas.iter().enumerate() {
                if program.get("/readyz").await? == (200, "ok".to_owned()) {
                    return Ok(index);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("nobody leads after 30 s")
    }

    /// Everything that an operator does. Answers which calls of the API server that took.
    async fn live(mut self, authorization: bool) -> Result<String> {
        let lived = self.steps(authorization).await;
        lived.with_context(|| match self.world.cluster.calls() {
            Ok(calls) => format!("refused by the API server: {:#?}", rights::refused(&calls)),
            Err(error) => format!("no calls: {error:#}"),
        })?;
        self.judge().await
    }

    async fn steps(&mut self, authorization: bool) -> Result<()> {
        let web = self.world.workload("web").await?;
        self.by_name("web", json!({ "name": "web" }), "Delete").await?;
        for (name, policy) in [("made", "Delete"), ("kept", "Retain")] {
            let identity = self.world.identity(name);
            self.world.grant(name, &identity).await?;
            self.by_name(name, json!({ "name": name, "create": true }), policy)
                .await?;
        }
        let world = &self.world;
        let client_id = world.annotation("web", CLIENT_ID).await?;
        assert_eq!(client_id.as_ref(), Some(&web.client_id));
        // The same event twice is one with a count.
        for _ in 0..2 {
            world
                .change("web", json!({ "spec": { "suspend": true } }))
                .await?;
            world.wait("web", "suspended", is_suspended).await?;
            world
                .change("web", json!({ "spec": { "suspend": false } }))
                .await?;
            world
                .wait("web", "resumed", |b| is_ready(b) && !is_suspended(b))
                .await?;
        }
        if authorization {
            world.revoke("web", &web).await?;
            world.stalled("web", "NotAuthorized").await?;
            world.assert_refused("web", &web.client_id, NO_CREDENTIAL).await?;
            world.grant("web", &web).await?;
            world.ready("web").await?;
        }
        self.replace(true).await?;
        self.replace(false).await?;
        let world = &self.world;
        world.delete("web").await?;
        world.assert_refused("web", &web.client_id, NO_CREDENTIAL).await?;
        assert_eq!(world.annotation("web", CLIENT_ID).await?, None);
        world.delete("kept").await?;
        self.still_in("kept").await?;
        let crds: Api<CustomResourceDefinition> = Api::all(world.admin());
        let name = WorkloadIdentityBinding::crd_name();
        crds.delete(name, &DeleteParams::default()).await?;
        for _ in 0..600 {
            if crds.get_opt(name).await?.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(crds.get_opt(name).await?.is_none(), "the definition hangs");
        self.still_in("made").await
    }

    /// Creates a binding that names its identity, whose group and subscription are the operator's defaults.
    async fn by_name(&self, name: &str, account: Value, policy: &str) -> Result<()> {
        let spec =
            json!({ "identity": { "name": name }, "serviceAccount": account, "deletionPolicy": policy });
        self.world.create(name, spec).await?;
        self.world.ready(name).await?;
        let identity = self.world.at(name);
        self.world.assert_accepted(name, &identity.client_id).await
    }

    /// The ServiceAccount that the operator made is there, and belongs to nobody; its workload has its access.
    async fn still_in(&self, name: &str) -> Result<()> {
        let account = self.world.service_accounts().get(name).await?;
        ensure!(account.owner_references().is_empty(), "{account:#?}");
        let identity = self.world.at(name);
        self.world.assert_accepted(name, &identity.client_id).await
    }

    async fn judge(&self) -> Result<String> {
        let rights = rights::of_operator(&self.objects);
        ensure!(!rights.is_empty(), "no rights at all");
        let verdict = || rights::assert_enough_and_none_too_many(&rights, &self.world.cluster.calls()?);
        // Events go by themselves.
        let complete = || verdict().is_ok();
        let _ = self.world.until("every right is used", complete).await;
        verdict()
    }
}

fn is_suspended(binding: &WorkloadIdentityBinding) -> bool {
    is_ready(binding) && condition(binding, "Ready").is_some_and(|c| c.1 == "Suspended")
}

pub async fn the_rights_of_the_chart_are_enough_and_none_too_many() -> Result<()> {
    let calls = Stage::chart(&[]).await?.live(true).await?;
    figure(format!(
        "chart: {calls} with the rights of the chart, none refused"
    ));
    Ok(())
}

pub async fn the_rights_within_one_namespace_are_enough_and_none_too_many() -> Result<()> {
    let stage = Stage::chart(&["--set=watchNamespace=shop"]).await?;
    let calls = stage.live(true).await?;
    figure(format!(
        "chart: {calls} with the rights within one namespace, none refused"
    ));
    Ok(())
}

pub async fn the_rights_without_authorization_and_election_are_enough_and_none_too_many() -> Result<()> {
    let stage = Stage::chart(&[
        "--set=authorization=none",
        "--set=leaderElection.enabled=false",
        "--set=replicaCount=1",
    ])
    .await?;
    stage.live(false).await.map(drop)
}

pub async fn the_rights_of_config_are_enough_and_none_too_many() -> Result<()> {
    let calls = Stage::config().await?.live(true).await?;
    figure(format!("chart: {calls} with the rights of config/, none refused"));
    Ok(())
}
