//! Namespaces, prefixes, suffixes and labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::build::Resource;
use crate::migrate::object::{CLUSTER_SCOPED, Object, template_path};
use crate::migrate::yaml::Node;

/// Kinds whose names kustomize never changes.
const FIXED_NAMES: [&str; 3] = ["Namespace", "CustomResourceDefinition", "APIService"];

/// Carries out the changes that a kustomization makes to all of its objects.
pub fn apply(kustomization: &Node, all: &mut [Resource]) {
    let text = |key: &str| {
        kustomization
            .get(key)
            .filter(|node| node.as_text().is_some_and(|t| !t.is_empty()))
    };
    if let Some(value) = text("namespace") {
        namespace(all, value);
    }
    let affix = |key: &str| text(key).and_then(|node| node.as_text()).unwrap_or_default();
    let (prefix, suffix) = (affix("namePrefix"), affix("nameSuffix"));
    if !(prefix.is_empty() && suffix.is_empty()) {
        rename(all, prefix, suffix);
    }
    let flag = |node: &Node, key: &str| node.get(key).and_then(|node| node.as_bool()).unwrap_or(false);
    if let Some(labels) = kustomization.get("commonLabels") {
        label(all, labels, true, true);
    }
    for entry in kustomization.get("labels").map_or(&[][..], |list| list.items()) {
        if let Some(pairs) = entry.get("pairs") {
            let selectors = flag(entry, "includeSelectors");
            label(
                all,
                pairs,
                selectors || flag(entry, "includeTemplates"),
                selectors,
            );
        }
    }
}

/// Puts all that can be in a namespace into one.
pub fn namespace(all: &mut [Resource], namespace: &Arc<Node>) {
    for resource in all
        .iter_mut()
        .filter(|r| !CLUSTER_SCOPED.contains(&r.object.kind.as_str()))
    {
        remember(resource);
        set(resource, &["metadata", "namespace"], namespace);
    }
}

/// An object in a namespace, if there is one and it can be in one.
pub fn placed(object: Object, namespace: Option<&Arc<Node>>) -> Object {
    match namespace.filter(|_| !CLUSTER_SCOPED.contains(&object.kind.as_str())) {
        Some(namespace) => object.with(object.node.set_at(&["metadata", "namespace"], namespace.clone())),
        None => object,
    }
}

fn remember(resource: &mut Resource) {
    let now = (resource.object.name.clone(), resource.object.namespace.clone());
    if !resource.before.contains(&now) {
        resource.before.push(now);
    }
}

fn set(resource: &mut Resource, path: &[&str], value: &Arc<Node>) {
    resource.object = resource
        .object
        .with(resource.object.node.set_at(path, value.clone()));
}

fn rename(all: &mut [Resource], prefix: &str, suffix: &str) {
    for resource in all
        .iter_mut()
        .filter(|r| !FIXED_NAMES.contains(&r.object.kind.as_str()))
    {
        remember(resource);
        let name = format!("{prefix}{}{suffix}", resource.object.name);
        let mark = resource
            .object
            .node
            .at(&["metadata", "name"])
            .map_or_else(|| resource.object.mark(), |n| n.mark);
        set(resource, &["metadata", "name"], &Node::text(mark, &name));
    }
    // Of all references to names, the one to the ServiceAccount matters here. Bindings name their identity in a field
    // that kustomize does not know: it stays as it is, as with kustomize.
    let renamed: BTreeMap<(String, Option<String>), String> = all
        .iter()
        .filter(|r| r.object.is("", "ServiceAccount"))
        .filter_map(|r| {
            let (before, _) = r.before.last()?;
            Some((
                (before.clone(), r.object.namespace.clone()),
                r.object.name.clone(),
            ))
        })
        // Of several, the first.
        .rev()
        .collect();
    for resource in all.iter_mut() {
        let Some(path) = service_account_path(&resource.object) else {
            continue;
        };
        let Some(named) = resource.object.node.at(&path).cloned() else {
            continue;
        };
        let before = named.as_text().unwrap_or_default().to_owned();
        if let Some(new) = renamed.get(&(before, resource.object.namespace.clone())) {
            set(resource, &path, &Node::text(named.mark, new));
        }
    }
}

fn service_account_path(object: &Object) -> Option<Vec<&'static str>> {
    let mut path = template_path(object)?.to_vec();
    path.extend(["spec", "serviceAccountName"]);
    Some(path)
}

fn label(all: &mut [Resource], pairs: &Node, templates: bool, selectors: bool) {
    for resource in all.iter_mut() {
        let kind = resource.object.kind.clone();
        for (key, value) in pairs.entries() {
            let Some(key) = key.as_text() else { continue };
            set(resource, &["metadata", "labels", key], value);
            let template = template_path(&resource.object).filter(|path| !path.is_empty());
            if let Some(path) = template.filter(|_| templates) {
                let mut path = path.to_vec();
                path.extend(["metadata", "labels", key]);
                set(resource, &path, value);
            }
            if selectors && ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].contains(&kind.as_str())
            {
                set(resource, &["spec", "selector", "matchLabels", key], value);
            }
        }
    }
}
