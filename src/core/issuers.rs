//! The issuers of the cluster's tokens: which one is current, and whether another one is a former one. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The issuers of the cluster's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIssuers {
    /// The one that new tokens have.
    pub current: String,
    /// Others that API servers of this cluster name by turns: they are no former ones.
    pub alternating: Vec<String>,
}

impl From<String> for ClusterIssuers {
    fn from(current: String) -> Self {
        Self {
            current,
            alternating: Vec::new(),
        }
    }
}

/// What a read has brought that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerNews {
    /// There is another one.
    Changed {
        /// The one before.
        former: String,
    },
    /// API servers name two by turns.
    Alternating {
        /// Beside the current one.
        other: String,
    },
}

/// After so long without a sight of it, an issuer that API servers named by turns is a former one.
const ALTERNATING_FOR: Duration = Duration::from_hours(1);

/// So many reads in a row that name an issuer which was given up make it the current one again. Doubled each
/// time that this happens.
const RETURNS_AFTER: u32 = 5;

/// What was read, and what it means.
///
/// An issuer that changes is followed at once. One that comes back soon after it was given up is no change:
/// two API servers behind one address have different `--service-account-issuer` flags, and which of them
/// answers is chance. Then both sign tokens, so neither is a former one, and the operator does not run
/// after every answer.
#[derive(Clone, Debug)]
pub struct IssuerHistory {
    current: String,
    /// Others that were read, and when last.
    others: BTreeMap<String, Instant>,
    /// Those of them that came back.
    alternating: BTreeSet<String>,
    /// How often in a row one of the others was read.
    in_a_row: (String, u32),
    returns_after: u32,
}

impl IssuerHistory {
    /// Begins with the issuer that was read first.
    pub fn new(current: String) -> Self {
        Self {
            current,
            others: BTreeMap::new(),
            alternating: BTreeSet::new(),
            in_a_row: (String::new(), 0),
            returns_after: RETURNS_AFTER,
        }
    }

    /// Takes in what was read now. Answers the issuers of the cluster, and what is to be told.
    pub fn read(&mut self, issuer: String, now: Instant) -> (ClusterIssuers, Option<IssuerNews>) {
        self.others
            .retain(|_, seen| now.duration_since(*seen) < ALTERNATING_FOR);
        let news = if issuer == self.current {
            self.in_a_row.1 = 0;
            None
        } else if self.others.contains_key(&issuer) {
            self.came_back(issuer, now)
        } else {
            Some(self.change(issuer, now))
        };
        self.alternating.retain(|issuer| self.others.contains_key(issuer));
        if self.alternating.is_empty() {
            self.returns_after = RETURNS_AFTER;
        }
        let issuers = ClusterIssuers {
            current: self.current.clone(),
            alternating: self.alternating.iter().cloned().collect(),
        };
        (issuers, news)
    }

    fn came_back(&mut self, issuer: String, now: Instant) -> Option<IssuerNews> {
        self.others.insert(issuer.clone(), now);
        let is_new = self.alternating.insert(issuer.clone());
        if self.in_a_row.0 == issuer {
            self.in_a_row.1 += 1;
        } else {
            self.in_a_row = (issuer.clone(), 1);
        }
        if self.in_a_row.1 < self.returns_after {
            return is_new.then_some(IssuerNews::Alternating { other: issuer });
        }
        self.returns_after = self.returns_after.saturating_mul(2);
        self.others.remove(&issuer);
        self.alternating.remove(&issuer);
        self.alternating.insert(self.current.clone());
        Some(self.change(issuer, now))
    }

    fn change(&mut self, issuer: String, now: Instant) -> IssuerNews {
        let former = std::mem::replace(&mut self.current, issuer);
        self.others.insert(former.clone(), now);
        self.in_a_row.1 = 0;
        IssuerNews::Changed { former }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is published after each of these reads, a minute apart: the current issuer, and those that alternate.
    fn reads(history: &mut IssuerHistory, issuers: &str) -> Vec<String> {
        let mut now = Instant::now();
        let published = issuers.chars().map(|issuer| {
            now += Duration::from_mins(1);
            let (published, _) = history.read(issuer.to_string(), now);
            published.current + &published.alternating.concat()
        });
        published.collect()
    }

    #[test]
    fn a_new_issuer_is_followed_at_once_and_the_old_one_is_a_former_one() {
        let mut history = IssuerHistory::new("a".to_owned());
        assert_eq!(reads(&mut history, "aabbc"), ["a", "a", "b", "b", "c"]);
    }

    #[test]
    fn two_issuers_by_turns_both_stay_and_nobody_runs_after_them() {
        let mut history = IssuerHistory::new("a".to_owned());
        let published = reads(&mut history, "babbabaababba");
        assert_eq!(published[0], "b");
        assert!(published[1..].iter().all(|p| p == "ba"), "{published:?}");
    }

    #[test]
    fn an_issuer_that_is_taken_back_is_followed_and_the_other_stays_for_a_while() {
        let mut history = IssuerHistory::new("a".to_owned());
        let published = reads(&mut history, "baaaaa");
        assert_eq!(published, ["b", "ba", "ba", "ba", "ba", "ab"]);
        // An hour without a sight of it.
        assert_eq!(reads(&mut history, &"a".repeat(70)).last().unwrap(), "a");
        assert_eq!(history.returns_after, RETURNS_AFTER);
    }

    #[test]
    fn each_return_makes_the_next_one_slower() {
        let mut history = IssuerHistory::new("a".to_owned());
        reads(&mut history, "baaaaa");
        let published = reads(&mut history, "bbbbbbbbbb");
        assert_eq!(published[8], "ab");
        assert_eq!(published[9], "ba");
    }

    #[test]
    fn each_change_and_the_first_return_are_told() {
        let mut history = IssuerHistory::new("a".to_owned());
        let mut told = |issuer: &str| history.read(issuer.to_owned(), Instant::now()).1;
        let changed = |former: &str| IssuerNews::Changed {
            former: former.to_owned(),
        };
        let other = "a".to_owned();
        assert_eq!(told("a"), None);
        assert_eq!(told("b"), Some(changed("a")));
        assert_eq!(told("a"), Some(IssuerNews::Alternating { other }));
        assert_eq!([told("b"), told("a"), told("b")], [None, None, None]);
        assert_eq!(told("c"), Some(changed("b")));
    }
}
