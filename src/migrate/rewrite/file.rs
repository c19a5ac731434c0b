//! All changes of one file.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::migrate::edit::{self, Change, Edit, Path, Refused};
use crate::migrate::source::Source;

/// Changes of a document, and what came of them.
type Outcome = (Vec<Edit>, Result<String, Refused>);

/// What came of documents, by file and number. Most of them are changed in each attempt as in the one before.
#[derive(Debug, Default)]
pub struct Made(RefCell<BTreeMap<(usize, u32), Outcome>>);

impl Made {
    /// Makes all changes of a document.
    ///
    /// # Errors
    /// If one of them cannot be made.
    pub fn document(&self, at: (usize, u32), text: &str, edits: Vec<Edit>) -> Result<String, Refused> {
        if let Some((_, made)) = self.0.borrow().get(&at).filter(|(before, _)| *before == edits) {
            return made.clone();
        }
        let made = edit::document(text, &edits);
        self.0.borrow_mut().insert(at, (edits, made.clone()));
        made
    }
}

/// What happens to a file.
#[derive(Clone, Debug, Default)]
pub struct FileEdits {
    /// Changes of its documents, by place.
    pub edits: BTreeMap<u32, BTreeMap<Path, Vec<Change>>>,
    /// Documents that go.
    pub removed: BTreeSet<u32>,
    /// What came of it, once it was made.
    applied: OnceCell<Result<Option<String>, Refused>>,
}

impl FileEdits {
    /// Forgets what came of it, because something is added.
    pub fn opened(&mut self) -> &mut Self {
        self.applied = OnceCell::new();
        self
    }

    /// Makes all changes of the file with this number. None if nothing but comments would be left: the file goes.
    ///
    /// # Errors
    /// If one of them cannot be made.
    pub fn apply(&self, file: usize, source: &Source, made: &Made) -> Result<Option<String>, Refused> {
        self.applied.get_or_init(|| self.make(file, source, made)).clone()
    }

    fn make(&self, file: usize, source: &Source, made: &Made) -> Result<Option<String>, Refused> {
        let (head, parts) = source.parts();
        let mut out = String::with_capacity(source.text.as_deref().map_or(0, str::len));
        let mut left = false;
        out.push_str(if self.removed.contains(&0) {
            detached(head)
        } else {
            head
        });
        for (number, (part, document)) in (0u32..).zip(parts.into_iter().zip(&source.documents)) {
            if self.removed.contains(&number) {
                continue;
            }
            if self.edits.contains_key(&number) {
                let changed = made.document((file, number), part, self.of_document(number))?;
                left |= !changed.is_empty();
                out.push_str(&changed);
            } else {
                left |= document.broken || document.content.is_some();
                out.push_str(part);
            }
        }
        Ok(left.then_some(out))
    }

    /// The changes of a document.
    pub fn of_document(&self, number: u32) -> Vec<Edit> {
        let all = self.edits.get(&number).into_iter().flatten();
        let edits = all.flat_map(|(path, changes)| {
            let edit = |change: &Change| Edit::new(path.clone(), change.clone());
            changes.iter().map(edit)
        });
        edits.collect()
    }

    /// Whether something is left for sure: a document that loses nothing.
    pub fn leaves_something(&self, source: &Source) -> bool {
        let loses = |number: &u32| {
            let mut edits = self.edits.get(number).into_iter().flatten();
            self.removed.contains(number) || edits.any(|(_, changes)| changes.contains(&Change::Remove))
        };
        let mut documents = (0u32..).zip(&source.documents);
        documents.any(|(number, document)| (document.broken || document.content.is_some()) && !loses(&number))
    }
}

/// What stands above the first document and does not belong to it: all but the last lines without a blank one.
fn detached(head: &str) -> &str {
    let blank = head.rfind("\n\n").map(|at| at + 2);
    let blank = blank.or_else(|| head.rfind("\r\n\r\n").map(|at| at + 4));
    &head[..blank.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::edit::Step;
    use crate::migrate::source::Sources;

    fn applied(edits: &FileEdits, text: &str) -> Option<String> {
        let sources = Sources::of(&[("a.yaml", text)]);
        edits.apply(0, &sources.files[0], &Made::default()).unwrap()
    }

    const TEXT: &str = "# license\n\n# about a\na: 1\n---\n# about b\nb: 1\n---\nc: 1\n";

    fn removed(numbers: &[u32]) -> Option<String> {
        let removed = numbers.iter().copied().collect();
        let edits = FileEdits {
            removed,
            ..FileEdits::default()
        };
        applied(&edits, TEXT)
    }

    #[test]
    fn documents_go_with_their_comments() {
        assert_eq!(
            removed(&[1]).unwrap(),
            "# license\n\n# about a\na: 1\n---\nc: 1\n"
        );
        assert_eq!(
            removed(&[0]).unwrap(),
            "# license\n\n---\n# about b\nb: 1\n---\nc: 1\n"
        );
        assert_eq!(removed(&[1, 2]).unwrap(), "# license\n\n# about a\na: 1\n");
        assert_eq!(removed(&[0, 1, 2]), None);
    }

    #[test]
    fn other_documents_are_the_same_even_if_they_cannot_be_parsed() {
        let text = "a: 1\nx: y\n---\n{{ template }}\n---\nb: [\n";
        let mut edits = FileEdits::default();
        let place = (vec![Step::Key("a".to_owned())], vec![Change::Remove]);
        edits.edits.insert(0, BTreeMap::from([place]));
        assert_eq!(
            applied(&edits, text).unwrap(),
            "x: y\n---\n{{ template }}\n---\nb: [\n"
        );
    }
}
