//! Bindings that lead nowhere, and identities that nothing leads to.

use std::collections::BTreeSet;

use super::{Notes, identity};
use crate::migrate::finding::Code;
use crate::migrate::join::{Found, Index};
use crate::migrate::model::Model;
use crate::migrate::yaml::is_placeholder;

pub fn check<'a>(
    model: &'a Model,
    index: &Index<'a>,
    labels: &BTreeSet<&str>,
    unseen: bool,
    notes: &mut Notes<'_>,
) {
    for binding in &model.bindings {
        let at = &binding.at;
        identity::casing(model, at, &binding.casing, notes);
        let name = binding.identity.as_ref().filter(|name| !name.text.is_empty());
        let selector = binding
            .selector
            .as_ref()
            .filter(|selector| !selector.text.is_empty());
        let (Some(name), Some(selector)) = (name, selector) else {
            let reason = "It lacks azureIdentity or selector: it has no effect.";
            notes.add(model, Code::BindingIncomplete, at.mark, at, reason, "Remove it.");
            continue;
        };
        if is_placeholder(&selector.text) || is_placeholder(&name.text) {
            let reason = format!(
                "It binds {} to pods labelled {}: a part is filled in later.",
                name.text, selector.text
            );
            let action = "Run wib migrate on the files with the values filled in.";
            notes.add(model, Code::UnresolvedValue, selector.mark, at, reason, action);
            continue;
        }
        if !is_label_value(&selector.text) {
            let reason = format!(
                "Its selector {} is no label value: no pod can have it.",
                selector.text
            );
            notes.add(
                model,
                Code::InvalidSelector,
                selector.mark,
                at,
                reason,
                "Remove it.",
            );
        }
        if matches!(index.identity(model, binding), Found::None) {
            let reason = format!(
                "There is no AzureIdentity {} in its namespace {}.",
                name.text, at.namespace
            );
            let action = "Read the files that hold it as well, or remove the binding.";
            notes.add(model, Code::DanglingBinding, name.mark, at, reason, action);
        }
        if !unseen && !labels.contains(selector.text.as_str()) {
            let reason = format!("No pod of the input has the label {}.", selector.text);
            let action = "Read the files that hold the workloads as well. If nothing uses it, remove it.";
            notes.add(model, Code::OrphanBinding, selector.mark, at, reason, action);
        }
    }
    for identity in &model.identities {
        let at = &identity.at;
        if !unseen && !index.is_named(&at.namespace, &at.name) {
            let reason = "No AzureIdentityBinding of the input names it.";
            let action = "Read the files that hold the binding as well. If nothing uses it, remove it.";
            notes.add(model, Code::OrphanIdentity, at.mark, at, reason, action);
        }
    }
}

/// 63 characters at most, of letters, digits, dash, underscore and dot, the first and last a letter or digit.
fn is_label_value(text: &str) -> bool {
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && outer(text.chars().next())
        && outer(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
