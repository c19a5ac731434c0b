//! Waiting for the CustomResourceDefinition: an operator that is installed before it must not
//! crash. Asked by discovery, which needs no right on CRDs.

use std::time::Duration;

use http::Request;
use kube::{Client, Resource};
use tracing::{info, warn};

/// How often to look for a definition that is missing.
const EVERY: Duration = Duration::from_secs(2);

/// Returns when the API server serves the kind `K`.
pub async fn wait_for<K>(client: &Client)
where
    K: Resource<DynamicType = ()>,
{
    let path = format!("/apis/{}/{}", K::group(&()), K::version(&()));
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    let mut told = None;
    loop {
        let problem = match serves(client, &path, &K::plural(&())).await {
            Ok(true) => break,
            Ok(false) => "it is not installed; apply the CRD".to_owned(),
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&problem) {
            warn!(crd = name, "waiting for the CustomResourceDefinition: {problem}");
            told = Some(problem);
        }
        tokio::time::sleep(EVERY).await;
    }
    if told.is_some() {
        info!(crd = name, "the CustomResourceDefinition is there");
    }
}

async fn serves(client: &Client, path: &str, plural: &str) -> Result<bool, kube::Error> {
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|e| kube::Error::Service(e.into()))?;
    match client.request::<serde_json::Value>(request).await {
        Ok(list) => {
            let resources = list["resources"].as_array();
            Ok(resources
                .into_iter()
                .flatten()
                .any(|resource| resource["name"] == plural))
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
