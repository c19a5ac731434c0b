//! Where a mark is: in which document of which file, and on which path.

use std::sync::Arc;

use crate::migrate::edit::{self, Path, Step};
use crate::migrate::kustomize::FILE_NAMES;
use crate::migrate::source::{Source, Sources};
use crate::migrate::yaml::{Mark, Node, Value};

/// A node in its file.
pub struct Place<'a> {
    /// Index of the file.
    pub file: usize,
    /// The file.
    pub source: &'a Source,
    /// Number of the document in the file.
    pub document: u32,
    /// Root of the document.
    pub root: &'a Arc<Node>,
    /// Path from the root.
    pub path: Path,
}

impl<'a> Place<'a> {
    /// The place of a mark; none in what was not read as YAML, or within a text.
    pub fn find(sources: &'a Sources, mark: Mark) -> Option<Self> {
        let file = usize::try_from(mark.file).ok()?;
        let source = sources.files.get(file)?;
        let document = usize::try_from(mark.document).ok()?;
        let root = source.documents.get(document)?.content.as_ref()?;
        let path = edit::locate(root, mark)?;
        Some(Self {
            file,
            source,
            document: mark.document,
            root,
            path,
        })
    }

    /// The place of the text that holds a mark: a patch that is written in a kustomization.
    pub fn of_text(sources: &'a Sources, mark: Mark) -> Option<(Self, &'a str)> {
        let file = usize::try_from(mark.file).ok()?;
        let document = usize::try_from(mark.document).ok()?;
        let root = sources
            .files
            .get(file)?
            .documents
            .get(document)?
            .content
            .as_ref()?;
        let (mark, text) = text_around(root, mark)?;
        Some((Self::find(sources, mark)?, text))
    }

    /// Whether it is in a kustomization itself.
    pub fn in_kustomization(&self) -> bool {
        let name = self.source.path.rsplit('/').next().unwrap_or_default();
        FILE_NAMES.contains(&name)
    }

    /// The node around it.
    pub fn around(&self) -> Option<&'a Arc<Node>> {
        let (_, parent) = self.path.split_last()?;
        edit::at(self.root, parent)
    }

    /// The last key of its path.
    pub fn key(&self) -> Option<&str> {
        match self.path.last()? {
            Step::Key(key) => Some(key),
            Step::Item(_) => None,
        }
    }
}

/// The text of several lines that holds a mark.
fn text_around(node: &Arc<Node>, mark: Mark) -> Option<(Mark, &str)> {
    match &node.value {
        Value::Scalar { text, quoted: true } if edit::holds(node, mark) && text.contains('\n') => {
            Some((node.mark, text))
        }
        Value::Scalar { .. } => None,
        Value::List(items) => edit::around(items, mark).find_map(|(_, item)| text_around(item, mark)),
        Value::Map(entries) => {
            let mut values = entries.iter().map(|(_, value)| value);
            values.find_map(|value| edit::holds(value, mark).then(|| text_around(value, mark))?)
        }
    }
}
