//! What users copy out of the documents is accepted as it stands: every object in them goes to a real API
//! server, by server-side apply, as a dry run with strict validation of fields.

mod collect;
mod policy;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, Request, TypeMeta};
use kube::discovery::{self, Scope, verbs};
use serde_json::{Value, json};
use wib_harness::{Cluster, World};

use crate::runner::{self, trials};
use collect::{Object, Text};
use policy::the_policy_of_the_security_page_lets_the_operator_work_and_no_more;

trials![
    alone every_object_in_the_documents_is_accepted,
    shared what_is_wrong_in_a_document_is_named_with_its_line,
    alone a_document_that_hides_its_objects_is_refused,
    alone the_policy_of_the_security_page_lets_the_operator_work_and_no_more,
];

/// Kinds that the API server of the tests does not serve: they only have to parse. Each with the reason.
const NOT_SERVED: [(&str, &str, &str); 14] = [
    (
        "kustomize.config.k8s.io",
        "Kustomization",
        "a file that kustomize reads; no object",
    ),
    (
        "kustomize.toolkit.fluxcd.io",
        "Kustomization",
        "a definition of Flux",
    ),
    (
        "source.toolkit.fluxcd.io",
        "GitRepository",
        "a definition of Flux",
    ),
    (
        "source.toolkit.fluxcd.io",
        "HelmRepository",
        "a definition of Flux",
    ),
    (
        "source.toolkit.fluxcd.io",
        "OCIRepository",
        "a definition of Flux",
    ),
    ("helm.toolkit.fluxcd.io", "HelmRelease", "a definition of Flux"),
    ("notification.toolkit.fluxcd.io", "Alert", "a definition of Flux"),
    (
        "aadpodidentity.k8s.io",
        "AzureIdentity",
        "a definition of aad-pod-identity",
    ),
    ("argoproj.io", "Application", "a definition of Argo CD"),
    ("argoproj.io", "ApplicationSet", "a definition of Argo CD"),
    ("argoproj.io", "AppProject", "a definition of Argo CD"),
    (
        "monitoring.coreos.com",
        "ServiceMonitor",
        "a definition of the Prometheus Operator",
    ),
    (
        "monitoring.coreos.com",
        "PodMonitor",
        "a definition of the Prometheus Operator",
    ),
    (
        "monitoring.coreos.com",
        "PrometheusRule",
        "a definition of the Prometheus Operator",
    ),
];

fn is_served(object: &Object) -> bool {
    let group = object.value["apiVersion"].as_str().unwrap_or_default();
    let group = group.split_once('/').map_or("", |(group, _)| group);
    let here = |(known, kind, _): &(&str, &str, &str)| *known == group && object.value["kind"] == *kind;
    !NOT_SERVED.iter().any(here)
}

/// Makes the namespaces that objects name: a dry run does not make them for one another.
async fn make_namespaces(client: &Client, objects: &[Object]) -> Result<()> {
    let served = objects.iter().filter(|object| is_served(object));
    let names: BTreeSet<&str> = served
        .filter_map(|object| object.value["metadata"]["namespace"].as_str())
        .collect();
    for name in names {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        let params = PatchParams::apply("platform-team");
        api.patch(name, &params, &Patch::Apply(namespace)).await?;
    }
    Ok(())
}

/// Applies an object, with strict validation of its fields. A dry run leaves no trace.
async fn apply(client: &Client, object: &Value, dry_run: bool) -> Result<()> {
    let types: TypeMeta = serde_json::from_value(object.clone())?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await.with_context(|| {
        format!(
            "the API server does not know {} {}",
            types.api_version, types.kind
        )
    })?;
    let namespace = object["metadata"]["namespace"].as_str();
    let path = match capabilities.scope {
        Scope::Cluster => {
            ensure!(namespace.is_none(), "{} is of no namespace", types.kind);
            format!("/apis/{}/{}", types.api_version, resource.plural)
        }
        Scope::Namespaced => {
            let namespace = namespace.unwrap_or("default");
            format!(
                "/apis/{}/namespaces/{namespace}/{}",
                types.api_version, resource.plural
            )
        }
    };
    let path = if resource.group.is_empty() {
        path.replacen("/apis/", "/api/", 1)
    } else {
        path
    };
    let request = if capabilities.supports_operation(verbs::PATCH) {
        let name = object["metadata"]["name"].as_str().context("it has no name")?;
        let params = PatchParams {
            dry_run,
            ..PatchParams::apply("reader").force().validation_strict()
        };
        Request::new(path).patch(name, &params, &Patch::Apply(object))?
    } else {
        // A question such as a SubjectAccessReview can only be created.
        let params = PostParams {
            dry_run,
            ..PostParams::default()
        };
        let mut request = Request::new(path).create(&params, serde_json::to_vec(object)?)?;
        *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri()).parse()?;
        request
    };
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => bail!(status.message),
        Err(error) => Err(error.into()),
    }
}

/// What the API server has against the objects of a text; each with file and line.
async fn complaints(client: &Client, objects: &[Object]) -> Result<Vec<String>> {
    make_namespaces(client, objects).await?;
    let mut complaints = Vec::new();
    for object in objects.iter().filter(|object| is_served(object)) {
        if let Err(error) = apply(client, &object.value, true).await {
            complaints.push(format!("{}: {error:#}", object.place));
        }
    }
    Ok(complaints)
}

async fn every_object_in_the_documents_is_accepted() -> Result<()> {
    let texts = collect::texts()?;
    let mut objects = Vec::new();
    let mut fragments = 0;
    for text in &texts {
        let (found, others) = text.objects()?;
        fragments += others;
        objects.extend(found);
    }
    for wanted in ["README.md", "docs/", "config/samples/"] {
        let found = objects.iter().any(|object| object.place.starts_with(wanted));
        ensure!(found, "found no object in {wanted}: is it still read?");
    }
    let served = objects.iter().filter(|object| is_served(object)).count();
    ensure!(served > 20, "found {served} objects only");

    let cluster = Arc::new(Cluster::start().await?);
    let complaints = complaints(&cluster.admin(), &objects).await?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    runner::figure(format!(
        "documents: {served} objects of {} files accepted, {} of kinds not served and {fragments} fragments parsed",
        texts.len(),
        objects.len() - served,
    ));
    Ok(())
}

/// A binding, with something wrong in it.
fn binding(namespace: &str, spec: &str) -> String {
    format!(
        "# T\n\n```yaml\napiVersion: workload-identity.io/v1alpha1\nkind: WorkloadIdentityBinding\n\
         metadata: {{name: web, namespace: {namespace}}}\nspec:\n  identity: {{name: web}}\n  {spec}\n```\n"
    )
}

async fn what_is_wrong_in_a_document_is_named_with_its_line(world: World) -> Result<()> {
    let namespace = &world.namespace;
    let good = binding(namespace, "serviceAccount: {name: web}");
    let cases = [
        (good.clone(), None),
        (
            binding(namespace, "serviceAccount: {name: web, anotate: false}"),
            Some("serviceAccount.anotate: field not declared"),
        ),
        (
            binding(namespace, "serviceAccount: {name: Web!}"),
            Some("serviceAccount.name"),
        ),
        (
            good.replace("kind: WorkloadIdentityBinding", "kind: WorkloadIdentity"),
            Some("does not know workload-identity.io/v1alpha1 WorkloadIdentity"),
        ),
        (
            "\n\n```sh\nkubectl create -f - <<EOF\napiVersion: authorization.k8s.io/v1\n\
             kind: SubjectAccessReview\nspec: {usr: a}\nEOF\n```\n"
                .to_owned(),
            Some("usr"),
        ),
    ];
    for (text, expected) in cases {
        let (objects, _) = Text::new("docs/t.md", text.clone()).objects()?;
        ensure!(objects.len() == 1, "{} objects in:\n{text}", objects.len());
        let complaints = complaints(&world.admin(), &objects).await?;
        let told = complaints.join("\n");
        match expected {
            None => ensure!(told.is_empty(), "{told}"),
            Some(part) => ensure!(
                told.starts_with("docs/t.md:") && told.contains(part),
                "{part:?} is not in {told:?}"
            ),
        }
    }
    let left = world.bindings().list(&ListParams::default()).await?;
    ensure!(left.items.is_empty(), "a dry run has left a trace");
    Ok(())
}

async fn a_document_that_hides_its_objects_is_refused() -> Result<()> {
    let cases = [
        ("```yaml\napiVersion: v1\n", "left open"),
        (
            "```sh\nkubectl apply -f - <<EOF\napiVersion: v1\n```\n",
            "nothing ends <<EOF",
        ),
        ("```yaml\na: [\n```\n", "docs/t.md:2"),
        (
            "```yaml\nkind: Namespace\nmetadata: {name: a}\n```\n",
            "lacks apiVersion",
        ),
        (
            "```yaml\napiVersion: v1\nkind: Namespace\nmetadata: {name: a…}\n```\n",
            "…",
        ),
        (
            "```sh\nkubectl apply -f - <<EOF\napiVersion: v1\nkind: Namespace\nmetadata: {name: $ODD}\nEOF\n```\n",
            "$ODD",
        ),
    ];
    for (text, expected) in cases {
        let refused = Text::new("docs/t.md", text.to_owned()).objects();
        let told = refused.err().map(|e| format!("{e:#}")).unwrap_or_default();
        ensure!(
            told.contains(expected),
            "{expected:?} is not in {told:?} for:\n{text}"
        );
    }
    Ok(())
}
