//! What the world answers to an effect: the calls of `controller::driver`, `confirm`, `accounts` and `object`.

use std::time::Duration;

use super::driver::AnswerMode;
use super::records::{begin_leave, commit, is_leaving};
use super::state::{BindingObject, Call, WorkTarget, WorldState, grant};
use super::universe::{ACCOUNTS, NAMESPACE, No, Universe};
use super::view;
use crate::api::{Reason, ServiceAccountOrigin};
use crate::core::annotations::{self, Annotations, CLIENT_ID, Present};
use crate::core::plan::{PlanInput, Step, plan};
use crate::core::reconcile::{Account, Answer, Effect, Obstacle, Refusal, Review};
use crate::core::{Fault, Holdings, Snapshot};

/// What came of an effect.
pub(super) enum Answered {
    Now(Answer),
    /// The operator's call is set, and has to be sent.
    ByAzure,
}

/// Effects that nobody else could come in between, since they decide nothing about trust: they are answered
/// at once.
pub(super) fn at_once(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    effect: &Effect,
) -> Option<Answer> {
    let mind = &state.operators[operator];
    let cluster = mind.cluster;
    match effect {
        Effect::ReadDefinition => Some(Answer::Definition { is_going: false }),
        Effect::Disown(_) => Some(Answer::Done),
        Effect::FindAccount(name) => {
            let account = Universe::account(name).expect("a known account");
            Some(Answer::Found(Some(Account {
                uid: format!("uid-{name}"),
                present: present(state.carries[cluster][account]),
                origin: ServiceAccountOrigin::Existing,
            })))
        }
        Effect::Annotate(name, wanted) => {
            let account = Universe::account(name).expect("a known account");
            let is_of = |identity: &No| wanted.get(CLIENT_ID) == Some(&Universe::client(*identity));
            state.carries[cluster][account] = (0..universe.identities.len()).find(is_of);
            Some(Answer::Annotated(Ok(Some(format!("uid-{name}")))))
        }
        Effect::Withdraw(names) => {
            let own = match mind.work.as_ref().map(|work| &work.target) {
                Some(WorkTarget::Binding(slot, _)) => Some(*slot),
                _ => None,
            };
            let accounts = names.iter().filter_map(|(_, name)| Universe::account(name));
            let free: Vec<No> = accounts
                .filter(|a| !view::is_annotated_by_another(mind, own, *a))
                .collect();
            for account in free {
                state.carries[cluster][account] = None;
            }
            Some(Answer::Annotated(Ok(None)))
        }
        _ => None,
    }
}

fn present(carries: Option<No>) -> Present {
    let all = carries.map_or_else(Annotations::new, |identity| {
        let described = Universe::described(identity);
        annotations::wanted(&described.client_id, &described.tenant_id, None)
    });
    Present {
        ours: all.keys().cloned().collect(),
        all,
    }
}

/// Effects that others may come before or after. `None` when this mode makes no difference.
pub(super) fn perform(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    effect: &Effect,
    mode: AnswerMode,
) -> Option<Answered> {
    let makes_sense = match mode {
        AnswerMode::Plain => true,
        AnswerMode::StaleList => matches!(
            effect,
            Effect::Observe(..) | Effect::Write(..) | Effect::Delete(..)
        ),
        AnswerMode::StaleReview => matches!(effect, Effect::Review(_)),
        AnswerMode::Lost => matches!(
            effect,
            Effect::Record(..) | Effect::AddFinalizer | Effect::RemoveFinalizer
        ),
    };
    if !makes_sense {
        return None;
    }
    let answer = match effect {
        Effect::Review(request) => {
            let identity = universe.identity(&request.identity);
            let account = Universe::account(&request.service_account).expect("a known account");
            review(universe, state, operator, identity, account, mode)?
        }
        Effect::Observe(id, _) => {
            let identity = universe.identity(id);
            let holdings = list(universe, state, operator, identity, mode)?;
            Answer::Observed(Ok(Snapshot {
                identity: Universe::described(identity),
                holdings,
                age: Duration::ZERO,
            }))
        }
        Effect::AddFinalizer => finalizer(universe, state, operator, true),
        Effect::RemoveFinalizer => finalizer(universe, state, operator, false),
        Effect::Confirm => confirm(state, operator),
        Effect::ConfirmUnwanted(subjects) => unwanted(universe, state, operator, subjects),
        Effect::Record(id, changes) => commit(universe, state, operator, universe.identity(id), changes),
        Effect::Write(id, input, _) => {
            let identity = universe.identity(id);
            let own = &input.credential;
            let record = &state.operators[operator].records[identity].0;
            let same = record
                .credentials
                .iter()
                .filter(|e| e.subject == own.tuple.subject);
            let names: Vec<String> = same
                .map(|e| &e.name)
                .chain(&input.displaceable)
                .cloned()
                .collect();
            // `Records::begin_write`.
            let is_recorded = record.credentials.iter().any(|entry| entry.name == own.name);
            if !is_recorded || is_leaving(state, operator, identity, &own.name) {
                return Some(Answered::Now(Answer::Outdated));
            }
            begin_leave(state, operator, identity, &names);
            let held = cached(universe, state, operator, identity, mode)?;
            return Some(write(universe, state, operator, identity, input, held));
        }
        Effect::Delete(id, names) => {
            let identity = universe.identity(id);
            let held = cached(universe, state, operator, identity, mode)?;
            let steps = names.iter().map(|name| Step::Delete(name.clone())).collect();
            begin_leave(state, operator, identity, names);
            call(
                state,
                operator,
                Call {
                    identity,
                    held: universe.list(held),
                    steps: universe.steps.share(steps),
                    plan: None,
                    results: Vec::new(),
                    is_sent: false,
                },
            );
            return Some(Answered::ByAzure);
        }
        other => unreachable!("answered at once: {other:?}"),
    };
    Some(Answered::Now(match mode {
        AnswerMode::Lost => Answer::Failed(Refusal {
            reason: Reason::KubernetesUnavailable,
            message: "the answer is lost".to_owned(),
        }),
        _ => answer,
    }))
}

fn review(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    identity: No,
    account: No,
    mode: AnswerMode,
) -> Option<Answer> {
    let cluster = state.operators[operator].cluster;
    let bit = grant(cluster, identity, account);
    let now = state.granted & bit != 0;
    let granted = if mode == AnswerMode::StaleReview {
        let before = state.granted_before & bit != 0;
        if before == now {
            return None;
        }
        state.operators[operator].is_troubled = true;
        before
    } else {
        now
    };
    // Only contenders for a ServiceAccount read it, of which there are none on one identity.
    if universe.identities.len() > 1 {
        let mind = &mut state.operators[operator];
        for (slot, object) in mind.objects.iter().enumerate() {
            if object
                .as_ref()
                .is_some_and(|o| o.identity == identity && o.account == account)
            {
                mind.reviewed[slot] = Some(granted);
            }
        }
    }
    Some(Answer::Reviewed(Ok(if granted {
        Review::Granted
    } else {
        Review::Denied
    })))
}

/// A list of Azure with our own last writes over it. The operator keeps it for the rest of its pass.
fn list(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    identity: No,
    mode: AnswerMode,
) -> Option<Holdings> {
    let shown = match mode {
        AnswerMode::StaleList if state.before[identity] == state.azure[identity] => return None,
        AnswerMode::StaleList => &state.before[identity],
        _ => &state.azure[identity],
    };
    let mut held = (**shown).clone();
    let mind = &mut state.operators[operator];
    for step in &*mind.recent[identity] {
        crate::core::plan::apply(&mut held, step);
    }
    let held = universe.list(held);
    mind.lists[identity] = Some(held.clone());
    Some((*held).clone())
}

fn cached(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    identity: No,
    mode: AnswerMode,
) -> Option<Holdings> {
    match &state.operators[operator].lists[identity] {
        Some(_) if mode == AnswerMode::StaleList => None,
        Some(known) => Some((**known).clone()),
        None => list(universe, state, operator, identity, mode),
    }
}

fn write(
    universe: &Universe,
    state: &mut WorldState,
    operator: usize,
    identity: No,
    input: &PlanInput,
    held: Holdings,
) -> Answered {
    let plan = plan(input, &held);
    if plan.steps.is_empty() {
        return Answered::Now(Answer::Written(Ok(plan)));
    }
    call(
        state,
        operator,
        Call {
            identity,
            held: universe.list(held),
            steps: universe.steps.share(plan.steps.clone()),
            plan: Some(universe.plans.share(plan)),
            results: Vec::new(),
            is_sent: false,
        },
    );
    Answered::ByAzure
}

fn call(state: &mut WorldState, operator: usize, call: Call) {
    super::driver::work(state, operator).call = Some(call);
}

/// What an effect at Azure came to.
pub(super) fn outcome(call: &Call) -> Answer {
    if let Some(plan) = &call.plan {
        let failed = call.results.iter().find_map(|result| result.err());
        return Answer::Written(failed.map_or_else(|| Ok((**plan).clone()), |fault| Err(obstacle(fault))));
    }
    let results = call.steps.iter().zip(&call.results).map(|(step, result)| {
        let Step::Delete(name) = step else {
            unreachable!("a deletion puts nothing")
        };
        (name.clone(), result.map_err(obstacle))
    });
    Answer::Deleted(Ok(results.collect()))
}

fn obstacle(fault: Fault) -> Obstacle {
    Obstacle {
        fault,
        message: fault.as_str().to_owned(),
        wait: None,
    }
}

/// `confirm::compare`.
fn is_current(seen: &BindingObject, live: Option<&BindingObject>) -> bool {
    live.is_some_and(|live| {
        (live.uid, live.generation, live.deleting) == (seen.uid, seen.generation, seen.deleting)
    })
}

fn confirmed(state: &WorldState, operator: usize, is_current: bool) -> Answer {
    if is_current {
        Answer::Confirmed {
            after_trouble: state.operators[operator].is_troubled,
        }
    } else {
        Answer::Outdated
    }
}

fn target(state: &WorldState, operator: usize) -> WorkTarget {
    let work = state.operators[operator].work.as_ref();
    work.map(|work| work.target.clone()).expect("a pass under way")
}

fn confirm(state: &mut WorldState, operator: usize) -> Answer {
    match target(state, operator) {
        WorkTarget::Binding(slot, seen) => {
            confirmed(state, operator, is_current(&seen, state.objects[slot].as_ref()))
        }
        WorkTarget::SeenRecord(identity) => {
            let mind = &mut state.operators[operator];
            let live = state.records[mind.cluster][identity].clone();
            if !live.0.credentials.is_empty() {
                mind.records[identity] = live;
            }
            confirmed(state, operator, true)
        }
    }
}

/// `object::change_finalizers`: tests the uid and the finalizers, and nothing else.
fn finalizer(universe: &Universe, state: &mut WorldState, operator: usize, wanted: bool) -> Answer {
    let WorkTarget::Binding(slot, seen) = target(state, operator) else {
        return Answer::Outdated;
    };
    let before = state.objects[slot].clone();
    // Kubernetes takes no new finalizer for what is being deleted.
    let same = before
        .as_ref()
        .is_some_and(|live| live.uid == seen.uid && live.deleting == seen.deleting);
    if !same {
        return Answer::Outdated;
    }
    if let Some(live) = &mut state.objects[slot] {
        live.finalizer = wanted;
    }
    state.objects[slot] = state.objects[slot]
        .take()
        .filter(|live| live.finalizer || !live.deleting);
    state.show(universe, slot);
    let answer = confirmed(state, operator, is_current(&seen, before.as_ref()));
    match answer {
        Answer::Confirmed { .. } if !wanted => Answer::Done,
        answer => answer,
    }
}

/// `confirm::unwanted`.
fn unwanted(universe: &Universe, state: &WorldState, operator: usize, subjects: &[String]) -> Answer {
    let WorkTarget::SeenRecord(identity) = target(state, operator) else {
        return Answer::Outdated;
    };
    let cluster = state.operators[operator].cluster;
    let is_wanted = |subject: &String| {
        state.objects.iter().enumerate().any(|(slot, object)| {
            let wants = |object: &BindingObject| {
                let named = format!("system:serviceaccount:{NAMESPACE}:{}", ACCOUNTS[object.account]);
                object.wants(identity, object.account) && named == *subject
            };
            universe.slots[slot] == cluster && object.as_ref().is_some_and(wants)
        })
    };
    Answer::Unwanted(
        subjects
            .iter()
            .filter(|subject| !is_wanted(subject))
            .cloned()
            .collect(),
    )
}
