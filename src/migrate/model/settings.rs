//! Settings by which components ask for pod identity: in the values of their charts, and in their own objects.

use std::sync::Arc;

use super::charts::Release;
use super::{Note, Reference};
use crate::migrate::finding::Code;
use crate::migrate::object::Object;
use crate::migrate::yaml::{Mark, Node};

/// A setting that asks for pod identity.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What holds it.
    pub holder: Reference,
    /// Whose it is.
    pub family: Family,
    /// Where its value stands.
    pub mark: Mark,
    /// The mapping that it is an entry of.
    pub around: Arc<Node>,
}

/// Whose a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `provider: azure` of a TriggerAuthentication, or of values that make one.
    Keda,
    /// `podIdentity.activeDirectory` of KEDA's chart.
    KedaChart,
    /// `armAuth.type: aadPodIdentity` of Application Gateway Ingress Controller.
    Gateway,
    /// `useManagedIdentityExtension: true` of external-dns.
    ExternalDns,
    /// `authType: ManagedIdentity` of a store of External Secrets.
    ExternalSecrets,
}

const KEDA: (&str, &str) = (
    "Provider azure is pod identity; KEDA removed it in 2.15.",
    "Use azure-workload, and bind the identity to the ServiceAccount of the KEDA operator, keda-operator in the namespace \
     of KEDA, which logs in itself.",
);

const KEDA_CHART: &str = "KEDA's chart: use podIdentity.azureWorkload, and bind the identity to the ServiceAccount of \
                          the operator.";

const EXTERNAL_DNS: &str = "external-dns: set useWorkloadIdentityExtension instead, with podLabels \
                            azure.workload.identity/use: \"true\", and bind the identity to its ServiceAccount.";

const EXTERNAL_SECRETS: &str = "External Secrets: set authType to WorkloadIdentity. Without a serviceAccountRef it logs \
                                in as its own pods, which need the label and the ServiceAccount; with one, bind the \
                                identity to that ServiceAccount.";

const FLUX: &str = "Flux: set provider: azure on the repositories, and bind the identity to the ServiceAccount of the \
                    controller.";

const CLASS: &str = "Set it to false; the class needs the clientID of the identity that the pods use.";

/// Finds settings in a tree.
pub fn find(
    tree: &Arc<Node>,
    holder: &Reference,
    release: Option<&Release<'_>>,
    settings: &mut Vec<Setting>,
    notes: &mut Vec<Note>,
) {
    tree.walk(&mut Vec::new(), &mut |path, node| {
        let above = path.last().and_then(|key| key.as_text()).unwrap_or_default();
        for item in node.items() {
            let text = item.as_text().unwrap_or_default();
            if above == "args" && text.starts_with("--azure-autologin-for-acr") {
                notes.push(component(item.mark, holder, FLUX.to_owned()));
            }
        }
        for (key, value) in node.entries() {
            let key = key.as_text().unwrap_or_default();
            if key == "usePodIdentity" && value.is_truthy() {
                let reason = "Values ask for pod identity in a SecretProviderClass.";
                notes.push(note(
                    Code::SecretProviderClass,
                    value.mark,
                    holder,
                    reason,
                    CLASS.to_owned(),
                ));
            }
            let Some(family) = family(above, key, value) else {
                continue;
            };
            notes.push(match family {
                Family::Keda => note(Code::KedaProvider, value.mark, holder, KEDA.0, KEDA.1.to_owned()),
                Family::KedaChart => component(value.mark, holder, KEDA_CHART.to_owned()),
                Family::Gateway => component(value.mark, holder, gateway(node, release)),
                Family::ExternalDns => component(value.mark, holder, EXTERNAL_DNS.to_owned()),
                Family::ExternalSecrets => component(value.mark, holder, EXTERNAL_SECRETS.to_owned()),
            });
            settings.push(Setting {
                holder: holder.clone(),
                family,
                mark: value.mark,
                around: node.clone(),
            });
        }
    });
}

fn family(above: &str, key: &str, value: &Node) -> Option<Family> {
    let lower = str::to_ascii_lowercase;
    let provider = || {
        lower(key).ends_with("podidentityprovider")
            || key == "provider" && lower(above).contains("podidentity")
    };
    let identity = || {
        value
            .text_at(&["identity"])
            .is_some_and(|identity| !identity.is_empty())
    };
    match key {
        _ if value.is_text("azure") && provider() => Some(Family::Keda),
        "activeDirectory" if above == "podIdentity" && identity() => Some(Family::KedaChart),
        "type" if above == "armAuth" && value.is_text("aadPodIdentity") => Some(Family::Gateway),
        "useManagedIdentityExtension" if value.is_truthy() => Some(Family::ExternalDns),
        _ if value.as_text().is_some_and(is_azure_json) => Some(Family::ExternalDns),
        "authType" if above == "azurekv" && value.is_text("ManagedIdentity") => Some(Family::ExternalSecrets),
        _ => None,
    }
}

/// Whether a text is an `azure.json` that asks for a managed identity.
fn is_azure_json(text: &str) -> bool {
    let found = text.split_once("\"useManagedIdentityExtension\"");
    let value = found.and_then(|(_, rest)| rest.trim_start().strip_prefix(':'));
    value.is_some_and(|value| value.trim_start().starts_with("true"))
}

fn gateway(settings: &Node, release: Option<&Release<'_>>) -> String {
    let identity = settings
        .text_at(&["identityResourceID"])
        .unwrap_or("the identity");
    let account = release.and_then(|release| {
        let account = release.gateway_account()?;
        Some(format!("the ServiceAccount {}/{account}", release.namespace))
    });
    let account = account.unwrap_or_else(|| {
        "the ServiceAccount of the release: it has the name of the release if that contains ingress-azure, else \
         RELEASE-sa-ingress-azure"
            .to_owned()
    });
    format!(
        "Application Gateway Ingress Controller: set armAuth.type to workloadIdentity, drop identityResourceID, keep \
         identityClientID, and bind {identity} to {account}."
    )
}

/// What objects tell whose settings are texts: nothing of these is changed.
pub fn texts(object: &Object, holder: &Reference, notes: &mut Vec<Note>) {
    let kinds = ["Secret", "ConfigMap"];
    if !object.group().is_empty() || !kinds.contains(&object.kind.as_str()) {
        return;
    }
    for data in ["data", "stringData"]
        .iter()
        .filter_map(|key| object.node.get(key))
    {
        for (_, value) in data.entries() {
            let text = value.as_text().unwrap_or_default();
            if text.contains("AZURE_POD_IDENTITY") {
                notes.push(component(value.mark, holder, super::VELERO.to_owned()));
            }
        }
    }
}

/// Whether a Secret names a repository to Argo CD, and holds nothing to log in with.
pub fn is_open_repository(object: &Object) -> bool {
    let label = object
        .node
        .text_at(&["metadata", "labels", "argocd.argoproj.io/secret-type"]);
    let keys = [
        "password",
        "sshPrivateKey",
        "bearerToken",
        "githubAppPrivateKey",
        "tlsClientCertKey",
        "gcpServiceAccountKey",
        "useAzureWorkloadIdentity",
    ];
    let has = |data: &str| {
        object
            .node
            .get(data)
            .is_some_and(|data| keys.iter().any(|key| data.get(key).is_some()))
    };
    object.is("", "Secret")
        && label.is_some_and(|label| ["repository", "repo-creds"].contains(&label))
        && !has("data")
        && !has("stringData")
}

fn component(mark: Mark, holder: &Reference, action: String) -> Note {
    let reason = "A component asks for pod identity by a setting of its own.";
    note(Code::ComponentSetting, mark, holder, reason, action)
}

fn note(code: Code, mark: Mark, holder: &Reference, reason: &str, action: String) -> Note {
    (code, mark, holder.to_string(), reason.to_owned(), action)
}
