//! What a document has to mean after a change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Change, Step};
use crate::migrate::yaml::{Mark, Node, Value, plain_bool};

/// The tree after a change; none if the place is not there.
pub fn after(node: &Arc<Node>, path: &[Step], change: &Change) -> Option<Arc<Node>> {
    let Some((step, rest)) = path.split_first() else {
        return changed(node, change);
    };
    // What is done to an entry or item is done by what holds it.
    if rest.is_empty() {
        match (change, step) {
            (Change::Remove, Step::Item(number)) => {
                let mut items = node.items().to_vec();
                (*number < items.len()).then(|| items.remove(*number))?;
                return Some(node.with(Value::List(items)));
            }
            (Change::Remove, Step::Key(key)) => {
                let mut entries = node.entries().to_vec();
                let at = entries.iter().rposition(|(k, _)| k.is_text(key))?;
                entries.remove(at);
                return Some(node.with(Value::Map(entries)));
            }
            (Change::Rename { key: new, value }, Step::Key(key)) => {
                let mut entries = node.entries().to_vec();
                let entry = entries.iter_mut().rev().find(|(k, _)| k.is_text(key))?;
                *entry = (
                    Node::text(Mark::default(), new),
                    Node::text(Mark::default(), value),
                );
                return Some(node.with(Value::Map(entries)));
            }
            _ => {}
        }
    }
    match step {
        Step::Key(key) => {
            let mut entries = node.entries().to_vec();
            let entry = entries.iter_mut().rev().find(|(k, _)| k.is_text(key))?;
            entry.1 = after(&entry.1, rest, change)?;
            Some(node.with(Value::Map(entries)))
        }
        Step::Item(number) => {
            let mut items = node.items().to_vec();
            let item = items.get_mut(*number)?;
            *item = after(item, rest, change)?;
            Some(node.with(Value::List(items)))
        }
    }
}

fn changed(node: &Arc<Node>, change: &Change) -> Option<Arc<Node>> {
    match change {
        Change::Set(text) => matches!(node.value, Value::Scalar { .. }).then(|| Node::text(node.mark, text)),
        Change::Within(edits) => match &node.value {
            Value::Scalar { text, quoted: true } => {
                let text = super::document(text, edits).ok()?;
                Some(Node::text(node.mark, &text))
            }
            _ => None,
        },
        Change::Insert { key, value, .. } => {
            let mut entries = node.entries().to_vec();
            // A null among the entries makes room, anything else is in the way.
            entries.retain(|(k, old)| !(k.is_text(key) && old.is_null()));
            let fits =
                matches!(node.value, Value::Map(_)) && node.entry(key).is_none_or(|(_, v)| v.is_null());
            entries.push((Node::text(node.mark, key), tree(value)));
            fits.then(|| node.with(Value::Map(entries)))
        }
        Change::Push(value) => {
            let mut items = node.items().to_vec();
            items.push(tree(value));
            matches!(node.value, Value::List(_)).then(|| node.with(Value::List(items)))
        }
        Change::Rename { .. } | Change::Remove => None,
    }
}

fn tree(value: &Json) -> Arc<Node> {
    let plain = |text: String| Value::Scalar { text, quoted: false };
    let value = match value {
        Json::String(text) => Value::Scalar {
            text: text.clone(),
            quoted: true,
        },
        Json::Array(items) => Value::List(items.iter().map(tree).collect()),
        Json::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (Node::text(Mark::default(), key), tree(value)));
            Value::Map(entries.collect())
        }
        other => plain(other.to_string()),
    };
    let mark = Mark::default();
    Arc::new(Node { mark, value })
}

/// Whether two trees mean the same to a reader of YAML.
pub fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar { text: one, .. }, Value::Scalar { text: other, .. }) => {
            one == other && is_string(a) == is_string(b)
        }
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
        }
        (Value::Map(_), Value::Map(_)) => {
            let one: BTreeMap<_, _> = a.entries().iter().map(|(k, v)| (k.as_text(), v)).collect();
            let other: BTreeMap<_, _> = b.entries().iter().map(|(k, v)| (k.as_text(), v)).collect();
            let entries = a.entries().len() == b.entries().len() && one.len() == other.len();
            entries
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|v| same(value, v)))
        }
        _ => false,
    }
}

fn is_string(node: &Node) -> bool {
    match &node.value {
        Value::Scalar { text, quoted } => {
            *quoted || !(node.is_null() || plain_bool(text).is_some() || text.parse::<f64>().is_ok())
        }
        _ => false,
    }
}
