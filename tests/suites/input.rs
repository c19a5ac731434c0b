//! What the API server takes and refuses, and what the operator makes of what it took.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Identity, Operation};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::cel::Validator;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{Cluster, World};
use workload_identity_binding::api::{self, Adoption, WorkloadIdentityBinding};

use crate::runner::trials;

trials![
    shared every_rule_refuses_with_its_message,
    alone the_cel_rules_say_the_same_without_a_server,
    shared every_good_spec_is_accepted,
    shared a_change_is_held_to_the_same_rules,
    shared defaults_are_applied_and_nothing_reads_as_done,
    shared null_is_as_good_as_absent,
    shared null_as_deletion_policy_is_as_good_as_absent,
    shared letter_case_of_an_arm_id_does_not_matter,
    shared a_token_lifetime_is_written_and_taken_back,
    shared the_longest_names_work,
    shared names_that_look_alike_stay_apart,
    alone an_object_that_cannot_be_read_disturbs_no_other,
    alone a_binding_that_can_no_longer_be_read_keeps_its_trust,
];

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000000a";
const ID: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/Shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Web";

const TOKEN_EXPIRATION: &str = "azure.workload.identity/service-account-token-expiration";

/// Who refuses.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// A CEL rule, which can be evaluated anywhere.
    Cel,
    /// The schema, which only the API server knows how to apply.
    Schema,
}

/// A spec that is refused, with a part of the message.
type Refused = (Value, By, &'static str);

fn identity_specs() -> Vec<Refused> {
    let by_identity = |identity: Value| json!({ "identity": identity, "serviceAccount": { "name": "web" } });
    let mut cases = Vec::new();
    let one_form = "set exactly one of resourceId and name";
    for identity in [
        json!({}),
        json!({ "resourceId": ID, "name": "web" }),
        json!({ "resourceGroup": "shop" }),
        json!({ "resourceGroup": "shop", "subscriptionId": SUBSCRIPTION }),
    ] {
        cases.push((by_identity(identity), By::Cel, one_form));
    }
    let with_name = "resourceGroup and subscriptionId go with name, not with resourceId";
    for identity in [
        json!({ "resourceId": ID, "resourceGroup": "shop" }),
        json!({ "resourceId": ID, "subscriptionId": SUBSCRIPTION }),
    ] {
        cases.push((by_identity(identity), By::Cel, with_name));
    }
    for id in hostile_ids() {
        let shape = "must be /subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>";
        cases.push((by_identity(json!({ "resourceId": id })), By::Cel, shape));
    }
    let mut schema = |field: &str, value: &str, message| {
        let mut identity = json!({ "name": "web" });
        if field == "resourceId" {
            identity = json!({});
        }
        identity[field] = json!(value);
        cases.push((by_identity(identity), By::Schema, message));
    };
    schema("resourceId", "", "spec.identity.resourceId");
    schema(
        "resourceId",
        &format!("{ID}{}", "a".repeat(512)),
        "spec.identity.resourceId: Too long",
    );
    schema("name", "ab", "should be at least 3 chars long");
    schema("name", &"a".repeat(129), "spec.identity.name: Too long");
    for name in [
        "-web", "_web", "we.b", "we/b", "../web", "we b", "wéb", "web\n", "web?x",
    ] {
        schema("name", name, "spec.identity.name in body should match");
    }
    schema("resourceGroup", "", "should be at least 1 chars long");
    schema(
        "resourceGroup",
        &"g".repeat(91),
        "spec.identity.resourceGroup: Too long",
    );
    for group in ["shop.", "..", "sh/op", "shöp", "shop?", "sh%2fop"] {
        schema(
            "resourceGroup",
            group,
            "spec.identity.resourceGroup in body should match",
        );
    }
    schema("subscriptionId", "me", "should be at least 36 chars long");
    schema(
        "subscriptionId",
        &"a".repeat(37),
        "spec.identity.subscriptionId: Too long",
    );
    for subscription in [
        "00000000-0000-0000-0000-00000000000g",
        "000000000000-0000-0000-000000000000a",
        "../../../../../../../../../../../../",
    ] {
        schema(
            "subscriptionId",
            subscription,
            "spec.identity.subscriptionId in body should match",
        );
    }
    cases
}

/// Texts that are no ARM id of an identity, and would do harm as one.
fn hostile_ids() -> Vec<String> {
    let swap = |from: &str, to: &str| ID.replace(from, to);
    vec![
        "web".to_owned(),
        swap("Web", "../../../x"),
        swap("Web", "We%2fb"),
        swap("Web", "Web?api-version=1"),
        swap("Web", "Web#"),
        swap("Web", "Wéb"),
        swap("Web", "Web\u{200b}"),
        swap("Web", "ＷＥＢ"),
        swap("Web", "ab"),
        swap("Web", &"a".repeat(129)),
        swap("Shop", ".."),
        swap("Shop", "Shop."),
        swap("Shop", ""),
        swap("Shop", "a/b"),
        swap("Shop", &"g".repeat(91)),
        swap(SUBSCRIPTION, "me"),
        swap(SUBSCRIPTION, "00000000-0000-0000-0000-00000000000g"),
        swap("ManagedIdentity", "Compute"),
        swap("userAssignedIdentities", "virtualMachines"),
        swap("Microsoft.ManagedIdentity", "Microsoft-ManagedIdentity"),
        // The long s is an s to whoever folds letter case by Unicode.
        swap("providers", "provider\u{17f}"),
        swap("/subscriptions", "subscriptions"),
        swap("/subscriptions", "//subscriptions"),
        swap("/subscriptions", "https://management.azure.com/subscriptions"),
        format!("{ID}/federatedIdentityCredentials/x"),
        format!("{ID}/"),
        format!(" {ID}"),
        format!("{ID} "),
        format!("{ID}\n"),
        format!("{ID}\n{ID}"),
    ]
}

fn service_account_specs() -> Vec<Refused> {
    let by_account = |account: Value| json!({ "identity": { "resourceId": ID }, "serviceAccount": account });
    let mut cases = vec![
        (
            by_account(json!({})),
            By::Schema,
            "spec.serviceAccount.name: Required value",
        ),
        (
            by_account(json!({ "name": "" })),
            By::Schema,
            "spec.serviceAccount.name",
        ),
        (
            by_account(json!({ "name": "a".repeat(254) })),
            By::Schema,
            "spec.serviceAccount.name: Too long",
        ),
    ];
    for name in [
        "Web",
        "-web",
        "web-",
        "web.",
        "a..b",
        "we/b",
        "we_b",
        "wéb",
        "web\n",
        "system:web",
        "a b",
    ] {
        let message = "spec.serviceAccount.name in body should match";
        cases.push((by_account(json!({ "name": name })), By::Schema, message));
    }
    for (seconds, message) in [
        (json!(3599), "should be greater than or equal to 3600"),
        (json!(86401), "should be less than or equal to 86400"),
        (json!(0), "should be greater than or equal to 3600"),
        (json!(-3600), "should be greater than or equal to 3600"),
        (json!("3600"), "must be of type integer"),
        (json!(3600.5), "must be of type integer"),
    ] {
        let account = json!({ "name": "web", "tokenExpirationSeconds": seconds });
        cases.push((by_account(account), By::Schema, message));
    }
    let account = json!({ "name": "web", "annotate": false, "tokenExpirationSeconds": 3600 });
    let message = "tokenExpirationSeconds is an annotation: it needs annotate: true";
    cases.push((by_account(account), By::Cel, message));
    cases
}

fn other_specs() -> Vec<Refused> {
    let with = |field: &str, value: Value| {
        let mut spec = good();
        spec[field] = value;
        spec
    };
    vec![
        (
            json!({ "serviceAccount": { "name": "web" } }),
            By::Schema,
            "spec.identity: Required value",
        ),
        (
            json!({ "identity": { "resourceId": ID } }),
            By::Schema,
            "spec.serviceAccount: Required value",
        ),
        (json!({}), By::Schema, "Required value"),
        (
            with("adoption", json!("Always")),
            By::Schema,
            "spec.adoption: Unsupported value: \"Always\"",
        ),
        (
            with("adoption", json!("ifEqual")),
            By::Schema,
            "spec.adoption: Unsupported value",
        ),
        (
            with("deletionPolicy", json!("Keep")),
            By::Schema,
            "spec.deletionPolicy",
        ),
        (
            with("deletionPolicy", json!("")),
            By::Schema,
            "spec.deletionPolicy",
        ),
        (
            with("suspend", json!("yes")),
            By::Schema,
            "must be of type boolean",
        ),
        (with("identity", json!(ID)), By::Schema, "must be of type object"),
    ]
}

fn refused() -> Vec<Refused> {
    [identity_specs(), service_account_specs(), other_specs()].concat()
}

fn good() -> Value {
    json!({ "identity": { "resourceId": ID }, "serviceAccount": { "name": "web" } })
}

fn accepted() -> Vec<Value> {
    let by_identity = |identity: Value| json!({ "identity": identity, "serviceAccount": { "name": "web" } });
    let by_account = |account: Value| json!({ "identity": { "resourceId": ID }, "serviceAccount": account });
    vec![
        good(),
        by_identity(json!({ "resourceId": ID.to_lowercase() })),
        by_identity(json!({ "resourceId": ID.to_uppercase() })),
        by_identity(
            json!({ "resourceId": ID.replace("Shop", &"g".repeat(90)).replace("Web", &"a".repeat(128)) }),
        ),
        by_identity(json!({ "resourceId": ID.replace("Shop", "_(a.b)-") })),
        by_identity(json!({ "name": "web" })),
        by_identity(json!({ "name": "0-_" })),
        by_identity(
            json!({ "name": "a".repeat(128), "resourceGroup": "g".repeat(90), "subscriptionId": SUBSCRIPTION }),
        ),
        by_identity(json!({ "name": "web", "resourceGroup": "(shop)" })),
        by_identity(json!({ "name": "web", "subscriptionId": SUBSCRIPTION.to_uppercase() })),
        by_account(json!({ "name": "a".repeat(253) })),
        by_account(json!({ "name": "0.a-b.c" })),
        by_account(json!({ "name": "web", "create": true, "annotate": false })),
        by_account(json!({ "name": "web", "tokenExpirationSeconds": 3600 })),
        by_account(json!({ "name": "web", "annotate": true, "tokenExpirationSeconds": 86400 })),
        json!({
            "identity": { "resourceId": ID }, "serviceAccount": { "name": "web" },
            "adoption": "Never", "deletionPolicy": "Retain", "suspend": true,
        }),
    ]
}

async fn every_rule_refuses_with_its_message(world: World) -> Result<()> {
    let mut wrong = Vec::new();
    for (spec, _, message) in refused() {
        match try_create(&world, &spec).await {
            Ok(_) => wrong.push(format!("accepted: {spec}")),
            Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains(message) => {}
            Err(other) => wrong.push(format!("{spec}\n  expected {message}\n  got {other}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn the_cel_rules_say_the_same_without_a_server() -> Result<()> {
    let crd = serde_json::to_value(api::definition_of_bindings())?;
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let validate = |spec: &Value| Validator::new().validate(schema, &object("web", spec), None);
    let mut wrong = Vec::new();
    for (spec, by, message) in refused() {
        let told = validate(&spec).err().map(|e| e.to_string());
        if by == By::Cel && !told.as_ref().is_some_and(|t| t.contains(message)) {
            wrong.push(format!("{spec}\n  expected {message}\n  got {told:?}"));
        }
    }
    for spec in accepted() {
        if let Err(error) = validate(&spec) {
            wrong.push(format!("{spec}\n  {error}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn every_good_spec_is_accepted(world: World) -> Result<()> {
    for spec in accepted() {
        let made = try_create(&world, &spec)
            .await
            .with_context(|| spec.to_string())?;
        let typed: WorkloadIdentityBinding = serde_json::from_value(serde_json::to_value(made)?)?;
        let typed = serde_json::to_value(typed.spec)?;
        for (field, value) in spec.as_object().into_iter().flatten() {
            let kept = typed[field].as_object().map_or(typed[field] == *value, |kept| {
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .all(|(k, v)| kept.get(k) == Some(v))
            });
            ensure!(kept, "{field} became {}", typed[field]);
        }
    }
    Ok(())
}

async fn a_change_is_held_to_the_same_rules(world: World) -> Result<()> {
    world.create("web", good()).await?;
    let change = json!({ "spec": { "identity": { "name": "web" } } });
    let answer = world
        .change("web", change)
        .await
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    ensure!(
        answer.contains("set exactly one of resourceId and name"),
        "{answer}"
    );
    // From one form to the other, in one step.
    let change = json!({ "spec": { "identity": { "name": "web", "resourceId": null } } });
    let changed = world.change("web", change).await?;
    assert_eq!(changed.spec.identity.name.as_deref(), Some("web"));
    assert_eq!(changed.spec.identity.resource_id, None);
    Ok(())
}

async fn defaults_are_applied_and_nothing_reads_as_done(world: World) -> Result<()> {
    let made = world.create("web", good()).await?;
    let status = made.status.context("no status")?;
    assert_eq!(status.observed_generation, Some(-1));
    assert_eq!((status.conditions.len(), status.credential), (0, None));

    let stored = dynamic(&world).get("web").await?.data;
    let expected = json!({
        "identity": { "resourceId": ID },
        "serviceAccount": { "name": "web", "annotate": true, "create": false },
        "adoption": "IfEqual",
        "suspend": false,
    });
    assert_eq!(stored["spec"], expected);
    assert_eq!(stored["status"], json!({ "observedGeneration": -1 }));
    Ok(())
}

async fn null_is_as_good_as_absent(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let subscription = format!("--subscription-id={}", world.azure.subscription_id());
    let _operator = world
        .operator_with(&[&subscription, "--resource-group=shop"])
        .await?;
    let account = json!({ "name": "web", "create": null, "annotate": null, "tokenExpirationSeconds": null });
    let forms = [
        json!({ "resourceId": identity.resource_id, "name": null, "resourceGroup": null, "subscriptionId": null }),
        json!({ "resourceId": null, "name": "web", "resourceGroup": null, "subscriptionId": null }),
    ];
    for (n, form) in forms.into_iter().enumerate() {
        let name = format!("web-{n}");
        let spec = json!({
            "identity": form, "serviceAccount": account,
            "adoption": null, "suspend": null,
        });
        dynamic(&world)
            .create(&PostParams::default(), &dynamic_object(&name, &spec)?)
            .await?;
        let binding = world.ready(&name).await?;
        assert_eq!(
            (binding.spec.adoption, binding.spec.suspend),
            (Adoption::IfEqual, false)
        );
        ensure!(binding.spec.service_account.annotate, "null has become false");
    }
    world.assert_accepted("web", &identity.client_id).await
}

async fn null_as_deletion_policy_is_as_good_as_absent(world: World) -> Result<()> {
    let mut spec = good();
    spec["deletionPolicy"] = Value::Null;
    try_create(&world, &spec).await?;
    Ok(())
}

async fn letter_case_of_an_arm_id_does_not_matter(world: World) -> Result<()> {
    let identity = world.azure.create_identity("Shop-RG", "Web-Main");
    for name in ["lower", "upper", "mixed"] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let _operator = world.operator_with(&["--slow-retry-interval=2m"]).await?;
    let id = &identity.resource_id;
    for (name, id) in [
        ("lower", id.to_lowercase()),
        ("upper", id.to_uppercase()),
        ("mixed", id.clone()),
    ] {
        let spec = json!({ "identity": { "resourceId": id }, "serviceAccount": { "name": name } });
        world.create(name, spec).await?;
    }
    for name in ["lower", "upper", "mixed"] {
        world.ready(name).await?;
        world.assert_accepted(name, &identity.client_id).await?;
    }
    assert_eq!(world.azure.count(Operation::GetIdentity), 1);
    assert_eq!(world.azure.count(Operation::ListCredentials), 1);
    assert_eq!(world.azure.count(Operation::PutCredential), 3);
    assert_eq!(world.azure.overlapping_writes(), []);

    // The same identity spelled otherwise is no other identity.
    world
        .change(
            "lower",
            json!({ "spec": { "identity": { "resourceId": id.to_uppercase() } } }),
        )
        .await?;
    world.ready("lower").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 3);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    world.assert_accepted("lower", &identity.client_id).await
}

async fn a_token_lifetime_is_written_and_taken_back(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let _operator = world.operator().await?;
    let account = json!({ "name": "web", "tokenExpirationSeconds": 7200 });
    world
        .create(
            "web",
            json!({ "identity": { "resourceId": identity.resource_id }, "serviceAccount": account }),
        )
        .await?;
    world.ready("web").await?;
    assert_eq!(
        world.annotation("web", TOKEN_EXPIRATION).await?.as_deref(),
        Some("7200")
    );

    let set = |seconds: Value| json!({ "spec": { "serviceAccount": { "tokenExpirationSeconds": seconds } } });
    world.change("web", set(json!(86400))).await?;
    world.ready("web").await?;
    assert_eq!(
        world.annotation("web", TOKEN_EXPIRATION).await?.as_deref(),
        Some("86400")
    );

    world.change("web", set(Value::Null)).await?;
    world.ready("web").await?;
    assert_eq!(world.annotation("web", TOKEN_EXPIRATION).await?, None);
    let client_id = world
        .annotation("web", "azure.workload.identity/client-id")
        .await?;
    assert_eq!(client_id.as_ref(), Some(&identity.client_id));
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    Ok(())
}

async fn the_longest_names_work(world: World) -> Result<()> {
    let identity = world.azure.create_identity(&"g".repeat(90), &"i".repeat(128));
    // Cut to the length of a credential's name, the two are the same.
    let [longest, neighbour] = ["zz", "zy"].map(|end| format!("{}b.{end}", "a-".repeat(124) + "a"));
    assert_eq!(longest.len(), 253);
    let _operator = world.operator().await?;
    for name in [&longest, &neighbour] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
    }
    for name in [&longest, &neighbour] {
        let status = world.ready(name).await?.status.unwrap_or_default();
        let credential = status.credential.unwrap_or_default();
        ensure!(credential.name.len() <= 120, "{}", credential.name);
        world.assert_accepted(name, &identity.client_id).await?;
    }
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 2);
    for name in [&longest, &neighbour] {
        world.delete(name).await?;
    }
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}

async fn names_that_look_alike_stay_apart(world: World) -> Result<()> {
    let identity = world.identity("web");
    let names = ["web.v2", "web-v2", "web--v2", "0", "web.v2.0"];
    let _operator = world.operator().await?;
    for name in names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
    }
    for name in names {
        world.ready(name).await?;
        world.assert_accepted(name, &identity.client_id).await?;
    }
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), names.len());
    world.delete("web.v2").await?;
    for name in &names[1..] {
        world.assert_accepted(name, &identity.client_id).await?;
    }
    ensure!(
        world.exchange("web.v2", &identity.client_id).await?.is_err(),
        "it is still trusted"
    );
    Ok(())
}

async fn an_object_that_cannot_be_read_disturbs_no_other() -> Result<()> {
    let world = loose_world().await?;
    let identity = granted(&world, "web").await?;
    let spec = |suspend: Value| {
        json!({
            "identity": { "resourceId": identity.resource_id }, "serviceAccount": { "name": "web" }, "suspend": suspend,
        })
    };
    let create = async |name: &str| -> Result<()> {
        let object = dynamic_object(name, &spec(json!("yes")))?;
        dynamic(&world).create(&PostParams::default(), &object).await?;
        Ok(())
    };
    create("listed").await?;
    let operator = world.operator().await?;
    world.bind("good", "web", &identity).await?;
    world.ready("good").await?;
    create("watched").await?;

    for name in ["listed", "watched"] {
        let told = unreadable(&world, name).await?;
        ensure!(told.contains("\"yes\"") && told.contains("boolean"), "{told}");
    }
    world.ready("good").await?;
    world.bind("better", "web", &identity).await?;
    world.ready("better").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    ensure!(!operator.has_ended(), "the operator has ended");
    assert_eq!(operator.get("/readyz").await?.0, 200);

    world
        .change("listed", json!({ "spec": { "suspend": false } }))
        .await?;
    world.ready("listed").await?;
    // It never carried the finalizer: nothing was made for it.
    dynamic(&world)
        .delete("watched", &DeleteParams::default())
        .await?;
    ensure!(dynamic(&world).get_opt("watched").await?.is_none(), "it hangs");
    Ok(())
}

async fn a_binding_that_can_no_longer_be_read_keeps_its_trust() -> Result<()> {
    let world = loose_world().await?;
    let identity = granted(&world, "web").await?;
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let before = world.ready("web").await?.status.unwrap_or_default();

    let patch = Patch::Merge(json!({ "spec": { "suspend": "yes" } }));
    dynamic(&world)
        .patch("web", &PatchParams::default(), &patch)
        .await?;
    unreadable(&world, "web").await?;
    let status = dynamic(&world).get("web").await?.data["status"].clone();
    assert_eq!(status["credential"], serde_json::to_value(&before.credential)?);
    assert_eq!(status["identity"], serde_json::to_value(&before.identity)?);
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);

    // Nobody knows what it stands for: it stays until it can be read.
    dynamic(&world).delete("web", &DeleteParams::default()).await?;
    world.bind("other", "web", &identity).await?;
    world.ready("other").await?;
    ensure!(
        dynamic(&world).get_opt("web").await?.is_some(),
        "it was let go unread"
    );
    world.delete("other").await?;
    world
        .change("web", json!({ "spec": { "suspend": false } }))
        .await?;
    world.gone("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}

/// A world on a cluster whose CRD lets anything through as `suspend`, as a CRD of another version may.
async fn loose_world() -> Result<World> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(world.admin());
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend";
    let patch = json!([{ "op": "replace", "path": field, "value": { "x-kubernetes-preserve-unknown-fields": true } }]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
    crds.patch(
        WorkloadIdentityBinding::crd_name(),
        &PatchParams::default(),
        &patch,
    )
    .await?;
    let mut spec = good();
    spec["suspend"] = json!("yes");
    for _ in 0..200 {
        if try_create(&world, &spec).await.is_ok() {
            return Ok(world);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("the API server has not taken the changed CRD after 10 s")
}

/// Waits until an object is reported as not readable; answers the message.
async fn unreadable(world: &World, name: &str) -> Result<String> {
    let mut seen = Value::Null;
    for _ in 0..200 {
        seen = dynamic(world).get(name).await?.data["status"].clone();
        let conditions = seen["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().find(|c| c["type"] == "Ready");
        if let Some(ready) = ready.filter(|c| c["status"] == "False" && c["reason"] == "InvalidSpec") {
            return Ok(ready["message"].as_str().unwrap_or_default().to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{name} is not reported as unreadable: {seen:#}")
}

/// An identity, and a ServiceAccount of the same name that may use it.
async fn granted(world: &World, name: &str) -> Result<Identity> {
    let identity = world.identity(name);
    world.service_account(name).await?;
    world.grant(name, &identity).await?;
    Ok(identity)
}

/// The API server's word on a spec, without a trace.
async fn try_create(world: &World, spec: &Value) -> kube::Result<DynamicObject> {
    let object = dynamic_object("table", spec).map_err(|e| kube::Error::Service(e.into()))?;
    dynamic(world)
        .create(
            &PostParams {
                dry_run: true,
                ..PostParams::default()
            },
            &object,
        )
        .await
}

fn dynamic(world: &World) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<WorkloadIdentityBinding>(&());
    Api::namespaced_with(world.admin(), &world.namespace, &resource)
}

fn dynamic_object(name: &str, spec: &Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(object(name, spec))?)
}

fn object(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "workload-identity.io/v1alpha1",
        "kind": "WorkloadIdentityBinding",
        "metadata": { "name": name },
        "spec": spec,
    })
}
