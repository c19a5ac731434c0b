//! Replaces scalars at their place.

use std::sync::Arc;

use super::{Edit, Path, Step, at};
use crate::migrate::yaml::{Mark, Node, Value};

/// Replaces the scalar at a path.
pub fn set(text: &str, root: &Arc<Node>, path: &Path, value: &str) -> Option<String> {
    let node = at(root, path)?;
    splice(text, node, value)
}

/// Replaces the key and the value of the entry at a path.
pub fn rename(text: &str, root: &Arc<Node>, path: &Path, key: &str, value: &str) -> Option<String> {
    let (last, parent) = path.split_last()?;
    let Step::Key(old) = last else { return None };
    let (old, _) = at(root, parent)?.entry(old)?;
    let text = splice(text, at(root, path)?, value)?;
    // The key stands before the value: its place is the same.
    splice(&text, old, key)
}

fn splice(text: &str, node: &Node, value: &str) -> Option<String> {
    let Value::Scalar { .. } = node.value else {
        return None;
    };
    let Mark { start, end, .. } = node.mark;
    let (start, end) = (start as usize, end as usize);
    if value.contains(char::is_control) {
        return None;
    }
    // Block scalars, and quoted ones of several lines, are not replaced.
    let old = text.get(start..end).filter(|old| !old.contains('\n'))?;
    // A plain scalar may be followed by blanks that belong to nobody.
    let kept = &old[old.trim_end().len()..];
    // JSON knows no text without quotes.
    let json = super::json::is_json(text);
    let new = if json {
        double(value)
    } else {
        written(value, old.trim_end())
    };
    let mut out = String::with_capacity(text.len() + new.len());
    out.push_str(&text[..start]);
    if old.is_empty() {
        out.push(' ');
    }
    out.push_str(&new);
    out.push_str(kept);
    out.push_str(&text[end..]);
    Some(out)
}

/// Changes the document that is written in a literal block, whose indentation it keeps, or in double quotes.
pub fn within(text: &str, root: &Arc<Node>, path: &Path, edits: &[Edit]) -> Option<String> {
    let node = at(root, path)?;
    let Value::Scalar {
        text: inner,
        quoted: true,
    } = &node.value
    else {
        return None;
    };
    let (start, end) = (node.mark.start as usize, node.mark.end as usize);
    // In quotes, with its line ends escaped.
    if serde_json::from_str::<String>(text.get(start..end)?)
        .ok()
        .as_ref()
        == Some(inner)
    {
        let changed = serde_json::to_string(&super::document(inner, edits).ok()?).ok()?;
        return Some(format!("{}{changed}{}", &text[..start], &text[end..]));
    }
    let first = text.get(..start)?.rfind('\n')? + 1;
    let (indentation, raw) = (text.get(first..start)?, text.get(first..end)?);
    let body = raw.trim_end();
    let lines = || {
        body.lines().map(|line| {
            line.strip_prefix(indentation)
                .unwrap_or_else(|| line.trim_start())
        })
    };
    let literal = indentation.trim().is_empty() && lines().eq(inner.trim_end().lines());
    if !literal {
        return None;
    }
    let changed = super::document(inner, edits).ok()?;
    let mut out = text[..first].to_owned();
    for (number, line) in changed.trim_end().lines().enumerate() {
        out.push_str(if number == 0 { "" } else { "\n" });
        out.push_str(if line.is_empty() { "" } else { indentation });
        out.push_str(line);
    }
    out.push_str(&raw[body.len()..]);
    out.push_str(&text[end..]);
    (!changed.trim().is_empty()).then_some(out)
}

/// A text as a scalar, in the style of the one that it replaces.
fn written(value: &str, like: &str) -> String {
    match like.chars().next() {
        Some('\'') => format!("'{}'", value.replace('\'', "''")),
        Some('"') => double(value),
        _ if is_plain(value) => value.to_owned(),
        _ => double(value),
    }
}

/// A text in double quotes.
pub fn double(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a text is itself, and a text, without quotes.
pub fn is_plain(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '$');
    let rest = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./${}".contains(c));
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    first && rest && !word.contains(&text.to_ascii_lowercase().as_str())
}
