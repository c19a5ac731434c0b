use super::*;
use crate::core::Tuple;

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

fn input(credential: &Credential) -> PlanInput {
    PlanInput {
        credential: credential.clone(),
        adoption: Adoption::IfEqual,
        recorded: Vec::new(),
        displaceable: Vec::new(),
    }
}

/// With these names on record as ours.
fn recorded<const N: usize>(credential: &Credential, names: [&str; N]) -> PlanInput {
    PlanInput {
        recorded: names.map(str::to_owned).to_vec(),
        ..input(credential)
    }
}

fn holding<const N: usize>(credentials: [Credential; N]) -> Holdings {
    Vec::from(credentials).into()
}

fn refusal(plan: &Plan) -> Option<Reason> {
    match plan.decision {
        Decision::Refused(reason, _) => Some(reason),
        Decision::Trusted(..) => None,
    }
}

#[test]
fn nothing_there_creates() {
    let want = want();
    let plan = plan(&input(&want), &holding([]));
    assert_eq!(plan.steps, [Step::Put(want.clone())]);
    assert_eq!(plan.decision, Decision::Trusted(want, CredentialOrigin::Created));
    assert_eq!(plan.deleted().count(), 0);
}

#[test]
fn ours_in_order_is_kept() {
    let want = want();
    let plan = plan(&input(&want), &holding([want.clone()]));
    assert_eq!(plan.steps, []);
    assert_eq!(plan.decision, Decision::Trusted(want, CredentialOrigin::Created));
}

#[test]
fn an_equal_one_of_somebody_else_is_adopted_without_a_write() {
    let want = want();
    let theirs = foreign("terraform", want.tuple.clone());
    let plan = plan(&input(&want), &holding([theirs.clone()]));
    assert_eq!(plan.steps, []);
    assert_eq!(
        plan.decision,
        Decision::Trusted(theirs, CredentialOrigin::Adopted)
    );
}

#[test]
fn an_equal_one_that_is_on_record_under_a_name_of_no_hash_is_somebody_elses_all_the_same() {
    let want = want();
    let theirs = foreign("terraform", want.tuple.clone());
    let plan = plan(&recorded(&want, ["terraform"]), &holding([theirs.clone()]));
    assert_eq!(plan.steps, []);
    assert_eq!(
        plan.decision,
        Decision::Trusted(theirs, CredentialOrigin::Adopted)
    );
}

#[test]
fn adoption_never_refuses_it() {
    let want = want();
    let theirs = foreign("terraform", want.tuple.clone());
    let never = PlanInput {
        adoption: Adoption::Never,
        ..input(&want)
    };
    let Decision::Refused(reason, message) = plan(&never, &holding([theirs])).decision else {
        panic!("adopted")
    };
    assert_eq!(reason, Reason::AdoptionRefused);
    assert_eq!(
        message,
        "credential terraform on the identity already trusts this ServiceAccount and adoption is Never; delete it, or set adoption: IfEqual"
    );
}

#[test]
fn another_audience_for_the_same_subject_is_a_conflict_whatever_the_adoption() {
    let want = want();
    let theirs = foreign("terraform", tuple("https://issuer/", "web", "other"));
    for adoption in [Adoption::IfEqual, Adoption::Never] {
        let input = PlanInput {
            adoption,
            ..input(&want)
        };
        let Decision::Refused(reason, message) = plan(&input, &holding([theirs.clone()])).decision else {
            panic!("adopted")
        };
        assert_eq!(reason, Reason::CredentialConflict);
        assert_eq!(
            message,
            "credential terraform on the identity has the same issuer and subject with another audience, and Azure allows one; delete it"
        );
    }
}

#[test]
fn our_name_with_other_contents_is_repaired_only_when_it_is_on_record() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://edited/", "web", "aud"));
    let refused = plan(&input(&want), &holding([edited.clone()]));
    let Decision::Refused(reason, message) = &refused.decision else {
        panic!("overwritten")
    };
    assert_eq!(*reason, Reason::CredentialNameTaken);
    assert_eq!(
        *message,
        format!(
            "a credential named {} exists on the identity with other contents and is not on record as this cluster's; delete it or rename it",
            want.name
        )
    );
    let repaired = plan(&recorded(&want, [&want.name]), &holding([edited]));
    assert_eq!(repaired.steps, [Step::Put(want.clone())]);
}

#[test]
fn ours_that_was_edited_is_repaired_on_a_full_identity_without_displacing_anything() {
    let want = want();
    let mut found = fillers(MAX_PER_IDENTITY);
    found[3] = foreign(&want.name, tuple("https://edited/", "web", "aud"));
    let other = found[4].name.clone();
    let input = PlanInput {
        displaceable: vec![other.clone()],
        ..recorded(&want, [&want.name, &other])
    };
    assert_eq!(plan(&input, &found.into()).steps, [Step::Put(want)]);
}

#[test]
fn a_change_of_letter_case_deletes_before_it_creates() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://ISSUER/", "web", "aud"));
    let plan = plan(&recorded(&want, [&want.name]), &holding([edited]));
    assert_eq!(
        plan.steps,
        [Step::Delete(want.name.clone()), Step::Put(want.clone())]
    );
    assert_eq!(plan.deleted().collect::<Vec<_>>(), [want.name.as_str()]);
}

#[test]
fn a_new_issuer_is_trusted_beside_the_old_one() {
    let want = want();
    let old = Credential::named_by_us(PREFIX, tuple("https://old/", "web", "aud"));
    let input = PlanInput {
        displaceable: vec![old.name.clone()],
        ..recorded(&want, [&old.name])
    };
    let plan = plan(&input, &holding([old]));
    assert_eq!(plan.steps, [Step::Put(want)]);
}

#[test]
fn a_new_audience_has_to_wait_for_the_old_one_to_go() {
    let want = want();
    let old = Credential::named_by_us(PREFIX, tuple("https://issuer/", "web", "old"));
    let refused = plan(&input(&want), &holding([old.clone()]));
    assert_eq!(refusal(&refused), Some(Reason::CredentialConflict));
    let plan = plan(&recorded(&want, [&old.name]), &holding([old.clone()]));
    assert_eq!(plan.steps, [Step::Delete(old.name), Step::Put(want.clone())]);
}

#[test]
fn ours_under_an_earlier_prefix_is_kept_and_not_called_adopted() {
    let want = want();
    let earlier = Credential::named_by_us("old", want.tuple.clone());
    let never = PlanInput {
        adoption: Adoption::Never,
        ..recorded(&want, [&earlier.name])
    };
    let plan = plan(&never, &holding([earlier.clone()]));
    assert_eq!(plan.steps, []);
    assert_eq!(
        plan.decision,
        Decision::Trusted(earlier, CredentialOrigin::Created)
    );
}

/// So many credentials of others.
fn fillers(n: usize) -> Vec<Credential> {
    (0..n)
        .map(|i| foreign(&format!("f{i}"), tuple("https://x/", &format!("s{i}"), "aud")))
        .collect()
}

#[test]
fn a_full_identity_makes_room_only_out_of_what_is_ours() {
    let want = want();
    let mut found = fillers(MAX_PER_IDENTITY);
    let refused = plan(&input(&want), &found.clone().into());
    let Decision::Refused(reason, message) = refused.decision else {
        panic!("written")
    };
    assert_eq!(reason, Reason::CredentialLimitReached);
    assert_eq!(
        message,
        "the identity holds 20 federated identity credentials and Azure allows 20; remove one or use another identity"
    );

    let old = Credential::named_by_us(PREFIX, tuple("https://old/", "web", "aud"));
    found[7] = old.clone();
    let displaceable = PlanInput {
        displaceable: vec![old.name.clone()],
        ..recorded(&want, [&old.name])
    };
    let made = plan(&displaceable, &found.clone().into());
    assert_eq!(
        made.steps,
        [Step::Delete(old.name.clone()), Step::Put(want.clone())]
    );
    assert_eq!(made.deleted().collect::<Vec<_>>(), [old.name.as_str()]);

    let unrecorded = PlanInput {
        recorded: Vec::new(),
        ..displaceable
    };
    assert_eq!(
        refusal(&plan(&unrecorded, &found.into())),
        Some(Reason::CredentialLimitReached)
    );
}

#[test]
fn the_first_displaceable_that_stands_gives_way_and_only_when_there_is_no_room() {
    let want = want();
    let mut found = fillers(MAX_PER_IDENTITY);
    let old = |account| Credential::named_by_us(PREFIX, tuple("https://old/", account, "aud"));
    let (gone, first, second) = (old("a"), old("b"), old("c"));
    found[1] = second.clone();
    found[9] = first.clone();
    let input = PlanInput {
        displaceable: vec![gone.name.clone(), first.name.clone(), second.name.clone()],
        ..recorded(&want, [&gone.name, &first.name, &second.name])
    };
    let full = plan(&input, &found.clone().into());
    assert_eq!(full.steps, [Step::Delete(first.name), Step::Put(want.clone())]);
    found.pop();
    assert_eq!(plan(&input, &found.into()).steps, [Step::Put(want)]);
}

#[test]
fn ours_that_was_edited_is_repaired_beside_ours_of_an_older_audience() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://edited/", "web", "aud"));
    let old = Credential::named_by_us(PREFIX, tuple("https://issuer/", "web", "old"));
    let plan = plan(
        &recorded(&want, [&want.name, &old.name]),
        &holding([edited, old.clone()]),
    );
    assert_eq!(plan.steps, [Step::Delete(old.name), Step::Put(want.clone())]);
}

#[test]
fn what_belongs_to_aks_is_not_touched_even_if_it_were_on_record() {
    let want = want();
    let aks = "https://ib.oic.prod-aks.azure.com/t/c";
    let theirs = foreign(&want.name, tuple(aks, "web", "aud"));
    let taken = plan(&recorded(&want, [&want.name]), &holding([theirs]));
    assert_eq!(refusal(&taken), Some(Reason::CredentialNameTaken));

    let mut found = fillers(MAX_PER_IDENTITY);
    found[0] = Credential::named_by_us(PREFIX, tuple(aks, "web", "aud"));
    let name = found[0].name.clone();
    let input = PlanInput {
        displaceable: vec![name.clone()],
        ..recorded(&want, [&name])
    };
    let full = plan(&input, &found.into());
    assert_eq!(refusal(&full), Some(Reason::CredentialLimitReached));
}

#[test]
fn ours_that_was_edited_goes_when_an_equal_one_is_adopted() {
    let want = want();
    let edited = foreign(&want.name, tuple("https://edited/", "web", "aud"));
    let theirs = foreign("terraform", want.tuple.clone());
    let found = holding([edited, theirs.clone()]);
    let plan_with = |input| plan(&input, &found);
    let adopted = plan_with(recorded(&want, [&want.name]));
    assert_eq!(adopted.steps, [Step::Delete(want.name.clone())]);
    assert_eq!(
        adopted.decision,
        Decision::Trusted(theirs.clone(), CredentialOrigin::Adopted)
    );
    let not_ours = plan_with(input(&want));
    assert_eq!(not_ours.steps, []);
    assert_eq!(
        not_ours.decision,
        Decision::Trusted(theirs, CredentialOrigin::Adopted)
    );
}

/// An identity with so many flexible credentials, and with what somebody has made under `name`.
fn unreadable(n: usize, name: &str) -> Holdings {
    let mut unreadable: Vec<_> = (1..n).map(|i| format!("flexible-{i}")).collect();
    unreadable.push(name.to_owned());
    Holdings {
        credentials: Vec::new(),
        unreadable,
    }
}

#[test]
fn what_cannot_be_read_is_nobodys_equal_and_takes_a_place() {
    let want = want();
    let beside = plan(&input(&want), &unreadable(MAX_PER_IDENTITY - 1, ""));
    assert_eq!(beside.steps, [Step::Put(want.clone())]);
    let full = plan(&input(&want), &unreadable(MAX_PER_IDENTITY, ""));
    let Decision::Refused(Reason::CredentialLimitReached, message) = full.decision else {
        panic!("{full:?}")
    };
    assert_eq!(
        message,
        "the identity holds 20 federated identity credentials (20 of them in a form that the operator cannot read) and Azure allows 20; remove one or use another identity"
    );
}

#[test]
fn what_cannot_be_read_under_our_name_is_neither_overwritten_nor_deleted() {
    let want = want();
    let old = Credential::named_by_us(PREFIX, tuple("https://issuer/", "web", "old"));
    for name in [want.name.clone(), want.name.to_ascii_uppercase()] {
        let mut found = unreadable(1, &name);
        found.credentials.push(old.clone());
        // Whatever is on record, and even if it might give way.
        let input = PlanInput {
            displaceable: vec![want.name.clone(), old.name.clone()],
            ..recorded(&want, [&want.name, &old.name])
        };
        let plan = plan(&input, &found);
        assert_eq!(plan.steps, []);
        let Decision::Refused(reason, message) = plan.decision else {
            panic!("overwritten")
        };
        assert_eq!(reason, Reason::CredentialNameTaken);
        assert_eq!(
            message,
            format!(
                "a credential named {} exists on the identity in a form that the operator cannot read, such as a flexible one; delete it",
                want.name
            )
        );
    }
}

#[test]
fn our_own_write_does_not_make_what_cannot_be_read_ours() {
    let want = want();
    let mut found = unreadable(1, &want.name);
    let before = found.clone();
    apply(&mut found, &Step::Put(want.clone()));
    assert_eq!(found, before);
    apply(&mut found, &Step::Delete(want.name));
    assert_eq!(found, before);
}

#[test]
fn steps_change_what_bears_their_name_and_nothing_else() {
    let want = want();
    let theirs = foreign("terraform", tuple("https://x/", "api", "aud"));
    let mut found = holding([foreign(&want.name, theirs.tuple.clone()), theirs.clone()]);
    apply(&mut found, &Step::Put(want.clone()));
    assert_eq!(found, holding([theirs.clone(), want.clone()]));
    apply(&mut found, &Step::Delete(want.name));
    assert_eq!(found, holding([theirs]));
}
