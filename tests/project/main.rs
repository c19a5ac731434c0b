//! The project about itself: import rules, generated files, manifests and documents agree with the
//! code. Needs no API server.

mod chart;
mod documents;
mod generated;
mod gitops;
mod imports;
mod manifests;
mod migrate;
mod monitoring;
mod reference;
mod release;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
}

/// All files under a directory with this extension, as paths from the root of the repository.
fn files(directory: &str, extension: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root().join(&directory))? {
            let path = directory.join(entry?.file_name());
            if root().join(&path).is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "no .{extension} files in {directory}");
    Ok(found)
}

/// The documents of a YAML file.
fn documents(path: &str) -> Result<Vec<serde_yaml::Value>> {
    serde_yaml::Deserializer::from_str(&read(path)?)
        .map(|document| serde_yaml::Value::deserialize(document).with_context(|| path.to_owned()))
        .collect()
}

/// The objects of one kind among documents, in its own type.
fn objects<T: for<'de> Deserialize<'de>>(documents: &[serde_yaml::Value], kind: &str) -> Result<Vec<T>> {
    let of_kind = documents.iter().filter(|document| document["kind"] == kind);
    of_kind
        .map(|document| serde_yaml::from_value(document.clone()).with_context(|| kind.to_owned()))
        .collect()
}
