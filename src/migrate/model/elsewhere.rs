//! The label in trees that make pods in a way that is not known here: values of charts, custom resources, patches.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{LABEL, Reference, Setting, Text};
use crate::migrate::source::Sources;
use crate::migrate::yaml::{Mark, Node, Value};

/// A label that cannot be followed to its pods.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// What holds it.
    pub holder: Reference,
    /// Namespace in which the pods are expected.
    pub namespace: String,
    /// Where it stands.
    pub mark: Mark,
    /// Its value, where it could be read.
    pub value: Option<Text>,
    /// The keys that lead to it: `spec.values.podLabels`.
    pub path: String,
    /// How it stands there.
    pub form: Form,
    /// Why the ServiceAccount of the pods is not certain, where the chart is known.
    pub doubt: Option<String>,
}

/// How a label stands in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Among labels that reach pods, as far as can be told.
    Label,
    /// Among the labels of an object that makes no pods.
    ObjectLabel,
    /// Among annotations.
    Annotation,
    /// As a setting that a chart makes a label of.
    Setting,
}

impl Form {
    /// Whether pods have the label, as far as can be told.
    pub const fn reaches_pods(self) -> bool {
        matches!(self, Self::Label | Self::Setting)
    }
}

impl Elsewhere {
    /// The label that the chart of KEDA makes of its setting.
    pub(super) fn of_keda(setting: &Setting, namespace: &str) -> Option<Self> {
        let identity = setting.around.at(&["activeDirectory", "identity"])?;
        Some(Self {
            holder: setting.holder.clone(),
            namespace: namespace.to_owned(),
            mark: identity.mark,
            value: Text::of(identity),
            path: "podIdentity.activeDirectory.identity".to_owned(),
            form: Form::Setting,
            doubt: None,
        })
    }
}

/// All labels of a tree.
pub fn labels(sources: &Sources, tree: &Arc<Node>, holder: &Reference, namespace: &str) -> Vec<Elsewhere> {
    let mut found = Vec::new();
    let mut read = BTreeSet::new();
    tree.walk(&mut Vec::new(), &mut |path, node| {
        let keys: Vec<&str> = path.iter().filter_map(|key| key.as_text()).collect();
        let mut add = |mark, value: Option<Text>, keys: &[&str]| {
            let form = match keys {
                ["metadata", "labels"] => Form::ObjectLabel,
                [.., "annotations" | "podAnnotations"] => Form::Annotation,
                _ => Form::Label,
            };
            found.push(Elsewhere {
                holder: holder.clone(),
                namespace: namespace.to_owned(),
                mark,
                value,
                path: keys.join("."),
                form,
                doubt: None,
            });
        };
        match &node.value {
            // key: value
            Value::Map(_) => {
                if let Some((key, value)) = node.entry(LABEL)
                    && !value.is_null()
                {
                    add(key.mark, Text::of(value), &keys);
                }
                // A label without its indentation: podLabels is empty, and the label its sibling.
                // A parameter of Helm gives the whole path.
                let name = ["key", "name"]
                    .iter()
                    .find_map(|key| node.get(key))
                    .filter(|name| {
                        let text = name.as_text().unwrap_or_default();
                        text.rsplit('.').next() == Some(LABEL)
                    });
                if let (Some(name), Some(value)) = (name, node.get("value")) {
                    read.insert(name.mark);
                    add(name.mark, Text::of(value), &keys);
                }
            }
            // "a=b,aadpodidbinding=value", a manifest in a text, or the path of a patch
            Value::Scalar { text, .. } if text != LABEL && !read.contains(&node.mark) => {
                for (number, (at, _)) in text.match_indices(LABEL).enumerate() {
                    let mark = in_line(sources, node.mark, number);
                    let value = text.get(at..).and_then(value_in).map(|text| Text { text, mark });
                    add(mark, value, &keys);
                }
            }
            _ => {}
        }
    });
    found
}

/// The place of a text, in the line of one of the labels that it holds.
fn in_line(sources: &Sources, mark: Mark, number: usize) -> Mark {
    let text = sources.text(mark).unwrap_or_default();
    let (before, _) = text.match_indices(LABEL).nth(number).unwrap_or_default();
    let breaks = text.get(..before).unwrap_or_default().matches('\n').count();
    let below = u32::try_from(breaks).unwrap_or_default();
    Mark {
        line: mark.line.saturating_add(below),
        ..mark
    }
}

/// The value after the label that a text begins with.
fn value_in(text: &str) -> Option<String> {
    let rest = text.strip_prefix(LABEL)?;
    let rest = rest.trim_start_matches(['"', '\'']).trim_start();
    let rest = rest
        .strip_prefix([':', '='])?
        .trim_start_matches([' ', '"', '\'']);
    let value = rest.split([' ', ',', '"', '\'', '\n', '\r', '}', ']']).next()?;
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(u32, Option<String>, Form)> {
        let sources = Sources::of(&[("values.yaml", text)]);
        let node = sources.files[0].documents[0].content.clone().unwrap();
        let holder = Reference {
            namespace: "shop".to_owned(),
            kind: "values".to_owned(),
            name: "values.yaml".to_owned(),
            mark: Mark::default(),
        };
        let labels = labels(&sources, &node, &holder, "shop");
        labels
            .into_iter()
            .map(|l| (l.mark.line, l.value.map(|v| v.text), l.form))
            .collect()
    }

    #[test]
    fn every_form_of_the_label_is_found() {
        let web = || Some("web".to_owned());
        for (text, value, form) in [
            ("podLabels: {aadpodidbinding: web}", web(), Form::Label),
            (
                "podLabels: [{key: aadpodidbinding, value: web}]",
                web(),
                Form::Label,
            ),
            (
                "scanJobLabels: \"a=b,aadpodidbinding=web,c=d\"",
                web(),
                Form::Label,
            ),
            (
                "values: \"podLabels:\\n  aadpodidbinding: web\\n\"",
                web(),
                Form::Label,
            ),
            (
                "path: /spec/template/metadata/labels/aadpodidbinding",
                None,
                Form::Label,
            ),
            (
                "metadata: {labels: {aadpodidbinding: web}}",
                web(),
                Form::ObjectLabel,
            ),
            ("podAnnotations: {aadpodidbinding: web}", web(), Form::Annotation),
        ] {
            assert_eq!(found(text), [(1, value, form)], "{text}");
        }
        assert_eq!(found("podLabels: {app: web}"), []);
    }

    #[test]
    fn labels_in_texts_stand_in_their_own_lines() {
        let web = |line| (line, Some("web".to_owned()), Form::Label);
        for text in [
            "spec:\n  values: |\n    # first\n    a: 1\n    podLabels:\n      aadpodidbinding: web\n",
            "spec:\r\n  values: |\r\n    # first\r\n    a: 1\r\n    podLabels:\r\n      aadpodidbinding: web\r\n",
            "spec:\n  patches:\n  - target: {kind: Deployment}\n    patch: |-\n      a: 1\n      aadpodidbinding: web\n",
            "spec:\n\n\n\n  values: >-\n    a=b,aadpodidbinding=web\n",
            "spec:\n\n\n\n  parameters:\n  - {name: a.podLabels.aadpodidbinding, value: web}\n",
        ] {
            assert_eq!(found(text), [web(6)], "{text}");
        }
        let two = "spec:\n  values: |\n    a: {aadpodidbinding: web}\n    b: {aadpodidbinding: web}\n";
        assert_eq!(found(two), [web(3), web(4)]);
    }
}
