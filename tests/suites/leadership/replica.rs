//! A replica behind gates of its own, so that every call has its caller, and the history of the lease.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use wib_harness::gate::{Call, Transport};
use wib_harness::world::Gates;
use wib_harness::{Operator, World};

/// A lease that a trial waits for. Shorter ones are lost on a machine that runs many trials at a time.
pub const SHORT: Duration = Duration::from_secs(8);

/// A lease that no trial waits for: the default.
pub const LONG: Duration = Duration::from_secs(15);

/// Name of the lease, as `config/rbac` has it.
pub const NAME: &str = "workload-identity-binding";

/// How far apart in time two observers may see the same thing on a busy machine; and how long a leader may
/// take to see that somebody took its lease away, which nobody may do.
const SLACK: Duration = Duration::from_secs(1);

/// The ways out of one replica.
pub struct Replica {
    pub name: &'static str,
    pub gates: Gates,
    lease: Duration,
    flags: Vec<String>,
}

impl Replica {
    pub async fn new(world: &World, name: &'static str, lease: Duration) -> Result<Self> {
        Ok(Self {
            name,
            gates: world.gated().await?,
            lease,
            flags: world.elect(name, lease).await?,
        })
    }

    /// The arguments of `wib` for it.
    pub fn arguments(&self, world: &World) -> Vec<String> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        world.gated_arguments(&self.gates, &flags)
    }

    pub async fn start(&self, world: &World) -> Result<Operator> {
        Operator::start(self.arguments(world)).await
    }

    /// Everything that it asked to be changed, but the lease and its own login.
    pub fn writes(&self) -> Vec<Call> {
        let mut calls = self.gates.journal();
        calls.retain(|call| match call.transport {
            Transport::Kubernetes => call.method != "GET" && !is_lease(call),
            Transport::Azure => matches!(call.method.as_str(), "PUT" | "DELETE"),
        });
        calls
    }

    /// Credential writes that it began after this moment.
    pub fn azure_writes_after(&self, moment: Instant) -> usize {
        let writes = self.writes();
        let azure = writes.iter().filter(|call| call.transport == Transport::Azure);
        azure.filter(|call| call.received > moment).count()
    }

    /// When it asked for each claim that it was given.
    pub fn claims(&self) -> Vec<Instant> {
        let calls = self.gates.kubernetes.journal();
        let given = calls.iter().filter(|call| {
            let holder = call.body.as_ref().map(|body| &body["spec"]["holderIdentity"]);
            is_lease(call)
                && matches!(call.method.as_str(), "POST" | "PUT")
                && call.status.is_some_and(|status| status < 300)
                && holder.is_some_and(|holder| is_of(self.name, holder.as_str()))
        });
        given.map(|call| call.received).collect()
    }
}

fn is_lease(call: &Call) -> bool {
    call.path.contains("/leases")
}

/// Whether this holder is the replica of that name.
fn is_of(name: &str, holder: Option<&str>) -> bool {
    holder.is_some_and(|holder| holder.split('_').next() == Some(name))
}

/// Who held the lease, and since when, as somebody beside the replicas saw it.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Vec<Event>>>);

/// When a change was seen, and who held the lease from then on.
type Event = (Instant, Option<String>);

impl History {
    /// Watches from now on.
    pub fn watch(world: &World) -> Self {
        let history = Self::default();
        let seen = history.clone();
        let mut changes = watch_object(leases(world), NAME).default_backoff().boxed();
        tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                let Ok(lease) = change else { continue };
                let holder = lease.and_then(|lease| lease.spec?.holder_identity);
                seen.events().push((Instant::now(), holder));
            }
        });
        history
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who holds it now.
    pub fn holder(&self) -> Option<String> {
        self.events().last()?.1.clone()
    }

    /// Whether the replica of this name holds it now.
    pub fn is_held_by(&self, name: &str) -> bool {
        is_of(name, self.holder().as_deref())
    }

    /// Whether the replica of this name held it at this moment, give or take.
    fn was_held_by(&self, name: &str, moment: Instant) -> bool {
        let events = self.events();
        let before = events.iter().rfind(|(at, _)| *at + SLACK < moment);
        let around = events
            .iter()
            .filter(|(at, _)| *at + SLACK >= moment && *at <= moment + SLACK);
        before
            .into_iter()
            .chain(around)
            .any(|(_, holder)| is_of(name, holder.as_deref()))
    }

    /// Fails if a replica began a write outside the time of its claim. Answers how many were looked at.
    pub fn assert_no_write_without_claim(&self, replicas: &[&Replica]) -> Result<usize> {
        let mut looked_at = 0;
        for replica in replicas {
            let claims = replica.claims();
            for write in replica.writes() {
                looked_at += 1;
                let at = write.received;
                let claimed = claims
                    .iter()
                    .any(|claim| *claim <= at && at <= *claim + replica.lease);
                ensure!(
                    claimed,
                    "{} began {} {:?} after its last claim",
                    replica.name,
                    write.signature,
                    claims
                        .iter()
                        .filter(|claim| **claim <= at)
                        .map(|claim| at - *claim)
                        .min()
                );
                ensure!(
                    self.was_held_by(replica.name, at),
                    "{} began {} while {:?} held the lease",
                    replica.name,
                    write.signature,
                    self.holder()
                );
            }
        }
        ensure!(looked_at > 0, "nobody wrote anything");
        Ok(looked_at)
    }
}

/// The leases of a world.
pub fn leases(world: &World) -> Api<Lease> {
    Api::namespaced(world.admin(), &world.namespace)
}

/// Waits until a replica leads and has listed what there is to do.
pub async fn leads(operator: &Operator) -> Result<()> {
    probe(operator, "/readyz", "ok").await
}

/// Waits until a probe answers 200 with this text.
pub async fn probe(operator: &Operator, path: &str, part: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let answer = operator.get(path).await.context("no answer")?;
        if answer.0 == 200 && answer.1.contains(part) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "{path} answers {answer:?}, not {part:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
