//! What people with the built-in roles may do with bindings.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::World;
use wib_harness::world::bindings::condition;
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::build::{self, apply};

/// What Entra says of an identity without credentials.
const NO_CREDENTIALS: i64 = 70_025;

/// A person with one of Kubernetes' own ClusterRoles in the namespace of a world.
struct Person {
    client: Client,
    bindings: Api<WorkloadIdentityBinding>,
}

impl Person {
    async fn with(world: &World, role: &str) -> Result<Self> {
        ensure!(
            world.cluster.control_plane.has_controllers(),
            "this trial needs the aggregation of ClusterRoles, which KUBEBUILDER_ASSETS does not bring; unset it"
        );
        for ours in ["admin", "editor", "viewer"] {
            let path = build::root().join(format!("config/rbac/binding_{ours}_role.yaml"));
            for object in build::documents(&std::fs::read_to_string(path)?)? {
                apply(&world.admin(), &object).await?;
            }
        }
        let user = format!("{role}-{}", world.namespace);
        let given = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": user, "namespace": world.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        });
        apply(&world.admin(), &given).await?;
        let client = world.cluster.control_plane.client_for_user(&user, &[]).await?;
        let bindings = Api::namespaced(client.clone(), &world.namespace);
        let person = Self { client, bindings };
        // The aggregation and the authorizer follow by watches of their own.
        for _ in 0..200 {
            if person.bindings.list(&ListParams::default()).await.is_ok() {
                return Ok(person);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        anyhow::bail!("{role} may not even read bindings after 10 s")
    }

    async fn create(&self, world: &World, name: &str) -> Result<WorkloadIdentityBinding, Error> {
        let binding = serde_json::from_value(json!({
            "apiVersion": "workload-identity.io/v1alpha1", "kind": "WorkloadIdentityBinding",
            "metadata": { "name": name },
            "spec": {
                "identity": { "resourceId": world.at("web").resource_id },
                "serviceAccount": { "name": "web" },
            },
        }));
        let binding = binding.map_err(Error::SerdeError)?;
        self.bindings.create(&PostParams::default(), &binding).await
    }

    async fn suspend(&self, name: &str) -> Result<WorkloadIdentityBinding, Error> {
        let patch = Patch::Merge(json!({ "spec": { "suspend": true } }));
        self.bindings.patch(name, &PatchParams::default(), &patch).await
    }

    async fn forge(&self, name: &str) -> Result<WorkloadIdentityBinding, Error> {
        let patch = Patch::Merge(json!({ "status": { "observedGeneration": 1 } }));
        self.bindings
            .patch_status(name, &PatchParams::default(), &patch)
            .await
    }

    /// Every way to a grant: the role, its binding, and the same within the namespace.
    async fn may_grant_nothing(&self, world: &World) -> Result<()> {
        let client = || self.client.clone();
        let create = PostParams::default();
        let grant = json!({
            "metadata": { "name": "wib-mine" },
            "rules": [{
                "apiGroups": ["workload-identity.io"], "resources": ["managedidentities"], "verbs": ["use"],
            }],
        });
        let everywhere: ClusterRole = serde_json::from_value(grant.clone())?;
        forbidden(Api::all(client()).create(&create, &everywhere).await)?;
        let given: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": { "name": "wib-mine" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "namespace": world.namespace, "name": "web" }],
        }))?;
        forbidden(Api::all(client()).create(&create, &given).await)?;
        let here: Role = serde_json::from_value(grant)?;
        forbidden(
            Api::namespaced(client(), &world.namespace)
                .create(&create, &here)
                .await,
        )
    }
}

fn forbidden<T>(result: Result<T, Error>) -> Result<()> {
    match result {
        Err(Error::Api(status)) if status.is_forbidden() => Ok(()),
        Err(error) => Err(error).context("refused, but not for want of a right"),
        Ok(_) => anyhow::bail!("it was let through"),
    }
}

pub async fn a_viewer_may_read(world: World) -> Result<()> {
    world.bind("web", "web", &world.at("web")).await?;
    let viewer = Person::with(&world, "view").await?;
    viewer.bindings.get("web").await?;
    forbidden(viewer.create(&world, "mine").await)?;
    forbidden(viewer.suspend("web").await)?;
    forbidden(viewer.forge("web").await)?;
    forbidden(viewer.bindings.delete("web", &DeleteParams::default()).await)?;
    viewer.may_grant_nothing(&world).await
}

pub async fn an_editor_may_bind(world: World) -> Result<()> {
    let identity = world.identity("web");
    let _operator = world.operator().await?;
    let editor = Person::with(&world, "edit").await?;
    editor.create(&world, "web").await?;
    editor.suspend("web").await?;
    // A binding gives nothing without its grant, and that is not theirs to give.
    world.not_ready("web", "NotAuthorized").await?;
    forbidden(editor.forge("web").await)?;
    editor.may_grant_nothing(&world).await?;
    world.service_account("web").await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIALS)
        .await?;
    let all = editor
        .bindings
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await;
    forbidden(all)?;
    editor.bindings.delete("web", &DeleteParams::default()).await?;
    world.gone("web").await
}

pub async fn an_admin_may_delete_all(world: World) -> Result<()> {
    let admin = Person::with(&world, "admin").await?;
    for name in ["one", "two"] {
        admin.create(&world, name).await?;
    }
    admin.suspend("one").await?;
    forbidden(admin.forge("one").await)?;
    admin.may_grant_nothing(&world).await?;
    admin
        .bindings
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    assert_eq!(
        world.bindings().list(&ListParams::default()).await?.items.len(),
        0
    );
    Ok(())
}

/// Not even a ServiceAccount that has all of these roles in the whole cluster may use an identity.
pub async fn nobody_gets_grants_from_a_role(world: World) -> Result<()> {
    let identity = world.identity("web");
    world.service_account("web").await?;
    for role in ["admin", "edit", "view"] {
        Person::with(&world, role).await?;
        let given = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("{role}-{}", world.namespace) },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "namespace": world.namespace, "name": "web" }],
        });
        apply(&world.admin(), &given).await?;
    }
    let may = async |resource: &str, verb: &str| -> Result<bool> {
        let review: SubjectAccessReview =
            serde_json::from_value(review(&world, resource, verb, &identity.resource_id))?;
        let reviews: Api<SubjectAccessReview> = Api::all(world.admin());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|s| s.allowed))
    };
    // The new rights have arrived once this one has.
    for _ in 0..200 {
        if may("workloadidentitybindings", "deletecollection").await? {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ensure!(
        may("workloadidentitybindings", "deletecollection").await?,
        "the roles have not arrived"
    );
    ensure!(
        !may("managedidentities", "use").await?,
        "a role for people grants an identity"
    );
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let binding = world.not_ready("web", "NotAuthorized").await?;
    assert_eq!(condition(&binding, "Authorized").map(|c| c.0), Some("False"));
    Ok(())
}

fn review(world: &World, resource: &str, verb: &str, identity: &str) -> Value {
    json!({ "spec": {
        "user": format!("system:serviceaccount:{}:web", world.namespace),
        "resourceAttributes": {
            "group": "workload-identity.io", "resource": resource, "verb": verb, "name": identity.to_lowercase(),
        },
    }})
}
