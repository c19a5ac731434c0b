//! `config/`: what kustomize builds from it installs, runs, and gives people the rights that it says.

mod build;
mod people;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use pretty_assertions::{assert_eq, assert_ne};
use serde_json::Value;
use wib_harness::cluster::{OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT};
use wib_harness::{Cluster, Program, World};

use crate::process::WIB;
use crate::runner::trials;
use build::{Configuration, apply, built, object};
use people::{
    a_viewer_may_read, an_admin_may_delete_all, an_editor_may_bind, nobody_gets_grants_from_a_role,
};

trials![
    alone every_kustomization_builds,
    alone the_install_manifest_is_what_kustomize_builds,
    alone placeholders_are_refused_with_the_way_out,
    alone what_is_built_installs_and_works,
    shared a_viewer_may_read,
    shared an_editor_may_bind,
    shared an_admin_may_delete_all,
    shared nobody_gets_grants_from_a_role,
];

/// Above `dist/install.yaml`, for whoever downloads that one file.
const INSTALL_HEADER: &str = "\
# workload-identity-binding in one file, as `kustomize build config/default` prints it. Before applying it:
#
# 1. In the ConfigMap, replace AZURE_CLIENT_ID and AZURE_TENANT_ID, which are zeros, by those of the operator's
#    own identity. The operator does not start with the zeros, and says so.
# 2. In the Deployment, replace the image by yours: none is published yet.
#
#     kubectl apply --server-side -f install.yaml
#
# Later changes of the ConfigMap need `kubectl rollout restart` of the Deployment; `kubectl apply -k` does not.
";

async fn every_kustomization_builds() -> Result<()> {
    let configuration = Configuration::shipped();
    for directory in configuration.kustomizations()? {
        let objects = built(&directory).await?;
        ensure!(!objects.is_empty(), "{} builds nothing", directory.display());
    }
    Ok(())
}

async fn the_install_manifest_is_what_kustomize_builds() -> Result<()> {
    let made = INSTALL_HEADER.to_owned() + &Configuration::shipped().text("config/default").await?;
    let path = build::root().join("dist/install.yaml");
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        std::fs::write(&path, &made)?;
    }
    let kept = std::fs::read_to_string(&path)?;
    assert_eq!(
        kept, made,
        "run UPDATE=1 cargo test --test suites -- kustomize::the_install"
    );
    Ok(())
}

async fn placeholders_are_refused_with_the_way_out() -> Result<()> {
    let text = std::fs::read_to_string(build::root().join("dist/install.yaml"))?;
    let objects = build::documents(&text)?;
    let pod = PodTemplate::of(&objects)?;
    let ended = Program::run(Path::new(WIB), &pod.arguments, &pod.environment()).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for part in [
        "placeholder",
        "AZURE_CLIENT_ID",
        "az identity show",
        "settings.env",
        "install.yaml",
    ] {
        ensure!(ended.log.contains(part), "{part} is missing in: {}", ended.log);
    }
    Ok(())
}

async fn what_is_built_installs_and_works() -> Result<()> {
    let cluster = Arc::new(Cluster::start_empty().await?);
    let admin = cluster.admin();
    let configuration = Configuration::copy()?;
    configuration.uncomment("config/default/kustomization.yaml", "- ../network-policy")?;

    // Installed with settings of one identity, in the order in which kustomize prints it.
    configuration.settings(
        "11111111-1111-1111-1111-111111111111",
        "33333333-3333-3333-3333-333333333333",
    )?;
    let first = configuration.build("config/default").await?;
    for object in &first {
        apply(&admin, object).await?;
    }
    cluster.crd_is_served().await?;
    let world = World::named(cluster.clone(), "shop").await?;

    // Settings that change make a new ConfigMap, which the Deployment names: its pods are replaced.
    let operator = &world.operator_identity;
    configuration.settings(&operator.client_id, &operator.tenant_id)?;
    let objects = configuration.build("config/default").await?;
    let name_of = |objects: &[Value]| -> Result<String> {
        let map: ConfigMap = object(objects, "ConfigMap")?;
        map.metadata.name.context("a ConfigMap without a name")
    };
    assert_ne!(name_of(&first)?, name_of(&objects)?);
    let pod = PodTemplate::of(&objects)?;
    assert_eq!(pod.settings_from, [name_of(&objects)?]);

    // Applied again, nothing moves.
    let mut before = Vec::new();
    for object in &objects {
        before.push(apply(&admin, object).await?.metadata.resource_version);
    }
    for (object, before) in objects.iter().zip(before) {
        let after = apply(&admin, object).await?.metadata.resource_version;
        assert_eq!(
            after, before,
            "{} {} moved",
            object["kind"], object["metadata"]["name"]
        );
    }

    the_pod_is_restricted(&world, &pod.spec).await?;
    let mut program = Program::start(Path::new(WIB), &pod.arguments_in(&world), &pod.environment())?;
    program.ready().await?;
    // It stands by first, which is ready as well, and then leads.
    let leads = async {
        while !program.get("/readyz").await?.1.contains("ok") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), leads)
        .await
        .context("it does not lead")??;
    for path in pod.probes()? {
        assert_eq!(program.get(&path).await?.0, 200, "{path}");
    }
    let leases: Api<Lease> = Api::namespaced(admin.clone(), OPERATOR_NAMESPACE);
    let holder = leases
        .get(OPERATOR_SERVICE_ACCOUNT)
        .await?
        .spec
        .and_then(|s| s.holder_identity);
    ensure!(
        holder.as_ref().is_some_and(|h| h.starts_with(POD_NAME)),
        "{holder:?} leads"
    );

    // The samples apply as they are; with a subscription that exists, one of them is ready.
    for object in configuration.build("config/samples").await? {
        apply(&admin, &object).await?;
    }
    let identity = world.azure.create_identity("shop", "web");
    let sample = std::fs::read_to_string(build::root().join("config/samples/one-to-one.yaml"))?;
    let sample = sample.replace(
        "00000000-0000-0000-0000-000000000000",
        world.azure.subscription_id(),
    );
    for object in build::documents(&sample)? {
        apply(&admin, &object).await?;
    }
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    let ended = program.terminate().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    Ok(())
}

/// The namespace enforces the restricted standard: the pod is let in, and one that asks for more is not.
async fn the_pod_is_restricted(world: &World, spec: &PodSpec) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(world.admin(), OPERATOR_NAMESPACE);
    let mut pod = Pod {
        metadata: ObjectMeta {
            name: Some(POD_NAME.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(spec.clone()),
        ..Pod::default()
    };
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    pods.create(&dry_run, &pod).await.context("the pod is refused")?;

    let security = pod
        .spec
        .as_mut()
        .and_then(|s| s.containers[0].security_context.as_mut());
    security.context("no securityContext")?.allow_privilege_escalation = Some(true);
    let error = pods
        .create(&dry_run, &pod)
        .await
        .err()
        .context("anything is let in")?;
    ensure!(error.to_string().contains("violates PodSecurity"), "{error}");
    Ok(())
}

/// What the fieldRef `metadata.name` gives.
const POD_NAME: &str = "workload-identity-binding-7d9f-x2x4z";

/// How the Deployment runs its one container.
struct PodTemplate {
    spec: PodSpec,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    settings_from: Vec<String>,
}

impl PodTemplate {
    fn of(objects: &[Value]) -> Result<Self> {
        let deployment: Deployment = object(objects, "Deployment")?;
        let settings: ConfigMap = object(objects, "ConfigMap")?;
        let spec = deployment.spec.and_then(|s| s.template.spec).context("no pod")?;
        let [container] = spec.containers.as_slice() else {
            anyhow::bail!("not one container");
        };
        // As a kubelet does: what stands under `env` goes over what comes from elsewhere.
        let mut variables: Vec<(String, String)> = settings.data.into_iter().flatten().collect();
        for variable in container.env.iter().flatten() {
            let path = variable.value_from.as_ref().and_then(|v| v.field_ref.as_ref());
            let value = match path.map(|f| f.field_path.as_str()) {
                Some("metadata.name") => POD_NAME.to_owned(),
                Some("metadata.namespace") => OPERATOR_NAMESPACE.to_owned(),
                Some(other) => anyhow::bail!("{} comes from {other}", variable.name),
                None => variable.value.clone().unwrap_or_default(),
            };
            variables.push((variable.name.clone(), value));
        }
        let from = container.env_from.iter().flatten();
        Ok(Self {
            arguments: container.args.clone().unwrap_or_default(),
            settings_from: from
                .filter_map(|f| Some(f.config_map_ref.as_ref()?.name.clone()))
                .collect(),
            variables,
            spec,
        })
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// The arguments, with the endpoints and files of a world instead of those of a pod.
    fn arguments_in(&self, world: &World) -> Vec<String> {
        let file = |name: &str| world.directory().join(name).display().to_string();
        let mut arguments = self.arguments.clone();
        arguments.extend([
            format!("--kubeconfig={}", file("kubeconfig")),
            format!("--issuer-token-file={}", file("api-token")),
            format!("--azure-federated-token-file={}", file("azure-token")),
            format!("--azure-ca-bundle={}", file("ca.pem")),
            format!("--azure-endpoint={}", world.azure.url()),
            format!("--azure-authority-host={}", world.azure.url()),
        ]);
        arguments
    }

    /// Where the kubelet asks.
    fn probes(&self) -> Result<Vec<String>> {
        let container = &self.spec.containers[0];
        let probes = [&container.liveness_probe, &container.readiness_probe];
        let paths = probes.into_iter().map(|probe| {
            let get = probe.as_ref().and_then(|p| p.http_get.as_ref());
            get.and_then(|g| g.path.clone()).context("no probe")
        });
        paths.collect()
    }
}
