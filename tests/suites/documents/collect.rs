//! The objects that documents and samples hold.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use wib_harness::markdown;

/// Where users are shown objects. What is not there is not looked at: charts, until there is one.
const PLACES: [(&str, &str); 4] = [
    ("README.md", "md"),
    ("docs", "md"),
    ("charts", "md"),
    ("config/samples", "yaml"),
];

/// What a reader's shell would put into a here-document.
const VARIABLES: [(&str, &str); 7] = [
    ("NAMESPACE", "shop"),
    ("NAME", "web"),
    ("SUBSCRIPTION", "11111111-1111-1111-1111-111111111111"),
    ("IDENTITIES", "shop"),
    ("CLIENT_ID", "22222222-2222-2222-2222-222222222222"),
    ("TENANT_ID", "33333333-3333-3333-3333-333333333333"),
    ("IDENTITY_ID", IDENTITY),
];

/// What commands such as `az identity show --query id` answer.
const ANSWERS: [(&str, &str); 3] = [
    ("--query id", IDENTITY),
    ("--query clientId", "22222222-2222-2222-2222-222222222222"),
    ("--query tenantId", "33333333-3333-3333-3333-333333333333"),
];

/// Files of other programs that have a kind and are no objects.
const FILES_OF_A_KIND: [(&str, &str); 1] = [("CustomResourceStateMetrics", "settings of kube-state-metrics")];

const IDENTITY: &str = "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web";

/// A document, or a file of samples.
pub struct Text {
    path: String,
    text: String,
}

/// An object, and where it stands.
pub struct Object {
    /// File and line.
    pub place: String,
    /// The object.
    pub value: Value,
}

/// All texts.
pub fn texts() -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for (place, extension) in PLACES {
        gather(place, extension, &mut texts)?;
    }
    Ok(texts)
}

fn gather(path: &str, extension: &str, texts: &mut Vec<Text>) -> Result<()> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if full.is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(&full)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in names {
            gather(&format!("{path}/{name}"), extension, texts)?;
        }
    } else if full.extension().is_some_and(|e| e == extension) {
        texts.push(Text::new(path, fs::read_to_string(full)?));
    }
    Ok(())
}

impl Text {
    pub fn new(path: &str, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
        }
    }

    /// Whether this is the file at that path.
    pub fn is(&self, path: &str) -> bool {
        self.path == path
    }

    /// The objects in this text, and how many pieces of YAML in it are no objects.
    pub fn objects(&self) -> Result<(Vec<Object>, usize)> {
        let Self { path, text } = self;
        let mut pieces = Vec::new();
        if Path::new(path).extension().is_some_and(|e| e == "yaml") {
            pieces.push((1, text.clone()));
        } else {
            let document = markdown::read(text).with_context(|| path.clone())?;
            for block in document.blocks {
                if ["yaml", "yml", "json"].contains(&block.language.as_str()) {
                    pieces.push((block.line, block.text));
                    continue;
                }
                for heredoc in block.heredocs().with_context(|| path.clone())? {
                    if heredoc.text.lines().any(|line| line.starts_with("apiVersion:")) {
                        let filled = filled(&heredoc.text);
                        let filled = filled.with_context(|| format!("{path}:{}", heredoc.line))?;
                        pieces.push((heredoc.line, filled));
                    }
                }
            }
        }
        let (mut objects, mut fragments) = (Vec::new(), 0);
        for (line, piece) in pieces {
            let place = format!("{path}:{line}");
            let found = parse(&place, &piece).with_context(|| place.clone())?;
            fragments += usize::from(found.is_empty());
            objects.extend(found);
        }
        Ok((objects, fragments))
    }
}

/// The objects among the documents of a piece of YAML.
fn parse(place: &str, piece: &str) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(piece) {
        let value = Value::deserialize(document)?;
        match (value["apiVersion"].is_string(), value["kind"].is_string()) {
            (true, true) => {}
            (false, false) => continue,
            (true, false) => bail!("the object lacks kind"),
            (false, true) if FILES_OF_A_KIND.iter().any(|(kind, _)| value["kind"] == *kind) => continue,
            (false, true) => bail!("the object lacks apiVersion"),
        }
        ensure!(
            !value.to_string().contains('…'),
            "… stands for something in an object that readers copy; write it out, or show a fragment without apiVersion and kind"
        );
        objects.push(Object {
            place: place.to_owned(),
            value,
        });
    }
    Ok(objects)
}

/// A here-document as the shell would hand it on.
fn filled(text: &str) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if let Some(before) = before.strip_suffix('\\') {
            // Kept from the shell.
            filled.push_str(before);
            filled.push('$');
            rest = after;
            continue;
        }
        filled.push_str(before);
        if let Some(command) = after.strip_prefix('(') {
            let (command, after) = command.split_once(')').context("$( without its )")?;
            let answer = ANSWERS.iter().find(|(part, _)| command.contains(part));
            let (_, answer) =
                answer.with_context(|| format!("what $({command}) answers is not known here"))?;
            filled.push_str(answer);
            rest = after;
        } else {
            let name = after.trim_start_matches('{');
            let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let (name, after) = name.split_at(end.unwrap_or(name.len()));
            let value = VARIABLES.iter().find(|(known, _)| *known == name);
            let (_, value) = value.with_context(|| format!("what ${name} holds is not known here"))?;
            filled.push_str(value);
            rest = after.trim_start_matches('}');
        }
    }
    filled.push_str(rest);
    Ok(filled)
}
