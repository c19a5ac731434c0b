//! What stands around: SecretProviderClasses, the installation of pod identity, and settings of
//! components that have their own way to ask for it.

use std::sync::Arc;

use super::{Note, POD_IDENTITY, Reference};
use crate::migrate::finding::Code;
use crate::migrate::object::Object;
use crate::migrate::yaml::{Mark, Node, Value};

/// A SecretProviderClass that uses pod identity.
#[derive(Clone, Debug)]
pub struct PodIdentityClass {
    /// Which.
    pub at: Reference,
    /// The line that says so.
    pub mark: Mark,
}

impl PodIdentityClass {
    /// None in the modes of VM identity, service principal and workload identity.
    pub(super) fn of(object: &Object, at: Reference) -> Option<Self> {
        let (key, value) = object.node.at(&["spec", "parameters"])?.entry("usePodIdentity")?;
        value.is_truthy().then_some(Self { at, mark: key.mark })
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

/// What else an object tells: leftovers and settings of components.
pub fn notes(object: &Object, at: &Reference, found: &mut Vec<Note>) {
    let node = &object.node;
    let mut say = |code, mark, reason: &str, action: &str| {
        found.push((code, mark, at.to_string(), reason.to_owned(), action.to_owned()));
    };
    if object.group() == "keda.sh" && object.kind.ends_with("TriggerAuthentication") {
        for path in [
            &["spec", "podIdentity", "provider"][..],
            &["spec", "azureKeyVault", "podIdentity", "provider"],
        ] {
            if let Some(provider) = node.at(path).filter(|provider| provider.is_text("azure")) {
                say(Code::KedaProvider, provider.mark, KEDA.0, KEDA.1);
            }
        }
    }
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

const KEDA: (&str, &str) = (
    "Provider azure is pod identity; KEDA removed it in 2.15.",
    "Use azure-workload, and bind the identity to the ServiceAccount of the KEDA operator, which logs in itself.",
);

/// Settings that ask for pod identity in the values of charts and in custom resources: the key, the one above it if it
/// matters, the value, and what to do.
const SETTINGS: [(&str, &str, &str, &str); 5] = [
    (
        "armAuth",
        "type",
        "aadPodIdentity",
        "Application Gateway Ingress Controller: set armAuth.type to workloadIdentity, drop identityResourceID, \
         keep identityClientID, \
         and bind the identity to the ServiceAccount of the release.",
    ),
    (
        "",
        "useManagedIdentityExtension",
        "true",
        "external-dns: set useWorkloadIdentityExtension instead, with podLabels azure.workload.identity/use: \"true\", \
         and bind the identity to its ServiceAccount.",
    ),
    (
        "azurekv",
        "authType",
        "ManagedIdentity",
        "External Secrets: set authType to WorkloadIdentity with a serviceAccountRef, and bind the identity to \
         that ServiceAccount.",
    ),
    (
        "podIdentity",
        "activeDirectory",
        "",
        "KEDA's chart: use podIdentity.azureWorkload, and bind the identity to the ServiceAccount of the operator.",
    ),
    (
        "args",
        "",
        "--azure-autologin-for-acr",
        "Flux: set provider: azure on the repositories, and bind the identity to the ServiceAccount of the controller.",
    ),
];

/// Finds settings of components in a tree.
pub fn settings(tree: &Arc<Node>, holder: &Reference, found: &mut Vec<Note>) {
    tree.walk(&mut Vec::new(), &mut |path, node| {
        let mut keys = path.iter().rev().filter_map(|key| key.as_text());
        let (key, above) = (keys.next().unwrap_or_default(), keys.next().unwrap_or_default());
        let mut say = |code, reason: &str, action: &str| {
            found.push((
                code,
                node.mark,
                holder.to_string(),
                reason.to_owned(),
                action.to_owned(),
            ));
        };
        let provider = key.to_ascii_lowercase().ends_with("podidentityprovider")
            || key == "provider" && above.to_ascii_lowercase().contains("podidentity");
        if provider && node.is_text("azure") {
            say(Code::KedaProvider, KEDA.0, KEDA.1);
        }
        if key == "usePodIdentity" && node.is_truthy() {
            let action = "Set it to false; the class needs the clientID of the identity that the pods use.";
            say(
                Code::SecretProviderClass,
                "Values ask for pod identity in a SecretProviderClass.",
                action,
            );
        }
        let text = node.as_text().unwrap_or_default();
        let met = SETTINGS.iter().find(|(parent, name, value, _)| {
            let plain = matches!(node.value, Value::Scalar { .. });
            if name.is_empty() {
                key == *parent && text.starts_with(value)
            } else if value.is_empty() {
                key == *name && above == *parent && !node.entries().is_empty()
            } else {
                plain && key == *name && text == *value && (parent.is_empty() || above == *parent)
            }
        });
        if let Some((_, _, _, action)) = met {
            say(
                Code::ComponentSetting,
                "A component asks for pod identity by a setting of its own.",
                action,
            );
        }
    });
}
