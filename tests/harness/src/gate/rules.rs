//! Scripted faults: which call, which occurrence, and what happens to it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::Cut;
use super::journal::Call;

type Predicate = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// A fault for some calls. Build it with [`Rule::on`] or [`Rule::when`], narrow it, and end with an action:
///
/// ```
/// use wib_harness::gate::Rule;
///
/// // The second write of a status is applied, but nobody hears of it.
/// let rule = Rule::on("k8s PATCH workloadidentitybindings/status").nth(2).reset_after_commit();
/// ```
///
/// Without [`nth`](Self::nth), [`times`](Self::times) or [`always`](Self::always) the first matching call is
/// hit, once. A call meets the first rule that matches and is not used up.
#[derive(Clone)]
pub struct Rule {
    matches: Predicate,
    skip: u32,
    times: Option<u32>,
    action: Action,
}

/// What a [`Rule`] does to a call.
#[derive(Clone, Debug)]
pub(super) enum Action {
    ParkBeforeSend,
    ParkAfterCommit,
    ResetBeforeSend,
    ResetAfterCommit,
    Answer(Canned),
    HalfBody,
    DelayBefore(Duration),
    DelayAfter(Duration),
    Twice,
    Watch(usize, WatchFault),
    Events(EventPredicate),
}

/// Which events of a watch pass.
#[derive(Clone)]
pub(super) struct EventPredicate(Arc<dyn Fn(&Value) -> bool + Send + Sync>);

impl EventPredicate {
    pub fn passes(&self, event: &Value) -> bool {
        (self.0)(event)
    }
}

impl fmt::Debug for EventPredicate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EventPredicate")
    }
}

/// An answer that comes from the gate itself.
#[derive(Clone, Debug)]
pub(super) struct Canned {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What happens to the answer of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFault {
    /// The connection breaks in the middle of the next event.
    CutInEvent,
    /// The answer ends as it does when its time is over.
    Close,
    /// The connection stays, and nothing comes any more.
    Silence,
    /// Every event from here comes twice.
    Repeat,
    /// An `ERROR` event says 410 Gone, and the answer ends.
    Gone,
}

impl fmt::Debug for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            skip, times, action, ..
        } = self;
        write!(
            formatter,
            "Rule {{ skip: {skip}, times: {times:?}, action: {action:?} }}"
        )
    }
}

impl Rule {
    /// Hits calls with this signature.
    pub fn on(signature: &str) -> Self {
        let signature = signature.to_owned();
        Self::when(move |call| call.signature == signature)
    }

    /// Hits calls that the predicate accepts. The action is a reset until another is set.
    pub fn when(predicate: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self {
            matches: Arc::new(predicate),
            skip: 0,
            times: Some(1),
            action: Action::ResetBeforeSend,
        }
    }

    /// Only paths that contain this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        let (matches, part) = (self.matches, part.to_owned());
        self.matches = Arc::new(move |call| matches(call) && call.path.contains(&part));
        self
    }

    /// The n-th matching call, counted from 1.
    #[must_use]
    pub const fn nth(mut self, n: u32) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// That many calls.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Every call.
    #[must_use]
    pub const fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// It is held and not sent on; what nobody releases is never answered.
    #[must_use]
    pub fn park_before_send(self) -> Self {
        self.action(Action::ParkBeforeSend)
    }

    /// It is sent on and its answer (of a watch the head) is read, and held.
    #[must_use]
    pub fn park_after_commit(self) -> Self {
        self.action(Action::ParkAfterCommit)
    }

    /// The connection (HTTP/2: the stream) is reset, and nothing is sent on.
    #[must_use]
    pub fn reset_before_send(self) -> Self {
        self.action(Action::ResetBeforeSend)
    }

    /// The connection is reset once the answer is there.
    #[must_use]
    pub fn reset_after_commit(self) -> Self {
        self.action(Action::ResetAfterCommit)
    }

    /// The gate answers this, and nothing is sent on.
    #[must_use]
    pub fn answer(self, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let header = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        self.action(Action::Answer(Canned {
            status,
            headers: headers.iter().map(header).collect(),
            body: body.to_owned(),
        }))
    }

    /// The gate answers as the API server does: with this status, as a `Status` object.
    #[must_use]
    pub fn kubernetes_status(self, status: u16, reason: &str) -> Self {
        let body = kubernetes_status(status, reason).to_string();
        self.answer(status, &[("content-type", "application/json")], &body)
    }

    /// The answer breaks off in the middle of its body.
    #[must_use]
    pub fn half_body(self) -> Self {
        self.action(Action::HalfBody)
    }

    /// It is sent on later.
    #[must_use]
    pub fn delay_before(self, delay: Duration) -> Self {
        self.action(Action::DelayBefore(delay))
    }

    /// Its answer comes later.
    #[must_use]
    pub fn delay_after(self, delay: Duration) -> Self {
        self.action(Action::DelayAfter(delay))
    }

    /// It is sent on twice, as by a proxy that tries again; the second answer is given back.
    #[must_use]
    pub fn twice(self) -> Self {
        self.action(Action::Twice)
    }

    /// After so many whole events of a watch this happens to the rest.
    #[must_use]
    pub fn watch(self, after: usize, fault: WatchFault) -> Self {
        self.action(Action::Watch(after, fault))
    }

    /// Of the events of a watch only these pass; the others are lost.
    #[must_use]
    pub fn only_events(self, passes: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.action(Action::Events(EventPredicate(Arc::new(passes))))
    }

    fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }
}

/// A `Status` object of the Kubernetes API.
pub(super) fn kubernetes_status(code: u16, reason: &str) -> Value {
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("answered by the gate: {reason}"), "reason": reason, "code": code,
    })
}

/// A rule that was added to a gate. Calls that it has parked stay so when this is dropped.
#[derive(Clone)]
pub struct Trap(Arc<Occasion>);

pub(super) struct Occasion {
    action: Action,
    reached: watch::Sender<Vec<Call>>,
    verdict: watch::Sender<Verdict>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Release,
    Drop,
}

impl Trap {
    /// Waits for the first call that the rule hits, and for a parked one until it is parked.
    pub async fn reached(&self) -> Option<Call> {
        let mut reached = self.0.reached.subscribe();
        let calls = reached.wait_for(|calls| !calls.is_empty()).await.ok()?;
        calls.first().cloned()
    }

    /// The calls that the rule has hit so far.
    pub fn hits(&self) -> Vec<Call> {
        self.0.reached.borrow().clone()
    }

    /// Lets parked calls go on, and those that come.
    pub fn release(&self) {
        self.0.verdict.send_replace(Verdict::Release);
    }

    /// Resets parked calls, and those that come.
    pub fn drop_calls(&self) {
        self.0.verdict.send_replace(Verdict::Drop);
    }
}

impl Occasion {
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Tells whoever waits for it.
    pub fn reach(&self, call: &Call) {
        self.reached.send_modify(|calls| calls.push(call.clone()));
    }

    /// Waits for the word.
    pub async fn park(&self, call: &Call) -> Result<(), Cut> {
        self.reach(call);
        let mut verdict = self.verdict.subscribe();
        let verdict = verdict.wait_for(|verdict| *verdict != Verdict::Wait).await;
        match verdict.map(|verdict| *verdict) {
            Ok(Verdict::Release) => Ok(()),
            _ => Err(Cut),
        }
    }
}

/// The rules of a gate, in order.
#[derive(Default)]
pub(super) struct Script(Mutex<Vec<(Rule, Arc<Occasion>)>>);

impl Script {
    pub fn add(&self, rule: Rule) -> Trap {
        let occasion = Arc::new(Occasion {
            action: rule.action.clone(),
            reached: watch::Sender::new(Vec::new()),
            verdict: watch::Sender::new(Verdict::Wait),
        });
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push((rule, occasion.clone()));
        Trap(occasion)
    }

    /// The rule that a call meets; counts it.
    pub fn meet(&self, call: &Call) -> Option<Arc<Occasion>> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (rule, occasion) in rules.iter_mut() {
            if rule.times == Some(0) || !(rule.matches)(call) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            return Some(occasion.clone());
        }
        None
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
