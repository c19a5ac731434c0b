//! Labels in text that cannot be parsed: what they select, where the rest of the input shows it.

use std::collections::BTreeMap;

use crate::migrate::finding::{Code, Finding};
use crate::migrate::join::{Found, Index};
use crate::migrate::model::{Identity, LABEL, Model};
use crate::migrate::yaml::is_placeholder;

/// Adds to findings about such labels what is to be put in their place.
pub fn explain<'a>(models: &'a [Model], index: &Index<'a>, findings: &mut [Finding]) {
    let labels = findings
        .iter_mut()
        .filter(|finding| finding.code == Code::TextOnly && !finding.subject.is_empty());
    let labels: Vec<&mut Finding> = labels.collect();
    if labels.is_empty() {
        return;
    }
    let mut selected: BTreeMap<&str, Vec<&Identity>> = BTreeMap::new();
    for model in models {
        for binding in &model.bindings {
            if let (Some(selector), Found::One(identity)) =
                (&binding.selector, index.identity(model, binding))
            {
                selected.entry(&selector.text).or_default().push(identity);
            }
        }
    }
    for finding in labels {
        let label = finding
            .subject
            .strip_prefix(LABEL)
            .and_then(|rest| rest.strip_prefix(": "));
        let label = label.filter(|label| !is_placeholder(label));
        let all = label
            .and_then(|label| selected.get(label))
            .map_or(&[][..], Vec::as_slice);
        // Several need a person who knows which one the template is for.
        let [identity, others @ ..] = all else { continue };
        if others.iter().all(|other| other.at == identity.at) {
            finding.reason = format!(
                "The label of pod identity, in text that cannot be parsed. It selects {}.",
                identity.at
            );
            finding.action = action(identity);
        }
    }
}

fn action(identity: &Identity) -> String {
    let written = |text: &Option<_>| {
        text.as_ref()
            .map(|text: &crate::migrate::model::Text| text.text.trim().to_owned())
            .filter(|text| !text.is_empty())
    };
    let id = written(&identity.resource_id).unwrap_or_else(|| "its ARM id".to_owned());
    let annotation = written(&identity.client_id).map_or_else(String::new, |client| {
        format!(
            " A chart that makes the ServiceAccount can give it the same annotation in its values: \
             azure.workload.identity/client-id: {client}."
        )
    });
    format!(
        "Put azure.workload.identity/use: \"true\" in its place, and a serviceAccountName on the pods. Give that \
         ServiceAccount a WorkloadIdentityBinding with identity.resourceId: {id}.{annotation}"
    )
}
