//! Where a scenario is played: one world, its identities, and one operator after the other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Identity;
use azure_emulator::client::exchange;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wib_harness::world::Gates;
use wib_harness::{Cluster, Operator, World};
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::explorer::Point;

/// Identities that every ServiceAccount may use. The role stands before the first operator starts, so that no
/// world sees the grants of another come and go.
const GRANTED: [&str; 3] = ["crash-a", "crash-b", "crash-c"];
const NOT_GRANTED: &str = "crash-private";

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// No call for so long: the operator has nothing more to do.
const QUIET: Duration = Duration::from_millis(150);

/// How long a call may be in coming after everything else has come.
const STRAGGLER: Duration = Duration::from_secs(2);

/// One world and what happens in it.
pub struct Stage {
    pub world: World,
    flags: Vec<String>,
    identities: BTreeMap<&'static str, Identity>,
    tokens: Mutex<BTreeMap<String, String>>,
    /// The gates of each operator, in order.
    instances: Mutex<Vec<Arc<Gates>>>,
    begin: CancellationToken,
    ready: watch::Sender<bool>,
    crashes: watch::Sender<usize>,
}

impl Stage {
    pub async fn new(cluster: Arc<Cluster>, flags: &[&'static str]) -> Result<Self> {
        grant_to_all(&cluster).await?;
        let world = World::in_subscription(cluster, &next_subscription()?).await?;
        let issuer_token = world.directory().join("issuer-token");
        let mut flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--issuer-token-file={}", issuer_token.display()));
        std::fs::copy(world.directory().join("api-token"), issuer_token)?;
        let identities = [GRANTED.as_slice(), &[NOT_GRANTED]].concat();
        Ok(Self {
            identities: identities
                .into_iter()
                .map(|name| (name, world.identity(name)))
                .collect(),
            world,
            flags,
            tokens: Mutex::default(),
            instances: Mutex::default(),
            begin: CancellationToken::new(),
            ready: watch::Sender::new(false),
            crashes: watch::Sender::new(0),
        })
    }

    /// The identity `a`, `b`, `c` or `private`.
    pub fn identity(&self, letter: &str) -> Result<&Identity> {
        let name = format!("crash-{letter}");
        self.identities
            .get(name.as_str())
            .with_context(|| format!("no identity {name}"))
    }

    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.identities.values()
    }

    pub fn instances(&self) -> Vec<Arc<Gates>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes a ServiceAccount and keeps a token of it.
    pub async fn account(&self, name: &str) -> Result<()> {
        self.world.service_account(name).await?;
        self.token(name).await.map(drop)
    }

    /// The token of a ServiceAccount. It is worth the same when the ServiceAccount is gone.
    async fn token(&self, account: &str) -> Result<String> {
        let known = self
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(account)
            .cloned();
        if let Some(token) = known {
            return Ok(token);
        }
        let token = self.world.workload_token(account).await?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tokens.entry(account.to_owned()).or_insert(token).clone())
    }

    /// Whether Entra lets a workload in.
    pub async fn is_accepted(&self, account: &str, identity: &Identity) -> Result<bool> {
        let (azure, token) = (&self.world.azure, self.token(account).await?);
        let answer = exchange(
            azure.url(),
            azure.ca_pem(),
            azure.tenant_id(),
            &identity.client_id,
            &token,
        )
        .await;
        Ok(answer.is_ok())
    }

    /// Starts the first operator and waits until it, or one after it, is ready.
    pub async fn start(&self) -> Result<()> {
        self.begin.cancel();
        let mut ready = self.ready.subscribe();
        let ready = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready)).await;
        ready.context("no operator is ready")??;
        self.quiet(QUIET).await
    }

    pub async fn bind(&self, name: &str, account: &str, letter: &str) -> Result<()> {
        self.world
            .bind(name, account, self.identity(letter)?)
            .await
            .map(drop)
    }

    /// Names another identity in a spec.
    pub async fn turn_to(&self, name: &str, letter: &str) -> Result<()> {
        let resource_id = &self.identity(letter)?.resource_id;
        let patch = json!({ "spec": { "identity": { "resourceId": resource_id } } });
        self.world.change(name, patch).await.map(drop)
    }

    /// Waits until a binding is ready. Then its workload is let in, whatever has happened.
    pub async fn ready(&self, name: &str) -> Result<WorkloadIdentityBinding> {
        let binding = self.world.ready(name).await?;
        let account = &binding.spec.service_account.name;
        let status = binding.status.clone().unwrap_or_default();
        let resource_id = status
            .identity
            .map(|identity| identity.resource_id.to_lowercase());
        let named = |identity: &&Identity| Some(identity.resource_id.to_lowercase()) == resource_id;
        let identity = self
            .identities()
            .find(named)
            .context("ready without an identity")?;
        ensure!(
            self.is_accepted(account, identity).await?,
            "{name} is ready, and Entra refuses its workload"
        );
        self.settled().await?;
        Ok(binding)
    }

    /// Waits until the operator has done what there was to do, so that the next step meets it at rest.
    pub async fn settled(&self) -> Result<()> {
        self.quiet(QUIET).await
    }

    /// Waits until the operator of now has made no call for so long.
    pub async fn quiet(&self, wanted: Duration) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let begun = std::time::Instant::now();
        loop {
            let last = self.instances().last().and_then(|gates| {
                gates
                    .journal()
                    .iter()
                    .filter_map(|call| call.answered.max(Some(call.received)))
                    .max()
            });
            let silent = last.unwrap_or(begun).max(begun).elapsed();
            if silent >= wanted && *self.ready.borrow() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the operator does not come to rest");
            sleep(wanted.saturating_sub(silent).max(Duration::from_millis(10))).await;
        }
    }

    /// Waits until the operator has crashed so many times, as long as that can still be expected.
    pub async fn crashed(&self, times: usize) {
        let mut crashes = self.crashes.subscribe();
        let reached = crashes.wait_for(|crashes| *crashes >= times);
        // Whether it has is counted at the end.
        let _ = tokio::time::timeout(STRAGGLER, reached).await;
    }

    /// Runs one operator after the other: each is killed at its point, the last one at the end.
    pub async fn supervise(&self, points: &[Point], end: &CancellationToken) -> Result<()> {
        tokio::select! {
            () = self.begin.cancelled() => {}
            () = end.cancelled() => return Ok(()),
        }
        let mut points = points.iter();
        loop {
            let gates = Arc::new(self.world.gated().await?);
            let trap = points
                .next()
                .map(|point| gates.to(point.transport).rule(point.rule()));
            self.mind_own_grants(&gates);
            self.instances
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(gates.clone());
            let operator = self.operator(&gates).await?;
            let reached = async {
                match &trap {
                    Some(trap) => trap.reached().await,
                    None => std::future::pending().await,
                }
            };
            let crashed = tokio::select! {
                _ = reached => true,
                () = end.cancelled() => false,
                () = self.tell_ready(&operator) => false,
            };
            gates.close().await;
            self.ready.send_replace(false);
            operator.kill().await?;
            if !crashed {
                return Ok(());
            }
            self.crashes.send_modify(|crashes| *crashes += 1);
        }
    }

    /// Starts one more operator, waits until it has looked at every binding, and answers what it has called.
    pub async fn last_look(&self) -> Result<Arc<Gates>> {
        let bindings = self
            .world
            .bindings()
            .list(&kube::api::ListParams::default())
            .await?
            .items
            .len();
        let gates = Arc::new(self.world.gated().await?);
        self.mind_own_grants(&gates);
        let operator = self.operator(&gates).await?;
        let end = Instant::now() + PATIENCE;
        while !(is_ready(&operator).await && visits(&operator).await >= bindings) {
            ensure!(
                Instant::now() < end,
                "one more operator does not get to all bindings"
            );
            sleep(Duration::from_millis(20)).await;
        }
        sleep(QUIET).await;
        gates.close().await;
        operator.kill().await?;
        Ok(gates)
    }

    async fn operator(&self, gates: &Gates) -> Result<Operator> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.world.operator_through(gates, &flags).await
    }

    /// Lets the tokens by which operators know the cluster's issuer be of this one.
    pub fn tokens_are_of(&self, issuer: &str) -> Result<()> {
        let claims = json!({ "iss": issuer }).to_string();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        // At once: a token that is half written would be none.
        let file = self.world.directory().join("issuer-token");
        let new = file.with_extension("new");
        std::fs::write(&new, token)?;
        Ok(std::fs::rename(new, file)?)
    }

    /// Takes the records of this world away, when no operator runs there any more: those of other worlds, and
    /// of later ones, list all records of the cluster.
    pub async fn clear_records(&self) -> Result<()> {
        for identity in self.identities() {
            if let Some(record) = self.world.record(identity).await? {
                let name = record.metadata.name.unwrap_or_default();
                self.world
                    .records()
                    .delete(&name, &DeleteParams::default())
                    .await?;
            }
        }
        Ok(())
    }

    /// Says when the operator is ready; returns only if it ends by itself.
    async fn tell_ready(&self, operator: &Operator) {
        while !operator.has_ended() {
            if !*self.ready.borrow() && is_ready(operator).await {
                self.ready.send_replace(true);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Grants are for the whole cluster, and every change of one makes every operator look again. The changes of
    /// other worlds are kept away, so that a scenario has the same calls each time.
    fn mind_own_grants(&self, gates: &Gates) {
        for kind in ["clusterroles", "clusterrolebindings"] {
            let namespace = self.world.namespace.clone();
            let rule = wib_harness::gate::Rule::on(&format!("k8s GET {kind} (watch)")).always();
            gates.kubernetes.rule(rule.only_events(move |event| {
                let name = event["object"]["metadata"]["name"].as_str();
                name.is_none_or(|name| name.contains(&namespace))
            }));
        }
    }
}

async fn is_ready(operator: &Operator) -> bool {
    operator
        .get("/readyz")
        .await
        .is_ok_and(|(status, _)| status == 200)
}

async fn visits(operator: &Operator) -> usize {
    let Ok((_, metrics)) = operator.get("/metrics").await else {
        return 0;
    };
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("controller_runtime_reconcile_total"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

/// Subscriptions of the worlds of this suite. Each world has one of its own, since the cluster keeps one record of an
/// identity for all; and all are granted before the first world begins, since a change of grants has every operator of
/// the cluster look again.
const SUBSCRIPTIONS: usize = 4096;

/// So many subscriptions are granted by one role.
const OF_ONE_ROLE: usize = 128;

/// A subscription that no other world has.
fn next_subscription() -> Result<String> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    ensure!(
        next < SUBSCRIPTIONS,
        "more worlds than subscriptions: raise SUBSCRIPTIONS"
    );
    Ok(subscription(next))
}

fn subscription(number: usize) -> String {
    format!("5ab5c41b-0000-4000-8000-{number:012}")
}

async fn grant_to_all(cluster: &Cluster) -> Result<()> {
    static GRANT: OnceCell<()> = OnceCell::const_new();
    let apply = async || {
        let params = PatchParams::apply("platform-team");
        let (roles, bindings) = (
            Api::<ClusterRole>::all(cluster.admin()),
            Api::<ClusterRoleBinding>::all(cluster.admin()),
        );
        for first in (0..SUBSCRIPTIONS).step_by(OF_ONE_ROLE) {
            let name = format!("crash-identities-{first}");
            let (role, binding) = grant(&name, first..first + OF_ONE_ROLE);
            roles.patch(&name, &params, &Patch::Apply(role)).await?;
            bindings.patch(&name, &params, &Patch::Apply(binding)).await?;
        }
        // The authorizer follows by a watch of its own.
        sleep(Duration::from_secs(1)).await;
        anyhow::Ok(())
    };
    GRANT.get_or_try_init(apply).await.map(drop)
}

/// A role and a binding that let every ServiceAccount use what is granted in these subscriptions.
fn grant(name: &str, subscriptions: Range<usize>) -> (serde_json::Value, serde_json::Value) {
    let id = |number: usize, name: &str| {
        format!(
            "/subscriptions/{}/resourcegroups/{}/providers/microsoft.managedidentity/userassignedidentities/{name}",
            subscription(number),
            wib_harness::world::RESOURCE_GROUP
        )
    };
    let names: Vec<String> = subscriptions
        .flat_map(|number| GRANTED.map(|name| id(number, name)))
        .collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": name },
        "rules": [{
            "apiGroups": ["workload-identity.io"], "resources": ["managedidentities"], "verbs": ["use"],
            "resourceNames": names,
        }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts" }],
    });
    (role, binding)
}
