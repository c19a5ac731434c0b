//! Whether the changes of groups can be made.

use std::collections::BTreeMap;

use super::changes::{self, Changes};
use super::file::Made;
use crate::migrate::components::Group;
use crate::migrate::edit::{self, Edit};
use crate::migrate::source::Sources;

/// The number of a group, and its changes of a document.
type OfGroup = (usize, Vec<Edit>);

/// Blocks those whose changes cannot be made, whatever else is. A document is read once for all of them.
pub fn check(sources: &Sources, groups: &mut [Group], made: &Made) {
    let mut documents: BTreeMap<(usize, u32), Vec<OfGroup>> = BTreeMap::new();
    for (number, group) in groups.iter_mut().enumerate() {
        if group.blocked.is_some() {
            continue;
        }
        let mut changes = Changes::new(sources, made);
        let known = group
            .edits
            .iter()
            .try_for_each(|(mark, change)| changes.edit(*mark, change.clone()));
        match known {
            Err(problem) => group.blocked = Some(problem.reason),
            Ok(()) => {
                for (place, edits) in changes.of_documents() {
                    documents.entry(place).or_default().push((number, edits));
                }
            }
        }
    }
    for ((file, document), edits) in documents {
        let Some(source) = sources.files.get(file) else {
            continue;
        };
        let text = usize::try_from(document)
            .ok()
            .and_then(|number| source.part(number));
        let text = text.unwrap_or_default();
        let (numbers, edits): (Vec<usize>, Vec<Vec<Edit>>) = edits.into_iter().unzip();
        let refusals = match &edits[..] {
            // What comes of it will be needed, if nothing else changes it as well.
            [same, others @ ..] if others.iter().all(|other| other == same) => {
                let refused = made.document((file, document), text, same.clone()).err();
                vec![refused; numbers.len()]
            }
            _ => edit::refusals(text, &edits),
        };
        for (number, refused) in numbers.into_iter().zip(refusals) {
            if let (Some(group), Some(refused)) = (groups.get_mut(number), refused) {
                group
                    .blocked
                    .get_or_insert_with(|| changes::refusal(file, source, &refused).reason);
            }
        }
    }
}
