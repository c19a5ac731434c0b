//! Files as they were read, and what their documents are. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use rayon::prelude::*;

use super::finding::{Code, Finding, Place};
use super::text;
use super::yaml::{self, Mark, Node, Parsed, can_be_copied};

/// How the paths of objects begin that were read from a cluster. They have no lines.
pub const CLUSTER: &str = "cluster://";

/// A file and what became of it.
#[derive(Clone, Debug)]
pub struct File {
    /// Path, with `/` between its parts and without `.` and `..` where they can be resolved.
    pub path: String,
    /// Whether it was named, or found in a folder that was. Others were read because a kustomization names them.
    pub asked: bool,
    /// Its bytes, or why they are not here.
    pub content: Result<Vec<u8>, (Code, String)>,
}

/// A file that was understood, as far as it could be.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path.
    pub path: String,
    /// Whether it was asked for.
    pub asked: bool,
    /// Its text; none if its bytes are not to be had, or are no text.
    pub text: Option<Arc<str>>,
    /// Documents.
    pub documents: Vec<Document>,
}

/// A document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its content; broken ones, templates and empty ones have none.
    pub content: Option<Arc<Node>>,
    /// Whether it holds something that could not be parsed.
    pub broken: bool,
    /// Where it begins in the text.
    pub start: usize,
}

/// All files, by index and by path.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files.
    pub files: Vec<Source>,
    /// What reading them has found.
    pub findings: Vec<Finding>,
    paths: BTreeMap<String, usize>,
}

/// Endings of files that are filled in one by one, before they are YAML.
const TEMPLATES: [&str; 6] = [".tpl", ".tmpl", ".gotmpl", ".tftpl", ".j2", ".erb"];

impl Source {
    const fn without_text(path: String, asked: bool) -> Self {
        Self {
            path,
            asked,
            text: None,
            documents: Vec::new(),
        }
    }

    /// Whether it is, or may be, filled in by something that does not fill in the files beside it.
    fn is_template(&self) -> bool {
        let named = TEMPLATES.iter().any(|ending| self.path.ends_with(ending));
        named || self.documents.iter().any(|document| document.broken)
    }

    /// The texts of its documents, each to the beginning of the next one, with what stands above the first.
    pub fn parts(&self) -> (&str, Vec<&str>) {
        let text = self.text.as_deref().unwrap_or_default();
        let starts = || self.documents.iter().map(|document| document.start);
        let ends = starts().skip(1).chain([text.len()]);
        let parts = starts().zip(ends).map(|(start, end)| &text[start..end]);
        (&text[..starts().next().unwrap_or(text.len())], parts.collect())
    }

    /// The text of one document, to the beginning of the next one.
    pub fn part(&self, number: usize) -> Option<&str> {
        let end = self.documents.get(number + 1).map(|next| next.start);
        let text = self.text.as_deref()?;
        text.get(self.documents.get(number)?.start..end.unwrap_or(text.len()))
    }
}

#[cfg(test)]
impl Sources {
    /// Files that were asked for.
    pub fn of(files: &[(&str, impl AsRef<[u8]>)]) -> Self {
        let mut sources = Self::default();
        for (path, content) in files {
            sources.add(File {
                path: (*path).to_owned(),
                asked: true,
                content: Ok(content.as_ref().to_vec()),
            });
        }
        sources
    }
}

impl Sources {
    /// Whether what fills in a placeholder of a file does so in the files beside it as well.
    pub fn fills_in(&self, text: &str, file: u32) -> bool {
        let source = usize::try_from(file).ok().and_then(|file| self.files.get(file));
        can_be_copied(text) && source.is_some_and(|source| !source.is_template())
    }

    /// Takes in a file. One that is known by its path already is left as it is.
    pub fn add(&mut self, file: File) {
        if let Some(number) = self.reserve(&file.path) {
            self.take(Reading::of(number, file));
        }
    }

    /// Takes in many files, in their order; they are loaded and understood side by side.
    pub fn add_all<T: Sync>(
        &mut self,
        all: &[T],
        path: impl Fn(&T) -> String,
        load: impl Fn(&T) -> File + Sync,
    ) {
        let mut new = Vec::new();
        for one in all {
            if let Entry::Vacant(entry) = self.paths.entry(path(one)) {
                let index = self.files.len() + new.len();
                entry.insert(index);
                new.push((number(index), one));
            }
        }
        let readings: Vec<Reading> = new
            .into_par_iter()
            .map(|(number, one)| Reading::of(number, load(one)))
            .collect();
        for reading in readings {
            self.take(reading);
        }
    }

    /// The same files, some of them with another text, or gone if they have none. What is known of the others stays,
    /// and each file keeps its number.
    pub fn changed(&self, texts: &BTreeMap<&str, Option<&str>>) -> Self {
        let mut after = Self::default();
        let is_same = |finding: &&Finding| !texts.contains_key(finding.place.file.as_str());
        after
            .findings
            .extend(self.findings.iter().filter(is_same).cloned());
        let readings: Vec<Reading> = self
            .files
            .par_iter()
            .enumerate()
            .map(|(index, source)| match texts.get(source.path.as_str()) {
                None => Reading::known(source.clone()),
                Some(None) => Reading::known(Source::without_text(source.path.clone(), source.asked)),
                Some(Some(text)) => Reading::of(
                    number(index),
                    File {
                        path: source.path.clone(),
                        asked: source.asked,
                        content: Ok(text.as_bytes().to_vec()),
                    },
                ),
            })
            .collect();
        for reading in readings {
            after.take(reading);
        }
        after.paths.clone_from(&self.paths);
        after
            .paths
            .retain(|path, _| texts.get(path.as_str()) != Some(&None));
        after
    }

    /// A number for a new path.
    fn reserve(&mut self, path: &str) -> Option<u32> {
        if self.paths.contains_key(path) {
            return None;
        }
        let index = self.files.len();
        self.paths.insert(path.to_owned(), index);
        Some(number(index))
    }

    fn take(&mut self, reading: Reading) {
        self.files.push(reading.source);
        self.findings.extend(reading.findings);
    }

    /// The file at a path.
    pub fn by_path(&self, path: &str) -> Option<&Source> {
        self.files.get(*self.paths.get(path)?)
    }

    /// The index of the file at a path.
    pub fn index_of(&self, path: &str) -> Option<usize> {
        self.paths.get(path).copied()
    }

    /// What stands at a mark, as it is written.
    pub fn text(&self, mark: Mark) -> Option<&str> {
        let source = self.files.get(usize::try_from(mark.file).ok()?)?;
        source
            .text
            .as_deref()?
            .get(mark.start as usize..mark.end as usize)
    }

    /// A mark, for people.
    pub fn place(&self, mark: Mark) -> Place {
        let source = usize::try_from(mark.file)
            .ok()
            .and_then(|index| self.files.get(index));
        let live = source.is_some_and(|source| source.path.starts_with(CLUSTER));
        Place {
            file: source.map(|source| source.path.clone()).unwrap_or_default(),
            line: if live { 0 } else { mark.line },
            document: mark.document,
        }
    }
}

/// What is known by the number of a file.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// A file on its way in.
struct Reading {
    source: Source,
    findings: Vec<Finding>,
}

impl Reading {
    /// What has been read before, and found.
    const fn known(source: Source) -> Self {
        Self {
            source,
            findings: Vec::new(),
        }
    }

    fn of(number: u32, file: File) -> Self {
        let mut reading = Self::known(Source::without_text(file.path, file.asked));
        match file.content {
            Ok(bytes) => {
                let path = reading.source.path.clone();
                if let Some((text, documents)) = reading.understand(number, &path, &bytes) {
                    reading.source.text = Some(text.into());
                    reading.source.documents = documents;
                }
            }
            Err((code, reason)) => {
                let place = place(&reading.source.path, 0, 0);
                let finding = Finding::new(code, place, reason, "Look at this file yourself.");
                reading.findings.push(finding);
            }
        }
        reading
    }

    fn understand<'b>(&mut self, file: u32, path: &str, bytes: &'b [u8]) -> Option<(&'b str, Vec<Document>)> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = line_at(bytes, error.valid_up_to());
                let reason = "The file is not UTF-8 from this line on.";
                let action = "Convert it to UTF-8, or look at it yourself.";
                let place = place(path, line, 0);
                self.findings
                    .push(Finding::new(Code::NotUtf8, place, reason, action));
                let lossy = String::from_utf8_lossy(bytes);
                self.findings.extend(text::search(path, 0, 1, &lossy));
                return None;
            }
        };
        let parsed = yaml::parse(file, text);
        let mut documents = Vec::with_capacity(parsed.len());
        for (at, document) in parsed.iter().enumerate() {
            // To the next document: the parser stops in the middle of one that is broken.
            let end = parsed
                .get(at + 1)
                .map_or(text.len(), |next| next.mark.start as usize);
            documents.push(self.document(path, text, document, end));
        }
        Some((text, documents))
    }

    fn document(&mut self, path: &str, text: &str, parsed: &Parsed, end: usize) -> Document {
        let mark = parsed.mark;
        let number = mark.document;
        let body = text.get(mark.start as usize..end).unwrap_or_default();
        let mut document = Document {
            content: None,
            broken: false,
            start: mark.start as usize,
        };
        match &parsed.content {
            Ok(_) if parsed.odd_keys && body.contains("{{") => {
                document.broken = true;
                self.template(place(path, mark.line, number));
                self.findings.extend(text::search(path, number, mark.line, body));
            }
            Ok(content) => {
                document.content.clone_from(content);
                let object = content.as_ref().is_some_and(|node| node.get("kind").is_some());
                for duplicate in parsed.duplicates.iter().filter(|_| object) {
                    let reason = "A key stands twice in one mapping: kubectl and Flux refuse it, others take the last.";
                    let place = place(path, duplicate.line, number);
                    self.findings.push(Finding::new(
                        Code::DuplicateKey,
                        place,
                        reason,
                        "Remove one of the two.",
                    ));
                }
            }
            Err(broken) => {
                document.broken = true;
                let found = text::search(path, number, mark.line, body);
                let place = place(path, broken.mark.line, number);
                if text::is_template(body) {
                    self.template(place);
                } else {
                    let reason = format!("Document {} is not YAML: {}.", number + 1, broken.message);
                    let action = "Repair it; it was searched as text only.";
                    self.findings
                        .push(Finding::new(Code::NotParseable, place, reason, action));
                }
                self.findings.extend(found);
            }
        }
        document
    }

    /// Says of a file, once, that it is a template.
    fn template(&mut self, place: Place) {
        if self.findings.iter().all(|finding| finding.code != Code::Template) {
            let reason =
                "The file is a template: what is no YAML until it is filled in was searched as text only.";
            let action = "Run wib migrate on the rendered manifests to have them understood.";
            self.findings
                .push(Finding::new(Code::Template, place, reason, action));
        }
    }
}

fn place(path: &str, line: u32, document: u32) -> Place {
    Place {
        file: path.to_owned(),
        line,
        document,
    }
}

/// The line of a byte, from 1.
fn line_at(bytes: &[u8], at: usize) -> u32 {
    let breaks = bytes.iter().take(at).filter(|b| **b == b'\n').count();
    u32::try_from(breaks + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
