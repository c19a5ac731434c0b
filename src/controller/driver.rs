//! Carries out the effects of a pass, and hands the answers back to it.
//!
//! No decision is made here: what comes next is the business of [`reconcile`](crate::core::reconcile). Two
//! rules are watched over, whatever it says: see [`Safeguard`].

use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tracing::{error, info};

use super::authorize;
use super::confirm::{self, Live};
use super::context::Context;
use super::index::Guarded;
use super::permit::Working;
use super::records::Leaving;
use super::{accounts, identities, object};
use crate::api::{Reason, WorkloadIdentityBinding};
use crate::azure::AzureError;
use crate::core::plan::{Plan, PlanInput, Step};
use crate::core::reconcile::{
    Answer, BindingPass, Due, Effect, End, Known, Obstacle, Refusal, Review, RevocationPass, Safeguard,
    Subject,
};
use crate::core::record::{self, Change};
use crate::core::{IdentityId, grant, text};
use crate::fairness::Priority;

/// How old the list may be that a deletion is decided on.
pub(super) const FRESH: Duration = Duration::from_secs(10);

/// What a pass is about: what a consistent read reads.
#[derive(Clone, Copy)]
pub(super) enum PassTarget<'a> {
    /// A binding.
    Binding(&'a WorkloadIdentityBinding),
    /// The record of an identity.
    Record(&'a IdentityId),
}

/// What watches over the effects of one pass.
struct Guards<'a> {
    safeguard: Safeguard,
    /// What it deletes in Azure, until that is off the record.
    leaving: Option<Leaving<'a>>,
}

impl Guards<'_> {
    fn new(safeguard: Safeguard) -> Self {
        Self {
            safeguard,
            leaving: None,
        }
    }

    /// The changes without those that would take off the record what somebody has begun to write again.
    fn allowed(&self, identity: &IdentityId, changes: &[Change]) -> Vec<Change> {
        record::allowed(changes, |name| {
            let leaving = self.leaving.as_ref();
            leaving.is_some_and(|leaving| leaving.may_leave(identity, name))
        })
    }
}

/// Carries out the effects of one pass, and of those within it.
pub(super) struct Driver<'a, 'w> {
    pub context: &'a Context,
    pub working: &'a Working<'w>,
    pub target: PassTarget<'a>,
}

impl<'a> Driver<'a, '_> {
    /// Runs a pass of a binding to its end.
    pub async fn binding(&self, subject: Subject, known: Known) -> End {
        let mut guards = Guards::new(Safeguard::of_binding(&subject, &known));
        let mut pass = BindingPass::new(subject, known);
        let mut answer = Answer::Begin;
        loop {
            let effect = pass.next(answer);
            answer = match self.perform(effect, &mut guards).await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
        }
    }

    /// Takes back on an identity what is due.
    pub async fn revoke(&self, identity: &IdentityId, due: Due) -> End {
        let situation = identities::situation(self.context, identity);
        let entries = situation.entries.iter().map(|entry| (identity, &entry.recorded));
        let mut guards = Guards::new(Safeguard::new(entries));
        let mut pass = RevocationPass::new(situation.clone(), due);
        let mut answer = Answer::Begin;
        loop {
            let effect = pass.next(answer);
            let confirms = effect == Effect::Confirm;
            answer = match self.perform(effect, &mut guards).await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
            // Within the pass of a binding, that was read; what the deletions go by is the record.
            if confirms
                && matches!(answer, Answer::Confirmed { .. })
                && matches!(self.target, PassTarget::Binding(_))
                && let Err(error) = self.context.records.confirm(identity).await
            {
                answer = failed("read the record of the identity", &error);
            }
        }
    }

    /// Carries one effect out. An error is the end of the pass.
    async fn perform(&self, effect: Effect, guards: &mut Guards<'a>) -> Result<Answer, End> {
        if let Err(violation) = guards.safeguard.check(&effect) {
            error!("{violation}: not done; this is a defect of the operator");
            return Err(End::Outdated);
        }
        let answer = self.answer(effect, guards).await?;
        guards.safeguard.learn(&answer);
        Ok(answer)
    }

    async fn answer(&self, effect: Effect, guards: &mut Guards<'a>) -> Result<Answer, End> {
        let context = self.context;
        Ok(match effect {
            Effect::End(end) => return Err(end),
            Effect::Review(request) => Answer::Reviewed(self.review(&request).await),
            Effect::Observe(identity, max_age) => {
                let lane = context.parts.lanes.lane(&identity);
                let read = lane.snapshot(max_age, self.working.flow(Priority::Usual));
                let read = self.working.without_permit(read).await;
                Answer::Observed(read.map_err(|error| obstacle(&error)))
            }
            Effect::Confirm => self.confirm().await,
            Effect::ConfirmUnwanted(subjects) => self.confirm_unwanted(subjects).await,
            Effect::ReadDefinition => match confirm::definition_is_going(context).await {
                Ok(is_going) => Answer::Definition { is_going },
                Err(error) => failed("read the CustomResourceDefinition", &error),
            },
            Effect::Record(identity, changes) => self.record(&identity, &changes, guards).await,
            Effect::Write(identity, input, max_age) => self.write(&identity, &input, max_age, guards).await,
            Effect::Delete(identity, names) => {
                let leaving = names.iter().map(String::as_str);
                guards.leaving = Some(context.records.begin_leave(&identity, leaving, None));
                self.delete(&identity, &names).await
            }
            Effect::Revoke(identity, due) => match Box::pin(self.revoke(&identity, due)).await {
                End::Revoked(revoked) => {
                    identities::announce(context, &identity, &revoked, self.own().as_ref()).await;
                    Answer::Revoked(revoked)
                }
                End::Failed(refusal) => Answer::Failed(refusal),
                _ => Answer::Outdated,
            },
            Effect::Withdraw(accounts) => self.withdraw(accounts).await,
            effect => self.to_binding(effect).await,
        })
    }

    /// Effects on the binding itself and on the ServiceAccount that it names.
    async fn to_binding(&self, effect: Effect) -> Answer {
        let context = self.context;
        let PassTarget::Binding(binding) = self.target else {
            return Answer::Outdated;
        };
        let namespace = binding.namespace().unwrap_or_default();
        match effect {
            Effect::AddFinalizer => {
                let (live, after_trouble) =
                    confirm::from_storage(context, object::add_finalizer(context, binding)).await;
                confirmed(live, after_trouble, "add the finalizer")
            }
            Effect::RemoveFinalizer => match object::remove_finalizer(context, binding).await {
                Ok(Live::Current) => Answer::Done,
                Ok(Live::Changed) => Answer::Outdated,
                Err(error) => failed("remove the finalizer", &error),
            },
            Effect::FindAccount(name) => {
                let expected = accounts::expect(context, &namespace, &name);
                self.working.without_permit(expected).await;
                Answer::Found(accounts::find(context, binding, &name))
            }
            Effect::Annotate(name, wanted) => {
                match accounts::annotate(context, &namespace, &name, &wanted).await {
                    Ok(None) => Answer::Outdated,
                    result => Answer::Annotated(result),
                }
            }
            Effect::CreateAccount(name, wanted) => {
                Answer::Annotated(accounts::create(context, binding, &name, &wanted).await)
            }
            Effect::Disown(account) => match object::disown(context, binding, &account).await {
                Ok(()) => Answer::Done,
                Err(error) => {
                    let what = format!("let go of ServiceAccount {namespace}/{}", account.name);
                    failed(&what, &error)
                }
            },
            _ => Answer::Outdated,
        }
    }

    async fn review(&self, request: &grant::Request) -> Result<Review, String> {
        let parts = &self.context.parts;
        let review = authorize::check(&parts.client, parts.authorization, request).await;
        if let Ok(review) = &review {
            let granted = *review != Review::Denied;
            let touched = self.context.index.reviewed(request, granted);
            let own = self.own();
            self.context
                .wake(touched.into_iter().filter(|other| Some(other) != own.as_ref()));
        }
        review.map_err(|error| text::cause(&error))
    }

    /// The binding that the pass is about.
    fn own(&self) -> Option<ObjectRef<Guarded>> {
        match self.target {
            PassTarget::Binding(binding) => {
                let namespace = binding.namespace().unwrap_or_default();
                Some(ObjectRef::new(&binding.name_any()).within(&namespace))
            }
            PassTarget::Record(_) => None,
        }
    }

    async fn confirm(&self) -> Answer {
        match self.target {
            PassTarget::Binding(binding) => {
                let call = confirm::binding(self.context, binding);
                let (live, after_trouble) = confirm::from_storage(self.context, call).await;
                confirmed(live, after_trouble, "read the binding")
            }
            PassTarget::Record(identity) => {
                let call = self.context.records.confirm(identity);
                let (read, after_trouble) = confirm::from_storage(self.context, call).await;
                confirmed(
                    read.map(|()| Live::Current),
                    after_trouble,
                    "read the record of the identity",
                )
            }
        }
    }

    async fn confirm_unwanted(&self, subjects: Vec<String>) -> Answer {
        let PassTarget::Record(identity) = self.target else {
            return Answer::Outdated;
        };
        match confirm::unwanted(self.context, identity, subjects).await {
            Ok(unwanted) => Answer::Unwanted(unwanted),
            Err(error) => failed("list the bindings", &error),
        }
    }

    async fn record(&self, identity: &IdentityId, changes: &[Change], guards: &Guards<'a>) -> Answer {
        let context = self.context;
        let allowed = guards.allowed(identity, changes);
        let is_whole = allowed.len() == changes.len();
        match context.records.commit(identity, allowed).await {
            Ok(()) => {
                identities::announce_found(context, identity, changes).await;
                if is_whole { Answer::Done } else { Answer::Outdated }
            }
            Err(error) => Answer::Failed(Refusal {
                reason: Reason::KubernetesUnavailable,
                message: text::quote(&text::cause(&error)),
            }),
        }
    }

    async fn write(
        &self,
        identity: &IdentityId,
        input: &PlanInput,
        max_age: Duration,
        guards: &mut Guards<'a>,
    ) -> Answer {
        let context = self.context;
        guards.leaving = None;
        // Meanwhile the pass over the record may have taken back what this one goes by.
        let Some(writing) = context.records.begin_write(identity, &input.credential.name) else {
            return Answer::Outdated;
        };
        // All that the plan may come to delete.
        let entries = context.records.entries(identity);
        let same = entries
            .iter()
            .filter(|e| e.subject == input.credential.tuple.subject);
        let names = same
            .map(|e| &e.name)
            .chain(&input.displaceable)
            .map(String::as_str);
        guards.leaving = Some(context.records.begin_leave(identity, names, Some(&writing)));
        let lane = context.parts.lanes.lane(identity);
        let write = lane.write(max_age, self.working.flow(Priority::Usual), input);
        let written = self.working.without_permit(write).await;
        drop(writing);
        if let Ok(plan) = &written {
            self.report(identity, plan);
        }
        Answer::Written(written.map_err(|error| obstacle(&error)))
    }

    fn report(&self, identity: &IdentityId, plan: &Plan) {
        for step in &plan.steps {
            match step {
                Step::Put(credential) => {
                    info!(
                        identity = identity.key(),
                        credential = credential.name,
                        subject = credential.tuple.subject,
                        "credential written"
                    );
                }
                Step::Delete(name) => {
                    info!(
                        identity = identity.key(),
                        credential = name,
                        "credential gave way"
                    );
                    self.context.wake(self.context.capacity.freed(identity));
                }
            }
        }
    }

    async fn delete(&self, identity: &IdentityId, names: &[String]) -> Answer {
        let lane = self.context.parts.lanes.lane(identity);
        let delete = lane.delete(FRESH, self.working.flow(Priority::First), names);
        let deleted = self.working.without_permit(delete).await;
        let deleted = deleted.map(|results| {
            let own = |(name, result): (String, Result<(), AzureError>)| {
                (name, result.map_err(|error| obstacle(&error)))
            };
            results.into_iter().map(own).collect::<Vec<_>>()
        });
        if deleted
            .as_ref()
            .is_ok_and(|results| results.iter().any(|(_, result)| result.is_ok()))
        {
            self.context.wake(self.context.capacity.freed(identity));
        }
        Answer::Deleted(deleted.map_err(|error| obstacle(&error)))
    }

    async fn withdraw(&self, names: Vec<(String, String)>) -> Answer {
        let own = self.own().map(|binding| binding.name).unwrap_or_default();
        for (namespace, name) in names {
            if let Err(refusal) = accounts::withdraw(self.context, &own, &namespace, &name).await {
                return Answer::Annotated(Err(refusal));
            }
        }
        Answer::Annotated(Ok(None))
    }
}

fn confirmed(live: kube::Result<Live>, after_trouble: bool, what: &str) -> Answer {
    match live {
        Ok(Live::Current) => Answer::Confirmed { after_trouble },
        Ok(Live::Changed) => Answer::Outdated,
        Err(error) => failed(what, &error),
    }
}

fn failed(what: &str, error: &kube::Error) -> Answer {
    let said = match error {
        kube::Error::Api(status) if !status.message.is_empty() => text::quote(&status.message),
        error => text::quote(&text::cause(error)),
    };
    Answer::Failed(Refusal {
        reason: Reason::KubernetesUnavailable,
        message: format!("cannot {what}: {said}"),
    })
}

fn obstacle(error: &AzureError) -> Obstacle {
    Obstacle {
        fault: error.fault,
        message: error.to_string(),
        wait: error.retry_after,
    }
}
