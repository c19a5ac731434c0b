//! The reconcile as a pure transition function: from a state and the last answer to the next effect.
//!
//! Two machines, neither of which knows a client, a clock or the order in which the world answers:
//!
//! - [`BindingPass`] brings one binding about: live ([`apply`]) or being deleted ([`delete`]).
//! - [`RevocationPass`] takes back on one identity what is on record and no longer due ([`revoke`]).
//!
//! The controller's driver carries the effects out and hands the answers back; the explorer of the tests
//! does the same with a model of the world, every interleaving of it. The order of calls therefore stands
//! here and nowhere else. Two rules are so important that no step is trusted with them: [`Safeguard`].

pub mod apply;
pub mod delete;
pub mod revoke;
mod safeguard;
mod suspended;

use std::collections::BTreeMap;
use std::time::Duration;

use super::annotations::{Annotations, Present};
use super::plan::{Plan, PlanInput};
use super::record::Change;
use super::{Desired, Fault, IdentityId, Outcome, Snapshot, desired, grant};
use crate::api::{DeletionPolicy, RecordedCredential, ServiceAccountOrigin, WorkloadIdentityBindingStatus};
pub use revoke::{Due, RevocationPass, Revoked};
pub use safeguard::{Safeguard, Unsafe};

/// A binding, parsed at the border.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Namespace of the binding, and of its ServiceAccount.
    pub namespace: String,
    /// Name of the binding.
    pub name: String,
    /// Counts the changes of the spec; a deletion is one, too.
    pub generation: Option<i64>,
    /// It carries our finalizer.
    pub has_finalizer: bool,
    /// It is being deleted.
    pub is_deleting: bool,
    /// The release annotation is set.
    pub is_released: bool,
    /// What happens when it is deleted.
    pub deletion_policy: DeletionPolicy,
    /// Name of the ServiceAccount in the spec.
    pub service_account: String,
    /// The spec, understood, or why it cannot be.
    pub desired: Result<Desired, String>,
}

/// What is known beside the binding when a pass begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known {
    /// Older bindings that would write something else on the ServiceAccount, the oldest first.
    pub contenders: Vec<Contender>,
    /// What the record says of the identity that the spec names, also for namespaces that other operators of
    /// this cluster look after.
    pub recorded: Vec<RecordedCredential>,
    /// Every recorded credential that was last wanted by this binding, on whichever identity; and those of its
    /// own ServiceAccount and identity whose binding has gone or moved on.
    pub of_binding: Vec<Held>,
    /// Issuers of this cluster: the current one, and those on record as former ones.
    pub issuers: Vec<String>,
    /// Other issuers that API servers of this cluster name by turns with the current one.
    pub alternating_issuers: Vec<String>,
    /// The one namespace that the operator looks after, or all.
    pub namespace: Option<String>,
    /// Names of the other live bindings that want the same ServiceAccount to use the same identity.
    pub co_owners: Vec<String>,
    /// Another binding annotates the ServiceAccount of the spec.
    pub annotated_by_another: bool,
    /// How old a shared read of Azure may be.
    pub fresh: Duration,
    /// What the binding's status said last. Never proof of anything: it keeps the report steady, and names
    /// the ServiceAccount that an earlier spec had annotated.
    pub reported: Reported,
}

/// What a status said last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reported {
    /// `status.identity`, `status.credential`, `status.serviceAccount`.
    pub status: Box<ReportedStatus>,
    /// It said of this generation that it is ready.
    pub was_ready: bool,
}

/// The parts of a status that outlive one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReportedStatus {
    /// `status.identity`.
    pub identity: Option<crate::api::IdentityStatus>,
    /// `status.credential`.
    pub credential: Option<crate::api::CredentialStatus>,
    /// `status.serviceAccount`.
    pub service_account: Option<crate::api::ServiceAccountStatus>,
}

impl Reported {
    /// Of a status.
    pub fn new(status: &WorkloadIdentityBindingStatus, was_ready: bool) -> Self {
        Self {
            status: Box::new(ReportedStatus {
                identity: status.identity.clone(),
                credential: status.credential.clone(),
                service_account: status.service_account.clone(),
            }),
            was_ready,
        }
    }

    /// The outcome that a pass starts from.
    fn outcome(&self) -> Outcome {
        Outcome {
            identity: self.status.identity.clone(),
            credential: self.status.credential.clone(),
            service_account: self.status.service_account.clone(),
            ..Outcome::default()
        }
    }
}

/// An older binding of the same ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contender {
    /// Name of the binding.
    pub name: String,
    /// What it would have to be granted.
    pub request: grant::Request,
    /// Whether it was, when that was last asked.
    pub granted: Option<bool>,
}

/// A recorded credential, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// The identity.
    pub identity: IdentityId,
    /// The record's entry.
    pub entry: RecordedCredential,
    /// Another live binding that wants the same ServiceAccount to use the same identity.
    pub heir: Option<String>,
}

/// What Kubernetes says of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Review {
    /// It stands.
    Granted,
    /// The operator runs with `--authorization=none`.
    Disabled,
    /// There is none.
    Denied,
}

/// A call at Azure that failed, as far as the reconcile is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Obstacle {
    /// What it means.
    pub fault: Fault,
    /// In words that are fit for a condition.
    pub message: String,
    /// How long the other side wants to be left alone.
    pub wait: Option<Duration>,
}

/// A ServiceAccount as the watch knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// Tells one from another of the same name.
    pub uid: String,
    /// Its annotations, and which of them are ours.
    pub present: Present,
    /// Whether this binding owns it.
    pub origin: ServiceAccountOrigin,
}

/// Why Kubernetes did not do what was asked, in words that are fit for a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The condition's reason.
    pub reason: crate::api::Reason,
    /// The condition's message.
    pub message: String,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Ask Kubernetes whether a ServiceAccount may use an identity. Answer: [`Answer::Reviewed`].
    Review(grant::Request),
    /// Read an identity and its credentials, or take a read that is no older than this. Answer:
    /// [`Answer::Observed`].
    Observe(IdentityId, Duration),
    /// Look a ServiceAccount up. Answer: [`Answer::Found`].
    FindAccount(String),
    /// Put our finalizer on the binding. Answer: [`Answer::Confirmed`].
    AddFinalizer,
    /// Take our finalizer off. Answer: [`Answer::Done`].
    RemoveFinalizer,
    /// Read the binding, or the record, from storage and not from a cache. Answer: [`Answer::Confirmed`].
    Confirm,
    /// Read from storage which of these subjects no binding wants. Answer: [`Answer::Unwanted`].
    ConfirmUnwanted(Vec<String>),
    /// Ask whether the definition of bindings is being deleted. Answer: [`Answer::Definition`].
    ReadDefinition,
    /// Change the record of an identity. Answer: [`Answer::Done`].
    Record(IdentityId, Vec<Change>),
    /// Plan again on what the identity holds by now, and write, as the identity's only writer of this
    /// process. Answer: [`Answer::Written`].
    Write(IdentityId, PlanInput, Duration),
    /// Delete these credentials, each for itself. Answer: [`Answer::Deleted`].
    Delete(IdentityId, Vec<String>),
    /// Make exactly these annotations ours on the ServiceAccount. Answer: [`Answer::Annotated`].
    Annotate(String, Annotations),
    /// Create the ServiceAccount with these annotations, owned by the binding. Answer:
    /// [`Answer::Annotated`].
    CreateAccount(String, Annotations),
    /// Take our annotations off these ServiceAccounts, by namespace and name, except where another binding
    /// annotates. Answer: [`Answer::Annotated`].
    Withdraw(Vec<(String, String)>),
    /// Take our ownership off the ServiceAccount that `create: true` made. Answer: [`Answer::Done`].
    Disown(crate::api::ServiceAccountStatus),
    /// Run a [`RevocationPass`] on an identity. Answer: [`Answer::Revoked`].
    Revoke(IdentityId, Due),
    /// The pass has ended.
    End(End),
}

/// How a pass ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// With something to say of the binding.
    Report(Box<Outcome>),
    /// The binding is gone, or needs nothing.
    Nothing,
    /// Something changed meanwhile: the pass is to be repeated.
    Outdated,
    /// Kubernetes refused or failed a call.
    Failed(Refusal),
    /// That of a [`RevocationPass`].
    Revoked(Revoked),
}

/// The name of a credential, and what came of deleting it.
pub type Deletion = (String, Result<(), Obstacle>);

/// What has come of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The first call: there was no effect yet.
    Begin,
    /// It is done.
    Done,
    /// What was asked for is outdated: the object has changed, or is gone.
    Outdated,
    /// Kubernetes refused or failed the call.
    Failed(Refusal),
    /// To [`Effect::Review`]. An error is no denial.
    Reviewed(Result<Review, String>),
    /// To [`Effect::Observe`].
    Observed(Result<Snapshot, Obstacle>),
    /// To [`Effect::FindAccount`].
    Found(Option<Account>),
    /// Storage holds what the pass goes by. After trouble, what was asked before may have been answered by
    /// an API server that had missed something: then it has to be asked again.
    Confirmed {
        /// Whether there was trouble.
        after_trouble: bool,
    },
    /// To [`Effect::ConfirmUnwanted`]: those that storage holds no binding for.
    Unwanted(Vec<String>),
    /// To [`Effect::ReadDefinition`]: whether it is being deleted, or gone.
    Definition {
        /// Whether it is.
        is_going: bool,
    },
    /// To [`Effect::Write`].
    Written(Result<Plan, Obstacle>),
    /// To [`Effect::Delete`]: by name, what came of it; or why nothing could be tried.
    Deleted(Result<Vec<Deletion>, Obstacle>),
    /// To [`Effect::Annotate`], [`Effect::CreateAccount`] and [`Effect::Withdraw`]: the uid of the
    /// ServiceAccount, if there is one.
    Annotated(Result<Option<String>, Refusal>),
    /// To [`Effect::Revoke`].
    Revoked(Revoked),
}

/// One pass of one binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindingPass {
    /// It is live.
    Apply(Box<apply::Apply>),
    /// It is being deleted.
    Delete(Box<delete::Delete>),
}

impl BindingPass {
    /// Begins a pass.
    pub fn new(subject: Subject, known: Known) -> Self {
        if subject.is_deleting {
            Self::Delete(Box::new(delete::Delete::new(subject, known)))
        } else {
            Self::Apply(Box::new(apply::Apply::new(subject, known)))
        }
    }

    /// Takes in what came of the last effect, and says what is to be done next.
    ///
    /// An answer that does not belong to the last effect ends the pass as outdated: it is repeated.
    pub fn next(&mut self, answer: Answer) -> Effect {
        match self {
            Self::Apply(pass) => pass.next(answer),
            Self::Delete(pass) => pass.next(answer),
        }
    }
}

/// Ends a pass with something to say.
fn report(outcome: Outcome) -> Effect {
    Effect::End(End::Report(Box::new(outcome)))
}

/// What is due on each identity, by the names of the credentials.
fn by_identity<'a>(held: impl Iterator<Item = &'a Held>) -> Vec<(IdentityId, Due)> {
    let mut due: BTreeMap<&str, (IdentityId, Vec<String>)> = BTreeMap::new();
    for held in held {
        let entry = due.entry(held.identity.key());
        let (_, names) = entry.or_insert_with(|| (held.identity.clone(), Vec::new()));
        names.push(held.entry.name.clone());
    }
    let due = due.into_values();
    due.map(|(identity, names)| (identity, Due::Named(names)))
        .collect()
}

/// The ServiceAccount of the spec, and the one that the status says an earlier spec had annotated. A status
/// can be forged: then the names are still names, and what is taken off there is ours and wanted by nobody.
fn accounts(subject: &Subject, known: &Known, current: &str) -> Vec<(String, String)> {
    let earlier = known.reported.status.service_account.iter();
    let mut names: Vec<&str> = earlier.map(|account| account.name.as_str()).collect();
    names.push(current);
    names.retain(|name| desired::is_service_account_name(name));
    names.sort_unstable();
    names.dedup();
    let in_namespace = |name: &str| (subject.namespace.clone(), name.to_owned());
    names.into_iter().map(in_namespace).collect()
}

#[cfg(test)]
mod tests;
