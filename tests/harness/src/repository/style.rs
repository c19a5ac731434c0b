//! Writes values as YAML in one of many styles. Whatever the style, the same value is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// What a file is: not every reader takes every style.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Objects.
    Manifests,
    /// A patch.
    Patch,
    /// A kustomization, or values of a chart.
    Settings,
}

/// How a file is written.
pub struct Style {
    indent: usize,
    list_indent: usize,
    flow: u8,
    quotes: u8,
    comments: u8,
    anchors: bool,
    line_end: &'static str,
    last_line_end: &'static str,
    marker: &'static str,
    syntax: Syntax,
}

#[derive(PartialEq)]
enum Syntax {
    Yaml,
    /// All documents as items of one.
    YamlList,
    Json,
}

impl Style {
    pub fn pick(rng: &mut Rng, form: Form) -> Self {
        let mut chance = |percent: u8| rng.u8(..100) < percent;
        let indent = if chance(15) { 4 } else { 2 };
        let line_end = if chance(10) { "\r\n" } else { "\n" };
        Self {
            indent,
            list_indent: if chance(50) { 0 } else { indent },
            flow: if chance(30) { 30 } else { 0 },
            quotes: if chance(30) { 40 } else { 5 },
            comments: if chance(50) { 12 } else { 0 },
            anchors: chance(20) && form == Form::Manifests,
            line_end,
            last_line_end: if chance(10) { "" } else { line_end },
            marker: if chance(40) { "---\n" } else { "" },
            syntax: if chance(4) && form != Form::Settings {
                Syntax::Json
            } else if chance(5) && form == Form::Manifests {
                Syntax::YamlList
            } else {
                Syntax::Yaml
            },
        }
    }

    /// Ending of the file's name.
    pub fn ending(&self) -> &'static str {
        if self.syntax == Syntax::Json {
            "json"
        } else {
            "yaml"
        }
    }

    pub fn write(&self, rng: &mut Rng, documents: &[Value]) -> String {
        let list = [json!({ "apiVersion": "v1", "kind": "List", "items": documents })];
        let documents = match self.syntax {
            Syntax::YamlList => &list,
            Syntax::Json if documents.len() > 1 => &list,
            _ => documents,
        };
        let mut text = String::new();
        if self.syntax == Syntax::Json {
            for document in documents {
                let _ = writeln!(text, "{document:#}");
            }
        } else {
            for (number, document) in documents.iter().enumerate() {
                text.push_str(if number > 0 { "---\n" } else { self.marker });
                let mut writer = Writer {
                    style: self,
                    rng,
                    text,
                    anchors: BTreeMap::new(),
                    known: BTreeMap::new(),
                };
                writer.document(document);
                text = writer.text;
            }
        }
        text.truncate(text.trim_end().len());
        text.replace('\n', self.line_end) + self.last_line_end
    }
}

struct Writer<'a> {
    style: &'a Style,
    rng: &'a mut Rng,
    text: String,
    /// Mappings that stand there more than once, by their JSON.
    anchors: BTreeMap<String, usize>,
    /// Of these, the ones that have been written.
    known: BTreeMap<usize, Map<String, Value>>,
}

impl Writer<'_> {
    fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }

    fn document(&mut self, document: &Value) {
        if self.style.anchors {
            let mut times = BTreeMap::new();
            count(document, &mut times);
            let twice = times.into_iter().filter(|(_, times)| *times > 1);
            self.anchors = twice
                .enumerate()
                .map(|(number, (key, _))| (key, number))
                .collect();
        }
        match document {
            Value::Object(entries) => self.map(entries, 0, false),
            Value::Array(items) => self.list(items, 0),
            other => {
                let text = self.scalar(other);
                let _ = writeln!(self.text, "{text}");
            }
        }
    }

    fn pad(&mut self, width: usize) {
        let _ = write!(self.text, "{:width$}", "");
    }

    fn map(&mut self, entries: &Map<String, Value>, indent: usize, mut inline: bool) {
        let part = self.known.iter().find(|(_, known)| {
            known.len() < entries.len() && known.iter().all(|(key, value)| entries.get(key) == Some(value))
        });
        let part = part
            .map(|(number, known)| (*number, known.clone()))
            .filter(|_| !inline);
        if let Some((number, _)) = &part {
            self.pad(indent);
            let _ = writeln!(self.text, "<<: *same{number}");
        }
        let part = part.map(|(_, part)| part).unwrap_or_default();
        for (key, value) in entries.iter().filter(|(key, _)| !part.contains_key(*key)) {
            if !inline {
                if self.chance(self.style.comments) {
                    let comment = self.comment();
                    self.pad(indent);
                    let _ = writeln!(self.text, "{comment}");
                }
                self.pad(indent);
            }
            inline = false;
            let key = self.scalar(&json!(key));
            let _ = write!(self.text, "{key}:");
            self.value(value, indent);
        }
    }

    /// What follows a key and its colon.
    fn value(&mut self, value: &Value, indent: usize) {
        let inner = indent + self.style.indent;
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                if let Some(number) = self.anchors.get(&value.to_string()).copied() {
                    if self.known.insert(number, entries.clone()).is_some() {
                        let _ = writeln!(self.text, " *same{number}");
                        return;
                    }
                    let _ = write!(self.text, " &same{number}");
                }
                if self.chance(self.style.flow) && !value.to_string().contains("\\n") {
                    self.end_of_line(value);
                } else {
                    self.text.push('\n');
                    self.map(entries, inner, false);
                }
            }
            Value::Array(items) if !items.is_empty() && !self.chance(self.style.flow) => {
                self.text.push('\n');
                self.list(items, indent + self.style.list_indent);
            }
            Value::String(text) if text.contains('\n') => {
                let sign = if text.ends_with('\n') { "|" } else { "|-" };
                let _ = writeln!(self.text, " {sign}");
                for line in text.lines() {
                    if !line.is_empty() {
                        self.pad(inner);
                    }
                    let _ = writeln!(self.text, "{line}");
                }
            }
            _ => self.end_of_line(value),
        }
    }

    fn end_of_line(&mut self, value: &Value) {
        let text = self.flow(value);
        let _ = write!(self.text, " {text}");
        if self.chance(self.style.comments) {
            let comment = self.comment();
            let _ = write!(self.text, " {comment}");
        }
        self.text.push('\n');
    }

    fn list(&mut self, items: &[Value], indent: usize) {
        for item in items {
            self.pad(indent);
            self.text.push('-');
            match item {
                Value::Object(entries) if !entries.is_empty() => {
                    self.text.push(' ');
                    self.map(entries, indent + 2, true);
                }
                _ => self.value(item, indent),
            }
        }
    }

    fn flow(&mut self, value: &Value) -> String {
        match value {
            Value::Object(entries) => {
                let parts: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}: {}", self.scalar(&json!(key)), self.flow(value)))
                    .collect();
                format!("{{{}}}", parts.join(", "))
            }
            Value::Array(items) => {
                let parts: Vec<String> = items.iter().map(|item| self.flow(item)).collect();
                format!("[{}]", parts.join(", "))
            }
            scalar => self.scalar(scalar),
        }
    }

    fn scalar(&mut self, value: &Value) -> String {
        let Value::String(text) = value else {
            return value.to_string();
        };
        if is_plain(text) && !self.chance(self.style.quotes) {
            return text.clone();
        }
        if text.contains('\n') || self.rng.bool() {
            value.to_string()
        } else {
            format!("'{}'", text.replace('\'', "''"))
        }
    }

    fn comment(&mut self) -> &'static str {
        let comments = [
            "# owned by the platform team",
            "# do not change: aadpodidbinding",
            "#no blank: {a: b}",
            "# \u{e4}\u{f6}\u{fc} \u{1f512}",
        ];
        comments[self.rng.usize(..comments.len())]
    }
}

/// How often each mapping stands in a tree.
fn count(value: &Value, times: &mut BTreeMap<String, usize>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            *times.entry(value.to_string()).or_default() += 1;
            entries.values().for_each(|value| count(value, times));
        }
        Value::Array(items) => items.iter().for_each(|value| count(value, times)),
        _ => {}
    }
}

/// Whether a text is itself without quotes, for every reader.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let outer = |c: char| c.is_ascii_alphabetic() || c == '/';
    text.starts_with(outer) && text.chars().all(inner) && !words.contains(&text.to_ascii_lowercase().as_str())
        || text.len() == 36 && text.chars().all(inner) && text.contains("-4000-8000-")
}
