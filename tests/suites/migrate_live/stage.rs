//! A cluster with pod identity and workloads that use it, and somebody who migrates them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Identity;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde::Deserialize as _;
use serde_json::{Value, json};
use wib_harness::gate::{Call, Gate, Transport};
use wib_harness::program::Ended;
use wib_harness::{Cluster, Operator, Program, World};

use super::controllers::Controllers;

/// Namespace of whoever migrates, and of identities that pods elsewhere use.
pub const PLATFORM: &str = "platform";

/// Name of the webhook's configuration.
pub const WEBHOOK: &str = "azure-wi-webhook-mutating-webhook-configuration";

/// A kind: group, version, kind.
pub type Kind = (&'static str, &'static str, &'static str);

pub const POD_IDENTITY: &str = "aadpodidentity.k8s.io";
pub const DEPLOYMENT: Kind = ("apps", "v1", "Deployment");
pub const STATEFUL_SET: Kind = ("apps", "v1", "StatefulSet");
pub const CRON_JOB: Kind = ("batch", "v1", "CronJob");
pub const SERVICE_ACCOUNT: Kind = ("", "v1", "ServiceAccount");
pub const JOB: Kind = ("batch", "v1", "Job");
pub const POD: Kind = ("", "v1", "Pod");
pub const IDENTITY: Kind = (POD_IDENTITY, "v1", "AzureIdentity");
pub const BINDING: Kind = (POD_IDENTITY, "v1", "AzureIdentityBinding");
pub const CLASS: Kind = ("secrets-store.csi.x-k8s.io", "v1", "SecretProviderClass");
pub const CONFIG_MAP: Kind = ("", "v1", "ConfigMap");

/// A world with pod identity, and a gate that counts what the command writes.
pub struct Stage {
    pub world: World,
    pub gate: Gate,
    pub controllers: Controllers,
    _operator: Operator,
    kubeconfig: String,
}

impl Stage {
    /// A cluster of its own: definitions and bindings of pod identity are seen by all namespaces.
    pub async fn new() -> Result<Self> {
        Self::set(&role()?, true).await
    }

    /// The same with the Deployment `web` that uses the identity `web`.
    pub async fn with_web() -> Result<Self> {
        let stage = Self::new().await?;
        stage.pod_identity("shop", "web", "web").await?;
        stage.workload(DEPLOYMENT, "web", "web", |_| {}).await?;
        Ok(stage)
    }

    /// The same without the definitions of pod identity.
    pub async fn without_pod_identity() -> Result<Self> {
        Self::set(&role()?, false).await
    }

    /// The same, where whoever migrates has other rights.
    pub async fn with(role: &Value) -> Result<Self> {
        Self::set(role, true).await
    }

    async fn set(role: &Value, pod_identity: bool) -> Result<Self> {
        let cluster = Arc::new(Cluster::start().await?);
        let world = World::named(cluster, "shop").await?;
        if pod_identity {
            install_pod_identity(&world).await?;
        }
        world.cluster.apply(&[webhook()]).await?;
        world.cluster.make_namespace(PLATFORM).await?;
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount" });
        for (namespace, name) in [("shop", "default"), (PLATFORM, "migrator")] {
            world
                .cluster
                .apply(&[with_metadata(
                    &account,
                    json!({ "namespace": namespace, "name": name }),
                )])
                .await?;
        }
        let gate = Gate::open(
            Transport::Kubernetes,
            world.cluster.control_plane.url(),
            world.cluster.control_plane.ca_pem(),
        )
        .await?;
        let operator = world.operator().await?;
        let stage = Self {
            controllers: Controllers::start(&world),
            kubeconfig: world.directory().join("migrator").display().to_string(),
            world,
            gate,
            _operator: operator,
        };
        stage.log_in().await?;
        stage.rights(role).await?;
        Ok(stage)
    }

    /// Gives whoever migrates exactly these rights.
    pub async fn rights(&self, role: &Value) -> Result<()> {
        self.bind(role, None).await
    }

    /// The same in one namespace only.
    pub async fn rights_in(&self, namespace: &str, role: &Value) -> Result<()> {
        self.bind(role, Some(namespace)).await
    }

    async fn bind(&self, role: &Value, namespace: Option<&str>) -> Result<()> {
        let name = &role["metadata"]["name"];
        let mut binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "namespace": PLATFORM, "name": "migrator" }],
        });
        if let Some(namespace) = namespace {
            binding["kind"] = json!("RoleBinding");
            binding["metadata"]["namespace"] = json!(namespace);
        }
        self.world.cluster.apply(&[role.clone(), binding]).await?;
        let user = format!("system:serviceaccount:{PLATFORM}:migrator");
        // A role is in force as a whole.
        let rules = role["rules"].as_array().into_iter().flatten();
        for rule in rules.filter(|rule| rule["resourceNames"].is_null()) {
            let (group, resource) = (&rule["apiGroups"][0], &rule["resources"][0]);
            let right = json!({
                "group": group, "resource": resource, "verb": rule["verbs"][0], "namespace": namespace.unwrap_or_default(),
            });
            self.world
                .await_right(&user, right, Duration::from_secs(10))
                .await?;
        }
        Ok(())
    }

    async fn log_in(&self) -> Result<()> {
        let control_plane = &self.world.cluster.control_plane;
        let token = control_plane.token(PLATFORM, "migrator", "", 3600).await?;
        let mut kubeconfig = control_plane.kubeconfig_for_token(&token);
        let cluster = kubeconfig
            .clusters
            .first_mut()
            .and_then(|named| named.cluster.as_mut());
        let cluster = cluster.context("the kubeconfig names no cluster")?;
        cluster.server = Some(self.gate.url().to_owned());
        cluster.certificate_authority_data = Some(BASE64_STANDARD.encode(self.gate.ca_pem()));
        std::fs::write(&self.kubeconfig, serde_yaml::to_string(&kubeconfig)?)?;
        Ok(())
    }

    /// Starts `wib migrate --cluster` with these arguments.
    pub fn start(&self, arguments: &[&str]) -> Result<Program> {
        let mut all = vec!["migrate", "--cluster", "--kubeconfig", &self.kubeconfig];
        all.extend(arguments);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        Program::start(Path::new(env!("CARGO_BIN_EXE_wib")), &all, &[])
    }

    /// The same to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        self.start(arguments)?.ended().await
    }

    /// The same, which has to end with this code. Answers what it printed.
    pub async fn ends(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let ended = self.run(arguments).await?;
        let said = format!("{}{}", ended.output, ended.log);
        ensure!(
            ended.code == Some(code),
            "{arguments:?} ended with {:?}:\n{said}",
            ended.code
        );
        Ok(said)
    }

    /// The same, and it writes nothing.
    pub async fn writes_nothing(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let before = self.writes().len();
        let said = self.ends(code, arguments).await?;
        let writes = self.writes().split_off(before);
        ensure!(writes.is_empty(), "{arguments:?} wrote {writes:?}\n{said}");
        Ok(said)
    }

    /// The plan.
    pub async fn plan(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["-o", "json"]].concat();
        Ok(serde_json::from_str(&self.ends(0, &arguments).await?)?)
    }

    /// What the command has asked the API server to store, so far.
    pub fn writes(&self) -> Vec<String> {
        let calls = self.gate.journal();
        calls
            .iter()
            .filter(|call| is_write(call))
            .map(|call| format!("{} {}", call.signature, call.path))
            .collect()
    }

    /// Objects of a kind.
    pub fn api(&self, (group, version, kind): Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = resource(group, version, kind);
        if group.starts_with("rbac.") {
            return Api::all_with(self.world.admin(), &resource);
        }
        Api::namespaced_with(self.world.admin(), namespace, &resource)
    }

    /// An object as it is.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Value> {
        Ok(json!(self.api(kind, "shop").get(name).await?))
    }

    /// Changes an object of the namespace as its owner would.
    pub async fn change(&self, kind: Kind, name: &str, patch: Value) -> Result<()> {
        self.api(kind, "shop")
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Makes an identity at Azure, with a binding of pod identity for a label.
    pub async fn pod_identity(&self, namespace: &str, name: &str, selector: &str) -> Result<Identity> {
        let identity = self.world.identity(name);
        let metadata = json!({ "namespace": namespace, "name": name });
        let api_version = "aadpodidentity.k8s.io/v1";
        let objects = [
            json!({
                "apiVersion": api_version, "kind": "AzureIdentity", "metadata": metadata,
                "spec": { "type": 0, "resourceID": identity.resource_id, "clientID": identity.client_id },
            }),
            json!({
                "apiVersion": api_version, "kind": "AzureIdentityBinding", "metadata": metadata,
                "spec": { "azureIdentity": name, "selector": selector },
            }),
        ];
        self.world.cluster.apply(&objects).await?;
        Ok(identity)
    }

    /// A class that uses pod identity.
    pub async fn class(&self, name: &str) -> Result<()> {
        let class = json!({
            "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
            "metadata": { "namespace": "shop", "name": name },
            "spec": { "provider": "azure", "parameters": { "usePodIdentity": "true", "keyvaultName": "kv" } },
        });
        self.world.cluster.apply(&[class]).await
    }

    /// The parameters of a class.
    pub async fn parameters(&self, class: &str) -> Result<Value> {
        Ok(self.get(CLASS, class).await?["spec"]["parameters"].clone())
    }

    /// Makes a workload whose pods carry a label, changed in any way before.
    pub async fn workload(
        &self,
        (group, version, kind): Kind,
        name: &str,
        label: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<()> {
        let template = json!({
            "metadata": { "labels": { "app": name, "aadpodidbinding": label } },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
        });
        let spec = match kind {
            "CronJob" => json!({
                "schedule": "0 0 * * *",
                "jobTemplate": { "spec": { "template": template } },
            }),
            _ => json!({
                "replicas": 1, "selector": { "matchLabels": { "app": name } }, "template": template,
            }),
        };
        let mut object = json!({
            "apiVersion": format!("{group}/{version}"), "kind": kind,
            "metadata": { "namespace": "shop", "name": name }, "spec": spec,
        });
        if kind == "CronJob" {
            object["spec"]["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
        }
        change(&mut object);
        self.world.cluster.apply(&[object]).await
    }
}

/// The arguments of a step in the namespace.
pub fn step(name: &str) -> [&str; 5] {
    ["-n", "shop", "--apply", "--step", name]
}

/// Whether a call stores something: no question, and no rehearsal.
pub fn is_write(call: &Call) -> bool {
    let rehearsal = call
        .query
        .as_deref()
        .is_some_and(|query| query.contains("dryRun"));
    call.method != "GET" && !rehearsal && !call.path.ends_with("/selfsubjectaccessreviews")
}

/// The role in `docs/migrate.md`.
pub fn role() -> Result<Value> {
    let document = std::fs::read_to_string(root().join("docs/migrate.md"))?;
    let blocks = document
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let found = blocks
        .into_iter()
        .find(|block| block.contains("kind: ClusterRole\n"));
    Ok(serde_yaml::from_str(
        found.context("docs/migrate.md shows no ClusterRole")?,
    )?)
}

pub fn documents(text: &str) -> Result<Vec<Value>> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn with_metadata(object: &Value, metadata: Value) -> Value {
    let mut object = object.clone();
    object["metadata"] = metadata;
    object
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "AzureIdentity" {
        "azureidentities".clone_into(&mut resource.plural);
    }
    resource
}

/// What the webhook of workload identity registers. Nobody answers there: pods are let through as they are.
fn webhook() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": WEBHOOK },
        "webhooks": [{
            "name": "mutation.azure-workload-identity.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "clientConfig": { "url": "https://127.0.0.1:1/mutate" },
            "objectSelector": { "matchLabels": { "azure.workload.identity/use": "true" } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
        }],
    })
}

async fn install_pod_identity(world: &World) -> Result<()> {
    let crds = std::fs::read_to_string(root().join("tests/fixtures/pod-identity/crds.yaml"))?;
    world.cluster.apply(&documents(&crds)?).await?;
    for (group, version, kind) in [IDENTITY, BINDING, CLASS] {
        let kind = GroupVersionKind::gvk(group, version, kind);
        served(world, &kind).await?;
    }
    Ok(())
}

async fn served(world: &World, kind: &GroupVersionKind) -> Result<()> {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while kube::discovery::pinned_kind(&world.admin(), kind).await.is_err() {
        ensure!(tokio::time::Instant::now() < end, "{} is not served", kind.kind);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Lets the pods of a workload mount a class.
pub fn mount(pods: &mut Value, class: &str) {
    pods["spec"]["volumes"] = json!([{ "name": "vault", "csi": {
        "driver": "secrets-store.csi.k8s.io", "readOnly": true, "volumeAttributes": { "secretProviderClass": class },
    } }]);
}
