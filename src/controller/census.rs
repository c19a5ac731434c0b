//! How all bindings stand, for whoever counts them: read from the watch at the moment of the question, so that it is
//! right whatever came before.

use std::sync::{Arc, Weak};

use jiff::Timestamp;
use kube::core::ObjectMeta;
use strum::IntoEnumIterator;

use super::context::Context;
use super::index::Guarded;
use crate::api::{ConditionType, Reason, WorkloadIdentityBindingStatus};
use crate::domain::conditions;

/// How one binding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is ready; `None` when nobody could tell, or has looked yet.
    pub ready: Option<bool>,
    /// Whether a person must act.
    pub stalled: bool,
    /// The reason under `Ready`; `None` for a word that is not one of ours.
    pub reason: Option<Reason>,
    /// Since when it has not been ready, as far as it says so itself.
    pub not_ready_since: Option<Timestamp>,
}

/// A view of the running controller, for as long as it runs.
pub struct Census(Weak<Context>);

impl Census {
    pub(super) fn of(context: &Arc<Context>) -> Self {
        Self(Arc::downgrade(context))
    }

    /// How every binding stands; `None` once the controller has ended.
    pub fn bindings(&self) -> Option<Vec<Standing>> {
        let context = self.0.upgrade()?;
        Some(context.bindings.state().iter().map(|o| standing(o)).collect())
    }

    /// How many credentials each identity holds, of those that bindings name and Azure has answered for.
    pub fn credentials(&self) -> Vec<usize> {
        let context = self.0.upgrade();
        context.map_or_else(Vec::new, |context| context.parts.lanes.held())
    }
}

fn standing(object: &Guarded) -> Standing {
    match &object.0 {
        Ok(binding) => {
            let unvisited = WorkloadIdentityBindingStatus::default();
            of_status(&binding.metadata, binding.status.as_ref().unwrap_or(&unvisited))
        }
        // What such an object says of itself cannot be read.
        Err(invalid) => Standing {
            ready: Some(false),
            stalled: true,
            reason: Some(Reason::InvalidSpec),
            not_ready_since: invalid.metadata.creation_timestamp.as_ref().map(|t| t.0),
        },
    }
}

fn of_status(meta: &ObjectMeta, status: &WorkloadIdentityBindingStatus) -> Standing {
    let ready = conditions::find(status, ConditionType::Ready);
    let current = ready.filter(|_| status.observed_generation == meta.generation);
    let deleted = meta.deletion_timestamp.as_ref().map(|t| t.0);
    let created = meta.creation_timestamp.as_ref().map(|t| t.0);
    let said = |reason: &str| Reason::iter().find(|known| known.as_str() == reason);
    match (current, deleted) {
        (Some(condition), None) => Standing {
            ready: match condition.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            },
            stalled: conditions::is_true(status, ConditionType::Stalled),
            reason: said(&condition.reason),
            not_ready_since: Some(condition.last_transition_time.0).filter(|_| condition.status != "True"),
        },
        // It has to say why it is still there.
        (Some(condition), Some(_)) if condition.status != "True" => Standing {
            ready: Some(false),
            stalled: conditions::is_true(status, ConditionType::Stalled),
            reason: said(&condition.reason),
            not_ready_since: deleted,
        },
        (_, Some(_)) => Standing {
            ready: Some(false),
            stalled: false,
            reason: Some(Reason::Deleting),
            not_ready_since: deleted,
        },
        // Not visited since it was made or changed. When it was changed nobody knows.
        (None, None) => Standing {
            ready: None,
            stalled: false,
            reason: Some(Reason::Progressing),
            not_ready_since: match ready {
                None => created,
                Some(earlier) if earlier.status != "True" => Some(earlier.last_transition_time.0),
                Some(_) => None,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::domain::{Outcome, Verdict};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn meta(generation: i64, deleted: Option<i64>) -> ObjectMeta {
        ObjectMeta {
            generation: Some(generation),
            creation_timestamp: Some(Time(at(100))),
            deletion_timestamp: deleted.map(|second| Time(at(second))),
            ..ObjectMeta::default()
        }
    }

    fn status(verdict: Verdict) -> WorkloadIdentityBindingStatus {
        let outcome = Outcome {
            overall: Some(verdict),
            ..Outcome::default()
        };
        conditions::status(
            &outcome,
            &WorkloadIdentityBindingStatus::default(),
            Some(1),
            at(200),
        )
    }

    fn summary(
        meta: &ObjectMeta,
        status: &WorkloadIdentityBindingStatus,
    ) -> (Option<bool>, bool, &'static str, i64) {
        let standing = of_status(meta, status);
        (
            standing.ready,
            standing.stalled,
            standing.reason.map_or("?", Reason::as_str),
            standing.not_ready_since.map_or(0, Timestamp::as_second),
        )
    }

    #[test]
    fn a_binding_stands_as_it_says_of_its_current_generation() {
        let ready = status(Verdict::yes(Reason::Synced, ""));
        let denied = status(Verdict::no(Reason::NotAuthorized, ""));
        let unseen = status(Verdict::unknown(Reason::AzureUnavailable, ""));
        let new = WorkloadIdentityBindingStatus::default();
        for (meta, status, expected) in [
            (meta(1, None), &ready, (Some(true), false, "Synced", 0)),
            (meta(1, None), &denied, (Some(false), true, "NotAuthorized", 200)),
            (meta(1, None), &unseen, (None, false, "AzureUnavailable", 200)),
            (meta(1, None), &new, (None, false, "Progressing", 100)),
            (meta(2, None), &ready, (None, false, "Progressing", 0)),
            (meta(2, None), &denied, (None, false, "Progressing", 200)),
            (meta(2, Some(300)), &ready, (Some(false), false, "Deleting", 300)),
            (
                meta(1, Some(300)),
                &denied,
                (Some(false), true, "NotAuthorized", 300),
            ),
        ] {
            assert_eq!(summary(&meta, status), expected, "{meta:?} {status:?}");
        }
    }

    #[test]
    fn a_reason_that_is_none_of_ours_is_no_reason() {
        let mut forged = status(Verdict::no(Reason::NotAuthorized, ""));
        forged.conditions[0].reason = "Whatever".to_owned();
        assert_eq!(summary(&meta(1, None), &forged).2, "?");
    }
}
