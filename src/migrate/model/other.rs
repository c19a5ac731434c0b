//! What stands around: SecretProviderClasses, the installation of pod identity, and leftovers.

use std::sync::Arc;

use super::{Note, POD_IDENTITY, Reference, Text};
use crate::migrate::finding::Code;
use crate::migrate::object::Object;
use crate::migrate::yaml::{Mark, Node};

/// A SecretProviderClass that uses pod identity.
#[derive(Clone, Debug)]
pub struct PodIdentityClass {
    /// Which.
    pub at: Reference,
    /// The line that says so.
    pub mark: Mark,
    /// The value that says so.
    pub mode: Mark,
    /// The client id that it has already, and that has no effect.
    pub client_id: Option<Text>,
}

impl PodIdentityClass {
    /// None in the modes of VM identity, service principal and workload identity; where it stands, if it would have to be
    /// one of these because it gets a client id.
    pub(super) fn of(object: &Object, at: Reference) -> Result<Self, Option<Mark>> {
        let Some(parameters) = object.node.at(&["spec", "parameters"]) else {
            return Err(Some(at.mark));
        };
        let client_id = parameters.get("clientID").and_then(|id| Text::of(id));
        match parameters.entry("usePodIdentity") {
            Some((key, value)) if value.is_truthy() => Ok(Self {
                at,
                mark: key.mark,
                mode: value.mark,
                client_id,
            }),
            _ => Err(client_id.is_none().then_some(at.mark)),
        }
    }
}

/// A part of pod identity itself.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Which.
    pub at: Reference,
    /// Where it says that all identities serve pods of their own namespace only.
    pub namespaced: Option<Mark>,
}

impl Installation {
    pub(super) fn of(object: &Object, at: &Reference) -> Option<Self> {
        let node = &object.node;
        let label = |key: &str| node.text_at(&["metadata", "labels", key]).unwrap_or_default();
        let names = ["mic", "nmi", "aad-pod-identity-mic", "aad-pod-identity-nmi"];
        let made = ["Deployment", "DaemonSet"].contains(&object.kind.as_str());
        let running = made
            && (names.contains(&object.name.as_str())
                || ["mic", "nmi"].contains(&label("component"))
                || label("app.kubernetes.io/name") == "aad-pod-identity");
        let definition = object.kind == "CustomResourceDefinition"
            && node.text_at(&["spec", "group"]) == Some(POD_IDENTITY);
        let release = object.kind == "HelmRelease"
            && node.text_at(&["spec", "chart", "spec", "chart"]) == Some("aad-pod-identity")
            || object.kind == "Application"
                && node.text_at(&["spec", "source", "chart"]) == Some("aad-pod-identity");
        let config = object.is("", "ConfigMap") && object.name == "aad-pod-identity-config";
        (running || definition || release || config).then(|| Self {
            at: at.clone(),
            namespaced: namespaced(node),
        })
    }
}

/// Where an installation says that it works in namespaced mode: managed mode always does.
fn namespaced(tree: &Arc<Node>) -> Option<Mark> {
    let mut found = None;
    tree.walk(&mut Vec::new(), &mut |path, node| {
        let key = path.last().and_then(|key| key.as_text()).unwrap_or_default();
        let text = node.as_text().unwrap_or_default();
        let variable = node.text_at(&["name"]) == Some("FORCENAMESPACED")
            && node.get("value").is_some_and(|v| v.is_truthy());
        let flag = text.trim_start_matches('-');
        let argument = key == "args"
            && [
                "forceNamespaced",
                "forceNamespaced=true",
                "operation-mode=managed",
            ]
            .contains(&flag);
        let value =
            key == "forceNamespaced" && node.is_truthy() || key == "operationMode" && text == "managed";
        if variable || argument || value {
            found = found.or(Some(node.mark));
        }
    });
    found
}

/// What else an object tells.
pub fn notes(object: &Object, at: &Reference, found: &mut Vec<Note>) {
    let node = &object.node;
    let mut say = |code, mark, reason: &str, action: &str| {
        found.push((code, mark, at.to_string(), reason.to_owned(), action.to_owned()));
    };
    let rules = node.get("rules").map_or(&[][..], |rules| rules.items());
    let group = rules.iter().find_map(|rule| {
        let groups = rule.get("apiGroups")?;
        groups.items().iter().find(|group| group.is_text(POD_IDENTITY))
    });
    if let Some(group) = group {
        let reason = "A role names the API group of pod identity.";
        say(
            Code::Leftover,
            group.mark,
            reason,
            "Remove the rule together with MIC and NMI.",
        );
    }
    let monitor = object.group() == "monitoring.coreos.com" && object.kind.ends_with("Monitor");
    if monitor
        && node.text_at(&["spec", "selector", "matchLabels", "app.kubernetes.io/name"])
            == Some("aad-pod-identity")
    {
        let reason = "It monitors MIC or NMI.";
        say(
            Code::Leftover,
            at.mark,
            reason,
            "Remove it together with MIC and NMI.",
        );
    }
}
