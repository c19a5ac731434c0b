//! What holds for every plan, on every identity that Azure could hold.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::Tuple;
use crate::domain::ownership::record;

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
fn any_identity() -> impl Strategy<Value = Vec<Credential>> {
    let fillers = prop_oneof![2 => Just(0), 1 => Just(MAX_PER_IDENTITY - 1), 2 => Just(MAX_PER_IDENTITY)];
    (prop::collection::vec(any_credential(), 0..7), fillers).prop_map(|(candidates, size)| {
        let mut held: Vec<Credential> = Vec::new();
        for candidate in candidates {
            if held
                .iter()
                .all(|c| c.name != candidate.name && !c.tuple.collides_with(&candidate.tuple))
            {
                held.push(candidate);
            }
        }
        for n in held.len()..size {
            held.push(Credential {
                name: format!("filler-{n}"),
                tuple: Tuple::for_service_account("https://filler/", "x", &format!("n{n}"), "aud"),
            });
        }
        held
    })
}

#[derive(Clone, Debug)]
struct Case {
    found: Vec<Credential>,
    want: Credential,
    adoption: Adoption,
    memory: Option<CredentialStatus>,
    obsolete: Vec<Credential>,
}

impl Case {
    fn wish(&self) -> Wish<'_> {
        Wish {
            credential: &self.want,
            adoption: self.adoption,
            memory: self.memory.as_ref(),
            obsolete: &self.obsolete,
        }
    }

    fn is_obsolete(&self, name: &str) -> bool {
        self.obsolete.iter().any(|o| o.name == name)
    }

    /// What the plan may overwrite or delete.
    fn is_ours(&self, credential: &Credential) -> bool {
        let made = |m: &CredentialStatus| m.origin == CredentialOrigin::Created && m.name == credential.name;
        let repairable = credential.name == self.want.name && self.memory.as_ref().is_some_and(made);
        self.is_obsolete(&credential.name) || repairable && !credential.is_aks_identity_binding()
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let memory = (0..4_u8, any_credential());
    let obsolete = prop::collection::vec(prop::bool::weighted(0.4), MAX_PER_IDENTITY);
    (any_identity(), any_wanted(), prop::bool::ANY, memory, obsolete).prop_map(
        |(found, want, never, (kind, forged), obsolete)| {
            let memory = match kind {
                0 => None,
                1 => Some(record(&want, CredentialOrigin::Created)),
                2 => Some(record(&want, CredentialOrigin::Adopted)),
                _ => Some(record(&forged, CredentialOrigin::Created)),
            };
            // As the caller does: what carries our hash, is not AKS's, and is not wanted.
            let obsolete = found.iter().zip(obsolete).filter(|(c, chosen)| {
                *chosen && c.carries_our_hash() && !c.is_aks_identity_binding() && c.tuple != want.tuple
            });
            Case {
                obsolete: obsolete.map(|(c, _)| c.clone()).collect(),
                adoption: if never { Adoption::Never } else { Adoption::IfEqual },
                found,
                want,
                memory,
            }
        },
    )
}

/// The result of a plan, and a failure when a step is one that Azure refuses.
fn carried_out(case: &Case, plan: &Plan) -> Result<Vec<Credential>, TestCaseError> {
    let mut held = case.found.clone();
    for step in &plan.steps {
        if let Step::Put(put) = step {
            let collides = |c: &&Credential| c.name != put.name && c.tuple.collides_with(&put.tuple);
            prop_assert_eq!(held.iter().find(collides), None);
        }
        apply(&mut held, step);
        prop_assert!(held.len() <= MAX_PER_IDENTITY, "{} credentials", held.len());
    }
    Ok(held)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn planned_again_on_its_own_result_there_is_nothing_to_do(case in any_case()) {
        let first = plan(case.wish(), &case.found);
        let held = carried_out(&case, &first)?;
        let again = plan(case.wish(), &held);
        prop_assert_eq!(&again.steps, &Vec::<Step>::new());
        prop_assert_eq!(again.trust, first.trust);
    }

    #[test]
    fn a_plan_cut_short_anywhere_is_taken_up_where_it_stopped(case in any_case(), cut in 0..5_usize) {
        let whole = plan(case.wish(), &case.found);
        let mut held = case.found.clone();
        for step in whole.steps.iter().take(cut) {
            apply(&mut held, step);
        }
        let rest = plan(case.wish(), &held);
        for step in &rest.steps {
            apply(&mut held, step);
        }
        let goal = carried_out(&case, &whole)?;
        prop_assert!(goal.iter().all(|c| held.contains(c)) && held.len() == goal.len(), "{:?}", held);
        prop_assert_eq!(rest.trust, whole.trust);
    }

    #[test]
    fn what_is_not_ours_stands_as_it_did(case in any_case()) {
        let held = carried_out(&case, &plan(case.wish(), &case.found))?;
        for credential in case.found.iter().filter(|c| !case.is_ours(c)) {
            prop_assert!(held.contains(credential), "{credential:?} is touched");
        }
        for credential in held.iter().filter(|c| !case.found.contains(c)) {
            prop_assert_eq!(credential, &case.want);
        }
    }

    #[test]
    fn no_name_is_written_twice_the_same_way(case in any_case()) {
        let steps = plan(case.wish(), &case.found).steps;
        for (at, step) in steps.iter().enumerate() {
            prop_assert!(!steps[at + 1..].contains(step), "twice {step:?}");
        }
        let puts = steps.iter().filter(|s| matches!(s, Step::Put(_))).count();
        prop_assert!(puts <= 1);
    }

    #[test]
    fn old_trust_goes_first_only_where_there_is_no_room_for_both(case in any_case()) {
        let steps = plan(case.wish(), &case.found).steps;
        let Some(put) = steps.iter().position(|s| matches!(s, Step::Put(_))) else { return Ok(()) };
        prop_assert!(put <= 2, "{} writes before the new trust", put);
        for step in &steps[..put] {
            let Step::Delete(name) = step else { continue };
            let old = case.found.iter().find(|c| c.name == *name);
            let unique = old.is_some_and(|old| old.tuple.collides_with(&case.want.tuple));
            let case_only = old.is_some_and(|old| old.name == case.want.name
                && old.tuple.differs_in_case_only(&case.want.tuple));
            let full = case.found.len() == MAX_PER_IDENTITY;
            prop_assert!(unique || case_only || full, "{old:?} goes before the new trust");
        }
    }

    #[test]
    fn trust_is_by_what_stands_and_equals_what_is_wanted(case in any_case()) {
        let plan = plan(case.wish(), &case.found);
        let held = carried_out(&case, &plan)?;
        match plan.trust {
            Trust::By(by, origin) => {
                prop_assert!(held.contains(&by));
                prop_assert_eq!(&by.tuple, &case.want.tuple);
                let writes = plan.steps.iter().any(|s| matches!(s, Step::Put(_)));
                if origin == CredentialOrigin::Adopted {
                    prop_assert!(!writes && by.name != case.want.name && case.found.contains(&by));
                    prop_assert_eq!(case.adoption, Adoption::IfEqual);
                }
                // Nothing that is obsolete is left behind.
                prop_assert!(!held.iter().any(|c| case.is_obsolete(&c.name) && *c != by));
            }
            Trust::Refused(reason, message) => {
                prop_assert_eq!(plan.steps, vec![]);
                prop_assert_eq!(reason.disposition(), crate::api::Disposition::Stalled);
                prop_assert!(!message.contains("filler"), "somebody else's names: {}", message);
            }
        }
    }
}
