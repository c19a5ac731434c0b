//! What is to be done on one identity: a pure function of what is wanted, what is found, and what
//! we remember to have made.

use super::Credential;
use super::credential::MAX_PER_IDENTITY;
use crate::api::{Adoption, CredentialOrigin, CredentialStatus, Reason};

/// One write at Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the credential, or overwrite the one under its name.
    Put(Credential),
    /// Delete the credential of this name.
    Delete(String),
}

/// Whether the identity trusts the ServiceAccount once the steps are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It does, by this credential.
    By(Credential, CredentialOrigin),
    /// It cannot, for a reason that a person must mend.
    Refused(Reason, String),
}

/// What is to be done, in this order, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Writes, in order. Empty when all is as it should be.
    pub steps: Vec<Step>,
    /// What they lead to.
    pub trust: Trust,
}

/// What the plan is made for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The credential, under our name.
    pub credential: &'a Credential,
    /// What to do with an equal one under another name.
    pub adoption: Adoption,
    /// What `status` remembers of the current credential on this identity.
    pub memory: Option<&'a CredentialStatus>,
    /// Ours on this identity and no longer wanted.
    pub obsolete: &'a [Credential],
}

impl Plan {
    fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            steps: Vec::new(),
            trust: Trust::Refused(reason, message.into()),
        }
    }
}

/// Plans the credential that `wish` asks for, on an identity that holds `found`.
///
/// # Guarantees
/// Idempotent: planned again on the result of its own steps, it has none. It never touches what
/// is not ours, and never leads to more than 20 credentials. New trust comes before old trust is
/// removed, unless Azure's uniqueness rule or the limit leaves no room for both.
pub fn plan(wish: Wish<'_>, found: &[Credential]) -> Plan {
    let want = wish.credential;
    let remembered = |c: &Credential| {
        wish.memory
            .is_some_and(|m| m.origin == CredentialOrigin::Created && m.name == c.name)
    };
    let obsolete = |c: &Credential| wish.obsolete.iter().any(|o| o.name == c.name);
    let same_name = found.iter().find(|c| c.name == want.name);
    let same_subject = found
        .iter()
        .find(|c| c.name != want.name && c.tuple.collides_with(&want.tuple));

    if same_name.is_some_and(|c| c.tuple == want.tuple) {
        return finish(wish, found, Vec::new(), want.clone());
    }
    if let Some(other) = same_subject
        && !obsolete(other)
    {
        let edited = same_name.filter(|c| remembered(c) && !c.is_aks_identity_binding());
        return beside(
            wish,
            found,
            other,
            remembered(other) && other.carries_our_hash(),
            edited,
        );
    }

    let mut steps: Vec<Step> = Vec::new();
    if let Some(other) = same_subject {
        // Ours under an older name or audience: Azure takes no second one beside it.
        steps.push(Step::Delete(other.name.clone()));
    }
    if let Some(edited) = same_name {
        if !remembered(edited) || edited.is_aks_identity_binding() {
            return Plan::refused(
                Reason::CredentialNameTaken,
                format!(
                    "a credential named {} exists on the identity with other contents and was not made by this binding; delete it or rename it",
                    want.name
                ),
            );
        }
        // One report says that an update which changes letter case only has no effect.
        if edited.tuple.differs_in_case_only(&want.tuple) {
            steps.push(Step::Delete(want.name.clone()));
        }
    } else if steps.is_empty() && found.len() >= MAX_PER_IDENTITY {
        let Some(room) = found.iter().find(|c| obsolete(c)) else {
            return Plan::refused(
                Reason::CredentialLimitReached,
                format!(
                    "the identity holds {} federated identity credentials and Azure allows {MAX_PER_IDENTITY}; remove one or use another identity",
                    found.len()
                ),
            );
        };
        steps.push(Step::Delete(room.name.clone()));
    }
    steps.push(Step::Put(want.clone()));
    finish(wish, found, steps, want.clone())
}

/// Another credential stands for the same issuer and subject; `edited` is what has become of ours.
fn beside(
    wish: Wish<'_>,
    found: &[Credential],
    other: &Credential,
    ours: bool,
    edited: Option<&Credential>,
) -> Plan {
    let equal = other.tuple == wish.credential.tuple;
    match wish.adoption {
        // Made by us under an older prefix: nothing to adopt, it is ours.
        _ if equal && ours => finish(wish, found, Vec::new(), other.clone()),
        Adoption::IfEqual if equal => {
            // Nobody else would remove ours once the adopted one has taken its place in the status.
            let ours = edited.map(|c| Step::Delete(c.name.clone()));
            let mut plan = finish(wish, found, ours.into_iter().collect(), other.clone());
            plan.trust = Trust::By(other.clone(), CredentialOrigin::Adopted);
            plan
        }
        Adoption::Never if equal => Plan::refused(
            Reason::AdoptionRefused,
            format!(
                "credential {} on the identity already trusts this ServiceAccount and adoption is Never; delete it, or set adoption: IfEqual",
                other.name
            ),
        ),
        _ => Plan::refused(
            Reason::CredentialConflict,
            format!(
                "credential {} on the identity has the same issuer and subject with another audience, and Azure allows one; delete it",
                other.name
            ),
        ),
    }
}

/// Appends the removal of what is obsolete, after the new trust stands.
fn finish(wish: Wish<'_>, found: &[Credential], mut steps: Vec<Step>, credential: Credential) -> Plan {
    for old in wish.obsolete {
        let delete = Step::Delete(old.name.clone());
        let stands = found.iter().any(|c| c.name == old.name);
        if stands && old.name != credential.name && !steps.contains(&delete) {
            steps.push(delete);
        }
    }
    Plan {
        steps,
        trust: Trust::By(credential, CredentialOrigin::Created),
    }
}

/// What an identity holds after steps were taken: the lane keeps its view true with it.
pub fn apply(found: &mut Vec<Credential>, step: &Step) {
    match step {
        Step::Put(credential) => {
            found.retain(|c| c.name != credential.name);
            found.push(credential.clone());
        }
        Step::Delete(name) => found.retain(|c| c.name != *name),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
