//! Changes of components, as parts of the plan.

use std::sync::Arc;

use super::Group;
use crate::migrate::edit::{self, Change, Step};
use crate::migrate::plan::{Action, Item, Plan};
use crate::migrate::source::Sources;
use crate::migrate::yaml::{Mark, Node};

/// The last step to the node at a mark.
pub fn step(sources: &Sources, mark: Mark) -> Option<Step> {
    edit::locate(document(sources, mark)?, mark)?.pop()
}

fn document(sources: &Sources, mark: Mark) -> Option<&Arc<Node>> {
    let source = sources.files.get(usize::try_from(mark.file).ok()?)?;
    let document = source.documents.get(usize::try_from(mark.document).ok()?)?;
    document.content.as_ref()
}

/// What is there: its key, or its name in a list.
fn place(sources: &Sources, mark: Mark) -> Option<String> {
    let root = document(sources, mark)?;
    let path = edit::locate(root, mark)?;
    match path.last()? {
        Step::Key(key) => Some(key.clone()),
        Step::Item(_) => edit::at(root, &path)?.text_at(&["name"]).map(str::to_owned),
    }
}

/// What is changed, of the groups that can be made with the workloads that are planned.
pub fn items(sources: &Sources, groups: &[Group], plan: &Plan) -> Vec<Item> {
    let made = groups
        .iter()
        .filter(|group| group.blocked.is_none() && switches(group, plan));
    let items = made.filter_map(|group| {
        let (first, _) = group.edits.first()?;
        let parts: Vec<String> = group
            .edits
            .iter()
            .map(|(mark, change)| said(sources, *mark, change))
            .collect();
        Some(Item {
            action: Action::Change,
            object: group.subject.to_string(),
            place: Some(sources.place(*first)),
            environment: group.environment.clone(),
            detail: parts.join(", "),
        })
    });
    items.collect()
}

/// Whether all workloads that a group needs are planned.
fn switches(group: &Group, plan: &Plan) -> bool {
    group.with.iter().all(|at| {
        let mut switches = plan.switches.iter();
        switches.any(|switch| switch.workload.at == *at && switch.environment == group.environment)
    })
}

fn said(sources: &Sources, mark: Mark, change: &Change) -> String {
    let here = place(sources, mark).unwrap_or_else(|| "an item".to_owned());
    match change {
        Change::Rename { key, value } => format!("replace {here} by {key}: {value}"),
        Change::Set(value) => format!("set {here}: {value}"),
        Change::Within(_) => format!("change the text of {here}"),
        Change::Insert { key, value, .. } => format!("set {key}: {value}"),
        Change::Push(value) => format!("add {value} to {here}"),
        Change::Remove => format!("remove {here}"),
    }
}
