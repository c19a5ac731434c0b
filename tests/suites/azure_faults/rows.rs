//! Rows of the matrix: one fault, one identity, one binding; many of them in one world.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Entry, Fault, Identity, Operation};
use futures::future::try_join_all;
use kube::ResourceExt as _;
use wib_harness::World;
use wib_harness::world::bindings::{condition, describe, is_ready};
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::table::{self, Case, Meaning};

/// Slow retries come after this time, give or take a tenth.
pub const SLOW: Duration = Duration::from_secs(3);

/// No call of Azure is waited for longer.
const TIMEOUT: &str = "--azure-timeout=3s";

/// Most calls about one identity while a fault lasts.
const MAX_CALLS: usize = 60;

/// One fault at one operation.
pub struct Row {
    /// Name of identity, ServiceAccount and binding.
    pub name: String,
    pub case: Case,
    pub meaning: Meaning,
    pub identity: Identity,
    pub operation: Operation,
}

/// Makes identities and ServiceAccounts for all faults at an operation.
pub async fn rows(world: &World, operation: Operation) -> Result<Vec<Row>> {
    let row = |index: usize| async move {
        let name = format!("f{index:02}");
        let identity = world.identity(&name);
        world.service_account(&name).await?;
        let case = table::case(index, operation, &identity);
        anyhow::Ok(Row {
            meaning: case.means(operation),
            name,
            case,
            identity,
            operation,
        })
    };
    try_join_all((0..table::count()).map(row)).await
}

/// The settings of an operator, with these beside those of every row.
pub fn flags<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        TIMEOUT,
        // Each grant of another trial would have all bindings looked at, in between.
        "--authorization=none",
        // All rows share a subscription, and each is to be seen by itself.
        "--azure-pacing=off",
        // None waits for another's turn, and comes to it when it is due.
        "--concurrency=64",
        "--slow-retry-interval=3s",
        "--read-after-write-grace=10ms",
    ];
    common.into_iter().chain(more.iter().copied()).collect()
}

impl Row {
    /// This row's fault, for so many calls, or until faults are cleared.
    pub fn inject(&self, world: &World, times: Option<u32>) {
        let fault = Fault::on(self.operation).path(&format!("/{}", self.name));
        let fault = times.map_or_else(|| fault.clone().always(), |times| fault.clone().times(times));
        world.azure.fault(fault.action(self.case.action.clone()));
    }

    /// What the operator asked about this identity since a moment.
    pub fn calls(&self, world: &World, since: Instant) -> Vec<Entry> {
        let id = self.identity.resource_id.to_lowercase();
        let journal = world.azure.journal().into_iter();
        journal
            .filter(|e| e.identity.as_deref() == Some(&id) && e.started >= since)
            .collect()
    }

    /// The binding shows what the fault means, and the right one of `Reconciling` and `Stalled`.
    pub fn shows(&self, binding: &WorkloadIdentityBinding) -> bool {
        let ready = condition(binding, "Ready");
        let reason = self.meaning.reason();
        let told = ready.is_some_and(|c| c.0 != "True" && Some(c.1) == reason);
        let flag = if matches!(self.meaning, Meaning::Stalled(_)) {
            ["Stalled", "Reconciling"]
        } else {
            ["Reconciling", "Stalled"]
        };
        told && condition(binding, flag[0]).is_some_and(|c| c.0 == "True" && Some(c.1) == reason)
            && condition(binding, flag[1]).is_none()
    }

    /// Waits until the binding shows it.
    pub async fn shown(&self, world: &World) -> Result<()> {
        let what = format!("{:?} for {}", self.meaning, self.case.name);
        world.wait(&self.name, &what, |b| self.shows(b)).await?;
        Ok(())
    }

    /// Waits until the operator has tried so often.
    pub async fn tried(&self, world: &World, since: Instant, times: usize) -> Result<()> {
        let what = format!("{} tries despite {}", times, self.case.name);
        world
            .until(&what, || {
                let calls = self.calls(world, since);
                calls.iter().filter(|e| e.operation == self.operation).count() >= times
            })
            .await
    }

    /// The tries came when they should, and nothing else was asked in between.
    pub fn check_calls(&self, world: &World, since: Instant, may: &[Operation]) -> Result<()> {
        let calls = self.calls(world, since);
        let name = self.case.name;
        let other = calls.iter().find(|e| !may.contains(&e.operation));
        ensure!(other.is_none(), "{name}: {other:#?}");
        ensure!(calls.len() <= MAX_CALLS, "{name}: {} calls", calls.len());
        let tries = tries(&calls, self.operation);
        let least = match self.meaning {
            Meaning::Wait(_, ms) => Duration::from_millis(ms),
            Meaning::Slow(_) | Meaning::Stalled(_) => SLOW.mul_f64(0.85),
            _ => Duration::ZERO,
        };
        // The last one may not have ended.
        for (_, end) in tries.into_iter().rev().skip(1) {
            if let Some(next) = calls.iter().find(|e| e.started > end) {
                let gap = next.started.duration_since(end);
                ensure!(gap >= least, "{name}: again after {gap:?}, not {least:?}");
            }
        }
        Ok(())
    }

    /// The binding is ready, by one credential, written once, and its workload is accepted.
    pub async fn recovered(&self, world: &World, writes: usize) -> Result<()> {
        let context = || format!("after {}", self.case.name);
        world.ready(&self.name).await.with_context(context)?;
        let held = world.azure.credentials(&self.identity.resource_id);
        ensure!(held.len() == 1, "{}: {held:#?}", self.case.name);
        world
            .assert_accepted(&self.name, &self.identity.client_id)
            .await
            .with_context(context)?;
        let id = self.identity.resource_id.to_lowercase();
        let journal = world.azure.journal();
        let about = journal.iter().filter(|e| e.identity.as_deref() == Some(&id));
        let committed = about.filter(|e| e.operation.is_write() && e.committed.is_some());
        let committed = committed.count();
        ensure!(committed == writes, "{}: {committed} writes", self.case.name);
        Ok(())
    }

    /// The version of the binding, which no visit may change while it is in order.
    pub async fn version(&self, world: &World) -> Result<Option<String>> {
        let binding = world.bindings().get(&self.name).await?;
        ensure!(is_ready(&binding), "{}: {}", self.case.name, describe(&binding));
        Ok(binding.resource_version())
    }
}

/// Start and end of each try: one that is repeated at once on a fresh list, because Azure seemed to know
/// better, is one.
fn tries(calls: &[Entry], operation: Operation) -> Vec<(Instant, Instant)> {
    let mut tries: Vec<(Instant, Instant)> = Vec::new();
    for call in calls.iter().filter(|e| e.operation == operation) {
        let end = call.ended.unwrap_or(call.started);
        match tries.last_mut() {
            Some(last) if call.started.duration_since(last.1) < SLOW / 2 => last.1 = end,
            _ => tries.push((call.started, end)),
        }
    }
    tries
}
