//! What components need beside the label of their pods, where that stands in files that are not changed.

use super::Notes;
use crate::migrate::finding::Code;
use crate::migrate::join::Joined;
use crate::migrate::model::{Model, VELERO};

const REPOSITORY: &str = "Argo CD: set useAzureWorkloadIdentity: \"true\" in the Secret, if the repository is one of Azure \
                          that the repo-server logs in to as itself.";

pub fn check(models: &[Model], joined: &[Joined<'_>], notes: &mut Notes<'_>) {
    for one in joined.iter().filter(|joined| !joined.uses.is_empty()) {
        let workload = one.workload;
        let label = workload
            .label
            .as_ref()
            .map_or(workload.at.mark, |label| label.mark);
        if workload.chart == Some("velero") {
            let credentials = workload.pod.as_ref().and_then(|values| values.get("credentials"));
            let mark = credentials.map_or(label, |credentials| credentials.mark);
            let reason = "Velero is told to use pod identity by its credentials as well.";
            notes.add(
                one.model,
                Code::ComponentSetting,
                mark,
                &workload.at,
                reason,
                VELERO,
            );
        }
        let argo = workload.chart == Some("argo-cd") || workload.at.name == "argocd-repo-server";
        let reach =
            |model: &&Model| model.environment.is_none() || model.environment == one.model.environment;
        for model in models.iter().filter(reach).filter(|_| argo) {
            for secret in &model.repositories {
                let reason = "The repo-server of Argo CD has an identity, and this repository has nothing to log in with.";
                notes.add(
                    model,
                    Code::ComponentSetting,
                    secret.mark,
                    secret,
                    reason,
                    REPOSITORY,
                );
            }
        }
    }
}
