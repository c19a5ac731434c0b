//! What holds for every plan, on every identity that Azure could hold.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::Tuple;

const OURS: &str = "https://issuer/";
const AKS: &str = "https://ib.oic.prod-aks.azure.com/tenant/cluster";

/// Few values, so that names, subjects and letter case meet often.
fn any_tuple() -> impl Strategy<Value = Tuple> {
    (
        select(vec![OURS, "https://ISSUER/", "https://old/", AKS]),
        select(vec!["web", "api"]),
        select(vec!["aud", "AUD", "other"]),
    )
        .prop_map(|(issuer, account, audience)| Tuple::for_service_account(issuer, "shop", account, audience))
}

fn any_wanted() -> impl Strategy<Value = Credential> {
    let tuple = (select(vec!["web", "api"]), select(vec!["aud", "other"]))
        .prop_map(|(account, audience)| Tuple::for_service_account(OURS, "shop", account, audience));
    tuple.prop_map(|tuple| Credential::named_by_us("wib", tuple))
}

/// Ours in order, ours under an earlier prefix, ours edited in place, somebody else's, and AKS's.
fn any_credential() -> impl Strategy<Value = Credential> {
    let named = |prefix: &'static str| any_tuple().prop_map(move |t| Credential::named_by_us(prefix, t));
    prop_oneof![
        3 => named("wib"),
        1 => named("old"),
        2 => (any_wanted(), any_tuple()).prop_map(|(ours, tuple)| Credential { tuple, ..ours }),
        2 => (select(vec!["terraform", "portal", "aks-identity-binding"]), any_tuple())
            .prop_map(|(name, tuple)| Credential { name: name.to_owned(), tuple }),
    ]
}

/// Names unique, (issuer, subject) unique, and empty, nearly full or full.
fn any_identity() -> impl Strategy<Value = Holdings> {
    let fillers = prop_oneof![2 => Just(0), 1 => Just(MAX_PER_IDENTITY - 1), 2 => Just(MAX_PER_IDENTITY)];
    let unreadable = prop::collection::vec(any_credential(), 0..3);
    (prop::collection::vec(any_credential(), 0..7), unreadable, fillers).prop_map(
        |(candidates, unreadable, size)| {
            let mut held: Vec<Credential> = Vec::new();
            for candidate in candidates {
                if held
                    .iter()
                    .all(|c| c.name != candidate.name && !c.tuple.collides_with(&candidate.tuple))
                {
                    held.push(candidate);
                }
            }
            let mut names: Vec<String> = Vec::new();
            for Credential { name, .. } in unreadable {
                if held.iter().all(|c| c.name != name) && !names.contains(&name) {
                    names.push(name);
                }
            }
            for n in held.len() + names.len()..size {
                held.push(Credential {
                    name: format!("filler-{n}"),
                    tuple: Tuple::for_service_account("https://filler/", "x", &format!("n{n}"), "aud"),
                });
            }
            Holdings {
                credentials: held,
                unreadable: names,
            }
        },
    )
}

#[derive(Clone, Debug)]
struct Case {
    found: Holdings,
    input: PlanInput,
}

impl Case {
    fn plan(&self, found: &Holdings) -> Plan {
        plan(&self.input, found)
    }

    /// What the plan may overwrite or delete.
    fn is_ours(&self, credential: &Credential) -> bool {
        self.input.recorded.contains(&credential.name) && !credential.is_aks_identity_binding()
    }
}

/// Anything may be on record, also what somebody else has made under a recorded name since.
fn any_case() -> impl Strategy<Value = Case> {
    let chosen = |weight| prop::collection::vec(prop::bool::weighted(weight), MAX_PER_IDENTITY);
    let record = (chosen(0.5), prop::bool::ANY, chosen(0.4));
    (any_identity(), any_wanted(), prop::bool::ANY, record).prop_map(
        |(found, want, never, (recorded, is_recorded, displaceable))| {
            let names = found.credentials.iter().map(|c| &c.name).chain(&found.unreadable);
            let names = names.filter(|name| **name != want.name).zip(recorded);
            let mut recorded: Vec<String> = names
                .filter(|(_, chosen)| *chosen)
                .map(|(name, _)| name.clone())
                .collect();
            let displaceable = recorded.iter().zip(displaceable);
            let displaceable = displaceable
                .filter(|(_, chosen)| *chosen)
                .map(|(name, _)| name.clone())
                .collect();
            if is_recorded {
                recorded.push(want.name.clone());
            }
            Case {
                found,
                input: PlanInput {
                    credential: want,
                    adoption: if never { Adoption::Never } else { Adoption::IfEqual },
                    recorded,
                    displaceable,
                },
            }
        },
    )
}

/// The result of a plan, and a failure when a step is one that Azure refuses.
fn carried_out(case: &Case, plan: &Plan) -> Result<Holdings, TestCaseError> {
    let mut held = case.found.clone();
    for step in &plan.steps {
        if let Step::Put(put) = step {
            let collides = |c: &&Credential| c.name != put.name && c.tuple.collides_with(&put.tuple);
            prop_assert_eq!(held.credentials.iter().find(collides), None);
        }
        let (Step::Put(Credential { name, .. }) | Step::Delete(name)) = step;
        prop_assert!(
            !held.is_unreadable(name),
            "{} cannot be read and is written",
            name
        );
        apply(&mut held, step);
        prop_assert!(held.len() <= MAX_PER_IDENTITY, "{} credentials", held.len());
    }
    Ok(held)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn planned_again_on_its_own_result_there_is_nothing_to_do(case in any_case()) {
        let first = case.plan(&case.found);
        let held = carried_out(&case, &first)?;
        let again = case.plan(&held);
        prop_assert_eq!(&again.steps, &Vec::<Step>::new());
        prop_assert_eq!(again.decision, first.decision);
    }

    #[test]
    fn a_plan_cut_short_anywhere_is_taken_up_where_it_stopped(case in any_case(), cut in 0..5_usize) {
        let whole = case.plan(&case.found);
        let mut held = case.found.clone();
        for step in whole.steps.iter().take(cut) {
            apply(&mut held, step);
        }
        let rest = case.plan(&held);
        for step in &rest.steps {
            apply(&mut held, step);
        }
        let goal = carried_out(&case, &whole)?;
        prop_assert!(goal.credentials.iter().all(|c| held.credentials.contains(c)) && held.len() == goal.len(), "{:?}", held);
        prop_assert_eq!(rest.decision, whole.decision);
    }

    #[test]
    fn what_is_not_on_record_stands_as_it_did(case in any_case()) {
        let held = carried_out(&case, &case.plan(&case.found))?;
        for credential in case.found.credentials.iter().filter(|c| !case.is_ours(c)) {
            prop_assert!(held.credentials.contains(credential), "{credential:?} is touched");
        }
        for credential in held.credentials.iter().filter(|c| !case.found.credentials.contains(c)) {
            prop_assert_eq!(credential, &case.input.credential);
        }
        prop_assert_eq!(held.unreadable, case.found.unreadable);
    }

    #[test]
    fn no_name_is_written_twice_the_same_way(case in any_case()) {
        let steps = case.plan(&case.found).steps;
        for (at, step) in steps.iter().enumerate() {
            prop_assert!(!steps[at + 1..].contains(step), "twice {step:?}");
        }
        let puts = steps.iter().filter(|s| matches!(s, Step::Put(_))).count();
        prop_assert!(puts <= 1);
    }

    #[test]
    fn old_trust_goes_first_only_where_there_is_no_room_for_both(case in any_case()) {
        let want = &case.input.credential;
        let steps = case.plan(&case.found).steps;
        let Some(put) = steps.iter().position(|s| matches!(s, Step::Put(_))) else { return Ok(()) };
        prop_assert_eq!(put, steps.len() - 1);
        prop_assert!(put <= 2, "{} writes before the new trust", put);
        for step in &steps[..put] {
            let Step::Delete(name) = step else { continue };
            let old = case.found.named(name);
            let unique = old.is_some_and(|old| old.tuple.collides_with(&want.tuple));
            let case_only = old.is_some_and(|old| old.name == want.name
                && old.tuple.differs_in_case_only(&want.tuple));
            let full = case.found.len() == MAX_PER_IDENTITY && case.input.displaceable.contains(name);
            prop_assert!(unique || case_only || full, "{old:?} goes before the new trust");
        }
    }

    #[test]
    fn trust_is_by_what_stands_and_equals_what_is_wanted(case in any_case()) {
        let want = &case.input.credential;
        let plan = case.plan(&case.found);
        let held = carried_out(&case, &plan)?;
        match plan.decision {
            Decision::Trusted(by, origin) => {
                prop_assert!(held.credentials.contains(&by));
                prop_assert_eq!(&by.tuple, &want.tuple);
                let writes = plan.steps.iter().any(|s| matches!(s, Step::Put(_)));
                if origin == CredentialOrigin::Adopted {
                    prop_assert!(!writes && by.name != want.name && case.found.credentials.contains(&by));
                    prop_assert!(!case.is_ours(&by) || !by.carries_our_hash());
                    prop_assert_eq!(case.input.adoption, Adoption::IfEqual);
                } else {
                    prop_assert!(by == *want || case.is_ours(&by));
                }
            }
            Decision::Refused(reason, message) => {
                prop_assert_eq!(plan.steps, vec![]);
                prop_assert_eq!(reason.disposition(), crate::api::Disposition::Stalled);
                prop_assert!(!message.contains("filler"), "somebody else's names: {}", message);
            }
        }
    }
}
