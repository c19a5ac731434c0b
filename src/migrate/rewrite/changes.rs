//! The changes of all files, as they are collected.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Place;
use super::file::{FileEdits, Made};
use crate::migrate::edit::{Change, Edit, Refused};
use crate::migrate::source::{Source, Sources};
use crate::migrate::yaml::Mark;

/// A file before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// Its text; none if it is made.
    pub before: Option<Arc<str>>,
    /// Its text; none if it goes.
    pub after: Option<String>,
}

/// What cannot be done, and in which file, by index.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The file.
    pub file: Option<usize>,
    /// What is the matter.
    pub reason: String,
}

/// The changes of all files, as they are collected.
#[derive(Clone)]
pub struct Changes<'a> {
    sources: &'a Sources,
    made: &'a Made,
    files: BTreeMap<usize, FileEdits>,
    /// Documents to add to a file, which is made if it is not there.
    added: BTreeMap<String, String>,
}

impl<'a> Changes<'a> {
    /// None so far.
    pub const fn new(sources: &'a Sources, made: &'a Made) -> Self {
        Self {
            sources,
            made,
            files: BTreeMap::new(),
            added: BTreeMap::new(),
        }
    }

    /// Adds a change at a mark. The same change twice is one.
    ///
    /// # Errors
    /// If the place cannot be changed, or is changed otherwise already.
    pub fn edit(&mut self, mark: Mark, change: Change) -> Result<(), Problem> {
        let place = Place::find(self.sources, mark);
        let file = usize::try_from(mark.file).ok();
        let problem = |reason: String| Problem { file, reason };
        let place = place.ok_or_else(|| {
            let at = self.sources.place(mark);
            problem(format!("{}:{} cannot be changed", at.file, at.line))
        })?;
        check(&place).map_err(problem)?;
        let edits = self.files.entry(place.file).or_default().opened();
        let edits = edits.edits.entry(place.document).or_default();
        let edits = edits.entry(place.path).or_default();
        if edits.contains(&change) {
            return Ok(());
        }
        let adds = |change: &Change| matches!(change, Change::Insert { .. } | Change::Push(_));
        if edits.iter().any(|other| !(adds(other) && adds(&change))) {
            let at = self.sources.place(mark);
            let reason = format!(
                "{}:{} would have to become two different things",
                at.file, at.line
            );
            return Err(Problem { file, reason });
        }
        edits.push(change);
        Ok(())
    }

    /// Takes out the document or the item of a list or mapping that begins at a mark.
    ///
    /// # Errors
    /// If it cannot be taken out.
    pub fn remove(&mut self, mark: Mark) -> Result<(), Problem> {
        let place = Place::find(self.sources, mark).ok_or_else(|| Problem {
            file: usize::try_from(mark.file).ok(),
            reason: "it stands in a text that cannot be changed".to_owned(),
        })?;
        // The mark of an object is that of its first key.
        let path = match place.path.split_last() {
            Some((_, parent))
                if place
                    .around()
                    .and_then(|node| node.entries().first())
                    .is_some_and(|(key, _)| key.mark == mark) =>
            {
                parent.to_vec()
            }
            _ => place.path.clone(),
        };
        check(&place).map_err(|reason| Problem {
            file: Some(place.file),
            reason,
        })?;
        let edits = self.files.entry(place.file).or_default().opened();
        if path.is_empty() {
            edits.removed.insert(place.document);
        } else {
            let edits = edits.edits.entry(place.document).or_default();
            let edits = edits.entry(path).or_default();
            if !edits.contains(&Change::Remove) {
                edits.push(Change::Remove);
            }
        }
        Ok(())
    }

    /// Takes out a document.
    pub fn remove_document(&mut self, file: u32, document: u32) {
        if let Ok(file) = usize::try_from(file) {
            let edits = self.files.entry(file).or_default().opened();
            edits.edits.remove(&document);
            edits.removed.insert(document);
        }
    }

    /// Takes out every document of a file.
    pub fn remove_file(&mut self, file: usize) {
        let documents = self
            .sources
            .files
            .get(file)
            .map_or(0, |source| source.documents.len());
        let edits = self.files.entry(file).or_default().opened();
        edits
            .removed
            .extend(0..u32::try_from(documents).unwrap_or(u32::MAX));
    }

    /// Adds documents to a file, which is made if it is not there.
    pub fn add(&mut self, path: &str, documents: &str) {
        self.added.entry(path.to_owned()).or_default().push_str(documents);
    }

    /// Files of which nothing is left.
    pub fn emptied(&self) -> Vec<usize> {
        let gone = |(file, edits): (&usize, &FileEdits)| {
            let source = self.sources.files.get(*file)?;
            let more = self.added.contains_key(&source.path);
            let gone =
                || !edits.leaves_something(source) && edits.apply(*file, source, self.made) == Ok(None);
            (!more && gone()).then_some(*file)
        };
        self.files.iter().filter_map(gone).collect()
    }

    /// The text of a file after the changes so far; none if there are none, or if they cannot be made. It is empty if
    /// the file goes.
    pub fn text_of(&self, source: &Source) -> Option<String> {
        let file = self.sources.index_of(&source.path)?;
        let text = self.files.get(&file)?.apply(file, source, self.made).ok()?;
        Some(text.unwrap_or_default())
    }

    /// The changes of each document, by file and number.
    pub fn of_documents(self) -> Vec<((usize, u32), Vec<Edit>)> {
        let of_file = |(file, edits): (usize, FileEdits)| {
            let numbers: Vec<u32> = edits.edits.keys().copied().collect();
            numbers
                .into_iter()
                .map(move |number| ((file, number), edits.of_document(number)))
        };
        self.files.into_iter().flat_map(of_file).collect()
    }

    /// All files that change, by path.
    ///
    /// # Errors
    /// If a file cannot be changed.
    pub fn finish(mut self) -> Result<Vec<FileChange>, Problem> {
        let mut all = Vec::new();
        for (file, edits) in self.files {
            let Some(source) = self.sources.files.get(file) else {
                continue;
            };
            let before = source.text.clone().unwrap_or_default();
            let mut after = edits
                .apply(file, source, self.made)
                .map_err(|refused| refusal(file, source, &refused))?;
            if let Some(more) = self.added.remove(&source.path) {
                after = Some(joined(after.as_deref().unwrap_or_default(), &more));
            }
            if after.as_deref() != Some(&*before) {
                all.push(FileChange {
                    path: source.path.clone(),
                    before: Some(before),
                    after,
                });
            }
        }
        for (path, more) in self.added {
            let before = self
                .sources
                .by_path(&path)
                .map(|source| source.text.clone().unwrap_or_default());
            let after = joined(before.as_deref().unwrap_or_default(), &more);
            all.push(FileChange {
                path,
                before,
                after: Some(after),
            });
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }
}

/// A change that was refused, in words.
pub fn refusal(file: usize, source: &Source, refused: &Refused) -> Problem {
    Problem {
        file: Some(file),
        reason: format!("{}: {refused}", source.path),
    }
}

/// Whether somebody wants this place to be changed.
fn check(place: &Place<'_>) -> Result<(), String> {
    let path = &place.source.path;
    if path == "-" {
        return Err("it was read from standard input, which cannot be changed: give its file".to_owned());
    }
    if !place.source.asked {
        return Err(format!(
            "{path} is outside of the given paths: give it too, with everything else that uses it"
        ));
    }
    Ok(())
}

/// Documents, below those that are there.
fn joined(text: &str, more: &str) -> String {
    if text.trim().is_empty() {
        return more.to_owned();
    }
    let crlf = text.contains("\r\n");
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let joined = format!("{text}{end}---\n{more}");
    if crlf {
        joined.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        joined
    }
}
