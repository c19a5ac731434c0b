//! The Kubernetes client, with a deadline on every call.

use std::path::Path;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

use super::leader::Leadership;
use super::leader::fence::FenceLayer;
use super::metrics::{RequestLayer, Requests};
use super::pace::PaceLayer;

/// Time until the head of an answer is there, retries included.
///
/// The client's own default has no limit and retries 429, 503 and 504 up to 15 times, which can
/// take minutes. Watches are not cut: their head comes at once.
const DEADLINE: Duration = Duration::from_secs(15);

/// How much longer than a watch a connection may be silent. A watch gives up by itself 5 s after the
/// server should have ended it; this is for what no watch guards: the bodies of lists and other
/// answers, and connections that were kept for the next call and lead nowhere any more.
const MARGIN: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or understood.
    #[error("cannot use kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither in a cluster nor with a kubeconfig.
    #[error(
        "found neither a cluster around this process nor a kubeconfig: run in a cluster, set KUBECONFIG, or pass --kubeconfig ({0})"
    )]
    Nowhere(Box<kube::config::InferConfigError>),
    /// The client cannot be built of the configuration.
    #[error("cannot set up the Kubernetes client: {0}")]
    Build(Box<kube::Error>),
}

/// Where Kubernetes is, and how to log in there.
#[derive(Clone)]
pub struct Cluster(Config);

impl Cluster {
    /// The cluster around this process, or the one that a kubeconfig names. No call is made.
    /// Watches last no longer than `watch_timeout`.
    ///
    /// # Errors
    /// Names the file that is wrong, or says that there is no configuration at all.
    pub async fn find(
        kubeconfig: Option<&Path>,
        context: Option<&str>,
        watch_timeout: Duration,
    ) -> Result<Self, Error> {
        let options = KubeConfigOptions {
            context: context.map(str::to_owned),
            ..KubeConfigOptions::default()
        };
        let mut config = if let Some(path) = kubeconfig {
            let bad = |source| Error::Kubeconfig {
                path: path.display().to_string(),
                source: Box::new(source),
            };
            let file = Kubeconfig::read_from(path).map_err(bad)?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(bad)?
        } else if context.is_some() {
            let bad = |source| Error::Kubeconfig {
                path: "of the environment".to_owned(),
                source: Box::new(source),
            };
            Config::from_kubeconfig(&options).await.map_err(bad)?
        } else {
            Config::infer().await.map_err(|e| Error::Nowhere(Box::new(e)))?
        };
        config.read_timeout = Some(watch_timeout + MARGIN);
        // Else the time that a connection was kept counts against the next answer on it.
        config.reset_reader_on_write = true;
        Ok(Self(config))
    }

    /// Address of the API server.
    pub fn server(&self) -> String {
        self.0.cluster_url.to_string()
    }

    /// The client of everything but the lease: it changes nothing without a claim to lead.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn client(&self, leadership: Leadership, requests: &Requests) -> Result<Client, Error> {
        let builder = ClientBuilder::try_from(self.0.clone()).map_err(|e| Error::Build(Box::new(e)))?;
        Ok(builder
            .with_layer(&TimeoutLayer::new(DEADLINE))
            .with_layer(&self.counting(requests))
            .with_layer(&PaceLayer::default())
            .with_layer(&FenceLayer(leadership))
            .build())
    }

    /// The client of the lease: with connections of its own, and no tries but those it is told to
    /// make. Its calls have deadlines of their own; this one bounds the head of a watch.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn lease_client(&self, requests: &Requests) -> Result<Client, Error> {
        let mut config = self.0.clone();
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config).map_err(|e| Error::Build(Box::new(e)))?;
        Ok(builder
            .with_layer(&TimeoutLayer::new(DEADLINE))
            .with_layer(&self.counting(requests))
            .build())
    }

    /// Behind the fence: what it stops is no call.
    fn counting(&self, requests: &Requests) -> RequestLayer {
        let url = &self.0.cluster_url;
        let host = url.authority().map(ToString::to_string);
        RequestLayer::new(requests.clone(), host.unwrap_or_default())
    }
}
