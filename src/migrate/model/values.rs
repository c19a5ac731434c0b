//! Values of the chart of aad-pod-identity: `azureIdentities` makes identities and bindings.

use std::sync::Arc;

use super::{Binding, Identity, Model, Reference, Text};
use crate::migrate::yaml::{Mark, Node, Value};

/// Reads every `azureIdentities` of a tree: a list up to chart 2, a mapping by name since chart 3.
pub fn identities(tree: &Arc<Node>, namespace: &str, model: &mut Model) {
    tree.walk(&mut Vec::new(), &mut |_, node| {
        let Some(found) = node.get("azureIdentities") else {
            return;
        };
        match &found.value {
            Value::List(items) => items.iter().for_each(|item| entry(item, None, namespace, model)),
            Value::Map(entries) => entries
                .iter()
                .for_each(|(key, item)| entry(item, key.as_text(), namespace, model)),
            Value::Scalar { .. } => {}
        }
    });
}

fn entry(entry: &Arc<Node>, key: Option<&str>, namespace: &str, model: &mut Model) {
    let text = |name: &str| entry.text_at(&[name]);
    let Some(name) = text("name").or(key) else { return };
    let reference = |kind: &str, name: &str, mark: Mark| Reference {
        namespace: text("namespace").unwrap_or(namespace).to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        mark,
    };
    let at = reference("AzureIdentity", name, entry.mark);
    let named = Text {
        text: name.to_owned(),
        mark: entry.mark,
    };
    model.identities.push(Identity::of_values(entry, at));
    if let Some(binding) = entry.get("binding") {
        let at = reference(
            "AzureIdentityBinding",
            binding.text_at(&["name"]).unwrap_or(name),
            binding.mark,
        );
        let selector = binding.get("selector").and_then(|selector| Text::of(selector));
        model.bindings.push(Binding::of_values(at, named, selector));
    }
}
