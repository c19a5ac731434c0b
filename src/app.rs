//! Wiring: from settings to a running operator.

mod lead;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::{ManagedIdentity, WorkloadIdentityBinding};
use crate::azure::{
    Arm, AzureMetrics, AzureSettings, CredentialSettings, Endpoints, FencedIdentities, LaneSettings, Lanes,
    RateLimiter, SetupError,
};
use crate::cli::RunArgs;
use crate::controller::{self, ControllerMetrics, IssuerFeed, Parts, Retention, SystemClock, ThreadJitter};
use crate::core::backoff::Intervals;
use crate::core::issuers::ClusterIssuers;
use crate::core::{Defaults, text};
use crate::runtime::client::{self, Cluster};
use crate::runtime::issuer::IssuerSource;
use crate::runtime::metrics::Metrics;
use crate::runtime::readiness::{Readiness, ReadinessGate};
use crate::runtime::{crd, issuer, server};
use lead::Campaign;

/// Why the operator ended, in one sentence, with the exit code that says the same.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A setting is missing or wrong.
    #[error("{0}")]
    Setting(String),
    /// Kubernetes cannot be used.
    #[error("{0}")]
    Kubernetes(String),
    /// Azure cannot be used.
    #[error("{0}")]
    Azure(String),
    /// Another replica leads, or may.
    #[error("{0}")]
    Leadership(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Setting(_) => 2,
            Self::Kubernetes(_) => 3,
            Self::Azure(_) => 4,
            Self::Leadership(_) => 5,
        }
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::Setting(error.to_string())
    }
}

/// An operator that listens but does not work yet.
pub struct App {
    args: RunArgs,
    listener: TcpListener,
    address: SocketAddr,
}

impl App {
    /// Opens the port of `/healthz`, `/readyz` and `/metrics`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(args: RunArgs) -> Result<Self, Failure> {
        let args = args.without_blanks();
        let wanted = args.process.http_address;
        let refused =
            |e: std::io::Error| Failure::Setting(format!("cannot listen on --http-address {wanted}: {e}"));
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            args,
            listener,
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `shutdown` is cancelled; visits under way are finished first, and then the lease is
    /// given back.
    ///
    /// # Errors
    /// When a setting is wrong, or Kubernetes or Azure cannot be reached in time, or leadership is
    /// lost.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Failure> {
        let Self {
            args,
            listener,
            address,
        } = self;
        info!(%address, "listening");
        let mut registry = Registry::default();
        let azure_metrics = AzureMetrics::register(&mut registry);
        let controller_metrics = ControllerMetrics::register(&mut registry);
        let metrics = Metrics::new(registry);
        let readiness = Readiness::default();
        // Who does not get as far as the election does not lead either.
        metrics.leads(&args.election.lease_name, false);

        let (kubeconfig, context) = (
            args.kubernetes.kubeconfig.as_deref(),
            args.kubernetes.context.as_deref(),
        );
        let unusable = |e: client::Error| Failure::Kubernetes(e.to_string());
        let watch_timeout = args.kubernetes.watch_timeout;
        let cluster = Cluster::find(kubeconfig, context, watch_timeout)
            .await
            .map_err(unusable)?;
        let (election, leadership) = lead::election(&args, &cluster, &metrics.requests)?;
        if election.is_none() {
            readiness.open(ReadinessGate::Lease);
        }
        let kubernetes = cluster
            .client(leadership.clone(), &metrics.requests)
            .map_err(unusable)?;
        let limiter = Arc::new(RateLimiter::new(args.azure.azure_pacing, shutdown.clone()));
        let azure = Arc::new(Arm::new(&azure_settings(&args)?, limiter.clone(), azure_metrics)?);

        let work = async {
            let source = issuer_source(&args);
            let server = cluster.server();
            let issuer = tokio::select! {
                // A stop before there is work has nothing to wait for.
                () = shutdown.cancelled() => return Ok(()),
                issuer = prepare(&azure, &kubernetes, &source, &server, &args, &readiness) => issuer?,
            };

            // Whoever could not work does not lead: the election begins only here.
            readiness.stand_by(true);
            let gate = readiness.clone();
            let mut campaign = Campaign::start(election, move || gate.open(ReadinessGate::Lease));
            tokio::select! {
                () = leadership.acquired() => {}
                failure = campaign.lost() => return Err(failure),
                () = shutdown.cancelled() => {
                    campaign.release().await;
                    return Ok(());
                }
            }
            readiness.stand_by(false);
            metrics.leads(&args.election.lease_name, true);

            let (mut issuers, known) = IssuerFeed::new(issuer);
            let every = args.kubernetes.issuer_refresh_interval;
            let following = issuer::follow(source, kubernetes.clone(), every, move |issuer| {
                issuers.take_in(issuer);
            });
            let azure = Arc::new(FencedIdentities::new(
                azure,
                Arc::new(lead::LeaderClaim(leadership)),
            ));
            let lanes = Lanes::new(azure, limiter, lane_settings(&args), Arc::new(ThreadJitter));
            let gate = readiness.clone();
            let parts = parts(&args, kubernetes.clone(), lanes, known, controller_metrics);
            let controller = controller::run(parts, shutdown.clone(), move || {
                gate.open(ReadinessGate::Watches);
                info!("watching bindings");
            });
            tokio::select! {
                failure = campaign.lost() => return Err(failure),
                () = controller => {}
                () = following => {}
                () = early_stop(&shutdown, &readiness) => {}
            }
            campaign.release().await;
            Ok(())
        };
        let deadline = async {
            shutdown.cancelled().await;
            info!("stopping");
            tokio::time::sleep(args.process.shutdown_timeout).await;
        };
        tokio::select! {
            result = work => result,
            never = server::serve(listener, readiness.clone(), metrics.clone()) => match never {},
            () = deadline => {
                warn!("visits under way did not end in time; the next run goes on with them");
                Ok(())
            }
        }
    }
}

/// A stop before the first list is there has nothing to wait for.
async fn early_stop(shutdown: &CancellationToken, readiness: &Readiness) {
    shutdown.cancelled().await;
    if readiness.report().is_ok() {
        std::future::pending::<()>().await;
    }
}

/// All that work needs and that can be had by reading. Answers the cluster's issuer.
async fn prepare(
    azure: &Arm,
    kubernetes: &Client,
    source: &IssuerSource,
    server: &str,
    args: &RunArgs,
    readiness: &Readiness,
) -> Result<String, Failure> {
    let patience = args.process.startup_timeout;
    let ((), issuer) = tokio::try_join!(
        login(azure, args, patience, readiness),
        first_issuer(source, kubernetes, server, patience, readiness),
    )?;
    info!(issuer, "the cluster's issuer");
    crd::wait_for::<WorkloadIdentityBinding>(kubernetes).await;
    crd::wait_for::<ManagedIdentity>(kubernetes).await;
    readiness.open(ReadinessGate::Crd);
    Ok(issuer)
}

async fn login(
    azure: &Arm,
    args: &RunArgs,
    patience: Duration,
    readiness: &Readiness,
) -> Result<(), Failure> {
    let attempt = || azure.check_login();
    let result = attempt
        .retry(backoff(patience))
        .notify(|error, after| warn!("{error}; trying again in {after:?}"))
        .await;
    result.map_err(|error| {
        let host = endpoints(args)
            .map(|e| e.authority.to_string())
            .unwrap_or_default();
        Failure::Azure(format!("{error} (at {host}, tried for {patience:?})"))
    })?;
    readiness.open(ReadinessGate::AzureLogin);
    Ok(())
}

async fn first_issuer(
    source: &IssuerSource,
    kubernetes: &Client,
    server: &str,
    patience: Duration,
    readiness: &Readiness,
) -> Result<String, Failure> {
    let attempt = || async { kubernetes.apiserver_version().await };
    let version = attempt
        .retry(backoff(patience))
        .notify(|error, after| {
            warn!(
                "the Kubernetes API does not answer: {}; trying again in {after:?}",
                text::cause(error)
            );
        })
        .await;
    let version = version.map_err(|error| {
        Failure::Kubernetes(format!(
            "the Kubernetes API does not answer: {} (at {server}, tried for {patience:?})",
            text::cause(&error)
        ))
    })?;
    info!(
        kubernetes = version.git_version,
        version = env!("CARGO_PKG_VERSION"),
        "connected"
    );
    readiness.open(ReadinessGate::Kubernetes);

    let attempt = || issuer::read(source, kubernetes);
    let issuer = attempt
        .retry(backoff(patience))
        .when(|error| matches!(error, issuer::Error::Discovery(_) | issuer::Error::File { .. }))
        .notify(|error, after| warn!("{error}; trying again in {after:?}"))
        .await
        .map_err(|error| match source {
            IssuerSource::Fixed(_) => Failure::Setting(error.to_string()),
            _ => Failure::Kubernetes(error.to_string()),
        })?;
    readiness.open(ReadinessGate::Issuer);
    Ok(issuer)
}

/// Tries again after 0.2 s, then ever less often, until the time is over.
fn backoff(patience: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .with_total_delay(Some(patience))
}

fn issuer_source(args: &RunArgs) -> IssuerSource {
    let default = PathBuf::from(issuer::DEFAULT_TOKEN_FILE);
    match (&args.bindings.issuer, &args.kubernetes.issuer_token_file) {
        (Some(issuer), _) => IssuerSource::Fixed(issuer.clone()),
        (None, Some(path)) => IssuerSource::TokenFile(path.clone()),
        (None, None) if args.kubernetes.kubeconfig.is_none() && default.exists() => {
            IssuerSource::Discovery(Some(default))
        }
        (None, None) => IssuerSource::Discovery(None),
    }
}

fn endpoints(args: &RunArgs) -> Result<Endpoints, SetupError> {
    let azure = &args.azure;
    Endpoints::new(
        azure.azure_cloud,
        azure.azure_endpoint.as_deref(),
        azure.azure_authority_host.as_deref(),
    )
}

fn azure_settings(args: &RunArgs) -> Result<AzureSettings, SetupError> {
    let azure = &args.azure;
    Ok(AzureSettings {
        endpoints: endpoints(args)?,
        credential: CredentialSettings {
            kind: azure.azure_credential,
            tenant_id: azure.azure_tenant_id.clone(),
            client_id: azure.azure_client_id.clone(),
            token_file: azure.azure_federated_token_file.clone(),
            client_secret: azure.azure_client_secret.clone(),
            client_certificate: azure.azure_client_certificate_path.clone(),
            in_cluster: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        },
        ca_bundle: azure.azure_ca_bundle.clone(),
        timeout: azure.azure_timeout,
    })
}

fn lane_settings(args: &RunArgs) -> LaneSettings {
    let bindings = &args.bindings;
    let defaults = LaneSettings::default();
    LaneSettings {
        grace: bindings.read_after_write_grace,
        idle: bindings.drift_interval * 3,
        share_failure: defaults.share_failure.min(bindings.max_retry_interval / 60),
        longest_rest: bindings.max_retry_interval,
    }
}

fn parts(
    args: &RunArgs,
    client: Client,
    lanes: Lanes,
    issuer: watch::Receiver<ClusterIssuers>,
    metrics: ControllerMetrics,
) -> Parts {
    let bindings = &args.bindings;
    Parts {
        client,
        lanes,
        issuer,
        defaults: Defaults {
            subscription_id: bindings.subscription_id.clone(),
            resource_group: bindings.resource_group.clone(),
            deletion_policy: bindings.deletion_policy,
            audience: bindings.audience.clone(),
            prefix: bindings.credential_prefix.clone(),
        },
        authorization: bindings.authorization,
        intervals: Intervals {
            drift: bindings.drift_interval,
            retry_base: bindings.max_retry_interval / 60,
            retry_max: bindings.max_retry_interval,
            slow: bindings.slow_retry_interval,
        },
        retention: Retention {
            orphans: bindings.orphan_grace_period,
            former_issuers: bindings.former_issuer_retention,
        },
        namespace: args.kubernetes.watch_namespace.clone(),
        watch_timeout: args.kubernetes.watch_timeout,
        concurrency: bindings.concurrency,
        clock: Arc::new(SystemClock),
        jitter: Arc::new(ThreadJitter),
        metrics,
        instance: lead::pod_name(args),
    }
}
