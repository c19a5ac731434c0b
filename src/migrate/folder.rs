//! The plan as a folder of manifests for `kubectl`, a folder for each step.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Failure;
use super::model::POD_IDENTITY;
use super::plan::bounded;
use super::report::Report;

/// Longest name of a file, without its ending.
const NAME: usize = 240;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What is wrong.
        source: io::Error,
    },
    /// It holds other files of the same names.
    #[error("{0} differs from what would be written there: use another folder, or --force to overwrite it")]
    Differs(String),
}

/// Writes the objects of each step; `switched` are whole workloads with their names. Files that are as they should be
/// are not touched, and nothing is written if one differs, unless `force`. Answers what to print.
///
/// # Errors
/// Names the file that cannot be written, or must not.
pub fn write(
    folder: &Path,
    report: &Report,
    switched: &[(String, Value)],
    force: bool,
) -> Result<Vec<u8>, Failure> {
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    let mut add = |step: &str, name: &str, value: &Value| -> Result<(), Failure> {
        let text = serde_yaml::to_string(value).map_err(|e| Failure::Form(e.to_string()))?;
        files.push((folder.join(step).join(file_name(name)), text));
        Ok(())
    };
    for (_, value) in super::objects(report)? {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let namespace = text(&value["metadata"]["namespace"]).unwrap_or_else(|| "cluster".to_owned());
        let kind = text(&value["kind"]).unwrap_or_default().to_lowercase();
        let name = text(&value["metadata"]["name"]).unwrap_or_default();
        // Neither namespaces nor kinds have dots, so that no two names are the same.
        add("1-grant", &format!("{namespace}.{kind}.{name}"), value)?;
    }
    for (name, value) in switched {
        add("2-switch", name, value)?;
    }
    for at in &report.plan.removals {
        let value = json!({
            "apiVersion": format!("{POD_IDENTITY}/v1"), "kind": at.kind,
            "metadata": { "namespace": at.namespace, "name": at.name },
        });
        let name = format!("{}.{}.{}", at.namespace, at.kind.to_lowercase(), at.name);
        add("3-clean", &name, &value)?;
    }
    let mut open = Vec::new();
    for (path, text) in &files {
        match fs::read(path) {
            Ok(there) if there == text.as_bytes() => {}
            Ok(_) if !force => return Err(Error::Differs(path.display().to_string()).into()),
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(failed(path, source).into());
            }
            Ok(_) | Err(_) => open.push((path, text)),
        }
    }
    let mut said = String::new();
    for (path, text) in &open {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
        }
        fs::write(path, text).map_err(|e| failed(path, e))?;
        let _ = writeln!(said, "wrote     {}", path.display());
    }
    let _ = writeln!(said, "{} files, {} of them written", files.len(), open.len());
    Ok(said.into_bytes())
}

/// The name of a file. Whatever stands in manifests, it stays in its folder.
fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let kept: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let kept = if kept == name && !name.starts_with('.') {
        kept
    } else {
        // What else becomes the same has another hash.
        let hash = format!("{:x}", Sha256::digest(name));
        format!("{}-{}", kept.trim_start_matches('.'), &hash[..8])
    };
    format!("{}.yaml", bounded(&kept, NAME))
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert_eq!(file_name("shop.deployment.web"), "shop.deployment.web.yaml");
        let mut names = std::collections::BTreeSet::new();
        for name in [
            "../../x",
            "..\\..\\x",
            "/etc/x",
            "..",
            ".",
            "a/b",
            "a\0b",
            "${NS:=a/b}.x",
            "$NS.x",
            "",
        ] {
            let name = file_name(name);
            let mut parts = Path::new(&name).components();
            assert!(
                matches!(parts.next(), Some(std::path::Component::Normal(_))),
                "{name}"
            );
            assert_eq!(parts.next(), None, "{name}");
            assert!(names.insert(name.clone()), "{name} is there twice");
        }
    }
}
