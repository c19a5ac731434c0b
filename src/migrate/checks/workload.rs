//! What a workload has that needs a person, before or after the switch.

use std::collections::BTreeMap;

use super::{AS_ANNOTATION, NOT_ON_PODS, Notes, some};
use crate::migrate::finding::Code;
use crate::migrate::join::{Joined, describe};
use crate::migrate::model::{Model, Workload};
use crate::migrate::yaml::{Mark, Node, Value};

/// Variables that the webhook would set, or that go before workload identity in the SDKs.
const VARIABLES: [(&str, &str); 10] = [
    ("AZURE_CLIENT_ID", KEPT),
    ("AZURE_TENANT_ID", KEPT),
    ("AZURE_AUTHORITY_HOST", KEPT),
    ("AZURE_FEDERATED_TOKEN_FILE", KEPT),
    ("AZURE_CLIENT_SECRET", SECRET),
    ("AZURE_CLIENT_CERTIFICATE_PATH", SECRET),
    ("AZURE_USERNAME", SECRET),
    ("AZURE_PASSWORD", SECRET),
    ("MSI_ENDPOINT", MSI),
    ("IDENTITY_ENDPOINT", MSI),
];

const KEPT: &str = "the webhook leaves it as it is, so that it decides, not the ServiceAccount";
const SECRET: &str = "the SDKs use it before workload identity";
const MSI: &str = "it leads to an endpoint that is gone after the migration";

/// API versions that the API server no longer serves.
const OLD_VERSIONS: [&str; 5] = [
    "extensions/v1beta1",
    "apps/v1beta1",
    "apps/v1beta2",
    "batch/v1beta1",
    "batch/v2alpha1",
];

/// Labels that have no effect.
pub fn ineffective(model: &Model, workload: &Workload, notes: &mut Notes<'_>) {
    if let Some(mark) = workload.on_object {
        notes.add(
            model,
            Code::LabelNotOnPods,
            mark,
            &workload.at,
            NOT_ON_PODS.0,
            NOT_ON_PODS.1,
        );
    }
    if let Some(mark) = workload.as_annotation {
        notes.add(
            model,
            Code::LabelAsAnnotation,
            mark,
            &workload.at,
            AS_ANNOTATION.0,
            AS_ANNOTATION.1,
        );
    }
}

/// What exceptions let through.
pub fn exceptions(model: &Model, by_namespace: &BTreeMap<&str, Vec<&Workload>>, notes: &mut Notes<'_>) {
    for exception in &model.exceptions {
        let covered: Vec<String> = by_namespace
            .get(exception.at.namespace.as_str())
            .into_iter()
            .flatten()
            .filter(|w| exception.covers(&w.labels))
            .map(|w| w.at.to_string())
            .collect();
        let whom = if covered.is_empty() {
            "no workload of the input".to_owned()
        } else {
            some(&covered)
        };
        let reason = format!(
            "It lets {whom} reach the identity of the node. Nothing takes its place: without NMI every pod can."
        );
        let action = "Remove it last. Those workloads go on with the identity of the node; give them their own \
                      if that is not meant.";
        notes.add(
            model,
            Code::Exception,
            exception.at.mark,
            &exception.at,
            reason,
            action,
        );
    }
}

/// What a labelled workload has.
pub fn check(joined: &Joined<'_>, notes: &mut Notes<'_>) {
    let (model, workload) = (joined.model, joined.workload);
    let at = &workload.at;
    let label = workload.label.as_ref().map_or(at.mark, |label| label.mark);
    let mut add = |code, mark, reason: String, action: &str| notes.add(model, code, mark, at, reason, action);
    if joined.uses.len() > 1 {
        let names: Vec<String> = joined
            .uses
            .iter()
            .map(|used| used.identity.at.to_string())
            .collect();
        let reason = format!("Its pods have {} identities: {}.", names.len(), some(&names));
        let action = "All of them get a binding, none writes its client id on the ServiceAccount. \
                      The application must name the client id \
                      of each; or set annotate: true in the one binding that is the default.";
        add(Code::SeveralIdentities, label, reason, action);
    }
    if let Some(mark) = workload.in_selector {
        let reason = "Its selector holds the label, and a selector cannot be changed.".to_owned();
        let action = "Leave the old label where it is and add the new one to the pod template only, or make \
                      the object anew.";
        add(Code::LabelInSelector, mark, reason, action);
    }
    if workload.is_immutable() {
        let action = "Delete it and make it anew.";
        add(
            Code::ImmutableTemplate,
            label,
            "Its pods cannot be changed.".to_owned(),
            action,
        );
    }
    if OLD_VERSIONS.contains(&workload.api_version.as_str()) {
        let reason = format!("Kubernetes no longer serves {}.", workload.api_version);
        add(
            Code::OldApiVersion,
            at.mark,
            reason,
            "Move it to the version of today.",
        );
    }
    if joined.uses.is_empty() {
        return;
    }
    if workload.is_patch && workload.service_account.is_none() {
        let reason = "It is a part of an object only: its ServiceAccount stands in a file that was not read."
            .to_owned();
        add(
            Code::PatchWithoutBase,
            at.mark,
            reason,
            "Read the kustomization that uses it, or the rendered manifests.",
        );
    }
    let Some(pod) = &workload.pod else { return };
    if pod.get("hostNetwork").and_then(|node| node.as_bool()) == Some(true) {
        let reason = "It uses the network of the node: NMI could not tell its pods from others.".to_owned();
        let action = "Look which identity it really has today. The SDKs work in the network of the node, the \
                      proxy sidecar does not.";
        add(Code::HostNetwork, label, reason, action);
    }
    if is_windows(pod) {
        let action = "Use an SDK that knows workload identity; the proxy sidecar is for Linux only.";
        add(
            Code::Windows,
            label,
            "Its pods run on Windows.".to_owned(),
            action,
        );
    }
    variables(pod, &mut add);
    by_hand(pod, &mut add);
}

type Add<'a> = dyn FnMut(Code, Mark, String, &str) + 'a;

fn variables(pod: &std::sync::Arc<Node>, add: &mut Add<'_>) {
    pod.walk(&mut Vec::new(), &mut |path, node| {
        if !path.last().is_some_and(|key| key.is_text("env")) {
            return;
        }
        let Some(name) = node.get("name") else { return };
        let text = name.as_text().unwrap_or_default();
        if let Some((_, effect)) = VARIABLES.iter().find(|(known, _)| *known == text) {
            let reason = format!("A container sets {text}: {effect}.");
            add(
                Code::AzureEnvironment,
                name.mark,
                reason,
                "Remove it, unless it is meant.",
            );
        } else if text == "AZURE_AUTH_METHOD" && node.get("value").is_some_and(|v| v.is_text("msi")) {
            let reason = "A container sets AZURE_AUTH_METHOD to msi, which asks for pod identity.".to_owned();
            add(Code::AzureEnvironment, name.mark, reason, "Remove it.");
        }
    });
}

fn by_hand(pod: &std::sync::Arc<Node>, add: &mut Add<'_>) {
    pod.walk(&mut Vec::new(), &mut |_, node| {
        let text = match &node.value {
            Value::Scalar { text, .. } => text.clone(),
            Value::List(items) => items.iter().filter_map(|item| item.as_text()).collect::<Vec<_>>().join(" "),
            Value::Map(_) => return,
        };
        let list = matches!(node.value, Value::List(_));
        let address = ["169.254.169.254", "127.0.0.1:2579"].iter().find(|address| text.contains(**address));
        let login = ["az login --identity", "az login -i"].iter().find(|login| text.contains(**login));
        let found = if list { login } else { address.or(login) };
        if let Some(found) = found {
            let reason = format!("It asks for tokens by itself: {found}.");
            let action = "Use an SDK that knows workload identity, az login --service-principal --federated-token, \
                          or the annotation azure.workload.identity/inject-proxy-sidecar.";
            add(Code::TokenByHand, node.mark, reason, action);
        }
    });
}

fn is_windows(pod: &Node) -> bool {
    let selector = |key: &str| pod.text_at(&["nodeSelector", key]) == Some("windows");
    selector("kubernetes.io/os")
        || selector("beta.kubernetes.io/os")
        || pod.text_at(&["os", "name"]) == Some("windows")
}

/// SecretProviderClasses that use pod identity: the client id is that of the pods that mount them.
pub fn classes(models: &[Model], joined: &[Joined<'_>], notes: &mut Notes<'_>) {
    let mut mounts: BTreeMap<(&str, &str), Vec<&Joined<'_>>> = BTreeMap::new();
    for one in joined {
        for class in &one.workload.classes {
            let key = (one.workload.at.namespace.as_str(), class.as_str());
            mounts.entry(key).or_default().push(one);
        }
    }
    for model in models {
        for class in &model.classes {
            let mounting = mounts.get(&(class.at.namespace.as_str(), class.at.name.as_str()));
            let consumers = mounting.map_or(&[][..], Vec::as_slice).iter().filter(|joined| {
                joined.model.environment == model.environment || model.environment.is_none()
            });
            // Identities by what they are, with how they are written.
            let mut identities: BTreeMap<String, String> = BTreeMap::new();
            let mut several = false;
            for consumer in consumers {
                several |= consumer.uses.len() > 1 || consumer.has_too_many();
                for used in &consumer.uses {
                    let client = used.identity.client_id.as_ref().map(|client| client.text.clone());
                    identities.insert(describe(used.identity), client.unwrap_or_default());
                }
            }
            let mut add = |code, reason: &str, action: String| {
                notes.add(model, code, class.mark, &class.at, reason, action);
            };
            let mut clients = identities.into_values();
            match (clients.next(), clients.next()) {
                (None, _) if !several => add(
                    Code::SecretProviderClass,
                    "It uses pod identity, and no workload of the input that mounts it has an identity.",
                    "Remove usePodIdentity and set clientID to the identity of the pods that mount it."
                        .to_owned(),
                ),
                (Some(client), None) => add(
                    Code::SecretProviderClass,
                    "It uses pod identity.",
                    format!("Together with its pods: remove usePodIdentity and set clientID: \"{client}\"."),
                ),
                (None, _) | (Some(_), Some(_)) if several => add(
                    Code::SecretProviderClassShared,
                    "It uses pod identity, and the pods that mount it have several identities.",
                    "Find out which one may read the vault; remove usePodIdentity and set its clientID."
                        .to_owned(),
                ),
                _ => add(
                    Code::SecretProviderClassShared,
                    "It uses pod identity, and the workloads that mount it have different identities.",
                    "Make one class for each identity: a class has one clientID.".to_owned(),
                ),
            }
        }
    }
}
