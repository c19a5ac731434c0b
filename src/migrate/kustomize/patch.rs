//! Patches and what they are for.

use std::sync::Arc;

use regex::Regex;

use super::build::{Resource, Unresolved};
use super::{json_patch, merge};
use crate::migrate::object::Object;
use crate::migrate::source::Sources;
use crate::migrate::yaml::{self, Mark, Node, Value};

/// A patch.
pub struct Patch {
    mark: Mark,
    target: Option<Target>,
    change: Change,
}

enum Change {
    /// A list of operations.
    Operations(Arc<Node>),
    /// A part of an object.
    Merge(Object),
    /// A part of an object that does not say of which.
    MergeInto(Arc<Node>),
}

/// What a patch is for.
#[derive(Default)]
struct Target {
    group: Option<Expression>,
    version: Option<Expression>,
    kind: Option<Expression>,
    name: Option<Expression>,
    namespace: Option<Expression>,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
}

/// An anchored expression. Most are plain names, which need no engine: every patch looks at every object.
enum Expression {
    Plain(String),
    Regex(Regex),
}

impl Expression {
    fn of(text: &str) -> Result<Self, regex::Error> {
        let plain = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c));
        if plain {
            Ok(Self::Plain(text.to_owned()))
        } else {
            Regex::new(&format!("^(?:{text})$")).map(Self::Regex)
        }
    }

    fn meets(&self, text: &str) -> bool {
        match self {
            Self::Plain(wanted) => wanted == text,
            Self::Regex(expression) => expression.is_match(text),
        }
    }
}

/// The documents that are written in a text, such as a patch within a kustomization. All of it stands at the place of the
/// text, and where that is written line by line, in its line.
pub fn inline(sources: &Sources, at: &Node, text: &str) -> Result<Vec<Arc<Node>>, Unresolved> {
    let mut nodes = Vec::new();
    let raw = sources.text(at.mark).unwrap_or_default();
    let same = |(raw, line): (&str, &str)| raw.trim() == line.trim();
    let by_line = raw.trim_end().lines().count() == text.trim_end().lines().count()
        && raw.lines().zip(text.lines()).all(same);
    for document in yaml::parse(at.mark.file, text) {
        let broken =
            |e: yaml::Broken| Unresolved::new(at.mark, format!("a patch cannot be parsed: {}", e.message));
        nodes.extend(
            document
                .content
                .map_err(broken)?
                .map(|node| placed(&node, at.mark, by_line)),
        );
    }
    Ok(nodes)
}

fn placed(node: &Node, text: Mark, by_line: bool) -> Arc<Node> {
    let below = if by_line {
        node.mark.line.saturating_sub(1)
    } else {
        0
    };
    let mark = Mark {
        line: text.line.saturating_add(below),
        ..text
    };
    let placed = |node: &Node| placed(node, text, by_line);
    let value = match &node.value {
        Value::Scalar { .. } => node.value.clone(),
        Value::List(items) => Value::List(items.iter().map(|item| placed(item)).collect()),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(k, v)| (placed(k), placed(v)));
            Value::Map(entries.collect())
        }
    };
    Arc::new(Node { mark, value })
}

impl Patch {
    /// The patches that documents are.
    pub fn all(
        nodes: Vec<Arc<Node>>,
        target: Option<&Arc<Node>>,
        mark: Mark,
    ) -> Result<Vec<Self>, Unresolved> {
        let mut patches = Vec::new();
        for node in nodes {
            let change = match &node.value {
                Value::List(_) => Change::Operations(node),
                _ if node.get("op").is_some() => {
                    Change::Operations(node.with(Value::List(vec![node.clone()])))
                }
                _ => match Object::of(&node) {
                    Some(object) => Change::Merge(object),
                    None => Change::MergeInto(node),
                },
            };
            if target.is_none() && !matches!(change, Change::Merge(_)) {
                return Err(Unresolved::new(mark, "a patch does not say what it is for"));
            }
            let target = target.map(Target::of).transpose()?;
            patches.push(Self { mark, target, change });
        }
        Ok(patches)
    }

    /// Carries it out on all objects that it is for.
    pub fn apply(&self, all: &mut Vec<Resource>) -> Result<(), Unresolved> {
        let mut met = false;
        let mut deleted = Vec::new();
        for (at, resource) in all.iter_mut().enumerate() {
            let wanted = match (&self.target, &self.change) {
                (Some(target), _) => target.wants(resource),
                (None, Change::Merge(object)) => is_for(object, resource),
                (None, _) => false,
            };
            if !wanted {
                continue;
            }
            met = true;
            let node = match &self.change {
                Change::Operations(operations) => json_patch::apply(&resource.object.node, operations)
                    .map_err(|reason| Unresolved::new(self.mark, reason))?,
                Change::Merge(patch) if patch.node.text_at(&["$patch"]) == Some("delete") => {
                    deleted.push(at);
                    continue;
                }
                Change::Merge(patch) => merge::objects(&resource.object, &patch.node, self.target.is_some()),
                Change::MergeInto(patch) => merge::objects(&resource.object, patch, true),
            };
            if !node.is_bounded() {
                return Err(Unresolved::new(self.mark, "a patch makes an object too large"));
            }
            resource.object = resource.object.with(node);
        }
        for at in deleted.into_iter().rev() {
            all.remove(at);
        }
        match &self.change {
            Change::Merge(object) if !met && self.target.is_none() => {
                let reason = format!(
                    "a patch is for {} {}, which is not there",
                    object.kind, object.name
                );
                Err(Unresolved::new(self.mark, reason))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a patch without a target is for this object, under its name of now or of before.
fn is_for(patch: &Object, resource: &Resource) -> bool {
    let object = &resource.object;
    if patch.group() != object.group() || patch.kind != object.kind {
        return false;
    }
    let meets = |name: &str, namespace: Option<&str>| {
        patch.name == name
            && (patch.namespace.is_none() || namespace.is_none() || patch.namespace.as_deref() == namespace)
    };
    let before = resource.before.iter();
    meets(&object.name, object.namespace.as_deref())
        || before
            .into_iter()
            .any(|(name, namespace)| meets(name, namespace.as_deref()))
}

impl Target {
    fn of(node: &Arc<Node>) -> Result<Self, Unresolved> {
        let expression = |key: &str| {
            let text = node.text_at(&[key]).filter(|text| !text.is_empty());
            text.map(Expression::of).transpose().map_err(|_| {
                Unresolved::new(node.mark, format!("{key} of a patch's target is no expression"))
            })
        };
        let pairs = |key: &str| {
            let text = node.text_at(&[key]).unwrap_or_default();
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let pair = |part: &str| match part.split_once('=') {
                Some((k, v)) if !k.ends_with('!') && !k.contains([' ', '(']) => {
                    Ok((k.to_owned(), v.trim_start_matches('=').to_owned()))
                }
                _ => Err(Unresolved::new(
                    node.mark,
                    format!("{key} {text} of a patch's target is not understood here"),
                )),
            };
            parts.map(pair).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            group: expression("group")?,
            version: expression("version")?,
            kind: expression("kind")?,
            name: expression("name")?,
            namespace: expression("namespace")?,
            labels: pairs("labelSelector")?,
            annotations: pairs("annotationSelector")?,
        })
    }

    fn wants(&self, resource: &Resource) -> bool {
        let object = &resource.object;
        let meets =
            |expression: &Option<Expression>, text: &str| expression.as_ref().is_none_or(|e| e.meets(text));
        let has = |field: &str, pairs: &[(String, String)]| {
            pairs
                .iter()
                .all(|(key, value)| object.node.text_at(&["metadata", field, key]) == Some(value))
        };
        let is_named = |name: &str, namespace: Option<&str>| {
            meets(&self.name, name) && meets(&self.namespace, namespace.unwrap_or_default())
        };
        let before = || {
            resource
                .before
                .iter()
                .any(|(name, namespace)| is_named(name, namespace.as_deref()))
        };
        meets(&self.kind, &object.kind)
            && (is_named(&object.name, object.namespace.as_deref()) || before())
            && meets(&self.group, object.group())
            && meets(&self.version, object.version())
            && has("labels", &self.labels)
            && has("annotations", &self.annotations)
    }
}
