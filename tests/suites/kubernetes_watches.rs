//! Watches that end, break, go silent, repeat themselves or are refused: nothing is lost, nothing is done twice, and
//! the API server is not stormed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Identity, Operation};
use futures::future::try_join_all;
use kube::api::DeleteParams;
use pretty_assertions::assert_eq;
use wib_harness::World;
use wib_harness::gate::{Call, Gate, Rule, Trap, WatchFault};

use crate::runner::{figure, trials};

trials![
    shared what_happens_while_watches_are_closed_is_caught_up_with,
    shared what_happens_while_watches_break_in_an_object_is_caught_up_with,
    shared what_happens_while_watches_are_silent_is_noticed_within_their_time,
    shared what_a_watch_that_says_gone_has_missed_is_listed,
    shared what_a_watch_that_is_refused_as_gone_has_missed_is_listed,
    shared events_that_come_twice_are_worked_on_once,
    shared no_fault_of_watches_is_answered_with_a_storm,
];

/// Nothing but a watch brings news: all intervals are long.
const DEAF: [&str; 2] = ["--watch-timeout=2s", "--slow-retry-interval=10m"];

/// One of bindings, ServiceAccounts, ClusterRoles and ClusterRoleBindings each.
const WATCHES: u32 = 4;

/// The faulty watches, once each.
fn once() -> Rule {
    Rule::when(|call| call.watch).times(WATCHES)
}

/// What people do while the operator does not hear of it.
struct Meanwhile {
    world: World,
    identities: Vec<Identity>,
}

const NAMES: [&str; 5] = ["calm", "deleted", "revoked", "again", "new"];

impl Meanwhile {
    /// Four bindings, and what a fifth one needs.
    async fn before(world: World) -> Result<Self> {
        let mut identities = Vec::new();
        for name in NAMES {
            let identity = world.workload(name).await?;
            if name != "new" {
                world.bind(name, name, &identity).await?;
            }
            identities.push(identity);
        }
        Ok(Self { world, identities })
    }

    async fn ready(&self) -> Result<()> {
        for name in &NAMES[..4] {
            self.world.ready(name).await?;
        }
        Ok(())
    }

    /// A binding comes, one is deleted, a grant goes, and a ServiceAccount is made again.
    async fn happen(&self) -> Result<()> {
        let world = &self.world;
        let params = DeleteParams::default();
        world.service_accounts().delete("again", &params).await?;
        world.service_account("again").await?;
        world.revoke("revoked", &self.identities[2]).await?;
        world.bindings().delete("deleted", &params).await?;
        world.bind("new", "new", &self.identities[4]).await?;
        Ok(())
    }

    /// All of it is caught up with, each thing once.
    async fn is_caught_up_with(&self) -> Result<()> {
        let world = &self.world;
        let calm = world.bindings().get("calm").await?;
        world.ready("new").await?;
        world
            .assert_accepted("new", &self.identities[4].client_id)
            .await?;
        world.gone("deleted").await?;
        world.stalled("revoked", "NotAuthorized").await?;
        world.annotated("again", &self.identities[3]).await?;
        world.ready("again").await?;
        for (name, held) in [
            ("calm", 1),
            ("deleted", 0),
            ("revoked", 0),
            ("again", 1),
            ("new", 1),
        ] {
            let index = NAMES.iter().position(|n| *n == name).unwrap_or_default();
            let credentials = world.azure.credentials(&self.identities[index].resource_id);
            assert_eq!(credentials.len(), held, "{name}: {credentials:?}");
        }
        assert_eq!(world.azure.count(Operation::PutCredential), 5);
        assert_eq!(world.azure.count(Operation::DeleteCredential), 2);
        assert_eq!(world.azure.overlapping_writes(), []);
        let after = world.bindings().get("calm").await?;
        assert_eq!(
            after.metadata.resource_version, calm.metadata.resource_version,
            "what was in order was written"
        );
        Ok(())
    }
}

/// Watches break; while they cannot come back, things happen; the first that come back meet `fault`.
async fn missed(world: World, what: &str, fault: Rule) -> Result<()> {
    missed_with(world, what, |_| fault).await
}

async fn missed_with(world: World, what: &str, fault: impl FnOnce(&[Call]) -> Rule) -> Result<()> {
    let meanwhile = Meanwhile::before(world).await?;
    let gates = meanwhile.world.gated().await?;
    let gate = &gates.kubernetes;
    let operator = meanwhile.world.operator_through(&gates, &DEAF).await?;
    meanwhile.ready().await?;

    let away = gate.rule(Rule::when(|call| call.watch).always().park_before_send());
    gate.cut();
    meanwhile.happen().await?;
    all_meet(&away).await?;
    gate.clear_rules();
    let faulty = gate.rule(fault(&away.hits()));
    away.drop_calls();
    let started = Instant::now();
    meanwhile.is_caught_up_with().await?;
    ensure!(faulty.hits().len() >= WATCHES as usize, "{:?}", faulty.hits());
    assert_eq!(operator.get("/readyz").await?.0, 200);
    figure(format!(
        "kubernetes faults: {what}: 4 events missed by 4 watches, caught up with in {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Waits until all watches have come back and met a rule.
async fn all_meet(trap: &Trap) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while trap.hits().len() < WATCHES as usize {
        ensure!(
            Instant::now() < end,
            "the watches do not come back: {:?}",
            trap.hits()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn what_happens_while_watches_are_closed_is_caught_up_with(world: World) -> Result<()> {
    missed(world, "watches closed", once().watch(0, WatchFault::Close)).await
}

async fn what_happens_while_watches_break_in_an_object_is_caught_up_with(world: World) -> Result<()> {
    let fault = once().watch(0, WatchFault::CutInEvent);
    missed(world, "watches cut in an object", fault).await
}

async fn what_a_watch_that_says_gone_has_missed_is_listed(world: World) -> Result<()> {
    missed(world, "410 Gone as an event", once().watch(0, WatchFault::Gone)).await
}

async fn what_a_watch_that_is_refused_as_gone_has_missed_is_listed(world: World) -> Result<()> {
    missed_with(world, "410 Gone as a status", |away| {
        // These very versions, and as often as they are asked for.
        let versions: Vec<_> = away
            .iter()
            .map(|call| (call.path.clone(), call.query.clone()))
            .collect();
        let expired = Rule::when(move |call| versions.contains(&(call.path.clone(), call.query.clone())));
        expired.always().kubernetes_status(410, "Expired")
    })
    .await
}

async fn what_happens_while_watches_are_silent_is_noticed_within_their_time(world: World) -> Result<()> {
    let meanwhile = Meanwhile::before(world).await?;
    let gates = meanwhile.world.gated().await?;
    let _operator = meanwhile.world.operator_through(&gates, &DEAF).await?;
    meanwhile.ready().await?;
    let silent = gates.kubernetes.rule(once().watch(0, WatchFault::Silence));
    gates.kubernetes.cut();
    all_meet(&silent).await?;
    let started = Instant::now();
    meanwhile.happen().await?;
    meanwhile.is_caught_up_with().await?;
    // 2 s, and the 5 s that a watch is given beyond its time.
    let noticed = started.elapsed();
    ensure!(
        (Duration::from_secs(2)..Duration::from_secs(15)).contains(&noticed),
        "it took {noticed:?}"
    );
    figure(format!(
        "kubernetes faults: watches silent: 4 events missed by 4 watches, caught up with in {:.1} s (watch timeout 2 s)",
        noticed.as_secs_f64()
    ));
    Ok(())
}

async fn events_that_come_twice_are_worked_on_once(world: World) -> Result<()> {
    let gates = world.gated().await?;
    let twice = Rule::when(|call| call.watch).always();
    gates.kubernetes.rule(twice.watch(0, WatchFault::Repeat));
    let operator = world
        .operator_through(&gates, &["--slow-retry-interval=10m"])
        .await?;
    let identity = world.workload("web").await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.delete("web").await?;
    assert_eq!(world.azure.count(Operation::PutCredential), 1);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 1);
    let of = |signature: &str| {
        let journal = gates.kubernetes.journal();
        let effective = journal.iter().filter(|c| c.status == Some(200));
        effective.filter(|c| c.signature == signature).count()
    };
    // The binding is gone a moment before the gate has the answer.
    world
        .until("the removal of the finalizer is answered", || {
            of("k8s PATCH workloadidentitybindings") >= 2
        })
        .await?;
    // As without the fault: one status, one record, and the finalizer set and removed.
    assert_eq!(of("k8s PATCH workloadidentitybindings/status"), 1);
    assert_eq!(of("k8s PUT managedidentities/status"), 1);
    assert_eq!(of("k8s PATCH workloadidentitybindings"), 2);
    let (_, metrics) = operator.get("/metrics").await?;
    let none = "controller_runtime_reconcile_errors_total{controller=\"workloadidentitybinding\"} 0\n";
    ensure!(metrics.contains(none), "{metrics}");
    Ok(())
}

/// Faults that last, and what the API server hears meanwhile.
async fn no_fault_of_watches_is_answered_with_a_storm(world: World) -> Result<()> {
    let watch = |fault| Rule::when(|call| call.watch).always().watch(0, fault);
    let asked = |call: &Call| call.watch || call.signature.ends_with("(list)");
    let answered = |status, reason| Rule::when(asked).always().kubernetes_status(status, reason);
    let faults = [
        ("closed at once", watch(WatchFault::Close)),
        ("gone at once", watch(WatchFault::Gone)),
        ("reset", Rule::when(asked).always().reset_before_send()),
        ("403", answered(403, "Forbidden")),
        ("410", answered(410, "Expired")),
        ("429", answered(429, "TooManyRequests")),
        ("500", answered(500, "InternalError")),
        ("503", answered(503, "ServiceUnavailable")),
        (
            "halved lists",
            Rule::when(|call| call.signature.ends_with("(list)"))
                .always()
                .half_body(),
        ),
    ];
    let cluster = &world.cluster;
    let rates = faults.map(async |(name, rule)| -> Result<String> {
        let world = World::new(cluster.clone()).await?;
        let rate = storm(&world, rule).await.with_context(|| name.to_owned())?;
        Ok(format!("{name} {rate:.1}/s"))
    });
    let rates = try_join_all(rates).await?;
    figure(format!(
        "kubernetes faults: {} kinds that last, calls while they do: {}",
        rates.len(),
        rates.join(", ")
    ));
    Ok(())
}

/// Calls for watches and lists per second while a fault lasts. Afterwards everything is as before.
async fn storm(world: &World, rule: Rule) -> Result<f64> {
    const LASTS: Duration = Duration::from_secs(5);
    let calls = |gate: &Gate| {
        let journal = gate.journal();
        let asked = journal
            .iter()
            .filter(|c| c.watch || c.signature.ends_with("(list)"));
        asked.count()
    };
    let identity = world.workload("web").await?;
    let gates = world.gated().await?;
    let gate = &gates.kubernetes;
    let operator = world.operator_through(&gates, &[]).await?;
    world.bind("web", "web", &identity).await?;
    let before = world.ready("web").await?;
    // With its answer lost, and no watch, the operator would write the status again.
    let is_status = |call: &&Call| call.signature == "k8s PATCH workloadidentitybindings/status";
    let is_answered = || {
        gate.journal()
            .iter()
            .filter(is_status)
            .all(|call| call.answered.is_some())
    };
    world
        .until("the operator knows of its status", is_answered)
        .await?;

    gate.rule(rule);
    // The next watch is asked for with a version that is too old, so that lists are met as well.
    let expired = Rule::when(|call| call.watch).times(WATCHES);
    gate.rule(expired.kubernetes_status(410, "Expired"));
    let calm = calls(gate);
    gate.cut();
    tokio::time::sleep(LASTS).await;
    #[allow(clippy::cast_precision_loss, reason = "a few")]
    let rate = (calls(gate) - calm) as f64 / LASTS.as_secs_f64();
    ensure!(rate <= 12.0, "{rate} calls a second");
    assert_eq!(operator.get("/readyz").await?.0, 200);

    gate.clear_rules();
    world.service_account("api").await?;
    world.grant("api", &identity).await?;
    world.bind("api", "api", &identity).await?;
    world.ready("api").await?;
    let after = world.bindings().get("web").await?;
    assert_eq!(after.status, before.status, "the status has changed");
    assert_eq!(world.azure.count(Operation::PutCredential), 2);
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    Ok(rate)
}
