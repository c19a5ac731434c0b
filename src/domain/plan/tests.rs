use proptest::prelude::*;

use super::*;
use crate::domain::Tuple;
use crate::domain::ownership::record;

const PREFIX: &str = "wib";

fn tuple(issuer: &str, sa: &str, audience: &str) -> Tuple {
    Tuple::for_service_account(issuer, "shop", sa, audience)
}

fn want() -> Credential {
    Credential::named_by_us(PREFIX, tuple("https://issuer/", "web", "aud"))
}

fn foreign(name: &str, tuple: Tuple) -> Credential {
    Credential {
        name: name.into(),
        tuple,
    }
}

fn wish(credential: &Credential) -> Wish<'_> {
    Wish {
        credential,
        adoption: Adoption::IfEqual,
        memory: None,
        obsolete: &[],
    }
}

fn refusal(plan: &Plan) -> Option<Reason> {
    match plan.trust {
        Trust::Refused(reason, _) => Some(reason),
        Trust::By(..) => None,
    }
}

#[test]
fn nothing_there_creates() {
    let want = want();
    assert_eq!(plan(wish(&want), &[]).steps, [Step::Put(want.clone())]);
}

#[test]
fn ours_in_order_is_kept() {
    let want = want();
    let plan = plan(wish(&want), std::slice::from_ref(&want));
    assert_eq!(plan.steps, []);
    assert_eq!(plan.trust, Trust::By(want, CredentialOrigin::Created));
}

#[test]
fn an_equal_one_of_somebody_else_is_adopted_without_a_write() {
    let want = want();
    let theirs = foreign("terraform", want.tuple.clone());
    let plan = plan(wish(&want), std::slice::from_ref(&theirs));
    assert_eq!(plan.steps, []);
    assert_eq!(plan.trust, Trust::By(theirs, CredentialOrigin::Adopted));
}

#[test]
fn adoption_never_refuses_it() {
    let want = want();
    let theirs = foreign("terraform", want.tuple.clone());
    let plan = plan(
        Wish {
            adoption: Adoption::Never,
            ..wish(&want)
        },
        &[theirs],
    );
    assert_eq!(refusal(&plan), Some(Reason::AdoptionRefused));
}

#[test]
fn another_audience_for_the_same_subject_is_a_conflict() {
    let want = want();
    let theirs = foreign("terraform", tuple("https://issuer/", "web", "other"));
    assert_eq!(
        refusal(&plan(wish(&want), &[theirs])),
        Some(Reason::CredentialConflict)
    );
}

#[test]
fn our_name_with_other_contents_is_repaired_only_when_we_made_it() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://edited/", "web", "aud"));
    assert_eq!(
        refusal(&plan(wish(&want), std::slice::from_ref(&edited))),
        Some(Reason::CredentialNameTaken)
    );
    let memory = record(&want, CredentialOrigin::Created);
    let repaired = plan(
        Wish {
            memory: Some(&memory),
            ..wish(&want)
        },
        &[edited],
    );
    assert_eq!(repaired.steps, [Step::Put(want.clone())]);
}

#[test]
fn a_change_of_letter_case_deletes_before_it_creates() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://ISSUER/", "web", "aud"));
    let memory = record(&want, CredentialOrigin::Created);
    let plan = plan(
        Wish {
            memory: Some(&memory),
            ..wish(&want)
        },
        &[edited],
    );
    assert_eq!(
        plan.steps,
        [Step::Delete(want.name.clone()), Step::Put(want.clone())]
    );
}

#[test]
fn a_new_issuer_is_trusted_before_the_old_one_goes() {
    let want = want();
    let old = Credential::named_by_us(PREFIX, tuple("https://old/", "web", "aud"));
    let plan = plan(
        Wish {
            obsolete: std::slice::from_ref(&old),
            ..wish(&want)
        },
        std::slice::from_ref(&old),
    );
    assert_eq!(plan.steps, [Step::Put(want.clone()), Step::Delete(old.name)]);
}

#[test]
fn a_new_audience_has_to_wait_for_the_old_one_to_go() {
    let want = want();
    let old = Credential::named_by_us(PREFIX, tuple("https://issuer/", "web", "old"));
    let plan = plan(
        Wish {
            obsolete: std::slice::from_ref(&old),
            ..wish(&want)
        },
        std::slice::from_ref(&old),
    );
    assert_eq!(plan.steps, [Step::Delete(old.name), Step::Put(want.clone())]);
}

#[test]
fn a_full_identity_makes_room_only_out_of_what_is_ours() {
    let want = want();
    let mut found: Vec<_> = (0..20)
        .map(|i| foreign(&format!("f{i}"), tuple("https://x/", &format!("s{i}"), "aud")))
        .collect();
    let refused = plan(wish(&want), &found);
    assert_eq!(refusal(&refused), Some(Reason::CredentialLimitReached));
    let Trust::Refused(_, message) = refused.trust else {
        panic!()
    };
    assert!(!message.contains("s7") && message.contains("20"), "{message}");

    let old = Credential::named_by_us(PREFIX, tuple("https://old/", "web", "aud"));
    found[7] = old.clone();
    let plan = plan(
        Wish {
            obsolete: std::slice::from_ref(&old),
            ..wish(&want)
        },
        &found,
    );
    assert_eq!(plan.steps, [Step::Delete(old.name), Step::Put(want.clone())]);
}

fn any_credential() -> impl Strategy<Value = Credential> {
    let tuple = ("[ab]", "[abc]", "[ab]")
        .prop_map(|(issuer, sa, audience)| tuple(&format!("https://{issuer}/"), &sa, &audience));
    (tuple, prop::option::of("[xyz]{3}")).prop_map(|(tuple, name)| match name {
        Some(name) => foreign(&name, tuple),
        None => Credential::named_by_us(PREFIX, tuple),
    })
}

/// What Azure could hold: names unique, (issuer, subject) unique, at most 20.
fn any_identity() -> impl Strategy<Value = Vec<Credential>> {
    (prop::collection::vec(any_credential(), 0..8), prop::bool::ANY).prop_map(|(candidates, full)| {
        let mut held: Vec<Credential> = Vec::new();
        for candidate in candidates {
            if held
                .iter()
                .all(|c| c.name != candidate.name && !c.tuple.collides_with(&candidate.tuple))
            {
                held.push(candidate);
            }
        }
        while full && held.len() < MAX_PER_IDENTITY {
            let n = held.len();
            held.push(foreign(
                &format!("filler-{n}"),
                tuple("https://filler/", &format!("n{n}"), "aud"),
            ));
        }
        held
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_plan_is_idempotent_and_touches_only_what_is_ours(
        found in any_identity(),
        want in any_credential().prop_map(|c| Credential::named_by_us(PREFIX, c.tuple)),
        old in prop::option::of(any_credential().prop_map(|c| Credential::named_by_us(PREFIX, c.tuple))),
        remembers in prop::bool::ANY,
        never in prop::bool::ANY,
    ) {
        let obsolete: Vec<Credential> = old.into_iter().filter(|o| o.name != want.name && found.contains(o)).collect();
        let memory = remembers.then(|| record(&want, CredentialOrigin::Created));
        let adoption = if never { Adoption::Never } else { Adoption::IfEqual };
        let wish = Wish { credential: &want, adoption, memory: memory.as_ref(), obsolete: &obsolete };
        let first = plan(wish, &found);

        let mut after = found.clone();
        for step in &first.steps {
            if let Step::Delete(name) = step {
                let ours = obsolete.iter().any(|o| o.name == *name) || (remembers && *name == want.name);
                prop_assert!(ours, "deleted {name}, which is not ours");
            }
            if let Step::Put(credential) = step {
                prop_assert_eq!(credential, &want);
                let taken = after.iter().any(|c| c.name != want.name && c.tuple.collides_with(&want.tuple));
                prop_assert!(!taken, "Azure refuses a second credential for one issuer and subject");
            }
            apply(&mut after, step);
            prop_assert!(after.len() <= MAX_PER_IDENTITY);
        }
        let puts = first.steps.iter().filter(|s| matches!(s, Step::Put(_))).count();
        prop_assert!(puts <= 1);
        if let Trust::By(credential, _) = &first.trust {
            prop_assert!(after.contains(credential));
            prop_assert_eq!(&credential.tuple, &want.tuple);
        }
        let again = plan(wish, &after);
        prop_assert_eq!(again.steps, vec![], "not idempotent");
    }
}
