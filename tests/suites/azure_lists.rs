//! Lists of credentials that are not as the operator would like them: entries that it cannot read, answers
//! that are no list, and lists without an end.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Credential, Entry, Fault, FaultAction, Identity, NextLink, Operation, Shape};
use futures::future::try_join_all;
use kube::api::DeleteParams;
use pretty_assertions::assert_eq;
use serde_json::json;
use wib_harness::{Operator, World};
use workload_identity_binding::core;

use crate::runner::trials;

trials![
    shared an_odd_neighbour_keeps_nobody_from_anything,
    shared odd_entries_take_places_and_are_told_as_a_number,
    shared our_name_on_what_cannot_be_read_is_not_touched,
    shared ours_that_somebody_made_flexible_is_let_go,
    shared what_is_no_list_is_not_an_empty_list,
    shared a_list_that_leads_to_itself_is_left_after_two_calls,
    shared a_list_without_an_end_is_left_after_sixteen_calls,
    shared credentials_on_many_pages_are_all_found,
];

/// The identity's credentials trust another issuer only.
const NO_ISSUER: i64 = 700_211;

/// Drift is noticed within a third of a second, and a list is believed at once.
const WATCHFUL: [&str; 2] = ["--drift-interval=300ms", "--read-after-write-grace=10ms"];

/// Failures are shared and repeated as with default settings: a second and more apart.
const USUAL_RETRIES: [&str; 1] = ["--max-retry-interval=1m"];

async fn an_odd_neighbour_keeps_nobody_from_anything(world: World) -> Result<()> {
    let identities: Vec<_> = Shape::ALL
        .iter()
        .enumerate()
        .map(|(n, shape)| (world.identity(&format!("odd-{n}")), odd(&world, n, *shape)))
        .collect();
    for (identity, odd) in &identities {
        world.azure.put_credential(&identity.resource_id, odd.clone());
        for name in [revoked(identity), deleted(identity)] {
            world.service_account(&name).await?;
            world.grant(&name, identity).await?;
        }
    }
    let _operator = world.operator_with(&WATCHFUL).await?;
    for (identity, odd) in &identities {
        let (revoked, deleted) = (revoked(identity), deleted(identity));
        for name in [&revoked, &deleted] {
            world.bind(name, name, identity).await?;
        }
        for name in [&revoked, &deleted] {
            world.ready(name).await.with_context(|| shape(&world, odd))?;
            world.assert_accepted(name, &identity.client_id).await?;
        }
    }
    for (identity, _) in &identities {
        world.revoke(&revoked(identity), identity).await?;
        let params = DeleteParams::default();
        world.bindings().delete(&deleted(identity), &params).await?;
    }
    for (identity, odd) in &identities {
        let (revoked, deleted) = (revoked(identity), deleted(identity));
        world.gone(&deleted).await.with_context(|| shape(&world, odd))?;
        world
            .until("the revoked credential is gone, and the odd one stands", || {
                world.azure.credentials(&identity.resource_id) == std::slice::from_ref(odd)
            })
            .await
            .with_context(|| shape(&world, odd))?;
        for name in [&revoked, &deleted] {
            world.assert_refused(name, &identity.client_id, NO_ISSUER).await?;
        }
    }
    let touched: BTreeSet<_> = writes(&world).into_iter().map(|e| e.path).collect();
    let of_odd = |path: &&String| identities.iter().any(|(_, odd)| path.ends_with(&odd.name));
    assert_eq!(touched.iter().find(of_odd), None);
    Ok(())
}

async fn odd_entries_take_places_and_are_told_as_a_number(world: World) -> Result<()> {
    let identity = world.identity("full");
    let odd: Vec<_> = (Shape::ALL.iter().enumerate())
        .map(|(n, shape)| odd(&world, n, *shape))
        .collect();
    let usual = (odd.len()..19).map(actions);
    for credential in odd.iter().cloned().chain(usual) {
        world.azure.put_credential(&identity.resource_id, credential);
    }
    for name in ["twentieth", "late"] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let _operator = world.operator_with(&WATCHFUL).await?;
    world.bind("twentieth", "twentieth", &identity).await?;
    world.ready("twentieth").await?;
    world.assert_accepted("twentieth", &identity.client_id).await?;
    world.bind("late", "late", &identity).await?;
    let told = world.stalled("late", "CredentialLimitReached").await?;
    let number = format!("20 federated identity credentials ({} of them", odd.len());
    ensure!(told.contains(&number), "{told}");
    ensure!(!told.contains(&odd[0].name), "a name of others is told: {told}");
    assert_eq!(writes(&world).len(), 1);

    world.azure.delete_credential(&identity.resource_id, &odd[0].name);
    world.ready("late").await?;
    world.assert_accepted("late", &identity.client_id).await?;
    assert_eq!(writes(&world).len(), 2);
    Ok(())
}

async fn our_name_on_what_cannot_be_read_is_not_touched(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let taken = Credential {
        name: ours(&world, "web").name,
        ..odd(&world, 0, Shape::Flexible)
    };
    world.azure.put_credential(&identity.resource_id, taken.clone());
    show(&world, &taken.name, Shape::Flexible);
    let _operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    let told = world.stalled("web", "CredentialNameTaken").await?;
    ensure!(told.contains(&taken.name) && told.contains("flexible"), "{told}");
    world.delete("web").await?;
    assert_eq!(
        world.azure.credentials(&identity.resource_id),
        std::slice::from_ref(&taken)
    );
    assert_eq!(writes(&world), []);

    world.bind("web", "web", &identity).await?;
    world.stalled("web", "CredentialNameTaken").await?;
    world.azure.delete_credential(&identity.resource_id, &taken.name);
    world.azure.knobs(|k| k.shapes.clear());
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn ours_that_somebody_made_flexible_is_let_go(world: World) -> Result<()> {
    let (identity, _operator) = ready(&world, &WATCHFUL).await?;
    let edited = Credential {
        name: ours(&world, "web").name,
        ..odd(&world, 0, Shape::Flexible)
    };
    show(&world, &edited.name, Shape::Flexible);
    world.azure.put_credential(&identity.resource_id, edited.clone());
    world.stalled("web", "CredentialNameTaken").await?;
    world.delete("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), [edited]);
    assert_eq!(writes(&world).len(), 1);
    Ok(())
}

async fn what_is_no_list_is_not_an_empty_list(world: World) -> Result<()> {
    let bodies = [
        json!({}),
        json!([]),
        json!({ "error": {} }),
        json!({ "error": { "code": "InternalServerError", "message": "x" } }),
        json!({ "value": null }),
        json!({ "value": {} }),
    ];
    let mut identities = Vec::new();
    for n in 0..bodies.len() {
        let identity = world.identity(&format!("no-list-{n}"));
        for name in [standing(&identity), deleted(&identity), late(&identity)] {
            world.service_account(&name).await?;
            world.grant(&name, &identity).await?;
        }
        identities.push(identity);
    }
    let _operator = world.operator_with(&WATCHFUL).await?;
    let bound: Vec<_> = identities
        .iter()
        .flat_map(|i| [(standing(i), i), (deleted(i), i)])
        .collect();
    try_join_all(bound.iter().map(|(name, i)| world.bind(name, name, i))).await?;
    try_join_all(bound.iter().map(|(name, _)| world.ready(name))).await?;
    let held = |i: &Identity| world.azure.credentials(&i.resource_id);
    let before: Vec<_> = identities.iter().map(held).collect();
    let written = writes(&world).len();

    for (identity, body) in identities.iter().zip(&bodies) {
        let fault = Fault::on(Operation::ListCredentials).path(&format!("/{}/", identity.name));
        world
            .azure
            .fault(fault.always().action(FaultAction::Body(body.clone())));
    }
    for (identity, body) in identities.iter().zip(&bodies) {
        let (late, deleted) = (late(identity), deleted(identity));
        world.bind(&late, &late, identity).await?;
        world
            .bindings()
            .delete(&deleted, &DeleteParams::default())
            .await?;
        for name in [&late, &deleted] {
            let told = world.not_ready(name, "AzureUnavailable").await;
            told.with_context(|| body.to_string())?;
        }
    }
    // Whoever takes the answer for an empty list writes anew what stands, or lets the deleted ones go.
    let lists = world.azure.count(Operation::ListCredentials);
    world
        .until("more such answers", || {
            world.azure.count(Operation::ListCredentials) > lists + 5 * bodies.len()
        })
        .await?;
    assert_eq!(identities.iter().map(held).collect::<Vec<_>>(), before);
    assert_eq!(writes(&world).len(), written);
    for identity in &identities {
        ensure!(
            world.bindings().get_opt(&deleted(identity)).await?.is_some(),
            "let go"
        );
        let name = standing(identity);
        world.assert_accepted(&name, &identity.client_id).await?;
    }

    world.azure.clear_faults();
    for identity in &identities {
        world.gone(&deleted(identity)).await?;
        for name in [standing(identity), late(identity)] {
            world.ready(&name).await?;
            world.assert_accepted(&name, &identity.client_id).await?;
        }
        assert_eq!(held(identity).len(), 2);
    }
    assert_eq!(writes(&world).len(), written + 2 * identities.len());
    Ok(())
}

async fn a_list_that_leads_to_itself_is_left_after_two_calls(world: World) -> Result<()> {
    left_after(&world, NextLink::Itself, 2).await
}

async fn a_list_without_an_end_is_left_after_sixteen_calls(world: World) -> Result<()> {
    left_after(&world, NextLink::Endless, 16).await
}

/// Every look at such a list is so many calls and an error; looks are a second apart and more; and nothing
/// is lost by it.
async fn left_after(world: &World, link: NextLink, calls: usize) -> Result<()> {
    const LOOKS: usize = 4;
    let (identity, _operator) = ready(world, &USUAL_RETRIES).await?;
    let before = world.azure.credentials(&identity.resource_id);
    let other = world.workload("other").await?;
    world.azure.knobs(|k| k.next_link = link);
    world.azure.clear_journal();
    let started = Instant::now();
    world.bind("other", "other", &other).await?;
    world.not_ready("other", "AzureUnavailable").await?;
    let pages = || {
        let journal = world.azure.journal();
        let ended = journal.into_iter().filter(|e| e.status == Some(200));
        let lists: Vec<_> = ended
            .filter(|e| e.operation == Operation::ListCredentials)
            .collect();
        let next = lists.iter().filter(|e| e.skip_token.is_some()).count();
        (lists.len() - next, next)
    };
    world.until("it is looked at again", || pages().0 > LOOKS).await?;
    let (first, next) = pages();
    // The last look may not have come to its end yet.
    let whole = (first - 1) * (calls - 1)..=first * (calls - 1);
    ensure!(whole.contains(&next), "{next} pages after {first} first ones");
    let most = usize::try_from(started.elapsed().as_secs())? + 2;
    ensure!(first <= most, "{first} looks in {:?}", started.elapsed());
    assert_eq!(writes(world), []);

    world.azure.knobs(|k| k.next_link = NextLink::NextPage);
    // A change is looked at at once.
    world
        .change(
            "other",
            json!({ "metadata": { "annotations": { "look": "again" } } }),
        )
        .await?;
    world.ready("other").await?;
    world.assert_accepted("other", &other.client_id).await?;
    world.assert_accepted("web", &identity.client_id).await?;
    assert_eq!(world.azure.credentials(&identity.resource_id), before);
    Ok(())
}

async fn credentials_on_many_pages_are_all_found(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    for n in 0..19 {
        world.azure.put_credential(&identity.resource_id, actions(n));
    }
    world.azure.knobs(|k| k.page_size = Some(3));
    let _operator = world.operator_with(&WATCHFUL).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.service_account("late").await?;
    world.grant("late", &identity).await?;
    world.bind("late", "late", &identity).await?;
    world.stalled("late", "CredentialLimitReached").await?;
    // Ours is on the last page: it is found there, and not written again.
    assert_eq!(writes(&world).len(), 1);
    world.delete("web").await?;
    world.ready("late").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 20);
    Ok(())
}

fn revoked(identity: &Identity) -> String {
    format!("{}-revoked", identity.name)
}

fn deleted(identity: &Identity) -> String {
    format!("{}-deleted", identity.name)
}

fn standing(identity: &Identity) -> String {
    format!("{}-standing", identity.name)
}

fn late(identity: &Identity) -> String {
    format!("{}-late", identity.name)
}

/// A credential for a pipeline elsewhere.
fn actions(n: usize) -> Credential {
    let subject = format!("repo:contoso/app-{n}:ref:refs/heads/main");
    let issuer = "https://token.actions.githubusercontent.com";
    Credential::new(
        &format!("actions-{n}"),
        issuer,
        &subject,
        "api://AzureADTokenExchange",
    )
}

/// The same, and Azure shows it in this shape.
fn odd(world: &World, n: usize, shape: Shape) -> Credential {
    let credential = actions(n);
    show(world, &credential.name, shape);
    credential
}

fn show(world: &World, name: &str, shape: Shape) {
    world.azure.knobs(|k| {
        k.shapes.insert(name.to_owned(), shape);
    });
}

fn shape(world: &World, credential: &Credential) -> String {
    let mut found = None;
    world
        .azure
        .knobs(|k| found = k.shapes.get(&credential.name).copied());
    format!("{found:?}")
}

/// What an operator with default settings makes.
fn ours(world: &World, service_account: &str) -> core::Credential {
    let foreign = world.foreign_credential("any", service_account);
    let tuple = core::Tuple {
        issuer: foreign.issuer,
        subject: foreign.subject,
        audience: foreign.audiences.concat(),
    };
    core::Credential::named_by_us("wib", tuple)
}

/// An identity, an operator with these flags, and a binding that is ready.
async fn ready(world: &World, flags: &[&str]) -> Result<(Identity, Operator)> {
    let identity = world.workload("web").await?;
    let operator = world.operator_with(flags).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    Ok((identity, operator))
}

/// The operator's writes at Azure.
fn writes(world: &World) -> Vec<Entry> {
    let journal = world.azure.journal().into_iter();
    journal.filter(|e| e.operation.is_credential_write()).collect()
}
