//! External Secrets: stores that log in as the pods of the operator go on to do so, by the ServiceAccount of these.

use super::{Context, Decision, Group, group};
use crate::migrate::edit::Change;
use crate::migrate::model::{Model, Setting, Workload};

/// None for what is no store. The group is of the environment of the operator.
pub fn store(context: &Context<'_, '_>, model: &Model, setting: &Setting) -> Option<Group> {
    let kinds = ["SecretStore", "ClusterSecretStore"];
    if !kinds.contains(&setting.holder.kind.as_str()) {
        return None;
    }
    let environments = context
        .models
        .iter()
        .filter(|other| other.environment == model.environment || other.environment.is_none());
    let operators: Vec<(&Model, &Workload)> = environments
        .flat_map(|other| other.workloads.iter().map(move |workload| (other, workload)))
        .filter(|(_, workload)| workload.label.is_some() && is_operator(workload))
        .collect();
    let own = |from: &Model, with, decision| group(&setting.holder, from.environment.clone(), with, decision);
    Some(if let [(from, operator)] = operators.as_slice() {
        let decision = decide(context, from, operator, setting);
        own(from, vec![operator.at.clone()], decision)
    } else {
        let reason = "the pods of the operator of External Secrets are not known";
        own(model, Vec::new(), Err(by_hand(reason)))
    })
}

fn by_hand(reason: &str) -> String {
    format!(
        "{reason}: set authType to WorkloadIdentity, with the serviceAccountRef of a ServiceAccount that has the identity"
    )
}

fn decide(context: &Context<'_, '_>, from: &Model, operator: &Workload, setting: &Setting) -> Decision {
    let identity = context
        .identity(from, operator)
        .map_err(|reason| by_hand(&reason))?;
    let mut edits = vec![(
        context.entry(setting.mark, "authType")?,
        Change::Set("WorkloadIdentity".to_owned()),
    )];
    if let Some((_, id)) = setting.around.entry("identityId") {
        let client = identity.client_id.as_ref().map(|client| client.text.trim());
        let wanted = id.as_text().map(str::trim);
        if wanted.is_some_and(|wanted| !wanted.is_empty()) && wanted != client {
            return Err(by_hand(
                "its identityId is not the identity of the pods of the operator",
            ));
        }
        edits.push((context.entry(id.mark, "identityId")?, Change::Remove));
    }
    Ok(edits)
}

fn is_operator(workload: &Workload) -> bool {
    if workload.chart.is_some() {
        return workload.chart == Some("external-secrets");
    }
    let containers = workload.pod.as_ref().and_then(|pod| pod.get("containers"));
    let images = containers.map_or(&[][..], |list| list.items()).iter();
    workload.at.kind == "Deployment"
        && images
            .filter_map(|container| container.text_at(&["image"]))
            .any(|image| image.contains("external-secrets/external-secrets"))
}
