//! Entries and items of YAML, by yaml-edit.

use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value as Json;
use yaml_edit::{Mapping, Sequence, YamlFile, YamlNode};

use super::{Change, Edit, Step, at, scalar};
use crate::migrate::yaml::Node;

/// Adds or takes out an entry or item.
pub fn structure(text: &str, root: &Arc<Node>, edit: &Edit) -> Option<String> {
    let file = YamlFile::from_str(text).ok()?;
    let document = file.documents().next()?;
    let top = match document.as_mapping() {
        Some(mapping) => Container::Mapping(mapping),
        None => Container::Sequence(document.as_sequence()?),
    };
    match &edit.change {
        Change::Insert { key, value, before } => {
            let Container::Mapping(mapping) = top.at(&edit.path)? else {
                return None;
            };
            let place = before.filter(|before| stands_free(text, root, &edit.path, before));
            match value {
                Json::String(value) if scalar::is_plain(value) => {
                    insert(&mapping, place, key, value.as_str());
                }
                Json::String(value) => insert(&mapping, place, key, &quoted(value)?),
                Json::Bool(value) => insert(&mapping, place, key, *value),
                Json::Object(_) => insert(&mapping, place, key, &parsed(value)?.as_mapping()?),
                Json::Array(_) => insert(&mapping, place, key, &parsed(value)?.as_sequence()?),
                _ => return None,
            }
        }
        Change::Push(value) => {
            let Container::Sequence(list) = top.at(&edit.path)? else {
                return None;
            };
            match value {
                Json::String(value) => list.push(value.as_str()),
                _ => list.push(&parsed(value)?.as_mapping()?),
            }
        }
        Change::Remove => {
            let (last, parent) = edit.path.split_last()?;
            match (top.at(parent)?, last) {
                (Container::Mapping(mapping), Step::Key(key)) => drop(mapping.remove(key.as_str())?),
                (Container::Sequence(items), Step::Item(number)) => drop(items.remove(*number)?),
                _ => return None,
            }
        }
        Change::Rename { .. } | Change::Set(_) | Change::Within(_) => return None,
    }
    Some(file.to_string())
}

fn insert(mapping: &Mapping, before: Option<&str>, key: &str, value: impl yaml_edit::AsYaml) {
    match before {
        Some(before) => drop(mapping.insert_before(before, key, value)),
        None => mapping.set(key, value),
    }
}

/// A text in double quotes, as replaced ones have them.
fn quoted(value: &str) -> Option<YamlNode> {
    let document = yaml_edit::Document::from_str(&format!("v: {}\n", scalar::double(value))).ok()?;
    document.get("v")
}

fn parsed(value: &Json) -> Option<yaml_edit::Document> {
    yaml_edit::Document::from_str(&serde_yaml::to_string(value).ok()?).ok()
}

/// Whether an entry is there, and no comment above it that belongs to it.
fn stands_free(text: &str, root: &Arc<Node>, path: &[Step], key: &str) -> bool {
    let Some((key, _)) = at(root, path).and_then(|mapping| mapping.entry(key)) else {
        return false;
    };
    let above = text
        .get(..key.mark.start as usize)
        .unwrap_or_default()
        .lines()
        .rev()
        .nth(1);
    above.is_none_or(|line| !line.trim_start().starts_with('#'))
}

/// What entries and items stand in.
enum Container {
    Mapping(Mapping),
    Sequence(Sequence),
}

impl Container {
    fn at(self, path: &[Step]) -> Option<Self> {
        path.iter().try_fold(self, |container, step| {
            let node = match (container, step) {
                (Self::Mapping(mapping), Step::Key(key)) => mapping.get(key.as_str())?,
                (Self::Sequence(list), Step::Item(number)) => list.get(*number)?,
                _ => return None,
            };
            Self::of(&node)
        })
    }

    fn of(node: &YamlNode) -> Option<Self> {
        let mapping = node.as_mapping().cloned().map(Self::Mapping);
        mapping.or_else(|| node.as_sequence().cloned().map(Self::Sequence))
    }
}
