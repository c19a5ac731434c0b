//! Whether there is a webhook that gives switched pods their tokens. Without it, they would log in nowhere.

use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use super::client::{Error, Kubernetes};
use super::kinds::ADMISSION;
use super::read::sentence;
use crate::migrate::finding::{Code, Finding, Place};
use crate::migrate::model::USE_LABEL;
use crate::migrate::source::CLUSTER;

const KIND: &str = "MutatingWebhookConfiguration";

/// What is to be said about it, if anything.
pub async fn check(kubernetes: &Kubernetes) -> Result<Option<Finding>, Error> {
    let place = Place {
        file: format!("{CLUSTER}/{KIND}"),
        ..Place::default()
    };
    let found = match kubernetes
        .list(ADMISSION, KIND, None, &ListParams::default())
        .await
    {
        Err(error) if error.is_forbidden() => {
            let action =
                "See yourself that the webhook of workload identity is installed before pods are switched.";
            return Ok(Some(Finding::new(
                Code::OtherNamespaces,
                place,
                sentence(&error),
                action,
            )));
        }
        other => other?,
    };
    if found.iter().any(is_it) {
        return Ok(None);
    }
    let reason = "The cluster has no webhook of workload identity: switched pods would get no token.";
    let action = "Install it first, on AKS with az aks update --enable-workload-identity.";
    Ok(Some(Finding::new(Code::WebhookMissing, place, reason, action)))
}

/// Whether a configuration has a webhook for pods with the label.
fn is_it(configuration: &DynamicObject) -> bool {
    let webhooks = configuration.data["webhooks"].as_array().into_iter().flatten();
    let labels = |webhook: &Value| webhook["objectSelector"].to_string().contains(USE_LABEL);
    webhooks.into_iter().any(labels)
}
