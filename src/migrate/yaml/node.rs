//! The tree of a document.

use std::sync::Arc;

use super::scalar::{is_null, plain_bool};

/// Where a node stands: in which file (by index), document, line and bytes.
///
/// A node that came through a patch keeps the place in the patch, so that a finding names the line to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Index of the file.
    pub file: u32,
    /// Document of the file, from 0.
    pub document: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// First byte in the file.
    pub start: u32,
    /// First byte after it.
    pub end: u32,
}

/// A node of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub mark: Mark,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text, number, bool or null.
    Scalar {
        /// After YAML's escapes.
        text: String,
        /// Whether quotes or a block made it a text.
        quoted: bool,
    },
    /// A sequence.
    List(Vec<Arc<Node>>),
    /// A mapping, in the order of the file; of equal keys the last one counts.
    Map(Vec<(Arc<Node>, Arc<Node>)>),
}

/// A field that was looked for in any letter case.
#[derive(Clone, Debug, Default)]
pub struct AnyCase<'a> {
    /// The field.
    pub node: Option<&'a Arc<Node>>,
    /// The key as written, where it is not the one of the schema.
    pub odd: Option<&'a Node>,
    /// Whether two odd spellings say different things.
    pub conflict: bool,
}

impl Node {
    /// A text that stands at a mark.
    pub fn text(mark: Mark, text: &str) -> Arc<Self> {
        let value = Value::Scalar {
            text: text.to_owned(),
            quoted: true,
        };
        Arc::new(Self { mark, value })
    }

    /// An empty mapping that stands at a mark.
    pub fn empty_map(mark: Mark) -> Arc<Self> {
        Arc::new(Self {
            mark,
            value: Value::Map(Vec::new()),
        })
    }

    /// Entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(Arc<Self>, Arc<Self>)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items of a list; none of anything else.
    pub fn items(&self) -> &[Arc<Self>] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of this key, with the key.
    pub fn entry(&self, key: &str) -> Option<(&Arc<Self>, &Arc<Self>)> {
        let found = self.entries().iter().rev().find(|(k, _)| k.is_text(key));
        found.map(|(key, value)| (key, value))
    }

    /// The value of this key. Null counts as absent.
    pub fn get(&self, key: &str) -> Option<&Arc<Self>> {
        self.entry(key)
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    /// The value at the end of a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Arc<Self>> {
        let (first, rest) = path.split_first()?;
        let node = self.get(first)?;
        if rest.is_empty() {
            Some(node)
        } else {
            node.at(rest)
        }
    }

    /// The text at the end of a path of keys.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_text()
    }

    /// The value of this key in any letter case, as pod identity decoded it up to 1.5: the key of the schema goes
    /// before all others.
    pub fn any_case(&self, key: &str) -> AnyCase<'_> {
        if let Some(node) = self.get(key) {
            return AnyCase {
                node: Some(node),
                ..AnyCase::default()
            };
        }
        let mut odd = self.entries().iter().filter(|(k, value)| {
            k.as_text().is_some_and(|k| k.eq_ignore_ascii_case(key)) && !value.is_null()
        });
        let Some((spelling, node)) = odd.next() else {
            return AnyCase::default();
        };
        AnyCase {
            node: Some(node),
            odd: Some(spelling),
            conflict: odd.any(|(_, other)| other.value != node.value),
        }
    }

    /// The text of a scalar that is not null.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Whether this is a scalar with this text.
    pub fn is_text(&self, wanted: &str) -> bool {
        matches!(&self.value, Value::Scalar { text, .. } if text == wanted)
    }

    /// Whether this is a plain null: nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if is_null(text))
    }

    /// A plain bool.
    pub fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar { text, quoted: false } => plain_bool(text),
            _ => None,
        }
    }

    /// A bool, or the text that Go's `ParseBool` takes for one: what charts and drivers accept.
    pub fn is_truthy(&self) -> bool {
        self.as_text()
            .is_some_and(|text| ["1", "t", "T", "true", "TRUE", "True"].contains(&text.trim()))
    }

    /// The same node with other entries or items.
    #[must_use]
    pub fn with(&self, value: Value) -> Arc<Self> {
        Arc::new(Self {
            mark: self.mark,
            value,
        })
    }

    /// This mapping with one entry set; anything else becomes a mapping.
    #[must_use]
    pub fn set(&self, key: &str, value: Arc<Self>) -> Arc<Self> {
        let mut entries = self.entries().to_vec();
        if let Some(entry) = entries.iter_mut().rev().find(|(k, _)| k.is_text(key)) {
            entry.1 = value;
        } else {
            entries.push((Self::text(value.mark, key), value));
        }
        self.with(Value::Map(entries))
    }

    /// This mapping with the value at a path set; mappings on the way are made.
    #[must_use]
    pub fn set_at(&self, path: &[&str], value: Arc<Self>) -> Arc<Self> {
        match path {
            [] => value,
            [key] => self.set(key, value),
            [key, rest @ ..] => {
                let child = self
                    .get(key)
                    .cloned()
                    .unwrap_or_else(|| Self::empty_map(value.mark));
                self.set(key, child.set_at(rest, value))
            }
        }
    }

    /// Whether it is as bounded as a document that was parsed: patches can copy a tree into itself.
    pub fn is_bounded(&self) -> bool {
        let mut left = super::build::MAX_NODES;
        self.fits(super::build::MAX_DEPTH, &mut left)
    }

    fn fits(&self, depth: usize, left: &mut u64) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        let Some(rest) = left.checked_sub(1) else {
            return false;
        };
        *left = rest;
        match &self.value {
            Value::Scalar { .. } => true,
            Value::List(items) => items.iter().all(|item| item.fits(depth, left)),
            Value::Map(entries) => entries.iter().all(|(_, value)| value.fits(depth, left)),
        }
    }

    /// Calls `visit` with every node below this one and this one, with the keys that lead to it. Items of lists
    /// carry the key of their list.
    pub fn walk<'a>(
        self: &'a Arc<Self>,
        path: &mut Vec<&'a Self>,
        visit: &mut dyn FnMut(&[&'a Self], &'a Arc<Self>),
    ) {
        visit(path, self);
        match &self.value {
            Value::Scalar { .. } => {}
            Value::List(items) => {
                for item in items {
                    item.walk(path, visit);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    path.push(key);
                    value.walk(path, visit);
                    path.pop();
                }
            }
        }
    }
}
