//! What the identity is and holds, and what is to be written there.

use super::{Act, Apply, ApplyStage, resolved};
use crate::api::{CredentialOrigin, IdentityStatus, ManagedIdentityStatus, Reason, RecordedCredential};
use crate::core::plan::{Decision, PlanInput, plan};
use crate::core::reconcile::{Effect, Obstacle};
use crate::core::record::{self, Change};
use crate::core::{ConditionState, Credential, Desired, Fault, Snapshot, ownership};

impl Apply {
    /// The identity could not be read.
    pub(super) fn unresolved(&mut self, desired: &Desired, obstacle: &Obstacle) -> Effect {
        let is_gone = obstacle.fault.is_gone();
        let state = if is_gone {
            ConditionState::no
        } else {
            ConditionState::unknown
        };
        self.outcome.identity_resolved = match obstacle.fault {
            Fault::IdentityGone => ConditionState::no(
                Reason::IdentityNotFound,
                format!(
                    "managed identity {} does not exist in resource group {}; create it, or name another one. Ids on the ServiceAccount stay as they are until then",
                    desired.identity.name(),
                    desired.identity.resource_group()
                ),
            ),
            fault => state(fault.reason(), obstacle.message.clone()),
        };
        if is_gone && let Some(identity) = &mut self.outcome.identity {
            // The ids are nobody's any more.
            *identity = IdentityStatus {
                resource_id: identity.resource_id.clone(),
                ..IdentityStatus::default()
            };
        }
        self.outcome.wait = obstacle.wait;
        self.end()
    }

    pub(super) fn observed(&mut self, desired: &Desired, snapshot: Snapshot) -> Effect {
        self.outcome.identity_resolved = ConditionState::yes(Reason::Found, "The identity exists.");
        self.outcome.age = snapshot.age;
        let found = record::unrecorded(
            &self.known.recorded,
            &snapshot.holdings,
            &self.known.issuers,
            self.known.namespace.as_deref(),
        );
        // What this pass is about to record needs no word of its own.
        let found: Vec<Credential> = found.into_iter().filter(|c| *c != desired.credential).collect();
        if found.is_empty() {
            return self.planned(desired, snapshot);
        }
        let changes: Vec<Change> = found.into_iter().map(Change::Found).collect();
        self.remember(&changes);
        self.stage = ApplyStage::Rebuild(Box::new(snapshot));
        Effect::Record(desired.identity.clone(), changes)
    }

    /// Keeps what is known of the record in step with what is written there.
    pub(super) fn remember(&mut self, changes: &[Change]) {
        let mut record = ManagedIdentityStatus {
            credentials: std::mem::take(&mut self.known.recorded),
            ..ManagedIdentityStatus::default()
        };
        record::apply(&mut record, changes);
        self.known.recorded = record.credentials;
    }

    /// Whether an entry is this operator's business: its namespace is.
    pub(super) fn looks_after(&self, entry: &RecordedCredential) -> bool {
        let only = self.known.namespace.as_deref();
        let tuple = record::tuple(entry);
        only.is_none_or(|only| {
            tuple
                .service_account()
                .is_some_and(|(namespace, _)| namespace == only)
        })
    }

    pub(super) fn input(&self, desired: &Desired) -> PlanInput {
        let subject = &desired.credential.tuple.subject;
        let issuer = &desired.credential.tuple.issuer;
        // With the issuer, or with the spec, credentials are left behind that are ours and that nobody
        // needs as much as this one: first those of this very ServiceAccount.
        let ours: Vec<_> = self
            .known
            .recorded
            .iter()
            .filter(|e| self.looks_after(e))
            .collect();
        let mut displaceable: Vec<_> = ours
            .iter()
            .filter(|entry| {
                let signs = entry.issuer == *issuer || self.known.alternating_issuers.contains(&entry.issuer);
                let is_superseded = self.known.of_binding.iter().any(|held| {
                    held.heir.is_none()
                        && held.identity == desired.identity
                        && held.entry.name == entry.name
                        && entry.subject != *subject
                });
                !signs || is_superseded
            })
            .collect();
        displaceable.sort_by_key(|entry| entry.subject != *subject);
        PlanInput {
            credential: desired.credential.clone(),
            adoption: desired.adoption,
            recorded: ours.iter().map(|e| e.name.clone()).collect(),
            displaceable: displaceable.into_iter().map(|e| e.name.clone()).collect(),
        }
    }

    pub(super) fn planned(&mut self, desired: &Desired, snapshot: Snapshot) -> Effect {
        if desired.suspend {
            self.stage = ApplyStage::LookWhileSuspended(Box::new(snapshot));
            return Effect::FindAccount(desired.service_account.name.clone());
        }
        let input = self.input(desired);
        let plan = plan(&input, &snapshot.holdings);
        let (credential, origin) = match &plan.decision {
            Decision::Refused(reason, message) => {
                self.outcome.credential_synced = ConditionState::no(*reason, message.clone());
                return self.end();
            }
            Decision::Trusted(credential, origin) => (credential.clone(), *origin),
        };
        self.outcome.identity = Some(resolved(desired, &snapshot));
        self.outcome.credential = Some(ownership::reported(&credential, origin));
        let changes = self.changes(desired, &credential, origin, &snapshot, !plan.steps.is_empty());
        let act = Box::new(Act {
            snapshot,
            input,
            plan,
            changes,
        });
        if !self.subject.has_finalizer {
            self.stage = ApplyStage::Confirm(act);
            return Effect::AddFinalizer;
        }
        if act.changes.is_empty() && act.plan.steps.is_empty() {
            return self.trusted(desired, Box::new(act.snapshot));
        }
        self.stage = ApplyStage::Confirm(act);
        Effect::Confirm
    }

    /// What the record has to say before the plan is carried out.
    pub(super) fn changes(
        &self,
        desired: &Desired,
        credential: &Credential,
        origin: CredentialOrigin,
        snapshot: &Snapshot,
        writes: bool,
    ) -> Vec<Change> {
        // What is adopted is nobody's record. A plan that writes puts the credential of the spec.
        let credential = match origin {
            CredentialOrigin::Created => credential,
            CredentialOrigin::Adopted if writes => &desired.credential,
            CredentialOrigin::Adopted => return Vec::new(),
        };
        let is_recorded = |name: &String| record::is_wanted(&self.known.recorded, credential, name);
        if is_recorded(&self.subject.name) || self.known.co_owners.iter().any(is_recorded) {
            return Vec::new();
        }
        let want = Change::Want {
            credential: credential.clone(),
            binding: self.subject.name.clone(),
        };
        let mut others = snapshot.holdings.clone();
        others.credentials.retain(|c| c.name != credential.name);
        let seen = Change::Seen {
            identity: snapshot.identity.clone(),
            others: record::others_on(&self.known.recorded, &others),
        };
        vec![want, seen]
    }
}
