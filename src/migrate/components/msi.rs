//! `AZURE_AUTH_METHOD=msi` in the containers of a workload that switches: SOPS and others would go on asking for the
//! identity of the node.

use std::sync::Arc;

use super::{Context, Draft, group, items};
use crate::migrate::edit::{Change, Step};
use crate::migrate::yaml::Node;

pub fn groups(context: &Context<'_, '_>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for switch in &context.plan.switches {
        let Some(pod) = &switch.workload.pod else { continue };
        pod.walk(&mut Vec::new(), &mut |path, node| {
            if !path.last().is_some_and(|key| key.is_text("env")) || !is_msi(node) {
                return;
            }
            let at = &switch.workload.at;
            let decision = if stands_alone(context, node) {
                Ok(vec![(node.mark, Change::Remove)])
            } else {
                Err(format!(
                    "AZURE_AUTH_METHOD is set to msi by a patch at {}: remove it there",
                    context.sources.place(node.mark)
                ))
            };
            let group = group(at, switch.environment.clone(), vec![at.clone()], decision);
            drafts.push((node.mark, group));
        });
    }
    drafts
}

fn is_msi(node: &Arc<Node>) -> bool {
    node.text_at(&["name"]) == Some("AZURE_AUTH_METHOD") && node.text_at(&["value"]) == Some("msi")
}

/// Whether it is an item of a list as it stands, and not one that a patch has changed.
fn stands_alone(context: &Context<'_, '_>, node: &Arc<Node>) -> bool {
    let inside = |part: &Node| part.mark.file == node.mark.file && part.mark.document == node.mark.document;
    matches!(items::step(context.sources, node.mark), Some(Step::Item(_)))
        && node
            .entries()
            .iter()
            .all(|(key, value)| inside(key) && inside(value))
}
