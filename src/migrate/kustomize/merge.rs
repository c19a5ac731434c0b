//! Strategic merge: lists of pod templates are merged by key, those of custom resources replaced.

use std::sync::Arc;

use crate::migrate::object::Object;
use crate::migrate::yaml::{Node, Value};

/// Lists of built-in kinds that are merged, with what tells their items apart.
const MERGE_KEYS: [(&str, &str); 11] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("secrets", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("ports", "containerPort"),
    ("hostAliases", "ip"),
];

/// An object with a patch merged into it. A patch that has found its object by a target leaves name and kind alone.
pub fn objects(object: &Object, patch: &Arc<Node>, by_target: bool) -> Arc<Node> {
    let built_in = ["", "apps", "batch", "extensions"].contains(&object.group());
    let merged = maps(&object.node, patch, built_in);
    if !by_target {
        return merged;
    }
    let kept = [&["kind"][..], &["apiVersion"], &["metadata", "name"]];
    kept.iter().fold(merged, |node, path| match object.node.at(path) {
        Some(value) => node.set_at(path, value.clone()),
        None => node,
    })
}

fn values(key: &str, base: &Arc<Node>, patch: &Arc<Node>, built_in: bool) -> Arc<Node> {
    match (&base.value, &patch.value) {
        (Value::Map(_), Value::Map(_)) => maps(base, patch, built_in),
        (Value::List(_), Value::List(_)) if built_in => {
            let by = MERGE_KEYS.iter().find(|(list, _)| *list == key);
            by.map_or_else(|| patch.clone(), |(_, by)| lists(base, patch, by))
        }
        _ => patch.clone(),
    }
}

fn maps(base: &Arc<Node>, patch: &Arc<Node>, built_in: bool) -> Arc<Node> {
    if patch.text_at(&["$patch"]) == Some("replace") {
        let entries = patch.entries().iter().filter(|(key, _)| !key.is_text("$patch"));
        return patch.with(Value::Map(entries.cloned().collect()));
    }
    let mut entries = base.entries().to_vec();
    for (key, value) in patch.entries() {
        let Value::Scalar { text, .. } = &key.value else {
            continue;
        };
        if text.starts_with('$') {
            continue;
        }
        let at = entries.iter().position(|(known, _)| known.is_text(text));
        let deleted = value.is_null() || value.text_at(&["$patch"]) == Some("delete");
        match at {
            Some(at) if deleted => {
                entries.remove(at);
            }
            Some(at) => {
                if let Some(entry) = entries.get_mut(at) {
                    entry.1 = values(text, &entry.1, value, built_in);
                }
            }
            None if deleted => {}
            None => entries.push((key.clone(), value.clone())),
        }
    }
    base.with(Value::Map(entries))
}

fn lists(base: &Arc<Node>, patch: &Arc<Node>, by: &str) -> Arc<Node> {
    let directive = |item: &Node, wanted: &str| item.text_at(&["$patch"]) == Some(wanted);
    let replace = patch.items().iter().any(|item| directive(item, "replace"));
    let mut items = if replace {
        Vec::new()
    } else {
        base.items().to_vec()
    };
    for item in patch.items().iter().filter(|item| !directive(item, "replace")) {
        let key = item.text_at(&[by]);
        let at = items
            .iter()
            .position(|known| key.is_some() && known.text_at(&[by]) == key);
        match at {
            Some(at) if directive(item, "delete") => {
                items.remove(at);
            }
            Some(at) => {
                if let Some(known) = items.get_mut(at) {
                    *known = maps(known, item, true);
                }
            }
            None if directive(item, "delete") => {}
            None => items.push(item.clone()),
        }
    }
    base.with(Value::List(items))
}
