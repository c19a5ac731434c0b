//! Runs trials on one runtime and one control plane, and takes both down at the end.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use wib_harness::{Cluster, Tool, World, control_plane};
use workload_identity_binding::api::ManagedIdentity;
use workload_identity_binding::runtime::telemetry::{self, LogFormat};

/// Longest trial. Most take a second or two.
const DEADLINE: Duration = Duration::from_mins(6);

/// The same for trials that go through every point of something; each point has a deadline of its own.
const LONG_DEADLINE: Duration = Duration::from_hours(3);

/// The programs of other projects that the trials of a module use. They are built, once, before the deadline runs.
const TOOLS: [(&str, &[Tool]); 10] = [
    ("chart", &[Tool::Helm, Tool::Kustomize]),
    ("gitops", &[Tool::Health]),
    ("guide", &[Tool::Kustomize]),
    ("kustomize", &[Tool::Kustomize]),
    ("migrate", &[Tool::Kustomize]),
    ("monitoring", &[Tool::Promtool, Tool::Prometheus]),
    ("release", &[Tool::Actionlint]),
    ("repositories", &[Tool::Kustomize]),
    ("rewriting", &[Tool::Kustomize]),
    ("webhook", &[Tool::Webhook]),
];

/// How many trials run at the same time: they wait more than they work.
const THREADS: usize = 6;

/// Trials share clients and child processes, which live on one runtime.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
static CLUSTER: Mutex<Option<Arc<Cluster>>> = Mutex::const_new(None);

/// What exhaustive and generated trials have covered, printed at the end of the run.
static FIGURES: std::sync::Mutex<BTreeSet<String>> = std::sync::Mutex::new(BTreeSet::new());

/// Makes trials of functions, under the name of their module.
macro_rules! trials {
    ($($kind:ident $test:ident),* $(,)?) => {
        pub fn trials() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$(crate::runner::$kind(format!("{module}::{}", stringify!($test)), $test)),*]
        }
    };
}
pub(crate) use trials;

/// Runs the trials that the command line asks for.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    let level = std::env::var("WIB_TEST_LOG").unwrap_or_else(|_| "off".to_owned());
    telemetry::install(LogFormat::Text, &level, false).expect("a log");
    let conclusion = libtest_mimic::run(&arguments, trials);
    RUNTIME.block_on(async { CLUSTER.lock().await.take() });
    for line in FIGURES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{line}");
    }
    conclusion.exit_code()
}

/// Notes what a trial has covered, as one line: `crash lifecycle: 48 points, 0 violations`.
pub fn figure(line: impl Into<String>) {
    let mut figures = FIGURES.lock().unwrap_or_else(PoisonError::into_inner);
    figures.insert(line.into());
}

/// A trial in a world of its own on the shared cluster.
pub fn shared<F, T>(name: String, test: F) -> Trial
where
    F: FnOnce(World) -> T + Send + 'static,
    T: Future<Output = Result<()>> + Send + 'static,
{
    trial(name, DEADLINE, async move || in_world(test).await)
}

/// The same, for a trial that goes through every point of something.
pub fn exhaustive<F, T>(name: String, test: F) -> Trial
where
    F: FnOnce(World) -> T + Send + 'static,
    T: Future<Output = Result<()>> + Send + 'static,
{
    trial(name, LONG_DEADLINE, async move || in_world(test).await)
}

/// A trial that needs no cluster, or starts its own.
pub fn alone<F, T>(name: String, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = Result<()>> + Send + 'static,
{
    trial(name, DEADLINE, test)
}

fn trial<F, T>(name: String, deadline: Duration, test: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = Result<()>> + Send,
{
    let tools = TOOLS
        .iter()
        .filter(|(module, _)| name.starts_with(&format!("{module}::")));
    let tools: Vec<Tool> = tools.flat_map(|(_, tools)| *tools).copied().collect();
    Trial::test(name, move || {
        let result = RUNTIME.block_on(async {
            control_plane::prepare().await?;
            for tool in tools {
                tool.path().await?;
            }
            let ended = tokio::time::timeout(deadline, test()).await;
            ended
                .with_context(|| format!("not ended after {deadline:?}"))
                .flatten()
        });
        result.map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// Runs a trial in a new world on the shared cluster. The records that it leaves behind go with it: every operator
/// of the cluster lists all of them when it starts.
async fn in_world<F, T>(test: F) -> Result<()>
where
    F: FnOnce(World) -> T,
    T: Future<Output = Result<()>>,
{
    let cluster = cluster().await?;
    let world = World::new(cluster.clone()).await?;
    let subscription = world.azure.subscription_id().to_owned();
    let ended = test(world).await;
    let cleared = clear_records(cluster.admin(), &subscription).await;
    let cleared = cleared.context("cannot take the records of the trial away");
    ended.and(cleared)
}

async fn clear_records(admin: Client, subscription: &str) -> Result<()> {
    let records = Api::<ManagedIdentity>::all(admin);
    let of_trial = format!("/subscriptions/{subscription}/");
    for record in records.list(&ListParams::default()).await? {
        if record.spec.resource_id.starts_with(&of_trial) {
            let deleted = records.delete(&record.name_any(), &DeleteParams::default()).await;
            deleted.map(drop).or_else(|error| match error {
                // An operator that is on its way out was faster.
                kube::Error::Api(status) if status.is_not_found() => Ok(()),
                error => Err(error),
            })?;
        }
    }
    Ok(())
}

async fn cluster() -> Result<Arc<Cluster>> {
    let mut shared = CLUSTER.lock().await;
    if let Some(cluster) = &*shared {
        return Ok(cluster.clone());
    }
    let cluster = Arc::new(Cluster::start().await?);
    *shared = Some(cluster.clone());
    Ok(cluster)
}
