//! What was asked, by whom, when, and what it was told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

use crate::operation::Operation;
use crate::shared::lock;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Number of the request, from 1.
    pub id: u64,
    /// What it asked for.
    pub operation: Operation,
    /// HTTP method.
    pub method: String,
    /// Path as sent, without the query.
    pub path: String,
    /// The `api-version` of the query.
    pub api_version: Option<String>,
    /// The `$skiptoken` of the query: of a list, a page after the first.
    pub skip_token: Option<String>,
    /// Client id of the caller: from the bearer token, or the one that wants to log in.
    pub caller: Option<String>,
    /// Lower-case resource id of the identity it is about.
    pub identity: Option<String>,
    /// JSON body; of a token request the form without secrets and assertions.
    pub body: Option<Value>,
    /// Status of the answer. `None`: the connection was cut, or the request still runs.
    pub status: Option<u16>,
    /// `error.code`, or `AADSTS` and the number.
    pub error_code: Option<String>,
    /// When the head of the request arrived.
    pub started: Instant,
    /// When the answer was ready to be sent, the connection was cut, or the client went away.
    pub ended: Option<Instant>,
    /// When it took effect, for writes that did. May be later than `ended` if the client went away.
    pub committed: Option<Instant>,
    /// `started` on the emulator's clock.
    pub started_at: Timestamp,
    /// `User-Agent` of the caller.
    pub user_agent: Option<String>,
}

impl Entry {
    /// Whether both ran at the same time. A request without an end still runs.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.ended.is_none_or(|end| end > other.started) && other.ended.is_none_or(|end| end > self.started)
    }
}

/// Pairs of credential writes that one caller had in flight at the same time on one identity. Azure refuses the
/// later one of such a pair; a careful client never sends it.
pub fn overlapping_writes(entries: &[Entry]) -> Vec<(Entry, Entry)> {
    let mut lanes: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.operation.is_credential_write())
    {
        lanes
            .entry((&entry.identity, &entry.caller))
            .or_default()
            .push(entry);
    }
    let mut pairs = Vec::new();
    for lane in lanes.values() {
        for (index, first) in lane.iter().enumerate() {
            let later = lane[index + 1..].iter().filter(|second| first.overlaps(second));
            pairs.extend(later.map(|second| ((*first).clone(), (*second).clone())));
        }
    }
    pairs
}

/// The entries so far; requests still running are updated in place.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    last: u64,
    entries: Vec<Entry>,
}

impl Journal {
    pub(crate) fn begin(&self, mut entry: Entry) -> u64 {
        let mut pages = lock(&self.0);
        pages.last += 1;
        entry.id = pages.last;
        pages.entries.push(entry);
        pages.last
    }

    /// Changes an entry, unless it was cleared away.
    pub(crate) fn update(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        let mut pages = lock(&self.0);
        if let Some(entry) = pages.entries.iter_mut().rev().find(|entry| entry.id == id) {
            change(entry);
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        lock(&self.0).entries.clone()
    }

    pub(crate) fn count(&self, operation: Operation) -> usize {
        lock(&self.0)
            .entries
            .iter()
            .filter(|entry| entry.operation == operation)
            .count()
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(identity: &str, caller: &str, start: u64, end: Option<u64>) -> Entry {
        let zero = *ZERO.get_or_init(Instant::now);
        Entry {
            id: 0,
            operation: Operation::PutCredential,
            method: "PUT".into(),
            path: String::new(),
            api_version: None,
            skip_token: None,
            caller: Some(caller.into()),
            identity: Some(identity.into()),
            body: None,
            status: None,
            error_code: None,
            started: zero + Duration::from_secs(start),
            ended: end.map(|end| zero + Duration::from_secs(end)),
            committed: None,
            started_at: Timestamp::UNIX_EPOCH,
            user_agent: None,
        }
    }

    static ZERO: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

    #[test]
    fn only_writes_of_one_caller_on_one_identity_overlap() {
        let serial = [write("a", "x", 0, Some(2)), write("a", "x", 2, Some(3))];
        assert!(overlapping_writes(&serial).is_empty());
        let others = [
            write("a", "x", 0, Some(2)),
            write("b", "x", 1, Some(3)),
            write("a", "y", 1, Some(3)),
        ];
        assert!(overlapping_writes(&others).is_empty());
        let twice = [write("a", "x", 0, Some(2)), write("a", "x", 1, Some(3))];
        assert_eq!(overlapping_writes(&twice).len(), 1);
        let running = [write("a", "x", 0, None), write("a", "x", 50, Some(51))];
        assert_eq!(overlapping_writes(&running).len(), 1);
    }
}
