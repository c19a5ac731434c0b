//! What has to hold of every run, and by how much a run may differ from the one without faults.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use azure_emulator::{Entry, Operation};
use serde_json::Value;
use wib_harness::gate::Call;

use super::explorer::Scenario;
use super::snapshot::{Names, Snapshot};
use super::stage::Stage;

/// Condition `Ready` turns at most so often more for each crash: to Unknown and back.
const MORE_TURNS: usize = 2;

/// Calls that a new operator makes before it looks at anything, and some to spare.
const START_UP: usize = 25;

/// What a run has come to and what it took.
#[derive(Clone, Debug)]
pub struct Observed {
    pub snapshot: Snapshot,
    /// Calls of the operator by signature, of all instances.
    pub calls: BTreeMap<String, usize>,
    /// Credentials made, by name: PUTs that Azure answered with 201.
    made: BTreeMap<String, usize>,
    /// Credentials deleted, by name: DELETEs of one that was there.
    deleted: BTreeMap<String, usize>,
    /// PUTs of a credential that was there.
    written_again: usize,
    accounts_made: usize,
    /// How often `Ready` turned, by binding.
    turns: BTreeMap<String, usize>,
}

impl Observed {
    pub fn of(stage: &Stage, names: &Names, snapshot: Snapshot) -> Self {
        let calls: Vec<Call> = stage
            .instances()
            .iter()
            .flat_map(|gates| gates.journal())
            .collect();
        let journal = stage.world.azure.journal();
        let count = |operation: Operation, status: u16| {
            let mut counts = BTreeMap::new();
            for entry in journal
                .iter()
                .filter(|e| e.operation == operation && e.status == Some(status))
            {
                let identity = entry
                    .identity
                    .as_deref()
                    .and_then(|id| id.rsplit('/').next())
                    .unwrap_or_default();
                let name = entry.path.rsplit('/').next().unwrap_or_default();
                *counts
                    .entry(names.masked(&format!("{name} on {identity}")))
                    .or_insert(0) += 1;
            }
            counts
        };
        let mut by_signature = BTreeMap::new();
        for call in &calls {
            *by_signature.entry(call.signature.clone()).or_insert(0) += 1;
        }
        let made_account =
            |call: &&Call| call.signature == "k8s POST serviceaccounts" && call.status == Some(201);
        Self {
            snapshot,
            calls: by_signature,
            made: count(Operation::PutCredential, 201),
            deleted: count(Operation::DeleteCredential, 200),
            written_again: count(Operation::PutCredential, 200).values().sum(),
            accounts_made: calls.iter().filter(made_account).count(),
            turns: turns(&calls),
        }
    }

    pub fn total(&self) -> usize {
        self.calls.values().sum()
    }

    /// How this run differs from the one without faults by more than so many crashes explain.
    pub fn differences(&self, reference: &Self, scenario: &Scenario, crashes: usize) -> Vec<String> {
        let mut found = Vec::new();
        if self.snapshot != reference.snapshot {
            found.push(format!(
                "another end:\n{}",
                difference(&reference.snapshot.0, &self.snapshot.0)
            ));
        }
        for (what, now, then) in [
            ("made", &self.made, &reference.made),
            ("deleted", &self.deleted, &reference.deleted),
        ] {
            // What is made on the way depends on who is faster; nothing is made twice.
            let once =
                |(name, n): (&String, &usize)| *n <= then.get(name).copied().unwrap_or_default().max(1);
            if now != then && !(scenario.racing && now.iter().all(once)) {
                found.push(format!("{what} {now:?}, not {then:?}"));
            }
        }
        if self.written_again > reference.written_again + crashes {
            found.push(format!("{} PUTs of what was there", self.written_again));
        }
        if self.accounts_made != reference.accounts_made {
            found.push(format!("{} ServiceAccounts made", self.accounts_made));
        }
        let limit = (reference.total() + START_UP) * (crashes + 1);
        if self.total() > limit {
            found.push(format!(
                "{} calls, more than {limit}: {:?}",
                self.total(),
                self.calls
            ));
        }
        for (binding, turns) in &self.turns {
            // Where others race with the operator, what a binding needs may go before it does, or after it.
            let more = crashes + usize::from(scenario.racing);
            let limit = reference.turns.get(binding).copied().unwrap_or_default() + MORE_TURNS * more;
            if *turns > limit {
                found.push(format!(
                    "Ready of {binding} turned {turns} times, more than {limit}"
                ));
            }
        }
        found
    }
}

/// What is wrong with any run, whatever the one without faults was like.
pub async fn violations(stage: &Stage, scenario: &Scenario) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for &(account, letter, wanted) in scenario.pairs {
        let accepted = stage.is_accepted(account, stage.identity(letter)?).await?;
        if accepted != wanted {
            let is = if accepted { "accepted" } else { "refused" };
            found.push(format!("Entra {is} {account} for identity {letter}"));
        }
    }
    let journal = stage.world.azure.journal();
    let calls: Vec<Call> = stage
        .instances()
        .iter()
        .flat_map(|gates| gates.journal())
        .collect();
    found.extend(calls.iter().filter_map(|call| lie(call, &journal)));
    for (first, second) in stage.world.azure.overlapping_writes() {
        found.push(format!(
            "two writes at once: {} {} and {} {}",
            first.method, first.path, second.method, second.path
        ));
    }
    let last = stage.last_look().await?;
    let writes = last
        .journal()
        .into_iter()
        .filter(|call| is_write(&call.signature));
    found.extend(writes.map(|call| format!("one more operator wrote: {} {}", call.signature, call.path)));
    Ok(found)
}

/// Whether a call of this signature leaves something behind. Reviews and logins do not; events are told, not
/// kept.
pub fn is_write(signature: &str) -> bool {
    signature.split(' ').nth(1) != Some("GET")
        && !matches!(
            signature,
            "k8s POST subjectaccessreviews" | "azure POST token" | "k8s POST events"
        )
}

/// A status that says Ready while Azure did not hold the credential that it names.
fn lie(call: &Call, journal: &[Entry]) -> Option<String> {
    let ready = ready(call)?;
    let status = &call.body.as_ref()?["status"];
    if ready != "True" || status["credential"]["origin"] != "Created" {
        return None;
    }
    let (said, written) = (call.received, status["credential"]["name"].as_str()?);
    let identity = status["identity"]["resourceId"].as_str()?.to_lowercase();
    let about = |entry: &&Entry| {
        entry.operation.is_credential_write()
            && entry.identity.as_ref() == Some(&identity)
            && entry.path.rsplit('/').next() == Some(written)
    };
    let done = |entry: &&Entry| entry.committed.is_some_and(|at: Instant| at <= said);
    let last = journal
        .iter()
        .filter(about)
        .filter(done)
        .max_by_key(|entry| entry.committed);
    let holds = last.is_some_and(|entry| entry.operation == Operation::PutCredential);
    (!holds).then(|| format!("said to be ready without {written} on {identity}: {status}"))
}

/// What a write of a status, that was taken, says under Ready.
fn ready(call: &Call) -> Option<&str> {
    if call.signature != "k8s PATCH workloadidentitybindings/status" || call.status != Some(200) {
        return None;
    }
    let conditions = call.body.as_ref()?["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    ready["status"].as_str()
}

fn turns(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    let mut turns = BTreeMap::new();
    for call in calls {
        let (Some(ready), Some(name)) = (ready(call), call.path.rsplit('/').nth(1)) else {
            continue;
        };
        let ready = Value::from(ready);
        if last
            .insert(name.to_owned(), ready.clone())
            .is_some_and(|before| before != ready)
        {
            *turns.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    turns
}

/// The lines of which only one text has so many.
fn difference(wanted: &str, found: &str) -> String {
    let missing = |from: &str, other: &str, sign: &str| {
        let mut rest: Vec<&str> = other.lines().collect();
        let mut lines = String::new();
        for line in from.lines() {
            if let Some(at) = rest.iter().position(|other| *other == line) {
                rest.swap_remove(at);
            } else {
                lines += sign;
                lines += line.trim();
                lines += "\n";
            }
        }
        lines
    };
    missing(wanted, found, "- ") + &missing(found, wanted, "+ ")
}
