//! Calls of Kubernetes that conflict, are throttled, fail or lose their answers: each is made good for, and Azure is
//! written once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation;
use futures::future::try_join_all;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::World;
use wib_harness::gate::{Gate, Rule};

use crate::runner::{figure, trials};

trials![
    shared a_status_is_written_whatever_was_patched_meanwhile,
    shared a_record_that_somebody_was_faster_with_is_worked_out_anew,
    shared a_finalizer_is_set_and_removed_beside_those_of_others,
    shared a_service_account_that_is_made_again_meanwhile_is_annotated,
    shared a_service_account_that_goes_meanwhile_is_not_brought_back,
    shared throttles_are_waited_out,
    shared a_throttle_that_lasts_keeps_azure_unwritten,
    shared an_absurd_throttle_is_bounded_by_the_deadline,
    shared every_call_may_fail_once_in_every_way,
];

const STATUS: &str = "k8s PATCH workloadidentitybindings/status";
const FINALIZER: &str = "k8s PATCH workloadidentitybindings";
const RECORD: &str = "k8s PUT managedidentities/status";
const ACCOUNT: &str = "k8s PATCH serviceaccounts";
const REVIEW: &str = "k8s POST subjectaccessreviews";

/// Calls with this signature that were answered with this status.
fn answered(gate: &Gate, signature: &str, status: u16) -> usize {
    let journal = gate.journal();
    let of = journal.iter().filter(|c| c.signature == signature);
    of.filter(|c| c.status == Some(status)).count()
}

/// The write on the ServiceAccount that is gone has failed, and was not repeated in a flood.
fn lost_against_others(gate: &Gate) -> Result<()> {
    let journal = gate.journal();
    let of = journal.iter().filter(|c| c.signature == ACCOUNT);
    let statuses: Vec<_> = of.filter_map(|c| c.status).collect();
    let lost = statuses.iter().filter(|s| [404, 409, 422].contains(*s)).count();
    ensure!((1..=4).contains(&lost), "{statuses:?}");
    Ok(())
}

/// A status is a report, and the operator's last word on it stands: no patch of the object gets in its way.
async fn a_status_is_written_whatever_was_patched_meanwhile(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let _operator = world.operator_through(&gates, &[]).await?;
    let identity = world.workload("web").await?;
    let parked = gate.rule(Rule::on(STATUS).park_before_send());
    world.bind("web", "web", &identity).await?;
    parked.reached().await.context("no write")?;
    let edit = json!({ "metadata": { "labels": { "edited": "meanwhile" } } });
    world.change("web", edit).await?;
    parked.release();
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(answered(gate, STATUS, 409), 0);
    assert_eq!(answered(gate, STATUS, 200), 1);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    Ok(())
}

/// Somebody else writes on the record of the identity at the same moment: neither undoes the other.
async fn a_record_that_somebody_was_faster_with_is_worked_out_anew(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let _operator = world.operator_through(&gates, &[]).await?;
    let identity = world.workload("web").await?;
    let parked = gate.rule(Rule::on(RECORD).park_before_send());
    world.bind("web", "web", &identity).await?;
    parked.reached().await.context("no write")?;
    let record = world.record(&identity).await?.context("no record")?;
    let edit = json!({ "metadata": { "annotations": { "edited": "meanwhile" } } });
    world
        .records()
        .patch(&record.name_any(), &PatchParams::default(), &Patch::Merge(edit))
        .await?;
    parked.release();
    world.ready("web").await?;
    assert_eq!(answered(gate, RECORD, 409), 1);
    let record = world.record(&identity).await?.context("no record")?;
    ensure!(record.annotations().contains_key("edited"), "{record:?}");
    assert_eq!(record.status.unwrap_or_default().credentials.len(), 1);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    Ok(())
}

async fn a_finalizer_is_set_and_removed_beside_those_of_others(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let _operator = world.operator_through(&gates, &[]).await?;
    let identity = world.workload("web").await?;
    let other = "example.com/other";

    let parked = gate.rule(Rule::on(FINALIZER).park_before_send());
    world.bind("web", "web", &identity).await?;
    parked.reached().await.context("no finalizer")?;
    let set = json!({ "metadata": { "finalizers": [other] } });
    world.change("web", set).await?;
    parked.release();
    let binding = world.ready("web").await?;
    let finalizers = binding.metadata.finalizers.unwrap_or_default();
    assert_eq!(finalizers.len(), 2, "{finalizers:?}");

    let parked = gate.rule(Rule::on(FINALIZER).park_before_send());
    world.bindings().delete("web", &DeleteParams::default()).await?;
    parked.reached().await.context("the finalizer stays")?;
    let ours: Vec<_> = finalizers.into_iter().filter(|f| f != other).collect();
    world
        .change("web", json!({ "metadata": { "finalizers": ours } }))
        .await?;
    parked.release();
    world.gone("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 1);
    let failed: usize = [409, 422].iter().map(|s| answered(gate, FINALIZER, *s)).sum();
    figure(format!(
        "kubernetes faults: finalizers: {failed} writes lost against others"
    ));
    Ok(())
}

async fn a_service_account_that_is_made_again_meanwhile_is_annotated(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let _operator = world.operator_through(&gates, &[]).await?;
    let identity = world.workload("web").await?;
    let parked = gate.rule(Rule::on(ACCOUNT).park_before_send());
    world.bind("web", "web", &identity).await?;
    parked.reached().await.context("no annotation")?;
    world
        .service_accounts()
        .delete("web", &DeleteParams::default())
        .await?;
    world.service_account("web").await?;
    parked.release();
    world.annotated("web", &identity).await?;
    world.ready("web").await?;
    lost_against_others(gate)?;
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    Ok(())
}

async fn a_service_account_that_goes_meanwhile_is_not_brought_back(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let _operator = world.operator_through(&gates, &[]).await?;
    let identity = world.workload("web").await?;
    let parked = gate.rule(Rule::on(ACCOUNT).park_before_send());
    world.bind("web", "web", &identity).await?;
    parked.reached().await.context("no annotation")?;
    world
        .service_accounts()
        .delete("web", &DeleteParams::default())
        .await?;
    parked.release();
    world.not_ready("web", "ServiceAccountNotFound").await?;
    ensure!(
        world.service_accounts().get_opt("web").await?.is_none(),
        "the ServiceAccount was brought back"
    );
    lost_against_others(gate)?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 1);
    Ok(())
}

/// Right after a definition was created, and on a busy API server: every kind of call is turned away first.
async fn throttles_are_waited_out(world: World) -> Result<()> {
    let cluster = &world.cluster;
    let kinds: [&[(&str, &str)]; 2] = [&[], &[("retry-after", "1")]];
    let waits = kinds.map(async |headers| -> Result<Duration> {
        let world = World::new(cluster.clone()).await?;
        let gates = world.gated().await?;
        let gate = &gates.kubernetes;
        let identity = world.workload("web").await?;
        let listed = [
            "workloadidentitybindings",
            "serviceaccounts",
            "managedidentities",
            "clusterroles",
            "clusterrolebindings",
        ];
        let reads = listed
            .iter()
            .flat_map(|r| [format!("k8s GET {r} (list)"), format!("k8s GET {r} (watch)")]);
        let writes = [
            STATUS,
            FINALIZER,
            ACCOUNT,
            REVIEW,
            RECORD,
            "k8s POST managedidentities",
        ]
        .map(str::to_owned);
        let traps: Vec<_> = reads
            .chain(writes)
            .map(|signature| {
                let rule = Rule::on(&signature).times(2);
                gate.rule(rule.answer(429, headers, "too many requests"))
            })
            .collect();
        let started = Instant::now();
        let operator = world.operator_through(&gates, &[]).await?;
        world.bind("web", "web", &identity).await?;
        world.ready("web").await?;
        let took = started.elapsed();
        world.assert_accepted("web", &identity.client_id).await?;
        world.delete("web").await?;
        for trap in &traps {
            assert_eq!(trap.hits().len(), 2, "{:?}", trap.hits());
        }
        assert_eq!(world.azure.count(Operation::PutCredential), 1);
        let (_, metrics) = operator.get("/metrics").await?;
        let none = "controller_runtime_reconcile_errors_total{controller=\"workloadidentitybinding\"} 0\n";
        ensure!(metrics.contains(none), "{metrics}");
        Ok(took)
    });
    let waits = try_join_all(waits).await?;
    figure(format!(
        "kubernetes faults: 429 twice on 16 kinds of calls: ready after {:.1} s, with Retry-After: 1 after {:.1} s",
        waits[0].as_secs_f64(),
        waits[1].as_secs_f64()
    ));
    Ok(())
}

async fn a_throttle_that_lasts_keeps_azure_unwritten(world: World) -> Result<()> {
    const LASTS: Duration = Duration::from_secs(5);
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let _operator = world.operator_through(&gates, &[]).await?;
    let identity = world.workload("web").await?;
    let throttled = gate.rule(Rule::on(RECORD).always().answer(429, &[], "too many requests"));
    world.bind("web", "web", &identity).await?;
    throttled.reached().await.context("no write")?;
    tokio::time::sleep(LASTS).await;
    let calls = throttled.hits().len();
    ensure!(calls <= 30, "{calls} calls in {LASTS:?}");
    // The credential could not be put on record.
    assert_eq!(world.azure.count(Operation::PutCredential), 0);
    gate.clear_rules();
    world.ready("web").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    figure(format!(
        "kubernetes faults: 429 on a record for 5 s: {calls} calls, 0 writes to Azure"
    ));
    Ok(())
}

async fn an_absurd_throttle_is_bounded_by_the_deadline(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let operator = world.operator_through(&gates, &[]).await?;
    let identity = world.workload("web").await?;
    let throttle = Rule::on(REVIEW).answer(429, &[("retry-after", "3600")], "too many requests");
    gates.kubernetes.rule(throttle);
    let started = Instant::now();
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let took = started.elapsed();
    ensure!(
        (Duration::from_secs(14)..Duration::from_secs(28)).contains(&took),
        "it took {took:?}"
    );
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    ensure!(!operator.has_ended(), "the operator has ended");
    figure(format!(
        "kubernetes faults: Retry-After: 3600: ready after {:.0} s",
        took.as_secs_f64()
    ));
    Ok(())
}

/// Makes a rule fail its calls in one way.
type Fault = fn(Rule) -> Rule;

/// The calls of a binding's life, and those of its end.
const CALLS: [&str; 8] = [
    FINALIZER,
    REVIEW,
    RECORD,
    STATUS,
    ACCOUNT,
    "k8s POST events",
    "k8s GET workloadidentitybindings",
    "k8s GET customresourcedefinitions",
];

async fn every_call_may_fail_once_in_every_way(world: World) -> Result<()> {
    let faults: [(&str, Fault); 8] = [
        ("401", |r| r.kubernetes_status(401, "Unauthorized")),
        ("403", |r| r.kubernetes_status(403, "Forbidden")),
        ("409", |r| r.kubernetes_status(409, "Conflict")),
        ("500", |r| r.kubernetes_status(500, "InternalError")),
        ("504", |r| r.kubernetes_status(504, "Timeout")),
        ("reset before", Rule::reset_before_send),
        ("reset after", Rule::reset_after_commit),
        ("half an answer", Rule::half_body),
    ];
    let cluster = &world.cluster;
    let runs = faults.map(async |(what, fault)| -> Result<usize> {
        let world = World::new(cluster.clone()).await?;
        let gates = world.gated().await?;
        let _operator = world.operator_through(&gates, &[]).await?;
        for (index, call) in CALLS.iter().enumerate() {
            let name = format!("web-{index}");
            once(&world, &gates.kubernetes, &name, fault(Rule::on(call)))
                .await
                .with_context(|| format!("{what} on {call}"))?;
        }
        Ok(CALLS.len())
    });
    let points: usize = try_join_all(runs).await?.into_iter().sum();
    figure(format!(
        "kubernetes faults: {points} points ({} calls, {} kinds): 1 credential written and deleted at each",
        CALLS.len(),
        faults.len()
    ));
    Ok(())
}

/// One life of a binding, with one fault in it.
async fn once(world: &World, gate: &Gate, name: &str, fault: Rule) -> Result<()> {
    let identity = world.workload(name).await?;
    world.azure.clear_journal();
    let trap = gate.rule(fault);
    world.bind(name, name, &identity).await?;
    world.ready(name).await?;
    world.assert_accepted(name, &identity.client_id).await?;
    world.delete(name).await?;
    ensure!(!trap.hits().is_empty(), "the call was never made");
    assert_eq!(world.azure.credentials(&identity.resource_id), []);
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 1);
    let id = world
        .annotation(name, "azure.workload.identity/client-id")
        .await?;
    assert_eq!(id, None);
    Ok(())
}
