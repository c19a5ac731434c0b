//! Whose credential it is: what others made is used or left, ours is kept, and nothing proves more than it can.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Identity, Operation};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::{AUDIENCE, Cluster, Operator, World, Write};
use workload_identity_binding::api::{CredentialOrigin, CredentialStatus, WorkloadIdentityBindingStatus};
use workload_identity_binding::core::{self, Tuple};

use crate::runner::trials;

trials![
    shared an_equal_credential_of_somebody_else_is_used_and_left,
    shared an_adopted_credential_that_goes_is_replaced_by_ours,
    shared adoption_never_waits_until_the_other_is_gone,
    shared the_same_subject_with_another_audience_is_a_conflict,
    shared our_name_with_other_contents_is_never_overwritten,
    shared ours_that_somebody_edited_is_put_right,
    shared credentials_of_others_survive_everything,
    shared aks_identity_bindings_are_counted_and_never_touched,
    shared a_forged_status_reaches_nobody_elses_credential,
    shared a_forged_superseded_reaches_nobody_elses_credential,
    shared a_forged_origin_does_not_make_a_credential_ours,
    shared a_binding_whose_status_was_forged_still_takes_its_own_trust_along,
    shared a_restarted_operator_writes_nothing,
    alone no_binding_is_forgotten_however_late_the_service_accounts_are_known,
    shared an_operator_that_lost_the_status_recovers_without_a_write_to_azure,
    shared a_binding_that_lost_its_status_is_deleted_with_its_trust,
];

/// No credential matches.
const NO_CREDENTIAL: i64 = 70025;
/// Credentials match, but none has this subject.
const NO_SUBJECT: i64 = 700_213;

/// Drift is noticed within a third of a second, and a list is believed at once.
const WATCHFUL: [&str; 2] = ["--drift-interval=300ms", "--read-after-write-grace=10ms"];

async fn an_equal_credential_of_somebody_else_is_used_and_left(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let terraform = world.foreign_credential("terraform", "web");
    world
        .azure
        .put_credential(&identity.resource_id, terraform.clone());
    let _operator = world.operator().await?;

    world.bind("web", "web", &identity).await?;
    let status = world.ready("web").await?.status.unwrap_or_default();
    let credential = status.credential.unwrap_or_default();
    assert_eq!(
        (credential.name.as_str(), credential.origin),
        ("terraform", CredentialOrigin::Adopted)
    );
    world.assert_accepted("web", &identity.client_id).await?;

    world.delete("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), [terraform]);
    assert_eq!(azure_writes(&world), 0);
    world.assert_accepted("web", &identity.client_id).await
}

async fn an_adopted_credential_that_goes_is_replaced_by_ours(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    world.azure.put_credential(
        &identity.resource_id,
        world.foreign_credential("terraform", "web"),
    );
    let _operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    world.azure.delete_credential(&identity.resource_id, "terraform");
    world
        .wait("web", "with a credential of its own", |b| {
            let credential = b.status.as_ref().and_then(|s| s.credential.as_ref());
            wib_harness::world::bindings::is_ready(b)
                && credential.is_some_and(|c| c.origin == CredentialOrigin::Created)
        })
        .await?;
    assert_eq!(
        world.azure.credentials(&identity.resource_id),
        [ours(&world, "web")]
    );

    world.delete("web").await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await
}

async fn adoption_never_waits_until_the_other_is_gone(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let terraform = world.foreign_credential("terraform", "web");
    world
        .azure
        .put_credential(&identity.resource_id, terraform.clone());
    let _operator = world.operator_with(&WATCHFUL).await?;
    let spec = json!({
        "identity": { "resourceId": identity.resource_id },
        "serviceAccount": { "name": "web" },
        "adoption": "Never",
    });
    world.create("web", spec).await?;
    let told = world.stalled("web", "AdoptionRefused").await?;
    ensure!(
        told.contains("terraform") && told.contains("adoption: IfEqual"),
        "{told}"
    );
    assert_eq!(world.azure.credentials(&identity.resource_id), [terraform]);
    assert_eq!(azure_writes(&world), 0);

    world.azure.delete_credential(&identity.resource_id, "terraform");
    world.ready("web").await?;
    assert_eq!(
        world.azure.credentials(&identity.resource_id),
        [ours(&world, "web")]
    );
    world.assert_accepted("web", &identity.client_id).await
}

async fn the_same_subject_with_another_audience_is_a_conflict(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let other = Credential {
        audiences: vec!["api://other".to_owned()],
        ..world.foreign_credential("other-audience", "web")
    };
    world.azure.put_credential(&identity.resource_id, other.clone());
    let _operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    let told = world.stalled("web", "CredentialConflict").await?;
    ensure!(told.contains("other-audience"), "{told}");
    assert_eq!(world.azure.credentials(&identity.resource_id), [other]);
    assert_eq!(azure_writes(&world), 0);

    world
        .azure
        .delete_credential(&identity.resource_id, "other-audience");
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn our_name_with_other_contents_is_never_overwritten(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let taken = Credential {
        subject: "system:serviceaccount:elsewhere:job".to_owned(),
        ..ours(&world, "web")
    };
    world.azure.put_credential(&identity.resource_id, taken.clone());
    let _operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    let told = world.stalled("web", "CredentialNameTaken").await?;
    ensure!(told.contains(&taken.name), "{told}");
    ensure!(
        !told.contains("elsewhere"),
        "the subject of others is told: {told}"
    );
    rounds(&world, 3).await?;
    world.delete("web").await?;
    ensure!(
        world.azure.credentials(&identity.resource_id) == std::slice::from_ref(&taken),
        "it was touched"
    );
    assert_eq!(azure_writes(&world), 0);

    world.bind("web", "web", &identity).await?;
    world.stalled("web", "CredentialNameTaken").await?;
    world.azure.delete_credential(&identity.resource_id, &taken.name);
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn ours_that_somebody_edited_is_put_right(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let made = ours(&world, "web");

    let edits = [
        Credential {
            subject: "system:serviceaccount:elsewhere:job".to_owned(),
            ..made.clone()
        },
        Credential {
            issuer: "https://issuer.tenant.test/".to_owned(),
            ..made.clone()
        },
        Credential {
            audiences: vec!["api://other".to_owned()],
            ..made.clone()
        },
        Credential {
            subject: made.subject.to_uppercase(),
            ..made.clone()
        },
    ];
    for (n, edited) in edits.into_iter().enumerate() {
        world.azure.put_credential(&identity.resource_id, edited);
        world
            .until("the credential is put right", || {
                world.azure.credentials(&identity.resource_id) == [made.clone()]
            })
            .await?;
        world.assert_accepted("web", &identity.client_id).await?;
        let series = format!("wib_drift_repairs_total {}", n + 1);
        metric(&operator, |text| text.contains(&series)).await?;
    }
    world.ready("web").await?;
    Ok(())
}

async fn credentials_of_others_survive_everything(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let others = [
        Credential::new(
            "github",
            "https://token.actions.test/",
            "repo:shop/web:ref:refs/heads/main",
            AUDIENCE,
        ),
        // Of the operator of another cluster: its prefix, its namespace, another issuer.
        their_cluster(&world, "web"),
        // Of another namespace of this cluster, by an operator with this prefix.
        as_azure_holds(core::Credential::named_by_us(
            "wib",
            tuple(&world, "neighbour", "web"),
        )),
        Credential {
            name: format!("wib-{}-web-0123456789abcdef", world.namespace),
            ..their_cluster(&world, "job")
        },
    ];
    for other in &others {
        world.azure.put_credential(&identity.resource_id, other.clone());
    }
    let survive = |azure: &azure_emulator::Emulator| {
        let found = azure.credentials(&identity.resource_id);
        let lost: Vec<_> = others
            .iter()
            .filter(|other| !found.contains(other))
            .cloned()
            .collect();
        assert_eq!(lost, []);
        found.len()
    };
    let _operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    assert_eq!(survive(&world.azure), 5);

    world
        .azure
        .delete_credential(&identity.resource_id, &ours(&world, "web").name);
    world
        .until("the credential is back", || {
            world.azure.credentials(&identity.resource_id).len() == 5
        })
        .await?;
    survive(&world.azure);

    world.delete("web").await?;
    assert_eq!(survive(&world.azure), 4);
    Ok(())
}

async fn aks_identity_bindings_are_counted_and_never_touched(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let issuer = "https://ib.oic.prod-aks.azure.com/7e7a7e7a-0000-4000-8000-000000000001/cluster";
    let aks = Credential::new(
        "aks-identity-binding",
        issuer,
        "system:aks:identity-binding",
        AUDIENCE,
    );
    world.azure.put_credential(&identity.resource_id, aks.clone());
    for n in 1..=18 {
        let subject = format!("system:serviceaccount:tenant:job-{n}");
        let credential = Credential::new(
            &format!("tenant-{n}"),
            "https://issuer.tenant.test/",
            &subject,
            AUDIENCE,
        );
        world.azure.put_credential(&identity.resource_id, credential);
    }
    let _operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    world.service_account("late").await?;
    world.grant("late", &identity).await?;
    world.bind("late", "late", &identity).await?;
    world.stalled("late", "CredentialLimitReached").await?;
    world.delete("late").await?;
    world.delete("web").await?;
    ensure!(
        world.azure.credentials(&identity.resource_id).contains(&aks),
        "AKS's credential was touched"
    );
    let written =
        |e: &azure_emulator::Entry| e.operation.is_write() && e.path.contains("aks-identity-binding");
    assert_eq!(world.azure.journal().iter().filter(|e| written(e)).count(), 0);
    Ok(())
}

async fn a_forged_status_reaches_nobody_elses_credential(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let victim = core::Credential::named_by_us("wib", tuple(&world, "payments", "api"));
    world
        .azure
        .put_credential(&identity.resource_id, as_azure_holds(victim.clone()));
    let operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    deleted_with_forged(&world, operator, json!({ "credential": record(&victim) })).await?;
    let found = world.azure.credentials(&identity.resource_id);
    ensure!(
        found.contains(&as_azure_holds(victim)),
        "another namespace's credential is gone"
    );
    Ok(())
}

async fn a_forged_superseded_reaches_nobody_elses_credential(world: World) -> Result<()> {
    let (identity, theirs) = (granted(&world, "web").await?, world.identity("theirs"));
    let victim = core::Credential::named_by_us("wib", tuple(&world, "payments", "api"));
    // Somebody else's, which trusts this very ServiceAccount.
    let terraform = world.foreign_credential("terraform", "web");
    for credential in [as_azure_holds(victim.clone()), terraform.clone()] {
        world.azure.put_credential(&theirs.resource_id, credential);
    }
    let operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    let adopted = CredentialStatus {
        name: "terraform".to_owned(),
        origin: CredentialOrigin::Adopted,
        ..record(&core::Credential::named_by_us(
            "wib",
            tuple(&world, &world.namespace, "web"),
        ))
    };
    let superseded = [record(&victim), adopted]
        .map(|credential| json!({ "resourceId": theirs.resource_id, "credential": credential }));
    forge(&world, json!({ "superseded": superseded })).await?;
    rounds(&world, 3).await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;

    deleted_with_forged(&world, operator, json!({ "superseded": superseded })).await?;
    assert_eq!(
        world.azure.credentials(&theirs.resource_id),
        [as_azure_holds(victim), terraform]
    );
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}

async fn a_forged_origin_does_not_make_a_credential_ours(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let terraform = world.foreign_credential("terraform", "web");
    world
        .azure
        .put_credential(&identity.resource_id, terraform.clone());
    let operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    deleted_with_forged(&world, operator, json!({ "credential": { "origin": "Created" } })).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), [terraform]);
    Ok(())
}

async fn a_binding_whose_status_was_forged_still_takes_its_own_trust_along(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let victim = core::Credential::named_by_us("wib", tuple(&world, "payments", "api"));
    world
        .azure
        .put_credential(&identity.resource_id, as_azure_holds(victim.clone()));
    let operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;

    deleted_with_forged(&world, operator, json!({ "credential": record(&victim) })).await?;
    world
        .assert_refused("web", &identity.client_id, NO_SUBJECT)
        .await?;
    assert_eq!(
        world.azure.credentials(&identity.resource_id),
        [as_azure_holds(victim)]
    );
    Ok(())
}

async fn a_restarted_operator_writes_nothing(world: World) -> Result<()> {
    let (identity, other) = (granted(&world, "web").await?, granted(&world, "api").await?);
    world.service_account("job").await?;
    world.grant("job", &identity).await?;
    let operator = world.operator().await?;
    for (name, identity) in [("web", &identity), ("api", &other), ("job", &identity)] {
        world.bind(name, name, identity).await?;
    }
    for name in ["web", "api", "job"] {
        world.ready(name).await?;
    }
    // The audit log has a moment's delay: a status of each binding.
    let status = |w: &Write| w.resource == "workloadidentitybindings/status";
    let logged = || {
        world
            .kubernetes_writes()
            .unwrap_or_default()
            .iter()
            .filter(|w| status(w))
            .count()
    };
    world.until("the audit log is complete", || logged() >= 3).await?;
    operator.stop().await?;
    let before = (
        world.kubernetes_writes()?,
        azure_writes(&world),
        world.azure.count(Operation::ListCredentials),
    );

    let operator = world.operator().await?;
    visited(&operator, 3).await?;

    assert_eq!(world.azure.count(Operation::ListCredentials), before.2 + 2);
    assert_eq!(azure_writes(&world), before.1);
    assert_eq!(world.kubernetes_writes()?, before.0);
    Ok(())
}

async fn no_binding_is_forgotten_however_late_the_service_accounts_are_known() -> Result<()> {
    let world = World::new(Arc::new(Cluster::start().await?)).await?;
    let identity = world.identity("web");
    let names: Vec<_> = (1..=8).map(|n| format!("web-{n}")).collect();
    for name in &names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
        world.bind(name, name, &identity).await?;
    }
    // The operator may not list ServiceAccounts yet: a chart's objects come in any order.
    let roles: Api<ClusterRole> = Api::all(world.admin());
    let whole = roles.get("workload-identity-binding").await?;
    let mut part = whole.clone();
    let about = |r: &PolicyRule| r.resources.iter().flatten().any(|r| r == "serviceaccounts");
    part.rules
        .iter_mut()
        .for_each(|rules| rules.retain(|r| !about(r)));
    roles
        .replace("workload-identity-binding", &PostParams::default(), &part)
        .await?;
    let operator = world.operator().await?;
    while !operator
        .get("/readyz")
        .await?
        .1
        .contains("first list of bindings and ServiceAccounts")
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // All bindings wait by now.
    tokio::time::sleep(Duration::from_secs(1)).await;

    part = roles.get("workload-identity-binding").await?;
    part.rules = whole.rules;
    roles
        .replace("workload-identity-binding", &PostParams::default(), &part)
        .await?;
    for name in &names {
        world.ready(name).await?;
        world.assert_accepted(name, &identity.client_id).await?;
    }
    Ok(())
}

async fn an_operator_that_lost_the_status_recovers_without_a_write_to_azure(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    let before = world.ready("web").await?.status.unwrap_or_default();
    operator.stop().await?;
    wipe(&world).await?;
    let writes = azure_writes(&world);

    let operator = world.operator().await?;
    let after = world.ready("web").await?.status.unwrap_or_default();
    visited(&operator, 1).await?;
    assert_eq!(azure_writes(&world), writes);
    assert_eq!(
        (after.credential, after.identity),
        (before.credential, before.identity)
    );
    world.assert_accepted("web", &identity.client_id).await?;

    world.delete("web").await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await
}

async fn a_binding_that_lost_its_status_is_deleted_with_its_trust(world: World) -> Result<()> {
    let identity = granted(&world, "web").await?;
    let operator = world.operator().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    operator.stop().await?;
    wipe(&world).await?;
    world.bindings().delete("web", &DeleteParams::default()).await?;

    let _operator = world.operator().await?;
    world.gone("web").await?;
    world
        .assert_refused("web", &identity.client_id, NO_CREDENTIAL)
        .await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    Ok(())
}

/// An identity, and a ServiceAccount of the same name that may use it.
async fn granted(world: &World, name: &str) -> Result<Identity> {
    let identity = world.identity(name);
    world.service_account(name).await?;
    world.grant(name, &identity).await?;
    Ok(identity)
}

fn tuple(world: &World, namespace: &str, service_account: &str) -> Tuple {
    Tuple::for_service_account(
        world.cluster.control_plane.issuer(),
        namespace,
        service_account,
        AUDIENCE,
    )
}

/// The credential that an operator with default settings makes for a ServiceAccount of this world.
fn ours(world: &World, service_account: &str) -> Credential {
    as_azure_holds(core::Credential::named_by_us(
        "wib",
        tuple(world, &world.namespace, service_account),
    ))
}

/// What the operator of another cluster makes for a ServiceAccount with the same namespace and name.
fn their_cluster(world: &World, service_account: &str) -> Credential {
    let tuple = Tuple {
        issuer: "https://issuer.other-cluster.test/".to_owned(),
        ..tuple(world, &world.namespace, service_account)
    };
    as_azure_holds(core::Credential::named_by_us("wib", tuple))
}

fn as_azure_holds(credential: core::Credential) -> Credential {
    let core::Credential { name, tuple } = credential;
    Credential {
        name,
        issuer: tuple.issuer,
        subject: tuple.subject,
        audiences: vec![tuple.audience],
    }
}

fn record(credential: &core::Credential) -> CredentialStatus {
    CredentialStatus {
        name: credential.name.clone(),
        issuer: credential.tuple.issuer.clone(),
        subject: credential.tuple.subject.clone(),
        audience: credential.tuple.audience.clone(),
        origin: CredentialOrigin::Created,
    }
}

/// Somebody with the right to write statuses writes one.
async fn forge(world: &World, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    world
        .bindings()
        .patch_status("web", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// The status is forged and the binding deleted while no operator sees it; then one does.
async fn deleted_with_forged(world: &World, operator: Operator, status: Value) -> Result<()> {
    operator.stop().await?;
    forge(world, status).await?;
    world.bindings().delete("web", &DeleteParams::default()).await?;
    let _operator = world.operator().await?;
    world.gone("web").await
}

/// The status is lost, as when a backup is restored.
async fn wipe(world: &World) -> Result<()> {
    let mut binding = world.bindings().get("web").await?;
    binding.status = Some(WorkloadIdentityBindingStatus::default());
    world
        .bindings()
        .replace_status("web", &PostParams::default(), &binding)
        .await?;
    Ok(())
}

fn azure_writes(world: &World) -> usize {
    world
        .azure
        .journal()
        .iter()
        .filter(|e| e.operation.is_write())
        .count()
}

/// Waits until the operator has looked at the identity so many times more.
async fn rounds(world: &World, more: usize) -> Result<()> {
    let lists = || world.azure.count(Operation::ListCredentials);
    let until = lists() + more;
    world
        .until("another round of drift detection", || lists() >= until)
        .await
}

/// Waits until a new operator is ready and has visited so many bindings.
async fn visited(operator: &Operator, bindings: u64) -> Result<()> {
    let series = "controller_runtime_reconcile_total";
    let count = |text: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(series));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    };
    metric(operator, |text| count(text) >= bindings).await?;
    assert_eq!(operator.get("/readyz").await?.0, 200);
    Ok(())
}

async fn metric(operator: &Operator, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let mut last = None;
    for _ in 0..500 {
        let (_, text) = operator.get("/metrics").await?;
        if wanted(&text) {
            return Ok(());
        }
        last = Some(text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(anyhow::anyhow!("not after 10 s")).context(last.unwrap_or_default())
}
