//! The cluster: which kinds it serves, and calls whose errors name the object.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, TypeMeta};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::{Discovery, Scope};
use kube::{Client, Config};
use serde_json::{Value, json};
use tower::timeout::TimeoutLayer;

use super::FIELD_MANAGER;
use super::kinds::KINDS;
use crate::cli::ClusterArgs;

/// Time until the head of an answer is there.
const DEADLINE: Duration = Duration::from_secs(30);

/// Objects of a page of a list.
const PAGE: u32 = 500;

/// How often a list is begun anew when its pages have become too old.
const LISTS: usize = 3;

/// Why the cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig is wrong, or there is none.
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(String),
    /// The API server does not do what was asked.
    #[error("cannot {what}: {}", reason(source))]
    Call {
        /// What was asked.
        what: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// Something else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub fn call(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Call {
            what: what.into(),
            source: Box::new(source),
        }
    }

    /// Whether a right is missing.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Call { source, .. } if matches!(&**source, kube::Error::Api(s) if s.is_forbidden()))
    }

    /// Whether somebody else was faster.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Call { source, .. } if is_conflict(source))
    }
}

/// What the API server says, which for a missing right names it.
pub fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("HTTP {} {}", status.code, status.reason),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(inner) = cause {
                let more = inner.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                cause = inner.source();
            }
            text
        }
    }
}

pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// A cluster.
pub struct Kubernetes {
    pub client: Client,
    /// Namespace of the context.
    pub namespace: String,
    served: BTreeMap<(String, String), (ApiResource, Scope)>,
}

impl Kubernetes {
    /// Finds the cluster and asks what it serves.
    pub async fn connect(args: &ClusterArgs) -> Result<Self, Error> {
        // One TLS stack; kube would otherwise choose its own.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let options = KubeConfigOptions {
            context: args.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = if let Some(path) = &args.kubeconfig {
            let named =
                |e: kube::config::KubeconfigError| Error::Kubeconfig(format!("{}: {e}", path.display()));
            let file = Kubeconfig::read_from(path).map_err(named)?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(named)?
        } else if args.context.is_some() {
            let bad = |e: kube::config::KubeconfigError| Error::Kubeconfig(e.to_string());
            Config::from_kubeconfig(&options).await.map_err(bad)?
        } else {
            Config::infer()
                .await
                .map_err(|e| Error::Kubeconfig(e.to_string()))?
        };
        let namespace = config.default_namespace.clone();
        let address = config.cluster_url.to_string();
        let builder = ClientBuilder::try_from(config).map_err(|e| Error::Kubeconfig(e.to_string()))?;
        let client = builder.with_layer(&TimeoutLayer::new(DEADLINE)).build();
        let mut groups: Vec<&str> = KINDS.iter().map(|kind| kind.group).collect();
        groups.dedup();
        let discovery = Discovery::new(client.clone()).filter(&groups).run().await;
        let discovery = discovery.map_err(|e| Error::call(format!("ask {address} what it serves"), e))?;
        let mut served = BTreeMap::new();
        for kind in &KINDS {
            let group = discovery.get(kind.group);
            if let Some((resource, capabilities)) = group.and_then(|group| group.recommended_kind(kind.kind))
            {
                served.insert(
                    (kind.group.to_owned(), kind.kind.to_owned()),
                    (resource, capabilities.scope),
                );
            }
        }
        Ok(Self {
            client,
            namespace,
            served,
        })
    }

    /// How a kind is served, if it is.
    pub fn resource(&self, group: &str, kind: &str) -> Option<&ApiResource> {
        let found = self.served.get(&(group.to_owned(), kind.to_owned()));
        found.map(|(resource, _)| resource)
    }

    /// Objects of a kind in a namespace, or in all.
    ///
    /// # Errors
    /// If the cluster does not serve the kind.
    pub fn api(&self, group: &str, kind: &str, namespace: Option<&str>) -> Result<Api<DynamicObject>, Error> {
        let Some((resource, scope)) = self.served.get(&(group.to_owned(), kind.to_owned())) else {
            return Err(Error::Other(format!(
                "this cluster does not know {kind} of {}{}",
                if group.is_empty() { "the core" } else { group },
                if group == crate::api::GROUP {
                    ": install the operator first"
                } else {
                    ""
                }
            )));
        };
        Ok(match namespace {
            Some(namespace) if *scope == Scope::Namespaced => {
                Api::namespaced_with(self.client.clone(), namespace, resource)
            }
            _ => Api::all_with(self.client.clone(), resource),
        })
    }

    /// One object, if it is there.
    pub async fn get(
        &self,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<DynamicObject>, Error> {
        let api = self.api(group, kind, namespace)?;
        let found = api.get_opt(name).await;
        found.map_err(|e| Error::call(format!("read {}", title(kind, namespace, name)), e))
    }

    /// Changes an object as it was read: if it is another one by now, that is a conflict.
    pub async fn change(&self, group: &str, object: &DynamicObject, mut patch: Value) -> Result<(), Error> {
        let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
        let metadata = &object.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        patch["metadata"]["resourceVersion"] = json!(metadata.resource_version);
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(group, kind, metadata.namespace.as_deref())?;
        let answer = api.patch(name, &parameters, &Patch::Merge(&patch)).await;
        answer.map(drop).map_err(|e| Error::call("change it", e))
    }

    /// All objects of a kind that a selector leaves, page by page.
    pub async fn list(
        &self,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
        select: &ListParams,
    ) -> Result<Vec<DynamicObject>, Error> {
        let api = self.api(group, kind, namespace)?;
        let types = self.resource(group, kind).map(|resource| TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
        let place = namespace.map_or_else(|| "all namespaces".to_owned(), |n| format!("namespace {n}"));
        let failed = |e| Error::call(format!("list {kind} objects in {place}"), e);
        let mut lists = 0;
        loop {
            lists += 1;
            let mut found = Vec::new();
            let mut select = select.clone().limit(PAGE);
            loop {
                let page = match api.list(&select).await {
                    Ok(page) => page,
                    // The pages so far are older than the API server remembers.
                    Err(kube::Error::Api(status)) if status.code == 410 && lists < LISTS => break,
                    Err(error) => return Err(failed(error)),
                };
                // The items of a list do not say what they are.
                found.extend(page.items.into_iter().map(|mut object| {
                    object.types.clone_from(&types);
                    object
                }));
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => select.continue_token = Some(token),
                    None => return Ok(found),
                }
            }
        }
    }
}

/// What an object is called: `Deployment shop/web`.
pub fn title(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
