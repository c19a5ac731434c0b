//! What is to be written on one identity so that it trusts a ServiceAccount: a pure function of what is
//! wanted, what the identity holds, and what is on record as ours.

use super::credential::MAX_PER_IDENTITY;
use super::{Credential, Holdings};
use crate::api::{Adoption, CredentialOrigin, Reason};

/// One write at Azure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Create the credential, or overwrite the one under its name.
    Put(Credential),
    /// Delete the credential of this name.
    Delete(String),
}

/// Whether the identity trusts the ServiceAccount once the steps are taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It does, by this credential.
    Trusted(Credential, CredentialOrigin),
    /// It cannot, for a reason that a person must mend.
    Refused(Reason, String),
}

/// What is to be done, in this order, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// Writes, in order. Empty when all is as it should be.
    pub steps: Vec<Step>,
    /// What they lead to.
    pub decision: Decision,
}

/// What the plan is made for. Data, so that it can be planned again on what the identity holds by then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlanInput {
    /// The credential, under our name.
    pub credential: Credential,
    /// What to do with an equal one under another name.
    pub adoption: Adoption,
    /// Names of the credentials on this identity that are on record as ours.
    pub recorded: Vec<String>,
    /// Names of those among them that may give way when there is no room, the first of them first.
    pub displaceable: Vec<String>,
}

impl Plan {
    fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            steps: Vec::new(),
            decision: Decision::Refused(reason, message.into()),
        }
    }

    fn trusted(steps: Vec<Step>, credential: &Credential, origin: CredentialOrigin) -> Self {
        Self {
            steps,
            decision: Decision::Trusted(credential.clone(), origin),
        }
    }

    /// Names of the credentials that the steps delete.
    pub fn deleted(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Delete(name) => Some(name.as_str()),
            Step::Put(_) => None,
        })
    }
}

/// Plans the credential that `input` asks for, on an identity that holds `found`.
///
/// # Guarantees
/// Idempotent: planned again on the result of its own steps, it has none. It never touches what is not on
/// record as ours, never what cannot be read, and never leads to more than 20 credentials.
pub fn plan(input: &PlanInput, found: &Holdings) -> Plan {
    let want = &input.credential;
    let is_ours = |c: &Credential| input.recorded.contains(&c.name) && !c.is_aks_identity_binding();
    let same_name = found.credentials.iter().find(|c| c.name == want.name);
    let same_subject = found
        .credentials
        .iter()
        .find(|c| c.name != want.name && c.tuple.collides_with(&want.tuple));

    if same_name.is_some_and(|c| c.tuple == want.tuple) {
        return Plan::trusted(Vec::new(), want, CredentialOrigin::Created);
    }
    let edited = same_name.filter(|c| is_ours(c));
    let mut steps = Vec::new();
    if let Some(other) = same_subject {
        if !is_ours(other) || !other.carries_our_hash() {
            return beside(input, other, edited);
        }
        if other.tuple == want.tuple {
            // Made under an earlier prefix: nothing to adopt, it is ours.
            return Plan::trusted(Vec::new(), other, CredentialOrigin::Created);
        }
        // Ours with an earlier audience: Azure takes no second one beside it.
        steps.push(Step::Delete(other.name.clone()));
    }
    if found.is_unreadable(&want.name) {
        return Plan::refused(
            Reason::CredentialNameTaken,
            format!(
                "a credential named {} exists on the identity in a form that the operator cannot read, such as a flexible one; delete it",
                want.name
            ),
        );
    }
    if same_name.is_some() && edited.is_none() {
        return Plan::refused(
            Reason::CredentialNameTaken,
            format!(
                "a credential named {} exists on the identity with other contents and is not on record as this cluster's; delete it or rename it",
                want.name
            ),
        );
    }
    if let Some(edited) = edited {
        // One report says that an update which changes letter case only has no effect.
        if edited.tuple.differs_in_case_only(&want.tuple) {
            steps.push(Step::Delete(want.name.clone()));
        }
    } else if steps.is_empty() && found.len() >= MAX_PER_IDENTITY {
        let stands = |name: &&String| found.credentials.iter().any(|c| c.name == **name && is_ours(c));
        let Some(room) = input.displaceable.iter().find(stands) else {
            return Plan::refused(Reason::CredentialLimitReached, full(found));
        };
        steps.push(Step::Delete(room.clone()));
    }
    steps.push(Step::Put(want.clone()));
    Plan::trusted(steps, want, CredentialOrigin::Created)
}

fn full(found: &Holdings) -> String {
    let unreadable = match found.unreadable.len() {
        0 => String::new(),
        n => format!(" ({n} of them in a form that the operator cannot read)"),
    };
    format!(
        "the identity holds {} federated identity credentials{unreadable} and Azure allows {MAX_PER_IDENTITY}; remove one or use another identity",
        found.len()
    )
}

/// Somebody else's credential stands for the same issuer and subject; `edited` is what has become of ours.
fn beside(input: &PlanInput, other: &Credential, edited: Option<&Credential>) -> Plan {
    match (input.adoption, other.tuple == input.credential.tuple) {
        (Adoption::IfEqual, true) => {
            // Nobody else would remove ours once the adopted one has taken its place.
            let ours = edited.map(|c| Step::Delete(c.name.clone()));
            Plan::trusted(ours.into_iter().collect(), other, CredentialOrigin::Adopted)
        }
        (Adoption::Never, true) => Plan::refused(
            Reason::AdoptionRefused,
            format!(
                "credential {} on the identity already trusts this ServiceAccount and adoption is Never; delete it, or set adoption: IfEqual",
                other.name
            ),
        ),
        (_, false) => Plan::refused(
            Reason::CredentialConflict,
            format!(
                "credential {} on the identity has the same issuer and subject with another audience, and Azure allows one; delete it",
                other.name
            ),
        ),
    }
}

/// What an identity holds after steps were taken: the lane keeps its view true with it.
pub fn apply(found: &mut Holdings, step: &Step) {
    match step {
        // What has become unreadable under our name is not ours any more, whatever we wrote a moment ago.
        Step::Put(credential) if found.is_unreadable(&credential.name) => {}
        Step::Put(credential) => {
            found.credentials.retain(|c| c.name != credential.name);
            found.credentials.push(credential.clone());
        }
        Step::Delete(name) => found.credentials.retain(|c| c.name != *name),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
