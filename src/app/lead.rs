//! The leader election as the operator runs it: in a task of its own, which it never loses sight of.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Failure;
use crate::azure::{self, AzureError};
use crate::cli::RunArgs;
use crate::runtime::client::Cluster;
use crate::runtime::leader::{Election, Leadership, Lost, Settings};
use crate::runtime::metrics::Requests;

/// Where a pod finds its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Namespace of the operator where nothing says otherwise, as in `config/`.
const DEFAULT_NAMESPACE: &str = "workload-identity-binding-system";

/// The claim, as the fence before Azure asks for it.
pub struct LeaderClaim(pub Leadership);

#[async_trait]
impl azure::WriteClaim for LeaderClaim {
    async fn cover(
        &self,
        needed: Duration,
        call: BoxFuture<'_, Result<(), AzureError>>,
    ) -> Option<Result<(), AzureError>> {
        self.0.cover(needed, call).await
    }
}

/// This replica's part in the election, if there is one.
pub fn election(
    args: &RunArgs,
    cluster: &Cluster,
    requests: &Requests,
) -> Result<(Option<Election>, Leadership), Failure> {
    let election = &args.election;
    if !election.leader_elect {
        return Ok((None, Leadership::always()));
    }
    let client = cluster.lease_client(requests);
    let client = client.map_err(|e| Failure::Kubernetes(e.to_string()))?;
    let settings = Settings {
        namespace: election.lease_namespace.clone().unwrap_or_else(own_namespace),
        name: election.lease_name.clone(),
        identity: format!(
            "{}_{}",
            pod_name(args).as_deref().unwrap_or("wib"),
            Uuid::new_v4().simple()
        ),
        duration: election.lease_duration,
    };
    let (election, leadership) = Election::new(client, settings);
    Ok((Some(election), leadership))
}

/// Name of this pod.
pub fn pod_name(args: &RunArgs) -> Option<String> {
    let hostname = || std::env::var("HOSTNAME").ok();
    args.election.pod_name.clone().or_else(hostname)
}

fn own_namespace() -> String {
    let file = Path::new(NAMESPACE_FILE);
    let found = std::fs::read_to_string(file)
        .ok()
        .or_else(|| std::env::var("POD_NAMESPACE").ok());
    let found = found.map(|namespace| namespace.trim().to_owned());
    found
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

/// The running election. Dropped, it stops renewing, and the claim runs out.
pub struct Campaign {
    release: CancellationToken,
    task: JoinSet<Result<(), Lost>>,
}

impl Campaign {
    /// Starts it; without an election there is nothing to run.
    ///
    /// A task of its own: nothing that the controller does can hold up a renewal.
    pub fn start(election: Option<Election>, reached: impl FnOnce() + Send + 'static) -> Self {
        let (release, mut task) = (CancellationToken::new(), JoinSet::new());
        if let Some(election) = election {
            task.spawn(election.run(release.clone(), reached));
        }
        Self { release, task }
    }

    /// Returns when leadership is lost; never without an election.
    pub async fn lost(&mut self) -> Failure {
        match self.task.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Err(lost))) => Failure::Leadership(format!(
                "{lost}; this operator leads no longer, and ends to start anew"
            )),
            Some(Ok(Ok(()))) => Failure::Other("the leader election has ended".to_owned()),
            Some(Err(panic)) => Failure::Other(format!("the leader election has failed: {panic}")),
        }
    }

    /// Gives the lease back, if it is ours, so that a successor need not wait. Nothing may be under
    /// way any more.
    pub async fn release(mut self) {
        self.release.cancel();
        self.task.join_next().await;
    }
}
