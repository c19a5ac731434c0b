//! What is on record on one identity and no longer due is taken back.
//!
//! Goes by the record alone, so nothing that a tenant writes on a binding, or leaves out, can hold trust:
//!
//! | due, because | found by |
//! |---|---|
//! | its grant is gone | a review of every entry, after every change of grants |
//! | its binding is being deleted, or its spec has moved on | the pass of that binding, which names the entries |
//! | no binding wants it, and the grace period is over | the watch of bindings, and a consistent read before the delete |
//! | its issuer is a former one, and the longest token of it has expired | the record's `formerIssuers` |
//!
//! Every entry stands for itself: an obstacle at one delays no other, and all obstacles are told.

mod situation;

use std::time::Duration;

use super::{Answer, Deletion, Effect, End, Obstacle, Review};
use crate::api::{CredentialState, RecordedCredential};
use crate::core::grant;
use crate::core::record::{self, Change};
pub use situation::{Due, Orphans, OwnedEntry, Owner, Revoked, Situation, Why};

/// One pass over the record of one identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RevocationPass {
    situation: Box<Situation>,
    due: Due,
    stage: RevokeStage,
    doomed: Vec<(RecordedCredential, Why)>,
    changes: Vec<Change>,
    result: Revoked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RevokeStage {
    Start,
    /// Those whose grant is still to be reviewed; the last of them has been asked for.
    Review(Vec<RecordedCredential>),
    Confirm,
    /// After trouble: those denied before are asked about once more.
    ReviewAgain(Vec<RecordedCredential>),
    ConfirmUnwanted,
    Delete,
    Record,
    Withdraw,
}

impl RevocationPass {
    /// Begins a pass.
    pub fn new(situation: Situation, due: Due) -> Self {
        Self {
            situation: Box::new(situation),
            due,
            stage: RevokeStage::Start,
            doomed: Vec::new(),
            changes: Vec::new(),
            result: Revoked::default(),
        }
    }

    /// Takes in what came of the last effect, and says what is to be done next.
    ///
    /// An answer that does not belong to the last effect ends the pass as outdated: it is repeated.
    pub fn next(&mut self, answer: Answer) -> Effect {
        match (std::mem::replace(&mut self.stage, RevokeStage::Start), answer) {
            // What annotations are left has no part in trust: what is gone is told, whatever comes of them.
            (RevokeStage::Withdraw, _) => self.end(),
            (_, Answer::Failed(refusal)) => Effect::End(End::Failed(refusal)),
            (RevokeStage::Start, Answer::Begin) => {
                let to_review = self.begin();
                self.review(to_review)
            }
            (RevokeStage::Review(mut rest), Answer::Reviewed(review)) => {
                if let Some(asked) = rest.pop() {
                    match review {
                        Ok(Review::Denied) => self.doom(asked, Why::Denied),
                        Ok(Review::Granted | Review::Disabled) => {}
                        Err(_) => self.result.unsure = true,
                    }
                }
                self.review(rest)
            }
            (RevokeStage::Confirm, Answer::Confirmed { after_trouble }) => {
                let denied = self.doomed.iter().filter(|(_, why)| *why == Why::Denied);
                let again = denied.map(|(entry, _)| entry.clone()).collect();
                self.review_again(if after_trouble { again } else { Vec::new() })
            }
            (RevokeStage::ReviewAgain(mut rest), Answer::Reviewed(review)) => {
                if let Some(asked) = rest.pop()
                    && review != Ok(Review::Denied)
                {
                    self.result.unsure = true;
                    self.doomed.retain(|(entry, _)| *entry != asked);
                }
                self.review_again(rest)
            }
            (RevokeStage::ConfirmUnwanted, Answer::Unwanted(subjects)) => {
                self.doomed
                    .retain(|(entry, why)| *why != Why::Orphaned || subjects.contains(&entry.subject));
                self.delete()
            }
            (RevokeStage::Delete, Answer::Deleted(deleted)) => self.deleted(&deleted),
            (RevokeStage::Record, Answer::Done) => self.withdraw(),
            _ => Effect::End(End::Outdated),
        }
    }

    /// Finds what is due by time and by name; answers whose grants are to be reviewed.
    fn begin(&mut self) -> Vec<RecordedCredential> {
        let situation = self.situation.clone();
        match self.due.clone() {
            Due::Named(names) => {
                for entry in situation.entries {
                    if names.contains(&entry.recorded.name) && entry.owner != Owner::Wants {
                        self.doom(entry.recorded, Why::Left);
                    }
                }
                Vec::new()
            }
            Due::Denied(subject) => {
                let entries = situation.entries.into_iter().map(|entry| entry.recorded);
                entries.filter(|entry| entry.subject == subject).collect()
            }
            Due::All => {
                self.keep_issuers(&situation);
                for entry in &situation.entries {
                    self.keep_state(&situation, entry);
                    self.retire(&situation, &entry.recorded);
                }
                situation
                    .entries
                    .into_iter()
                    .map(|entry| entry.recorded)
                    .collect()
            }
        }
    }

    /// Puts on record which of the entries' issuers are former ones.
    fn keep_issuers(&mut self, situation: &Situation) {
        for entry in &situation.entries {
            let issuer = &entry.recorded.issuer;
            let is_known = situation.former_issuers.iter().any(|(known, _)| known == issuer);
            let change = Change::Retire {
                issuer: issuer.clone(),
                at: situation.now,
            };
            if !situation.signs(issuer) && !is_known && !self.changes.contains(&change) {
                self.changes.push(change);
            }
        }
        let formers = situation.former_issuers.iter().map(|(known, _)| known);
        for issuer in formers.filter(|known| situation.signs(known)) {
            self.changes.push(Change::Reinstate {
                issuer: issuer.clone(),
            });
        }
    }

    /// An entry that nobody wants is an orphan, unless a person has said what is to become of it.
    fn keep_state(&mut self, situation: &Situation, entry: &OwnedEntry) {
        let recorded = &entry.recorded;
        match (entry.owner, recorded.state) {
            (Owner::Absent, CredentialState::Wanted) => {
                self.changes.push(Change::Mark {
                    name: recorded.name.clone(),
                    state: CredentialState::Orphaned,
                });
                self.result.orphaned.push(recorded.clone());
                self.look_again(situation.orphan_grace_period);
            }
            (Owner::Absent, CredentialState::Orphaned) => {
                // One that no record of ours had named may be another cluster's, restored from the same
                // backup: only a person knows.
                let is_known = !recorded.binding.is_empty();
                let left = situation.orphan_grace_period.saturating_sub(entry.unwanted_for);
                match situation.orphans {
                    Orphans::Confirmed => self.doom(recorded.clone(), Why::Orphaned),
                    Orphans::Remove if is_known && left.is_zero() => {
                        self.doom(recorded.clone(), Why::Orphaned);
                    }
                    Orphans::Remove if is_known => self.look_again(left),
                    Orphans::Remove | Orphans::Held => {}
                }
            }
            _ => {}
        }
    }

    /// A former issuer's credential goes when no token of it can be valid any more.
    fn retire(&mut self, situation: &Situation, recorded: &RecordedCredential) {
        if situation.signs(&recorded.issuer) {
            return;
        }
        let known = situation
            .former_issuers
            .iter()
            .find(|(i, _)| *i == recorded.issuer);
        let since = known.map_or(Duration::ZERO, |(_, since)| *since);
        let left = situation.former_issuer_retention.saturating_sub(since);
        if left.is_zero() {
            self.doom(recorded.clone(), Why::FormerIssuer);
        } else {
            self.look_again(left);
        }
    }

    fn look_again(&mut self, after: Duration) {
        self.result.next = Some(self.result.next.map_or(after, |next| next.min(after)));
    }

    fn doom(&mut self, entry: RecordedCredential, why: Why) {
        // The first reason that was found is told, except that a denial speaks before all others.
        match self.doomed.iter_mut().find(|(known, _)| *known == entry) {
            Some(known) if why == Why::Denied => known.1 = why,
            Some(_) => {}
            None => self.doomed.push((entry, why)),
        }
    }

    fn review(&mut self, rest: Vec<RecordedCredential>) -> Effect {
        if let Some(request) = rest.last().map(|entry| self.request(entry)) {
            self.stage = RevokeStage::Review(rest);
            return match request {
                Some(request) => Effect::Review(request),
                // A subject that is no ServiceAccount's was never granted anything, and never ours.
                None => self.next(Answer::Reviewed(Err(String::new()))),
            };
        }
        if self.doomed.is_empty() {
            return self.record();
        }
        self.stage = RevokeStage::Confirm;
        Effect::Confirm
    }

    fn review_again(&mut self, rest: Vec<RecordedCredential>) -> Effect {
        if let Some(request) = rest.last().and_then(|entry| self.request(entry)) {
            self.stage = RevokeStage::ReviewAgain(rest);
            return Effect::Review(request);
        }
        let orphans = self.doomed.iter().filter(|(_, why)| *why == Why::Orphaned);
        let subjects: Vec<String> = orphans.map(|(entry, _)| entry.subject.clone()).collect();
        if subjects.is_empty() {
            return self.delete();
        }
        self.stage = RevokeStage::ConfirmUnwanted;
        Effect::ConfirmUnwanted(subjects)
    }

    fn request(&self, entry: &RecordedCredential) -> Option<grant::Request> {
        let tuple = record::tuple(entry);
        let (namespace, account) = tuple.service_account()?;
        Some(grant::Request {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            identity: self.situation.identity.clone(),
        })
    }

    fn delete(&mut self) -> Effect {
        if self.doomed.is_empty() {
            return self.record();
        }
        let names = self.doomed.iter().map(|(entry, _)| entry.name.clone()).collect();
        self.stage = RevokeStage::Delete;
        Effect::Delete(self.situation.identity.clone(), names)
    }

    fn deleted(&mut self, deleted: &Result<Vec<Deletion>, Obstacle>) -> Effect {
        for (entry, why) in std::mem::take(&mut self.doomed) {
            let result = match deleted {
                Ok(results) => {
                    let own = results.iter().find(|(name, _)| *name == entry.name);
                    own.map_or(Ok(()), |(_, result)| result.clone())
                }
                Err(obstacle) => Err(obstacle.clone()),
            };
            match result {
                Err(obstacle) if !obstacle.fault.is_gone() => {
                    let message = format!(
                        "{} (managed identity {})",
                        obstacle.message,
                        self.situation.identity.name()
                    );
                    self.result
                        .obstacles
                        .push((Obstacle { message, ..obstacle }, entry.name));
                }
                // With the identity all that it held is gone.
                Ok(()) | Err(_) => {
                    self.changes.push(Change::Gone {
                        name: entry.name.clone(),
                    });
                    self.result.gone.push((entry, why));
                }
            }
        }
        self.record()
    }

    fn record(&mut self) -> Effect {
        if self.changes.is_empty() {
            return self.withdraw();
        }
        self.stage = RevokeStage::Record;
        Effect::Record(self.situation.identity.clone(), std::mem::take(&mut self.changes))
    }

    /// Takes our annotations off the ServiceAccounts of credentials that are gone and have no binding left
    /// to do it.
    fn withdraw(&mut self) -> Effect {
        let situation = &self.situation;
        let is_left = |entry: &RecordedCredential| {
            let known = situation.entries.iter().find(|e| e.recorded == *entry);
            known.is_some_and(|e| e.owner == Owner::Absent)
        };
        let left = self.result.gone.iter().filter(|(entry, _)| is_left(entry));
        let accounts: Vec<(String, String)> = left
            .filter_map(|(entry, _)| {
                let tuple = record::tuple(entry);
                let (namespace, name) = tuple.service_account()?;
                Some((namespace.to_owned(), name.to_owned()))
            })
            .collect();
        if accounts.is_empty() {
            return self.end();
        }
        self.stage = RevokeStage::Withdraw;
        Effect::Withdraw(accounts)
    }

    fn end(&mut self) -> Effect {
        Effect::End(End::Revoked(std::mem::take(&mut self.result)))
    }
}
