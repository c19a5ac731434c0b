//! Large documents, in parts: an entry or item that is to be changed is cut out, with nothing around it but what holds
//! it, and is a small document of its own. What comes of the parts is put together and checked once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::expected::same;
use super::{Change, Edit, Path, Refused, Step, at, json, one_by_one, read, show};
use crate::migrate::yaml::{Node, Value};

/// A document that may be large.
pub struct Document<'a> {
    text: &'a str,
    root: &'a Arc<Node>,
    json: bool,
    aliases: bool,
    small: usize,
}

/// An entry or item, cut out, and what is done in it.
pub struct Part {
    /// Where it is.
    path: Path,
    /// Its bytes.
    range: Range<usize>,
    /// What stands before it, if it is the only one of all that hold it.
    head: String,
    /// What stands behind it then.
    tail: String,
    edits: Vec<Edit>,
}

/// What holds an entry or item, and which one it is.
type Place = (Path, usize);

/// The key of an entry, and the value of an entry or item.
type Piece = (Option<Arc<Node>>, Arc<Node>);

impl<'a> Document<'a> {
    /// A document whose parts are to be not much larger than `small`, if that can be.
    pub fn new(text: &'a str, root: &'a Arc<Node>, aliases: bool, small: usize) -> Self {
        Self {
            text,
            root,
            json: text.len() > small && json::is_json(text),
            aliases,
            small,
        }
    }

    /// The parts that edits are in, and the edits that are in none, or in what holds other parts.
    pub fn parts(&self, edits: &[Edit]) -> (Vec<Edit>, Vec<Part>) {
        let mut parts: BTreeMap<Path, Part> = BTreeMap::new();
        for edit in edits {
            let part = self.part(&edit.path);
            let part = parts.entry(part.path.clone()).or_insert(part);
            part.edits.push(edit.clone());
        }
        let following = parts.keys().skip(1).cloned().map(Some).chain([None]);
        let following: Vec<Option<Path>> = following.collect();
        let (mut around, mut apart) = (Vec::new(), Vec::new());
        for (part, next) in parts.into_values().zip(following) {
            if part.path.is_empty() || next.is_some_and(|next| next.starts_with(&part.path)) {
                around.extend(part.edits);
            } else {
                apart.push(part);
            }
        }
        (around, apart)
    }

    /// Makes the changes of all parts. None if one of them is something else when it stands alone, or if the whole is
    /// not what it should be.
    ///
    /// # Errors
    /// If one of them cannot be made.
    pub fn changed(&self, parts: &[Part]) -> Result<Option<String>, Refused> {
        let mut texts: Vec<(Range<usize>, String)> = Vec::new();
        let mut pieces: BTreeMap<&[Step], Option<Piece>> = BTreeMap::new();
        let mut gone: BTreeSet<Place> = BTreeSet::new();
        for part in parts {
            let Some((text, piece)) = self.made(part)? else {
                return Ok(None);
            };
            if piece.is_some() {
                texts.push((part.range.clone(), text));
            } else {
                gone.extend(self.index(&part.path));
            }
            pieces.insert(&part.path, piece);
        }
        let Some(ranges) = self.ranges(&gone) else {
            return Ok(None);
        };
        texts.extend(ranges.into_iter().map(|range| (range, String::new())));
        texts.sort_by_key(|(range, _)| range.start);
        let whole = self.with(&texts);
        Ok(whole.filter(|whole| {
            read(whole).is_ok_and(|(now, _)| is_made(self.root, &now, &mut Vec::new(), &pieces))
        }))
    }

    /// Makes the changes of a part: its text and what it means, nothing of one that goes. None if it is something else
    /// when it stands alone.
    ///
    /// # Errors
    /// If one of them cannot be made.
    pub fn made(&self, part: &Part) -> Result<Option<(String, Option<Piece>)>, Refused> {
        let depth = part.path.len();
        let alone: Path = part.path.iter().map(first).collect();
        let text = [&part.head, &self.text[part.range.clone()], &part.tail].concat();
        let Ok((root, _)) = read(&text) else {
            return Ok(None);
        };
        let (was, is) = (at(self.root, &part.path), only(&root, depth));
        if !was.zip(is).is_some_and(|(was, (_, is))| same(was, &is)) {
            return Ok(None);
        }
        let within = |edit: &Edit| Edit::new([&alone, &edit.path[depth..]].concat(), edit.change.clone());
        let edits: Vec<Edit> = part.edits.iter().map(within).collect();
        if edits
            .iter()
            .any(|edit| edit.change == Change::Remove && edit.path == alone)
        {
            return Ok(Some((String::new(), None)));
        }
        let refused = |refused| seen_from_outside(refused, &show(&alone), &show(&part.path));
        let (text, root) = one_by_one(&text, &root, &edits).map_err(refused)?;
        let text = text
            .strip_prefix(&part.head)
            .and_then(|text| text.strip_suffix(&part.tail));
        let piece = root.and_then(|root| only(&root, depth));
        Ok(text.map(str::to_owned).zip(piece.map(Some)))
    }

    /// The part that a path is in: as small as it has to be. That of the root cannot be cut.
    fn part(&self, path: &[Step]) -> Part {
        let whole = || Part {
            path: Vec::new(),
            range: 0..self.text.len(),
            head: String::new(),
            tail: String::new(),
            edits: Vec::new(),
        };
        let (mut part, mut node) = (whole(), self.root);
        while part.range.len() > self.small
            && let Some(step) = path.get(part.path.len())
            && let Some((below, child)) = self.below(&part, node, step)
        {
            (part, node) = (below, child);
        }
        // An alias may stand for something in this part, or for something outside of it.
        let shares = self.aliases && self.text[part.range.clone()].contains(['&', '*']);
        if shares { whole() } else { part }
    }

    fn below(&self, part: &Part, node: &'a Arc<Node>, step: &Step) -> Option<(Part, &'a Arc<Node>)> {
        let count = node.entries().len() + node.items().len();
        let (first, last) = (self.range(node, 0)?, self.range(node, count.checked_sub(1)?)?);
        let head = self.text.get(part.range.start..first.start)?;
        // Behind YAML that is understood there is nothing but comments.
        let tail = self.text.get(last.end..part.range.end).filter(|_| self.json);
        let below = Part {
            path: [&part.path, std::slice::from_ref(step)].concat(),
            range: self.range(node, index(node, step)?)?,
            head: [&part.head, head].concat(),
            tail: [tail.unwrap_or_default(), &part.tail].concat(),
            edits: Vec::new(),
        };
        let child = at(node, std::slice::from_ref(step))?;
        (below.head.len() + below.tail.len() <= self.small.max(1024)).then_some((below, child))
    }

    /// The bytes of an entry or item: of JSON from its first to its last one; of YAML its lines, if it has them for
    /// itself, without comments and blank lines after them.
    fn range(&self, node: &Node, index: usize) -> Option<Range<usize>> {
        let (start, value) = match &node.value {
            Value::Scalar { .. } => return None,
            Value::List(items) => (items.get(index)?.mark.start, items.get(index)?),
            Value::Map(entries) => {
                let (key, value) = entries.get(index)?;
                (key.mark.start, value)
            }
        };
        // An alias stands somewhere else.
        let end = (value.mark.start >= start).then_some(value.mark.end)?;
        let written = end_of(value);
        let (start, mut end) = (start as usize, end as usize);
        if self.json {
            return (start < end).then_some(start..end);
        }
        let first = self.text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
        let sign = self.text[first..start].trim_matches(' ');
        if sign != if node.items().is_empty() { "" } else { "-" } {
            return None;
        }
        // A list or mapping ends where the next thing begins.
        let last = self.text.get(..end)?.rfind('\n').map_or(0, |at| at + 1);
        end = if last > first && self.text[last..end].trim().is_empty() {
            last
        } else {
            self.text[end..]
                .find('\n')
                .map_or(self.text.len(), |at| end + at + 1)
        };
        // What looks like a comment may be the end of a text.
        let is_comment = |line: &str, end: usize| {
            let line = line.trim_start();
            line.starts_with('#') && end - line.len() >= written
        };
        while let Some(line) = self.text[first..end].split_inclusive('\n').next_back()
            && (line.trim().is_empty() || is_comment(line, end))
        {
            end -= line.len();
        }
        (start < end).then_some(first..end)
    }

    fn index(&self, path: &[Step]) -> Option<Place> {
        let (last, parent) = path.split_last()?;
        Some((parent.to_vec(), index(at(self.root, parent)?, last)?))
    }

    /// What has to go of the text, so that entries and items go, and not all of any mapping or list.
    fn ranges(&self, gone: &BTreeSet<Place>) -> Option<Vec<Range<usize>>> {
        let mut ranges = Vec::new();
        // How many go at the beginning of what holds them.
        let mut leading: (&[Step], usize) = (&[], 0);
        for (parent, index) in gone {
            let node = at(self.root, parent)?;
            let range = self.range(node, *index)?;
            if leading.0 != parent {
                leading = (parent, 0);
            }
            ranges.push(match (self.json, leading.1 == *index) {
                (false, _) => self.with_blank_lines(node, *index, range),
                (true, true) => {
                    leading.1 += 1;
                    range.start..self.range(node, index + 1)?.start
                }
                (true, false) => self.range(node, index - 1)?.end..range.end,
            });
        }
        Some(ranges)
    }

    /// The lines of something that goes: of blank ones before and after it, only those after it stay.
    fn with_blank_lines(&self, node: &Node, index: usize, range: Range<usize>) -> Range<usize> {
        let last = index + 1 == node.entries().len() + node.items().len();
        let next = self.text[range.end..].lines().next();
        if last || next.is_none_or(|line| !line.trim().is_empty()) {
            return range;
        }
        let before = self.text[..range.start].split_inclusive('\n').rev();
        let blank = before.take_while(|line| line.trim().is_empty()).map(str::len);
        range.start - blank.sum::<usize>()..range.end
    }

    /// The text with others in some places.
    fn with(&self, texts: &[(Range<usize>, String)]) -> Option<String> {
        let mut out = String::with_capacity(self.text.len());
        let mut done = 0;
        for (range, text) in texts {
            out.push_str(self.text.get(done..range.start)?);
            out.push_str(text);
            done = range.end;
        }
        out.push_str(self.text.get(done..)?);
        Some(out)
    }
}

/// The step to the only item of a list, or to an entry.
fn first(step: &Step) -> Step {
    match step {
        Step::Key(key) => Step::Key(key.clone()),
        Step::Item(_) => Step::Item(0),
    }
}

/// The only entry or item of the only one, and so on.
fn only(root: &Arc<Node>, depth: usize) -> Option<Piece> {
    (0..depth).try_fold((None, root.clone()), |(_, node), _| {
        match (node.entries(), node.items()) {
            ([(key, value)], []) => Some((Some(key.clone()), value.clone())),
            ([], [item]) => Some((None, item.clone())),
            _ => None,
        }
    })
}

/// Which entry or item a step leads to.
fn index(node: &Node, step: &Step) -> Option<usize> {
    match step {
        Step::Key(key) => node.entries().iter().rposition(|(k, _)| k.is_text(key)),
        Step::Item(number) => Some(*number),
    }
}

/// The end of what is written last in a node.
fn end_of(node: &Node) -> usize {
    match (node.entries().last(), node.items().last()) {
        (Some((key, value)), _) => end_of(key).max(end_of(value)),
        (_, Some(item)) => end_of(item),
        _ => node.mark.end as usize,
    }
}

/// Names the place in the whole document.
fn seen_from_outside(refused: Refused, alone: &str, path: &str) -> Refused {
    let place = |place: String| {
        place
            .strip_prefix(alone)
            .map(|rest| format!("{path}{rest}"))
            .unwrap_or(place)
    };
    match refused {
        Refused::Unreadable => Refused::Unreadable,
        Refused::NoPlace(at) => Refused::NoPlace(place(at)),
        Refused::NotAlone(at) => Refused::NotAlone(place(at)),
    }
}

/// Whether a document is another one with other pieces, and the same outside of them.
fn is_made(before: &Node, now: &Node, path: &mut Path, pieces: &BTreeMap<&[Step], Option<Piece>>) -> bool {
    if let Some(Some((_, piece))) = pieces.get(&path[..]) {
        return same(piece, now);
    }
    let holds = pieces
        .range(&path[..]..)
        .next()
        .is_some_and(|(piece, _)| piece.starts_with(path));
    if !holds {
        return same(before, now);
    }
    let mut left = children(now).into_iter();
    for (step, key, value) in children(before) {
        path.push(step);
        let piece = pieces.get(&path[..]);
        let fits = matches!(piece, Some(None))
            || left.next().is_some_and(|(_, new, now)| {
                let key = match piece {
                    Some(Some((key, _))) => key.as_ref(),
                    _ => key,
                };
                let same_key = match (key, new) {
                    (Some(key), Some(new)) => same(key, new),
                    (key, new) => key.is_none() && new.is_none(),
                };
                same_key && is_made(value, now, path, pieces)
            });
        path.pop();
        if !fits {
            return false;
        }
    }
    left.next().is_none()
}

/// The step to an entry or item, its key if it has one, and its value.
type Child<'a> = (Step, Option<&'a Arc<Node>>, &'a Arc<Node>);

fn children(node: &Node) -> Vec<Child<'_>> {
    let key = |key: &Node| Step::Key(key.as_text().unwrap_or_default().to_owned());
    let entries = node.entries().iter().map(|(k, value)| (key(k), Some(k), value));
    let items = node.items().iter().enumerate();
    entries
        .chain(items.map(|(n, item)| (Step::Item(n), None, item)))
        .collect()
}
