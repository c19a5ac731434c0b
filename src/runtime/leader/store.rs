//! Calls to the API server about the lease. I/O, and no decision.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};

use super::Settings;

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Somebody else has written, created or deleted the lease.
    #[error("the lease has changed meanwhile")]
    Conflict,
    /// No answer in time. The call may have had its effect.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The API server refused it, or could not be reached.
    #[error("{0}")]
    Failed(Box<kube::Error>),
}

/// The lease at the API server.
pub(super) struct Store {
    api: Api<Lease>,
    name: String,
    deadline: Duration,
}

impl Store {
    pub fn new(client: Client, settings: &Settings) -> Self {
        Self {
            api: Api::namespaced(client, &settings.namespace),
            name: settings.name.clone(),
            deadline: settings.call_deadline(),
        }
    }

    pub async fn read(&self) -> Result<Option<Lease>, Error> {
        self.call(self.api.get_opt(&self.name)).await
    }

    /// Writes a lease over the version of it that was read, or creates it.
    pub async fn write(&self, lease: &Lease) -> Result<Lease, Error> {
        let params = PostParams::default();
        if lease.metadata.resource_version.is_none() {
            return self.call(self.api.create(&params, lease)).await;
        }
        // Version and uid go along: a lease that was deleted, and perhaps made again, is a conflict.
        match self.call(self.api.replace(&self.name, &params, lease)).await {
            Err(Error::Failed(error)) if is(&error, 404) => Err(Error::Conflict),
            result => result,
        }
    }

    /// Versions of the lease as they come about; `None` is its deletion. It may be late, or silent
    /// for as long as the API server cannot be reached.
    pub fn changes(&self) -> BoxStream<'static, Option<String>> {
        watch_object(self.api.clone(), &self.name)
            .default_backoff()
            .map_ok(|lease| lease.and_then(|lease| lease.metadata.resource_version))
            .filter_map(|change| async { change.ok() })
            .boxed()
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if is(&error, 409) => Err(Error::Conflict),
            Ok(Err(error)) => Err(Error::Failed(Box::new(error))),
            Err(_) => Err(Error::Silent(self.deadline)),
        }
    }
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
