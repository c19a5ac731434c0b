//! Identities that are not good, or not good enough.

use std::collections::{BTreeMap, BTreeSet};

use super::Notes;
use crate::migrate::finding::Code;
use crate::migrate::join::{Index, describe};
use crate::migrate::model::Casing;
use crate::migrate::model::{ArmId, Identity, Model, Reference, Text};
use crate::migrate::yaml::is_placeholder;

pub fn check<'a>(model: &'a Model, index: &Index<'a>, notes: &mut Notes<'_>) {
    for identity in &model.identities {
        let at = &identity.at;
        casing(model, at, &identity.casing, notes);
        if identity.kind != 0 {
            let reason = format!(
                "Type {} is a service principal: its credential belongs to an app registration.",
                identity.kind
            );
            let action = "Make a federated credential on the app registration (azwi serviceaccount create \
                          phase federated-identity), or use a managed identity.";
            notes.add(model, Code::IdentityType, at.mark, at, reason, action);
            continue;
        }
        if let Some(mark) = identity.auxiliary {
            let reason = "It names further tenants; a token of workload identity is of one tenant.";
            let action = "Let the application ask for a token in each tenant.";
            notes.add(model, Code::AuxiliaryTenants, mark, at, reason, action);
        }
        if let Some(mark) = identity.misspelt {
            let reason = "Its annotation aadpodidentity.k8s.io/Behavior is not exactly \"namespaced\": \
                          it serves pods of all namespaces.";
            notes.add(
                model,
                Code::BehaviorSpelling,
                mark,
                at,
                reason,
                "Nothing; the plan heeds it. Look whether that is meant.",
            );
        }
        ids(model, identity, index, notes);
    }
    conflicts(model, notes);
}

pub fn casing(model: &Model, at: &Reference, casing: &Casing, notes: &mut Notes<'_>) {
    if let Some(mark) = casing.conflict {
        let reason = "A key stands there in two spellings with two values.";
        notes.add(
            model,
            Code::OddCasingConflict,
            mark,
            at,
            reason,
            "Keep one, in the spelling of the schema.",
        );
    }
    for key in &casing.odd {
        let reason = format!(
            "The key {} is not in the case of the schema: pod identity since 1.6 may have ignored it.",
            key.text
        );
        let action = "Nothing; the plan takes its value. Look whether the pods really had this identity.";
        notes.add(model, Code::OddCasing, key.mark, at, reason, action);
    }
}

fn ids<'a>(model: &'a Model, identity: &'a Identity, index: &Index<'a>, notes: &mut Notes<'_>) {
    let at = &identity.at;
    let mark = identity.resource_id.as_ref().map_or(at.mark, |text| text.mark);
    let written = identity.arm_id();
    // A stub that another definition completes is in order.
    let complete = || {
        index
            .definitions(model, &at.namespace, &at.name)
            .find(|other| matches!(other.arm_id(), ArmId::Known(_)))
    };
    let completed = if matches!(written, ArmId::Known(_)) {
        None
    } else {
        complete()
    };
    match (written, completed) {
        (ArmId::Known(_), _) => {}
        (_, Some(other)) => {
            let place = notes.sources.place(other.at.mark);
            let reason = format!("It has no ARM id of its own; {place} has it.");
            notes.add(
                model,
                Code::DefinedTwice,
                mark,
                at,
                reason,
                "Nothing; the plan takes the complete one.",
            );
        }
        (ArmId::Missing, None) => {
            let action = "Give it its ARM id (az identity show --query id), or read the overlay that has it.";
            notes.add(
                model,
                Code::ResourceIdMissing,
                mark,
                at,
                "It has no resourceID.",
                action,
            );
        }
        (ArmId::Invalid(reason), None) => {
            let action =
                "Write the ARM id as az identity show --query id prints it, or read the overlay that has it.";
            notes.add(
                model,
                Code::ResourceIdInvalid,
                mark,
                at,
                format!("Its resourceID is no ARM id: {reason}."),
                action,
            );
        }
        (ArmId::Unresolved(text), None) => {
            let reason = format!("Its resourceID {text} is filled in later.");
            let action = "Run wib migrate on the files with the values filled in.";
            notes.add(model, Code::UnresolvedValue, mark, at, reason, action);
        }
    }
    if let Some(client) = &identity.client_id
        && completed.is_none()
        && !is_placeholder(&client.text)
        && uuid::Uuid::try_parse(client.text.trim()).is_err()
    {
        let reason = format!("Its clientID {} is no GUID.", client.text);
        let action = "Nothing for the plan: the operator asks Azure for the client id.";
        notes.add(model, Code::ClientIdInvalid, client.mark, at, reason, action);
    }
}

const ASK_AZURE: &str =
    "Ask Azure which one is right (az identity show) and correct the other. The plan goes by the resourceID.";

/// An AzureIdentity with its client id.
type WithClient<'a> = (&'a Identity, &'a Text);

/// One client id with two identities, and the reverse.
fn conflicts(model: &Model, notes: &mut Notes<'_>) {
    let mut by_client: BTreeMap<String, Vec<WithClient<'_>>> = BTreeMap::new();
    let mut by_id: BTreeMap<String, Vec<WithClient<'_>>> = BTreeMap::new();
    for identity in model.identities.iter().filter(|identity| identity.kind == 0) {
        if let (ArmId::Known(id), Some(client)) = (identity.arm_id(), &identity.client_id) {
            let text = client_text(client);
            if uuid::Uuid::try_parse(&text).is_ok() {
                let both = (identity, client);
                by_client.entry(text).or_default().push(both);
                by_id.entry(id.key().to_owned()).or_default().push(both);
            }
        }
    }
    let mut contradict = |alike: &[WithClient<'_>], other: &dyn Fn(&WithClient<'_>) -> String, what: &str| {
        let others: BTreeSet<String> = alike.iter().map(other).collect();
        for (identity, client) in alike.iter().filter(|_| others.len() > 1) {
            let reason = what.replace("{}", &others.len().to_string());
            notes.add(
                model,
                Code::ClientIdConflict,
                client.mark,
                &identity.at,
                reason,
                ASK_AZURE,
            );
        }
    };
    for (client, alike) in &by_client {
        let what = format!("The clientID {client} stands with {{}} different resourceIDs.");
        contradict(alike, &|(identity, _)| describe(identity), &what);
    }
    for alike in by_id.values() {
        let what = "Its resourceID stands with {} different clientIDs.";
        contradict(alike, &|(_, client)| client_text(client), what);
    }
}

fn client_text(client: &Text) -> String {
    client.text.trim().to_ascii_lowercase()
}
