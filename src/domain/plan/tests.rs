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

#[test]
fn ours_that_was_edited_is_repaired_beside_ours_of_an_older_audience() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://edited/", "web", "aud"));
    let old = Credential::named_by_us(PREFIX, tuple("https://issuer/", "web", "old"));
    let memory = record(&want, CredentialOrigin::Created);
    let plan = plan(
        Wish {
            memory: Some(&memory),
            obsolete: std::slice::from_ref(&old),
            ..wish(&want)
        },
        &[edited, old.clone()],
    );
    assert_eq!(plan.steps, [Step::Delete(old.name), Step::Put(want.clone())]);
}

#[test]
fn what_belongs_to_aks_is_not_overwritten_whatever_the_status_says() {
    let want = want();
    let theirs = foreign(
        &want.name,
        tuple("https://ib.oic.prod-aks.azure.com/t/c", "web", "aud"),
    );
    let memory = record(&want, CredentialOrigin::Created);
    let plan = plan(
        Wish {
            memory: Some(&memory),
            ..wish(&want)
        },
        &[theirs],
    );
    assert_eq!(refusal(&plan), Some(Reason::CredentialNameTaken));
}

#[test]
fn ours_that_was_edited_goes_when_an_equal_one_is_adopted() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://edited/", "web", "aud"));
    let theirs = foreign("terraform", want.tuple.clone());
    let memory = record(&want, CredentialOrigin::Created);
    let plan = plan(
        Wish {
            memory: Some(&memory),
            ..wish(&want)
        },
        &[edited, theirs.clone()],
    );
    assert_eq!(plan.steps, [Step::Delete(want.name)]);
    assert_eq!(plan.trust, Trust::By(theirs, CredentialOrigin::Adopted));
}
