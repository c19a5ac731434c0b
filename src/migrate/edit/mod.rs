//! Changes a document, and nothing of it but what is asked for: comments, order, quotes, anchors, indentation and
//! line ends stay as they are. Pure.
//!
//! Scalars are replaced at their place. Entries and items are added and taken out by yaml-edit, or by jsonc-parser
//! where the document is JSON. None of that is trusted: after each change the text is parsed again by the parser that
//! the plan was made with, and has to mean what it meant before with the change, and has to be the same outside of the
//! place that was changed. Otherwise it is refused.

mod expected;
mod json;
mod scalar;
mod yaml;

use std::sync::Arc;

use serde_json::Value as Json;

use super::yaml::{Mark, Node, Value, parse};

/// A step from a node to one below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The value of a key.
    Key(String),
    /// An item of a list, from 0.
    Item(usize),
}

/// The way from the root of a document to a node.
pub type Path = Vec<Step>;

/// What is done to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The entry gets another key, and a text as its value, at the same place. The path is that of its value.
    Rename {
        /// The new key.
        key: String,
        /// The new value.
        value: String,
    },
    /// The scalar becomes another text, in the quotes that it has.
    Set(String),
    /// The document that is written in the scalar, a literal block or one in double quotes, is changed.
    Within(Vec<Edit>),
    /// The mapping gets an entry that it does not have. Mappings that are missing on the way are made.
    Insert {
        /// Its key.
        key: String,
        /// Its value.
        value: Json,
        /// The key that it is to stand before, if that is there and easily done; otherwise it comes last.
        before: Option<&'static str>,
    },
    /// The list gets an item at its end.
    Push(Json),
    /// The entry or item goes, and with it every mapping or list that it leaves empty.
    Remove,
}

/// A change and where it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where.
    pub path: Path,
    /// What.
    pub change: Change,
}

impl Edit {
    /// A change at a path.
    pub const fn new(path: Path, change: Change) -> Self {
        Self { path, change }
    }
}

/// Why a document was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not one document that can be parsed.
    #[error("it is no document that can be changed")]
    Unreadable,
    /// The place is not there, or is not what it has to be.
    #[error("{0} is not there, or is nothing that can be changed so")]
    NoPlace(String),
    /// The result would not be what was asked for. An anchor that several places use is the common reason.
    #[error("{0} cannot be changed without changing something else as well, for instance through an anchor")]
    NotAlone(String),
}

/// Makes all changes to the text of one document, or none. A document that would have no content left becomes an empty
/// text. Paths are those of the document as it is: no edit may be below another one.
///
/// # Errors
/// If one of them cannot be made without touching anything else.
pub fn document(text: &str, edits: &[Edit]) -> Result<String, Refused> {
    let root = read(text)?;
    let mut order: Vec<(u32, &Edit)> = edits
        .iter()
        .map(|edit| {
            (
                at(&root, &edit.path).map_or(u32::MAX, |node| node.mark.start),
                edit,
            )
        })
        .collect();
    // From the end to the beginning, so that the paths of those to come stay what they are. What is added comes first:
    // it moves no path, and a mapping that gets something new is not left empty in between.
    let adds = |edit: &Edit| matches!(edit.change, Change::Insert { .. } | Change::Push(_));
    order.sort_by(|a, b| (adds(b.1), b.0, &b.1.path).cmp(&(adds(a.1), a.0, &a.1.path)));
    let mut text = text.to_owned();
    for (_, edit) in order {
        text = one(&text, edit)?;
        if text.is_empty() {
            break;
        }
    }
    Ok(text)
}

/// The path of the node with a mark, and of none that only looks the same: through an anchor, the place of the anchor.
pub fn locate(root: &Arc<Node>, mark: Mark) -> Option<Path> {
    let here = |node: &Node| node.mark.start == mark.start && node.mark.end == mark.end;
    if here(root) {
        return Some(Vec::new());
    }
    let below = |child: &Arc<Node>, step: Step| {
        let mut path = locate(child, mark)?;
        path.insert(0, step);
        Some(path)
    };
    match &root.value {
        Value::Scalar { .. } => None,
        Value::List(items) => (items.iter().enumerate()).find_map(|(n, item)| below(item, Step::Item(n))),
        Value::Map(entries) => entries.iter().find_map(|(key, value)| {
            let step = Step::Key(key.as_text()?.to_owned());
            // A key stands for its entry.
            if here(key) {
                return Some(vec![step]);
            }
            below(value, step)
        }),
    }
}

/// The node at the end of a path.
pub fn at<'a>(root: &'a Arc<Node>, path: &[Step]) -> Option<&'a Arc<Node>> {
    path.iter().try_fold(root, |node, step| match step {
        Step::Key(key) => node.entry(key).map(|(_, value)| value),
        Step::Item(number) => node.items().get(*number),
    })
}

fn read(text: &str) -> Result<Arc<Node>, Refused> {
    let mut documents = parse(0, text);
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => document.content.ok().flatten().ok_or(Refused::Unreadable),
        _ => Err(Refused::Unreadable),
    }
}

/// A place, for people.
pub fn show(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Item(number) => text.extend(["[", &number.to_string(), "]"]),
        }
    }
    text
}

fn one(text: &str, edit: &Edit) -> Result<String, Refused> {
    let root = read(text)?;
    let no_place = || Refused::NoPlace(show(&edit.path));
    let edit = prepared(&root, edit).ok_or_else(no_place)?;
    if edit.path.is_empty() && edit.change == Change::Remove {
        return Ok(String::new());
    }
    let changed = match &edit.change {
        Change::Rename { key, value } => scalar::rename(text, &root, &edit.path, key, value),
        Change::Set(value) => scalar::set(text, &root, &edit.path, value),
        Change::Within(edits) => scalar::within(text, &root, &edit.path, edits),
        _ if json::is_json(text) => json::structure(text, &edit),
        _ => yaml::structure(text, &root, &edit),
    };
    let changed = line_ends(text, changed.ok_or_else(no_place)?);
    let expected = expected::after(&root, &edit.path, &edit.change).ok_or_else(no_place)?;
    let alone = read(&changed).is_ok_and(|now| expected::same(&now, &expected));
    if alone && is_local(text, &changed, &root, &edit) {
        Ok(changed)
    } else {
        Err(Refused::NotAlone(show(&edit.path)))
    }
}

/// The edit as it is carried out: what is removed takes what it leaves empty along, and what is inserted brings the
/// mappings that are missing on the way.
fn prepared(root: &Arc<Node>, edit: &Edit) -> Option<Edit> {
    let mut path = edit.path.clone();
    let mut change = edit.change.clone();
    match &mut change {
        Change::Remove => {
            at(root, &path)?;
            while let Some((_, parent)) = path.split_last() {
                let around = at(root, parent)?;
                if around.entries().len() + around.items().len() > 1 {
                    break;
                }
                path.pop();
            }
        }
        Change::Insert { key, value, before } => {
            while at(root, &path).is_none_or(|node| node.is_null()) {
                let Some(Step::Key(missing)) = path.pop() else {
                    return None;
                };
                let inner = std::mem::replace(key, missing);
                *value = Json::Object([(inner, value.take())].into_iter().collect());
                *before = None;
            }
        }
        _ => {
            at(root, &path)?;
        }
    }
    Some(Edit { path, change })
}

/// What was added has the line ends of the document, if those are all alike.
fn line_ends(before: &str, after: String) -> String {
    let crlf = before.contains("\r\n") && before.replace("\r\n", "").find(['\n', '\r']).is_none();
    if crlf {
        after.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        after
    }
}

/// Whether two texts are the same outside of the lines of the node that holds what was changed.
fn is_local(before: &str, after: &str, root: &Arc<Node>, edit: &Edit) -> bool {
    let holder = match (&edit.change, edit.path.split_last()) {
        (Change::Insert { .. } | Change::Push(_), _) | (_, None) => &edit.path[..],
        (_, Some((_, parent))) => parent,
    };
    let Some(mark) = at(root, holder).map(|node| node.mark) else {
        return false;
    };
    let (start, end) = (mark.start as usize, mark.end as usize);
    let first = before
        .get(..start)
        .and_then(|head| head.rfind('\n'))
        .map_or(0, |at| at + 1);
    let last = before
        .get(end..)
        .and_then(|tail| tail.find('\n'))
        .map_or(before.len(), |at| end + at + 1);
    let (head, tail) = (&before.as_bytes()[..first], &before.as_bytes()[last..]);
    after.len() >= first + tail.len()
        && after.as_bytes().starts_with(head)
        && after.as_bytes().ends_with(tail)
}

#[cfg(test)]
mod tests;
