//! values.yaml as people read it: each value with the comment above it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::read;

/// Keys that Helm gives to the chart of a dependency; they have no default.
const OF_PARENTS: [&str; 2] = ["global", "enabled"];

/// A value, its default and what it is for.
pub struct Described {
    /// Keys, with points between them.
    pub path: String,
    /// The default.
    pub default: Value,
    /// The comment `# -- …` above it, on one line.
    pub description: String,
}

impl Described {
    /// Its row in README.md.
    pub fn row(&self) -> String {
        let escape = |text: &str| text.replace('|', "\\|");
        format!(
            "| `{}` | `{}` | {} |",
            self.path,
            escape(&self.default.to_string()),
            escape(&self.description)
        )
    }
}

/// Every value with its description, in the order of the file.
pub fn described() -> Result<Vec<Described>> {
    let text = read("charts/workload-identity-binding/values.yaml")?;
    let values: Value = serde_yaml::from_str(&text).context("values.yaml")?;
    let mut found: Vec<Described> = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(comment) = content.strip_prefix("# -- ") {
            above = vec![comment];
        } else if let Some(comment) = content.strip_prefix("# ") {
            if !above.is_empty() {
                above.push(comment);
            }
        } else if let Some((key, _)) = content.split_once(':').filter(|(key, _)| is_key(key)) {
            path.retain(|(at, _)| *at < indent);
            path.push((indent, key));
            if above.is_empty() {
                continue;
            }
            let keys: Vec<&str> = path.iter().map(|(_, key)| *key).collect();
            let default = values.pointer(&format!("/{}", keys.join("/")));
            found.push(Described {
                path: keys.join("."),
                default: default.with_context(|| keys.join("."))?.clone(),
                description: std::mem::take(&mut above).join(" "),
            });
        }
    }
    undescribed(&values, "", &found)?;
    Ok(found)
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric())
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Fails for a value without a description, neither its own nor that of what it is part of.
fn undescribed(value: &Value, path: &str, found: &[Described]) -> Result<()> {
    if found.iter().any(|d| d.path == path) {
        return Ok(());
    }
    let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
        bail!("values.yaml: {path} has no description");
    };
    map.iter()
        .try_for_each(|(key, value)| undescribed(value, &below(path, key), found))
}

/// Fails unless the schema knows exactly the keys of the values. It is closed everywhere but in maps of text and objects
/// of Kubernetes, which are one value with one description.
pub fn compare(values: &Value, schema: &Value, path: &str, described: &[Described]) -> Result<()> {
    let Some(properties) = schema["properties"].as_object() else {
        ensure!(
            described.iter().any(|d| d.path == path),
            "values.schema.json: {path} lacks properties"
        );
        return Ok(());
    };
    ensure!(
        schema["additionalProperties"] == false,
        "values.schema.json: {path} takes any key"
    );
    let values = values.as_object().with_context(|| format!("{path} is no map"))?;
    for key in values.keys() {
        ensure!(
            properties.contains_key(key),
            "values.schema.json lacks {}",
            below(path, key)
        );
    }
    for (key, schema) in properties {
        let path = below(path, key);
        match values.get(key) {
            Some(value) => compare(value, schema, &path, described)?,
            None if OF_PARENTS.contains(&path.as_str()) => {}
            None => bail!("values.yaml lacks {path}"),
        }
    }
    Ok(())
}
