//! JSON patches, RFC 6902, on nodes that keep their places.

use std::sync::Arc;

use crate::migrate::yaml::{Node, Value};

/// An object after a list of operations.
pub fn apply(object: &Arc<Node>, operations: &Node) -> Result<Arc<Node>, String> {
    let mut object = object.clone();
    for operation in operations.items() {
        let text = |key: &str| operation.text_at(&[key]).unwrap_or_default();
        let path = pointer(text("path"))?;
        // Null is a value here, absence is not.
        let value = || {
            let entry = operation.entry("value").map(|(_, value)| value.clone());
            entry.ok_or_else(|| format!("operation {} of a patch has no value", text("op")))
        };
        let from = |path: &str| -> Result<Arc<Node>, String> {
            find(&object, &pointer(path)?)
                .cloned()
                .ok_or_else(|| format!("a patch names {path}, which is not there"))
        };
        object = match text("op") {
            "add" => change(&object, &path, &Change::Add(value()?))?,
            "replace" => change(&object, &path, &Change::Replace(value()?))?,
            "remove" => change(&object, &path, &Change::Remove)?,
            "copy" => change(&object, &path, &Change::Add(from(text("from"))?))?,
            "move" => {
                let moved = from(text("from"))?;
                let without = change(&object, &pointer(text("from"))?, &Change::Remove)?;
                change(&without, &path, &Change::Add(moved))?
            }
            "test" => {
                let equal =
                    find(&object, &path).is_some_and(|node| value().is_ok_and(|wanted| equal(node, &wanted)));
                if !equal {
                    return Err(format!("a patch tests {}, which is something else", text("path")));
                }
                object
            }
            other => {
                return Err(format!(
                    "a patch has the operation {other:?}, which does not exist"
                ));
            }
        };
        if !object.is_bounded() {
            return Err("a patch makes an object too large".to_owned());
        }
    }
    Ok(object)
}

enum Change {
    Add(Arc<Node>),
    Replace(Arc<Node>),
    Remove,
}

fn pointer(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rest = text
        .strip_prefix('/')
        .ok_or_else(|| format!("a patch has the path {text:?}, which does not begin with a slash"))?;
    Ok(rest
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect())
}

fn find<'a>(node: &'a Arc<Node>, path: &[String]) -> Option<&'a Arc<Node>> {
    let Some((first, rest)) = path.split_first() else {
        return Some(node);
    };
    let child = match &node.value {
        Value::List(items) => items.get(first.parse::<usize>().ok()?)?,
        _ => node.entry(first)?.1,
    };
    find(child, rest)
}

fn equal(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar { text: a, .. }, Value::Scalar { text: b, .. }) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Map(entries), Value::Map(others)) => {
            let found = |key: &Node| key.as_text().and_then(|key| b.entry(key));
            entries.len() == others.len()
                && entries
                    .iter()
                    .all(|(key, value)| found(key).is_some_and(|(_, other)| equal(value, other)))
        }
        _ => false,
    }
}

fn change(node: &Arc<Node>, path: &[String], to: &Change) -> Result<Arc<Node>, String> {
    let Some((first, rest)) = path.split_first() else {
        return match to {
            Change::Add(value) | Change::Replace(value) => Ok(value.clone()),
            Change::Remove => Err("a patch removes the whole object".to_owned()),
        };
    };
    let missing = || format!("a patch names {first}, which is not there");
    match &node.value {
        Value::List(items) => {
            let mut items = items.clone();
            let at = if first == "-" {
                items.len()
            } else {
                first.parse::<usize>().map_err(|_| missing())?
            };
            match to {
                Change::Add(value) if rest.is_empty() && at <= items.len() => items.insert(at, value.clone()),
                Change::Remove if rest.is_empty() && at < items.len() => {
                    items.remove(at);
                }
                _ => {
                    let item = items.get_mut(at).ok_or_else(missing)?;
                    *item = change(item, rest, to)?;
                }
            }
            Ok(node.with(Value::List(items)))
        }
        Value::Map(entries) => {
            let at = entries.iter().rposition(|(key, _)| key.is_text(first));
            match (to, at) {
                (Change::Add(value), _) if rest.is_empty() => Ok(node.set(first, value.clone())),
                (_, None) => Err(missing()),
                (Change::Remove, Some(at)) if rest.is_empty() => {
                    let mut entries = entries.clone();
                    entries.remove(at);
                    Ok(node.with(Value::Map(entries)))
                }
                (_, Some(at)) => {
                    let child = entries.get(at).map(|(_, child)| child).ok_or_else(missing)?;
                    Ok(node.set(first, change(child, rest, to)?))
                }
            }
        }
        Value::Scalar { .. } => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::yaml::parse;

    fn node(text: &str) -> Arc<Node> {
        parse(0, text).remove(0).content.unwrap().unwrap()
    }

    fn patched(base: &str, patch: &str) -> Result<Arc<Node>, String> {
        apply(&node(base), &node(patch))
    }

    #[test]
    fn every_operation_works() {
        let base = "a: {b: [x, y], c: 1}\n";
        for (patch, wanted) in [
            ("- {op: add, path: /a/d, value: 2}", "a: {b: [x, y], c: 1, d: 2}"),
            ("- {op: add, path: /a/b/-, value: z}", "a: {b: [x, y, z], c: 1}"),
            ("- {op: add, path: /a/b/0, value: z}", "a: {b: [z, x, y], c: 1}"),
            ("- {op: replace, path: /a/b/1, value: z}", "a: {b: [x, z], c: 1}"),
            ("- {op: remove, path: /a/c}", "a: {b: [x, y]}"),
            ("- {op: move, from: /a/c, path: /d}", "{a: {b: [x, y]}, d: 1}"),
            (
                "- {op: copy, from: /a/c, path: /d}",
                "{a: {b: [x, y], c: 1}, d: 1}",
            ),
            ("- {op: test, path: /a/c, value: 1}", "a: {b: [x, y], c: 1}"),
            (
                "- {op: add, path: /a/x~1y, value: 2}",
                "a: {b: [x, y], c: 1, x/y: 2}",
            ),
        ] {
            assert!(equal(&patched(base, patch).unwrap(), &node(wanted)), "{patch}");
        }
    }

    #[test]
    fn a_tree_that_is_copied_into_itself_is_refused() {
        let patch = "- {op: copy, from: /a, path: /a/x}\n- {op: copy, from: /a, path: /a/y}\n".repeat(60);
        assert!(patched("a: {b: c}\n", &patch).unwrap_err().contains("too large"));
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        for patch in [
            "- {op: replace, path: /a/x, value: 1}",
            "- {op: remove, path: /x}",
            "- {op: test, path: /a/c, value: 2}",
            "- {op: add, path: a, value: 2}",
            "- {op: add, path: /a/b/7, value: 2}",
            "- {op: add, path: /a}",
            "- {op: grow, path: /a}",
        ] {
            assert!(patched("a: {b: [x], c: 1}\n", patch).is_err(), "{patch}");
        }
    }
}
