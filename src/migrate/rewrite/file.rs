//! All changes of one file.

use std::collections::{BTreeMap, BTreeSet};

use crate::migrate::edit::{self, Edit, Refused};
use crate::migrate::yaml::parse;

/// What happens to a file.
#[derive(Clone, Debug, Default)]
pub struct FileEdits {
    /// Changes of its documents.
    pub edits: BTreeMap<u32, Vec<Edit>>,
    /// Documents that go.
    pub removed: BTreeSet<u32>,
}

impl FileEdits {
    /// Makes all changes. None if nothing but comments would be left: the file goes.
    ///
    /// # Errors
    /// If one of them cannot be made.
    pub fn apply(&self, text: &str) -> Result<Option<String>, Refused> {
        let starts: Vec<usize> = parse(0, text).iter().map(|d| d.mark.start as usize).collect();
        let mut out = String::with_capacity(text.len());
        let mut left = false;
        let head = &text[..starts.first().copied().unwrap_or(text.len())];
        out.push_str(if self.removed.contains(&0) {
            detached(head)
        } else {
            head
        });
        for (number, start) in (0u32..).zip(&starts) {
            let next = usize::try_from(number + 1).ok().and_then(|next| starts.get(next));
            let slice = &text[*start..next.copied().unwrap_or(text.len())];
            if self.removed.contains(&number) {
                continue;
            }
            let changed = match self.edits.get(&number) {
                Some(edits) => edit::document(slice, edits)?,
                None => slice.to_owned(),
            };
            left |= parse(0, &changed).iter().any(|d| !matches!(d.content, Ok(None)));
            out.push_str(&changed);
        }
        Ok(left.then_some(out))
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
    use crate::migrate::edit::{Change, Step};

    const TEXT: &str = "# license\n\n# about a\na: 1\n---\n# about b\nb: 1\n---\nc: 1\n";

    fn removed(numbers: &[u32]) -> Option<String> {
        let removed = numbers.iter().copied().collect();
        let edits = FileEdits {
            removed,
            ..FileEdits::default()
        };
        edits.apply(TEXT).unwrap()
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
        let edit = Edit::new(vec![Step::Key("a".to_owned())], Change::Remove);
        edits.edits.insert(0, vec![edit]);
        assert_eq!(
            edits.apply(text).unwrap().unwrap(),
            "x: y\n---\n{{ template }}\n---\nb: [\n"
        );
    }
}
