//! Who may do what. Everybody known may do everything until a test restricts it.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::passed;

/// A principal, as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) client_id: String,
    pub(crate) object_id: String,
}

/// Denials and grants. As soon as a principal has one grant, it may do only what is granted.
#[derive(Debug, Default)]
pub(crate) struct Rbac {
    denials: Vec<(Rule, Option<Timestamp>)>,
    grants: Vec<(Rule, Timestamp)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Client id or object id; `None` is anybody.
    pub(crate) principal: Option<String>,
    pub(crate) action: String,
    pub(crate) scope: String,
}

impl Rule {
    pub(crate) fn new(principal: Option<&str>, action: &str, scope: &str) -> Self {
        Self {
            principal: principal.map(str::to_ascii_lowercase),
            action: action.trim_start_matches(['.', '…']).to_ascii_lowercase(),
            scope: scope.trim_end_matches('/').to_ascii_lowercase(),
        }
    }

    fn names(&self, caller: &Caller) -> bool {
        self.principal.as_deref().is_none_or(|id| {
            id.eq_ignore_ascii_case(&caller.client_id) || id.eq_ignore_ascii_case(&caller.object_id)
        })
    }

    fn covers(&self, action: &str, scope: &str) -> bool {
        action_matches(&self.action, &action.to_ascii_lowercase())
            && scope_contains(&self.scope, &scope.to_ascii_lowercase())
    }
}

impl Rbac {
    pub(crate) fn deny(&mut self, rule: Rule) {
        self.denials.push((rule, None));
    }

    pub(crate) fn grant(&mut self, rule: Rule, now: Timestamp) {
        self.grants.push((rule, now));
    }

    /// Ends every restriction; denials still work until `rbac_lag` has passed.
    pub(crate) fn allow_all(&mut self, now: Timestamp) {
        self.grants.clear();
        for (_, ended) in &mut self.denials {
            ended.get_or_insert(now);
        }
    }

    pub(crate) fn allows(
        &self,
        caller: &Caller,
        action: &str,
        scope: &str,
        now: Timestamp,
        lag: Duration,
    ) -> bool {
        let denied = self.denials.iter().any(|(rule, ended)| {
            ended.is_none_or(|at| !passed(at, lag, now)) && rule.names(caller) && rule.covers(action, scope)
        });
        let mut own = self
            .grants
            .iter()
            .filter(|(rule, _)| rule.names(caller))
            .peekable();
        let granted =
            own.peek().is_none() || own.any(|(rule, at)| passed(*at, lag, now) && rule.covers(action, scope));
        granted && !denied
    }
}

/// `*` matches anything; without one, the pattern is the whole action or ends it at a `/`.
fn action_matches(pattern: &str, action: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => {
            action.len() >= head.len() + tail.len() && action.starts_with(head) && action.ends_with(tail)
        }
        None => action
            .strip_suffix(pattern)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('/') || pattern.starts_with('/')),
    }
}

/// Whether `scope` is `outer` or below it. Both are lower case.
pub(crate) fn scope_contains(outer: &str, scope: &str) -> bool {
    scope
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_match_by_suffix_or_wildcard() {
        let action = "microsoft.managedidentity/userassignedidentities/federatedidentitycredentials/write";
        for pattern in [
            "*",
            "*/write",
            "/write",
            "federatedidentitycredentials/write",
            action,
        ] {
            assert!(action_matches(pattern, action), "{pattern}");
        }
        for pattern in ["*/read", "ite", "credentials/write", "microsoft.compute/*"] {
            assert!(!action_matches(pattern, action), "{pattern}");
        }
    }

    #[test]
    fn a_scope_ends_at_a_slash() {
        assert!(scope_contains(
            "/subscriptions/s",
            "/subscriptions/s/resourcegroups/a"
        ));
        assert!(!scope_contains(
            "/subscriptions/s/resourcegroups/a",
            "/subscriptions/s/resourcegroups/ab"
        ));
        assert!(scope_contains("", "/anything"));
    }
}
