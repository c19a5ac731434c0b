//! Changes a document, and nothing of it but what is asked for: comments, order, quotes, anchors, indentation and
//! line ends stay as they are. Pure.
//!
//! Scalars are replaced at their place. Entries and items are added and taken out by yaml-edit, or by jsonc-parser
//! where the document is JSON. None of that is trusted: after each change the text is parsed again by the parser that
//! the plan was made with, and has to mean what it meant before with the change, and has to be the same outside of the
//! place that was changed. Otherwise it is refused. A large document is changed in parts, each of them in this way, and
//! is parsed once as a whole in the end.

mod expected;
mod json;
mod parts;
mod scalar;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;

use super::yaml::{Mark, Node, Parsed, Value, parse};

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

    /// Whether it only adds to what is there.
    const fn adds(&self) -> bool {
        matches!(self.change, Change::Insert { .. } | Change::Push(_))
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

/// Documents up to this size are changed as a whole, once for each change; so are the parts of larger ones.
const SMALL: usize = 16 * 1024;

/// Makes all changes to the text of one document, or none. A document that would have no content left becomes an empty
/// text. Paths are those of the document as it is: no edit may be below another one.
///
/// # Errors
/// If one of them cannot be made without touching anything else.
pub fn document(text: &str, edits: &[Edit]) -> Result<String, Refused> {
    in_parts(text, edits, SMALL)
}

/// Of each group of edits why it cannot be made, whatever becomes of the others.
pub fn refusals(text: &str, groups: &[Vec<Edit>]) -> Vec<Option<Refused>> {
    let (root, aliases) = match read(text) {
        Ok(read) => read,
        Err(refused) => return vec![Some(refused); groups.len()],
    };
    let document = parts::Document::new(text, &root, aliases, SMALL);
    let check = |edits: &Vec<Edit>| {
        let edits = with_emptied(&root, edits);
        let (around, parts) = document.parts(&edits);
        let mut whole = !around.is_empty();
        for part in &parts {
            whole |= document.made(part)?.is_none();
        }
        if whole {
            one_by_one(text, &root, &edits)?;
        }
        Ok(())
    };
    groups.iter().map(|edits| check(edits).err()).collect()
}

/// Makes all changes, in parts that are as small as wanted where that is possible.
fn in_parts(text: &str, edits: &[Edit], small: usize) -> Result<String, Refused> {
    let (root, aliases) = read(text)?;
    let edits = with_emptied(&root, edits);
    let document = parts::Document::new(text, &root, aliases, small);
    let (around, parts) = document.parts(&edits);
    if around.is_empty() {
        if let Some(changed) = document.changed(&parts)? {
            return Ok(changed);
        }
    } else if !parts.is_empty() && around.iter().all(Edit::adds) {
        // What is added moves no path.
        let (text, _) = one_by_one(text, &root, &around)?;
        let others: Vec<Edit> = edits.into_iter().filter(|edit| !around.contains(edit)).collect();
        return in_parts(&text, &others, small);
    }
    one_by_one(text, &root, &edits).map(|(text, _)| text)
}

/// Makes changes one after the other. What comes of it has no root if nothing is left.
fn one_by_one(text: &str, root: &Arc<Node>, edits: &[Edit]) -> Result<(String, Option<Arc<Node>>), Refused> {
    let mut order: Vec<(u32, &Edit)> = edits
        .iter()
        .map(|edit| {
            (
                at(root, &edit.path).map_or(u32::MAX, |node| node.mark.start),
                edit,
            )
        })
        .collect();
    // From the end to the beginning, so that the paths of those to come stay what they are. What is added comes first:
    // it moves no path, and a mapping that gets something new is not left empty in between.
    order.sort_by(|a, b| (b.1.adds(), b.0, &b.1.path).cmp(&(a.1.adds(), a.0, &a.1.path)));
    let (mut text, mut root) = (text.to_owned(), root.clone());
    for (_, edit) in order {
        match one(&text, &root, edit)? {
            (changed, Some(now)) => (text, root) = (changed, now),
            nothing => return Ok(nothing),
        }
    }
    Ok((text, Some(root)))
}

/// The edits, where what is removed takes every mapping and list along that it leaves empty.
fn with_emptied(root: &Arc<Node>, edits: &[Edit]) -> Vec<Edit> {
    let (gone, mut all): (Vec<Edit>, Vec<Edit>) =
        (edits.iter().cloned()).partition(|edit| edit.change == Change::Remove);
    let (gone, missing): (Vec<Edit>, Vec<Edit>) =
        gone.into_iter().partition(|edit| at(root, &edit.path).is_some());
    let others: BTreeSet<Path> = all.iter().map(|edit| edit.path.clone()).collect();
    let is_used = |path: &Path| {
        others
            .range(path.clone()..)
            .next()
            .is_some_and(|other| other.starts_with(path))
    };
    let mut gone: BTreeSet<Path> = gone.into_iter().map(|edit| edit.path).collect();
    loop {
        let mut parents: BTreeMap<Path, usize> = BTreeMap::new();
        for (_, parent) in gone.iter().filter_map(|path| path.split_last()) {
            *parents.entry(parent.to_vec()).or_default() += 1;
        }
        parents.retain(|path, count| {
            at(root, path).is_some_and(|node| node.entries().len() + node.items().len() == *count)
                && !is_used(path)
        });
        if parents.is_empty() {
            break;
        }
        gone.retain(|path| {
            path.split_last()
                .is_none_or(|(_, parent)| !parents.contains_key(parent))
        });
        gone.extend(parents.into_keys());
    }
    all.extend(missing);
    all.extend(gone.into_iter().map(|path| Edit::new(path, Change::Remove)));
    all
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
        Value::List(items) => around(items, mark).find_map(|(n, item)| below(item, Step::Item(n))),
        Value::Map(entries) => entries.iter().find_map(|(key, value)| {
            let step = || key.as_text().map(|key| Step::Key(key.to_owned()));
            // A key stands for its entry.
            if here(key) {
                return Some(vec![step()?]);
            }
            holds(value, mark).then(|| below(value, step()?))?
        }),
    }
}

/// The items of a list that hold what is at a mark, with their numbers: the most likely one first.
pub fn around(items: &[Arc<Node>], mark: Mark) -> impl Iterator<Item = (usize, &Arc<Node>)> {
    // They stand in their order, unless an anchor is used again.
    let likely = items.partition_point(|item| item.mark.end < mark.start);
    let all = std::iter::once(likely).chain(0..items.len());
    all.filter_map(|n| Some((n, items.get(n)?)))
        .filter(move |(_, item)| holds(item, mark))
}

/// Whether a mark is within that of a node.
pub const fn holds(node: &Node, mark: Mark) -> bool {
    node.mark.start <= mark.start && mark.end <= node.mark.end
}

/// The node at the end of a path.
pub fn at<'a>(root: &'a Arc<Node>, path: &[Step]) -> Option<&'a Arc<Node>> {
    path.iter().try_fold(root, |node, step| match step {
        Step::Key(key) => node.entry(key).map(|(_, value)| value),
        Step::Item(number) => node.items().get(*number),
    })
}

/// The root of a text that is one document, and whether something in it stands for something else.
fn read(text: &str) -> Result<(Arc<Node>, bool), Refused> {
    let mut documents = parse(0, text);
    match (documents.pop(), documents.is_empty()) {
        (
            Some(Parsed {
                content: Ok(Some(root)),
                aliases,
                ..
            }),
            true,
        ) => Ok((root, aliases)),
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

/// Makes a change. What comes of it has no root if nothing is left.
fn one(text: &str, root: &Arc<Node>, edit: &Edit) -> Result<(String, Option<Arc<Node>>), Refused> {
    let no_place = || Refused::NoPlace(show(&edit.path));
    let edit = prepared(root, edit).ok_or_else(no_place)?;
    if edit.path.is_empty() && edit.change == Change::Remove {
        return Ok((String::new(), None));
    }
    let changed = match &edit.change {
        Change::Rename { key, value } => scalar::rename(text, root, &edit.path, key, value),
        Change::Set(value) => scalar::set(text, root, &edit.path, value),
        Change::Within(edits) => scalar::within(text, root, &edit.path, edits),
        _ if json::is_json(text) => json::structure(text, &edit),
        _ => yaml::structure(text, root, &edit),
    };
    let changed = line_ends(text, changed.ok_or_else(no_place)?);
    let expected = expected::after(root, &edit.path, &edit.change).ok_or_else(no_place)?;
    match read(&changed) {
        Ok((now, _)) if expected::same(&now, &expected) && is_local(text, &changed, root, &edit) => {
            Ok((changed, Some(now)))
        }
        _ => Err(Refused::NotAlone(show(&edit.path))),
    }
}

/// The edit as it is carried out: what is inserted brings the mappings that are missing on the way.
fn prepared(root: &Arc<Node>, edit: &Edit) -> Option<Edit> {
    let mut path = edit.path.clone();
    let mut change = edit.change.clone();
    if let Change::Insert { key, value, before } = &mut change {
        while at(root, &path).is_none_or(|node| node.is_null()) {
            let Some(Step::Key(missing)) = path.pop() else {
                return None;
            };
            let inner = std::mem::replace(key, missing);
            *value = Json::Object([(inner, value.take())].into_iter().collect());
            *before = None;
        }
    } else {
        at(root, &path)?;
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
