//! Unit tests of the passes: answers in, effects out.

// Builders of test data read best by value.
#![allow(
    clippy::needless_pass_by_value,
    clippy::cloned_ref_to_slice_refs,
    clippy::unnecessary_wraps
)]

mod apply;
mod apply_accounts;
mod apply_denied;
mod apply_earlier;
mod apply_writes;
mod delete;
mod machine;
mod revoke;
mod revoke_all;
mod safeguard;
mod suspended;

use std::time::Duration;

use super::revoke::{Orphans, OwnedEntry, Owner, Situation};
use super::*;
use crate::api::{
    Adoption, CredentialOrigin, CredentialState, CredentialStatus, IdentityStatus, Reason,
    ServiceAccountReference, ServiceAccountStatus,
};
use crate::core::plan::{Decision, Step};
use crate::core::{ConditionState, Credential, Holdings, Identity, Tuple, annotations};
use machine::{report_of, script};

const ISSUER: &str = "https://issuer/";
const FORMER: &str = "https://former/";
const FRESH: Duration = Duration::from_secs(30);
const AGE: Duration = Duration::from_secs(7);
const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000000a";

fn identity(name: &str) -> IdentityId {
    IdentityId::new(SUBSCRIPTION, "shop", name).unwrap()
}

fn tuple(issuer: &str, account: &str) -> Tuple {
    Tuple::for_service_account(issuer, "shop", account, "aud")
}

/// The credential of this ServiceAccount for this issuer, under our name.
fn credential_of(issuer: &str, account: &str) -> Credential {
    Credential::named_by_us("wib", tuple(issuer, account))
}

/// The credential that [`desired`] asks for.
fn credential() -> Credential {
    credential_of(ISSUER, "web")
}

/// A credential of somebody else.
fn foreign(name: &str, tuple: Tuple) -> Credential {
    Credential {
        name: name.to_owned(),
        tuple,
    }
}

/// So many credentials of somebody else.
fn foreigners(n: usize) -> Vec<Credential> {
    let one = |i| foreign(&format!("theirs-{i}"), tuple("https://x/", &format!("x{i}")));
    (0..n).map(one).collect()
}

/// ServiceAccount shop/web is to use identity `web`.
fn desired() -> Desired {
    Desired {
        namespace: "shop".to_owned(),
        identity: identity("web"),
        credential: credential(),
        service_account: ServiceAccountReference {
            name: "web".to_owned(),
            create: false,
            annotate: true,
            token_expiration_seconds: None,
        },
        adoption: Adoption::IfEqual,
        deletion_policy: DeletionPolicy::Delete,
        suspend: false,
    }
}

/// Binding shop/binding, which carries the finalizer.
fn subject(desired: Desired) -> Subject {
    Subject {
        namespace: "shop".to_owned(),
        name: "binding".to_owned(),
        generation: Some(1),
        has_finalizer: true,
        is_deleting: false,
        is_released: false,
        deletion_policy: DeletionPolicy::Delete,
        service_account: desired.service_account.name.clone(),
        desired: Ok(desired),
    }
}

/// A binding that nothing is known beside.
fn known() -> Known {
    Known {
        issuers: vec![ISSUER.to_owned()],
        fresh: FRESH,
        ..Known::default()
    }
}

/// A binding whose credential is on record.
fn recorded() -> Known {
    Known {
        recorded: vec![entry(&credential(), "binding")],
        of_binding: vec![held("web", &credential(), None)],
        ..known()
    }
}

/// An entry of the record, wanted by this binding.
fn entry(credential: &Credential, binding: &str) -> RecordedCredential {
    RecordedCredential {
        name: credential.name.clone(),
        issuer: credential.tuple.issuer.clone(),
        subject: credential.tuple.subject.clone(),
        audience: credential.tuple.audience.clone(),
        binding: binding.to_owned(),
        state: CredentialState::Wanted,
    }
}

fn held(on: &str, credential: &Credential, heir: Option<&str>) -> Held {
    Held {
        identity: identity(on),
        entry: entry(credential, "binding"),
        heir: heir.map(str::to_owned),
    }
}

fn azure() -> Identity {
    Identity {
        client_id: "client".to_owned(),
        principal_id: "principal".to_owned(),
        tenant_id: "tenant".to_owned(),
    }
}

fn snapshot(credentials: Vec<Credential>) -> Snapshot {
    Snapshot {
        identity: azure(),
        holdings: Holdings::from(credentials),
        age: AGE,
    }
}

fn obstacle(fault: Fault, message: &str, wait: Option<u64>) -> Obstacle {
    Obstacle {
        fault,
        message: message.to_owned(),
        wait: wait.map(Duration::from_secs),
    }
}

fn refusal() -> Refusal {
    Refusal {
        reason: Reason::FieldConflict,
        message: "field manager kubectl holds it".to_owned(),
    }
}

/// The two annotations of [`azure`].
fn ids() -> Annotations {
    annotations::wanted("client", "tenant", None)
}

/// A ServiceAccount that carries these annotations, these keys of them by us.
fn account(all: Annotations, ours: &[&str]) -> Answer {
    Answer::Found(Some(Account {
        uid: "uid".to_owned(),
        present: Present {
            all,
            ours: ours.iter().map(|&key| key.to_owned()).collect(),
        },
        origin: ServiceAccountOrigin::Existing,
    }))
}

/// A ServiceAccount in order.
fn annotated_account() -> Answer {
    account(ids(), &[annotations::CLIENT_ID, annotations::TENANT_ID])
}

fn accounts_of(names: &[&str]) -> Vec<(String, String)> {
    names
        .iter()
        .map(|&name| ("shop".to_owned(), name.to_owned()))
        .collect()
}

// Effects.

fn review() -> Effect {
    review_of("web")
}

/// Asks for ServiceAccount shop/`account` on identity `web`.
fn review_of(account: &str) -> Effect {
    Effect::Review(request(account))
}

fn request(account: &str) -> grant::Request {
    grant::Request {
        namespace: "shop".to_owned(),
        service_account: account.to_owned(),
        identity: identity("web"),
    }
}

fn observe() -> Effect {
    Effect::Observe(identity("web"), FRESH)
}

fn find_account() -> Effect {
    Effect::FindAccount("web".to_owned())
}

fn annotate() -> Effect {
    Effect::Annotate("web".to_owned(), ids())
}

fn withdraw(names: &[&str]) -> Effect {
    Effect::Withdraw(accounts_of(names))
}

fn record_on(on: &str, changes: Vec<Change>) -> Effect {
    Effect::Record(identity(on), changes)
}

fn record(changes: Vec<Change>) -> Effect {
    record_on("web", changes)
}

/// Says that the binding wants it, and how many others the identity holds.
fn wants(credential: &Credential, others: usize) -> Vec<Change> {
    vec![
        want(credential, "binding"),
        Change::Seen {
            identity: azure(),
            others,
        },
    ]
}

fn want(credential: &Credential, binding: &str) -> Change {
    Change::Want {
        credential: credential.clone(),
        binding: binding.to_owned(),
    }
}

fn mark(credential: &Credential, state: CredentialState) -> Change {
    Change::Mark {
        name: credential.name.clone(),
        state,
    }
}

fn gone(credential: &Credential) -> Change {
    Change::Gone {
        name: credential.name.clone(),
    }
}

/// What [`desired`] asks for, with these names on record.
fn input(recorded: &[&Credential]) -> PlanInput {
    PlanInput {
        credential: credential(),
        adoption: Adoption::IfEqual,
        recorded: recorded.iter().map(|c| c.name.clone()).collect(),
        displaceable: Vec::new(),
    }
}

fn write(input: PlanInput) -> Effect {
    Effect::Write(identity("web"), input, FRESH)
}

fn revoke(on: &str, credentials: &[&Credential]) -> Effect {
    let names = credentials.iter().map(|c| c.name.clone());
    Effect::Revoke(identity(on), Due::Named(names.collect()))
}

// Answers.

const GRANTED: Answer = Answer::Reviewed(Ok(Review::Granted));
const DENIED: Answer = Answer::Reviewed(Ok(Review::Denied));
const CONFIRMED: Answer = Answer::Confirmed { after_trouble: false };
const TROUBLED: Answer = Answer::Confirmed { after_trouble: true };

fn unsure() -> Answer {
    Answer::Reviewed(Err("timed\nout".to_owned()))
}

fn observed(credentials: Vec<Credential>) -> Answer {
    Answer::Observed(Ok(snapshot(credentials)))
}

/// These steps were taken, and ours stands.
fn written(steps: Vec<Step>) -> Answer {
    Answer::Written(Ok(Plan {
        steps,
        decision: Decision::Trusted(credential(), CredentialOrigin::Created),
    }))
}

fn put() -> Answer {
    written(vec![Step::Put(credential())])
}

fn annotated() -> Answer {
    Answer::Annotated(Ok(Some("uid".to_owned())))
}

fn refused() -> Answer {
    Answer::Annotated(Err(refusal()))
}

fn revoked() -> Answer {
    Answer::Revoked(Revoked::default())
}

/// These stood in the way.
fn hindered(obstacles: Vec<Obstacle>) -> Answer {
    Answer::Revoked(Revoked {
        obstacles: obstacles.into_iter().map(|o| (o, "name".to_owned())).collect(),
        ..Revoked::default()
    })
}

// Outcomes.

fn granted() -> ConditionState {
    ConditionState::yes(Reason::Granted, "A grant allows it.")
}

fn found() -> ConditionState {
    ConditionState::yes(Reason::Found, "The identity exists.")
}

fn created() -> ConditionState {
    ConditionState::yes(Reason::Created, "The credential trusts the ServiceAccount.")
}

fn carries_ids() -> ConditionState {
    ConditionState::yes(
        Reason::Annotated,
        "The ServiceAccount carries client id and tenant id; pods get them when they start.",
    )
}

fn not_requested() -> ConditionState {
    ConditionState::yes(
        Reason::NotRequested,
        "annotate is false: nothing is written on the ServiceAccount.",
    )
}

fn identity_status(on: &str) -> IdentityStatus {
    IdentityStatus {
        resource_id: identity(on).to_string(),
        client_id: Some("client".to_owned()),
        principal_id: Some("principal".to_owned()),
        tenant_id: Some("tenant".to_owned()),
    }
}

fn credential_status(credential: &Credential, origin: CredentialOrigin) -> CredentialStatus {
    CredentialStatus {
        name: credential.name.clone(),
        issuer: credential.tuple.issuer.clone(),
        subject: credential.tuple.subject.clone(),
        audience: credential.tuple.audience.clone(),
        origin,
    }
}

fn account_status(name: &str, origin: ServiceAccountOrigin) -> ServiceAccountStatus {
    ServiceAccountStatus {
        name: name.to_owned(),
        uid: (origin == ServiceAccountOrigin::Created).then(|| "uid".to_owned()),
        origin,
    }
}

/// A binding in order.
fn in_order() -> Outcome {
    Outcome {
        authorized: granted(),
        identity_resolved: found(),
        credential_synced: created(),
        annotated: carries_ids(),
        identity: Some(identity_status("web")),
        credential: Some(credential_status(&credential(), CredentialOrigin::Created)),
        service_account: Some(account_status("web", ServiceAccountOrigin::Existing)),
        age: AGE,
        ..Outcome::default()
    }
}

/// A status that says the binding has been in order.
fn reported() -> Reported {
    let outcome = in_order();
    Reported {
        status: Box::new(ReportedStatus {
            identity: outcome.identity,
            credential: outcome.credential,
            service_account: outcome.service_account,
        }),
        was_ready: true,
    }
}
