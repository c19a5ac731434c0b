//! The credentials of one identity with their past, so that ARM reads and Entra can each lag behind.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::passed;
use crate::knobs::ReadLag;
use crate::model::Credential;

/// Credentials of one identity. Names are compared without letter case, like all ARM names.
#[derive(Debug, Default)]
pub(crate) struct History {
    records: Vec<Record>,
    /// Number of the last write.
    sequence: u64,
    stale: Option<Stale>,
}

#[derive(Debug)]
struct Record {
    /// Lists keep the order of creation; an update does not move a credential.
    position: u64,
    credential: Credential,
    from: Moment,
    until: Option<(Moment, Ended)>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Timestamp,
    sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Replaced,
    Deleted,
}

#[derive(Debug)]
struct Stale {
    sequence: u64,
    reads_left: u32,
}

impl History {
    /// The truth.
    pub(crate) fn current(&self) -> Vec<Credential> {
        self.view(|record| record.until.is_none())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Credential> {
        self.records
            .iter()
            .find(|record| record.until.is_none() && record.credential.name.eq_ignore_ascii_case(name))
            .map(|record| &record.credential)
    }

    /// Creates or updates; answers what is stored and whether it is new.
    pub(crate) fn put(
        &mut self,
        mut credential: Credential,
        now: Timestamp,
        lag: ReadLag,
    ) -> (Credential, bool) {
        let existing = self.get(&credential.name).cloned();
        if let Some(old) = &existing {
            credential.name.clone_from(&old.name);
            if *old == credential {
                return (credential, false);
            }
        }
        let moment = self.next(now, lag);
        let replaced = self.close(&credential.name, moment, Ended::Replaced);
        self.records.push(Record {
            position: replaced.unwrap_or(moment.sequence),
            credential: credential.clone(),
            from: moment,
            until: None,
        });
        (credential, existing.is_none())
    }

    /// Deletes; answers whether there was anything to delete.
    pub(crate) fn remove(&mut self, name: &str, now: Timestamp, lag: ReadLag) -> bool {
        if self.get(name).is_none() {
            return false;
        }
        let moment = self.next(now, lag);
        self.close(name, moment, Ended::Deleted).is_some()
    }

    /// What an ARM read shows; counts as a read.
    pub(crate) fn read(&mut self, now: Timestamp, lag: ReadLag) -> Vec<Credential> {
        if let ReadLag::Time(span) = lag {
            return self.view(|record| {
                passed(record.from.at, span, now)
                    && record.until.is_none_or(|(end, _)| !passed(end.at, span, now))
            });
        }
        let Some(stale) = &mut self.stale else {
            return self.current();
        };
        let at = stale.sequence;
        stale.reads_left -= 1;
        let right = matches!(lag, ReadLag::Flapping(_)) && stale.reads_left.is_multiple_of(2);
        if stale.reads_left == 0 {
            self.stale = None;
        }
        if right {
            return self.current();
        }
        self.view(|record| {
            record.from.sequence <= at && record.until.is_none_or(|(end, _)| end.sequence > at)
        })
    }

    /// What Entra knows.
    pub(crate) fn entra(&self, now: Timestamp, written: Duration, deleted: Duration) -> Vec<Credential> {
        self.view(|record| {
            let known = passed(record.from.at, written, now);
            let forgotten = record.until.is_some_and(|(end, how)| match how {
                Ended::Replaced => passed(end.at, written, now),
                Ended::Deleted => passed(end.at, deleted, now),
            });
            known && !forgotten
        })
    }

    fn view(&self, visible: impl Fn(&Record) -> bool) -> Vec<Credential> {
        let mut records: Vec<&Record> = self.records.iter().filter(|record| visible(record)).collect();
        records.sort_by_key(|record| record.position);
        records
            .into_iter()
            .map(|record| record.credential.clone())
            .collect()
    }

    /// Starts a write; a lag counted in reads begins unless an earlier one still runs.
    fn next(&mut self, now: Timestamp, lag: ReadLag) -> Moment {
        let reads = match lag {
            ReadLag::Reads(reads) => reads,
            ReadLag::Flapping(reads) => reads.next_multiple_of(2),
            ReadLag::None | ReadLag::Time(_) => 0,
        };
        if reads == 0 {
            self.stale = None;
        } else if let Some(stale) = &mut self.stale {
            stale.reads_left = reads;
        } else {
            self.stale = Some(Stale {
                sequence: self.sequence,
                reads_left: reads,
            });
        }
        self.sequence += 1;
        Moment {
            at: now,
            sequence: self.sequence,
        }
    }

    fn close(&mut self, name: &str, at: Moment, how: Ended) -> Option<u64> {
        let record = self
            .records
            .iter_mut()
            .find(|record| record.until.is_none() && record.credential.name.eq_ignore_ascii_case(name))?;
        record.until = Some((at, how));
        Some(record.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str, subject: &str) -> Credential {
        Credential::new(name, "https://issuer.test", subject, "api://AzureADTokenExchange")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn names(list: &[Credential]) -> Vec<&str> {
        list.iter().map(|credential| credential.name.as_str()).collect()
    }

    #[test]
    fn an_update_keeps_the_place_and_the_spelling_of_the_name() {
        let mut history = History::default();
        history.put(credential("First", "a"), at(0), ReadLag::None);
        history.put(credential("second", "b"), at(1), ReadLag::None);
        let (stored, created) = history.put(credential("FIRST", "c"), at(2), ReadLag::None);
        assert!(!created);
        assert_eq!(stored.name, "First");
        assert_eq!(names(&history.current()), ["First", "second"]);
        assert_eq!(history.get("first").unwrap().subject, "c");
    }

    #[test]
    fn reads_lag_by_time() {
        let mut history = History::default();
        let lag = ReadLag::Time(Duration::from_secs(10));
        history.put(credential("one", "a"), at(0), lag);
        assert!(history.read(at(9), lag).is_empty());
        assert_eq!(names(&history.read(at(10), lag)), ["one"]);
        history.remove("one", at(20), lag);
        assert_eq!(names(&history.read(at(29), lag)), ["one"]);
        assert!(history.read(at(30), lag).is_empty());
    }

    #[test]
    fn reads_lag_by_count_and_flap() {
        let mut history = History::default();
        history.put(credential("one", "a"), at(0), ReadLag::Reads(2));
        let seen: Vec<usize> = (0..3)
            .map(|_| history.read(at(0), ReadLag::Reads(2)).len())
            .collect();
        assert_eq!(seen, [0, 0, 1]);

        let mut history = History::default();
        history.put(credential("one", "a"), at(0), ReadLag::Flapping(4));
        let seen: Vec<usize> = (0..6)
            .map(|_| history.read(at(0), ReadLag::Flapping(4)).len())
            .collect();
        assert_eq!(seen, [0, 1, 0, 1, 1, 1]);
    }

    #[test]
    fn entra_learns_late_and_forgets_late() {
        let mut history = History::default();
        let (written, deleted) = (Duration::from_secs(5), Duration::from_mins(1));
        history.put(credential("one", "a"), at(0), ReadLag::None);
        assert!(history.entra(at(4), written, deleted).is_empty());
        history.put(credential("one", "b"), at(10), ReadLag::None);
        assert_eq!(history.entra(at(14), written, deleted)[0].subject, "a");
        assert_eq!(history.entra(at(15), written, deleted)[0].subject, "b");
        history.remove("one", at(20), ReadLag::None);
        assert_eq!(history.entra(at(79), written, deleted).len(), 1);
        assert!(history.entra(at(80), written, deleted).is_empty());
    }
}
