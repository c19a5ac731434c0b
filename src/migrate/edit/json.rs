//! Entries and items of JSON, by jsonc-parser.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstRootNode};
use serde_json::Value as Json;

use super::{Change, Edit, Step};

/// Whether a document is JSON, and not only YAML.
pub fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Adds or takes out an entry or item.
pub fn structure(text: &str, edit: &Edit) -> Option<String> {
    let root = CstRootNode::parse(text, &ParseOptions::default()).ok()?;
    let top = root.value()?;
    match &edit.change {
        Change::Insert { key, value, before } => {
            let object = at(top, &edit.path)?.as_object()?;
            let place = before
                .and_then(|before| object.get(before))
                .map(|entry| entry.property_index());
            let value = input(value);
            match place {
                Some(place) => drop(object.insert(place, key, value)),
                None => drop(object.append(key, value)),
            }
        }
        Change::Push(value) => drop(at(top, &edit.path)?.as_array()?.append(input(value))),
        Change::Remove => {
            let (last, parent) = edit.path.split_last()?;
            let parent = at(top, parent)?;
            match last {
                Step::Key(key) => parent.as_object()?.get(key)?.remove(),
                Step::Item(number) => parent.as_array()?.elements().into_iter().nth(*number)?.remove(),
            }
        }
        Change::Rename { .. } | Change::Set(_) | Change::Within(_) => return None,
    }
    Some(root.to_string())
}

fn at(node: CstNode, path: &[Step]) -> Option<CstNode> {
    path.iter().try_fold(node, |node, step| match step {
        Step::Key(key) => node.as_object()?.get(key)?.value(),
        Step::Item(number) => node.as_array()?.elements().into_iter().nth(*number),
    })
}

fn input(value: &Json) -> CstInputValue {
    match value {
        Json::Null => CstInputValue::Null,
        Json::Bool(value) => CstInputValue::Bool(*value),
        Json::Number(number) => CstInputValue::Number(number.to_string()),
        Json::String(text) => CstInputValue::String(text.clone()),
        Json::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Json::Object(entries) => CstInputValue::Object(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}
