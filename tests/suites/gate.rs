//! The gate between an operator and the rest of the world does what the suites that inject faults assume.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use azure_emulator::Operation;
use kube::api::ListParams;
use pretty_assertions::assert_eq;
use reqwest::{Certificate, Client, RequestBuilder, Response};
use serde_json::Value;
use tokio::time::timeout;
use wib_harness::World;
use wib_harness::gate::{Call, Gate, Rule, Transport, WatchFault};

use crate::runner::trials;

trials![
    shared an_operator_works_through_gates_and_nothing_passes_beside_them,
    shared a_parked_call_waits_for_the_word,
    shared a_reset_comes_before_or_after_the_effect,
    shared answers_are_replaced_halved_and_delayed,
    shared a_call_is_delivered_twice,
    shared rules_count_their_calls,
    shared a_watch_is_cut_closed_and_silenced,
    shared a_watch_repeats_and_loses_events_and_says_gone,
    shared a_frozen_gate_lets_nothing_through_until_it_thaws,
    shared a_gate_refuses_and_accepts_again,
    shared a_closed_gate_has_delivered_what_it_had_sent,
];

/// Long enough for anything that comes at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough to say that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

const IDENTITY: &str = "azure GET identity";

async fn an_operator_works_through_gates_and_nothing_passes_beside_them(world: World) -> Result<()> {
    let identity = world.workload("web").await?;
    let gates = world.gated().await?;
    let operator = world.operator_through(&gates, &[]).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.exchange("web", &identity.client_id).await??;
    world.delete("web").await?;
    operator.stop().await?;

    let arm = gates.azure.journal();
    let seen: Vec<_> = arm.iter().map(|call| call.signature.as_str()).collect();
    assert_eq!(
        seen,
        [
            "azure POST token",
            "azure GET identity",
            "azure GET credentials",
            "azure PUT credential",
            "azure DELETE credential",
        ]
    );
    let operator = Some(&world.operator_identity.client_id);
    let journal = world.azure.journal();
    let asked = journal.iter().filter(|e| e.caller.as_ref() == operator);
    let asked: Vec<_> = asked.map(|entry| &entry.path).collect();
    assert_eq!(asked, arm.iter().map(|call| &call.path).collect::<Vec<_>>());
    for signature in [
        "k8s GET /version",
        "k8s GET workloadidentitybindings (list)",
        "k8s GET workloadidentitybindings (watch)",
        "k8s GET serviceaccounts (watch)",
        "k8s GET clusterrolebindings (watch)",
        "k8s POST subjectaccessreviews",
        "k8s PATCH workloadidentitybindings",
        "k8s PATCH workloadidentitybindings/status",
        "k8s PATCH serviceaccounts",
    ] {
        ensure!(gates.kubernetes.count(signature) > 0, "not seen: {signature}");
    }
    let calls = gates.journal();
    ensure!(
        calls.iter().all(|c| c.forwarded.is_some()),
        "a call was held: {calls:#?}"
    );
    let status = calls
        .iter()
        .find(|c| c.signature == "k8s PATCH workloadidentitybindings/status");
    let body = status.and_then(|call| call.body.clone()).unwrap_or_default();
    ensure!(
        body["status"]["conditions"].is_array(),
        "the body is not noted: {body}"
    );
    Ok(())
}

async fn a_parked_call_waits_for_the_word(world: World) -> Result<()> {
    let door = Door::to_azure(&world).await?;
    let trap = door.gate.rule(Rule::on(IDENTITY).park_before_send());
    let waiting = tokio::spawn(door.get().send());
    let call = timeout(PATIENCE, trap.reached()).await?.context("not reached")?;
    assert_eq!((call.signature.as_str(), call.forwarded), (IDENTITY, None));
    assert_eq!(world.azure.count(Operation::GetIdentity), 0);
    trap.release();
    assert_eq!(timeout(PATIENCE, waiting).await???.status(), 401);
    assert_eq!(world.azure.count(Operation::GetIdentity), 1);

    door.gate.clear_rules();
    let trap = door.gate.rule(Rule::on(IDENTITY).park_after_commit());
    let waiting = tokio::spawn(door.get().send());
    timeout(PATIENCE, trap.reached()).await?.context("not reached")?;
    assert_eq!(world.azure.count(Operation::GetIdentity), 2);
    ensure!(!waiting.is_finished(), "answered while parked");
    let held = door.gate.journal().pop().context("no call")?;
    assert_eq!((held.status, held.answered), (Some(401), None));
    trap.drop_calls();
    ensure!(
        timeout(PATIENCE, waiting).await??.is_err(),
        "a dropped call was answered"
    );
    Ok(())
}

async fn a_reset_comes_before_or_after_the_effect(world: World) -> Result<()> {
    let door = Door::to_azure(&world).await?;
    door.gate.rule(Rule::on(IDENTITY).reset_before_send());
    ensure!(door.get().send().await.is_err(), "answered");
    assert_eq!(world.azure.count(Operation::GetIdentity), 0);
    door.gate.rule(Rule::on(IDENTITY).reset_after_commit());
    ensure!(door.get().send().await.is_err(), "answered");
    assert_eq!(world.azure.count(Operation::GetIdentity), 1);
    assert_eq!(door.get().send().await?.status(), 401);
    Ok(())
}

async fn answers_are_replaced_halved_and_delayed(world: World) -> Result<()> {
    let door = Door::to_azure(&world).await?;
    door.gate
        .rule(Rule::on(IDENTITY).answer(429, &[("retry-after", "7")], "slow down"));
    let answer = door.get().send().await?;
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["retry-after"].to_str()?
        ),
        (429, "7")
    );
    assert_eq!(answer.text().await?, "slow down");
    assert_eq!(world.azure.count(Operation::GetIdentity), 0);

    door.gate.rule(Rule::on(IDENTITY).half_body());
    let answer = door.get().send().await?;
    assert_eq!(answer.status(), 401);
    ensure!(answer.bytes().await.is_err(), "the body is whole");

    let delay = Duration::from_millis(200);
    door.gate.rule(Rule::on(IDENTITY).delay_before(delay));
    door.gate.rule(Rule::on(IDENTITY).delay_after(delay));
    for _ in 0..2 {
        assert_eq!(door.get().send().await?.status(), 401);
    }
    let delayed = door.gate.journal().split_off(2);
    let took = |call: &Call| {
        let (sent, answered) = (call.forwarded?, call.answered?);
        Some((sent - call.received >= delay, answered - sent >= delay))
    };
    assert_eq!(
        delayed.iter().map(took).collect::<Vec<_>>(),
        [Some((true, false)), Some((false, true))]
    );
    Ok(())
}

async fn a_call_is_delivered_twice(world: World) -> Result<()> {
    let door = Door::to_azure(&world).await?;
    door.gate.rule(Rule::on(IDENTITY).twice());
    assert_eq!(door.get().send().await?.status(), 401);
    assert_eq!(
        (
            door.gate.journal().len(),
            world.azure.count(Operation::GetIdentity)
        ),
        (1, 2)
    );
    Ok(())
}

async fn rules_count_their_calls(world: World) -> Result<()> {
    let door = Door::to_azure(&world).await?;
    let second = door.gate.rule(Rule::on(IDENTITY).nth(2).answer(502, &[], ""));
    let others = door.gate.rule(
        Rule::when(|call| call.method == "GET")
            .path("/elsewhere")
            .always()
            .answer(503, &[], ""),
    );
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(door.get().send().await?.status().as_u16());
    }
    assert_eq!(statuses, [401, 502, 401]);
    assert_eq!((second.hits().len(), others.hits().len()), (1, 0));
    let elsewhere = format!("{}/elsewhere", door.gate.url());
    assert_eq!(door.client.get(elsewhere).send().await?.status(), 503);
    assert_eq!(others.hits().len(), 1);
    Ok(())
}

async fn a_watch_is_cut_closed_and_silenced(world: World) -> Result<()> {
    let door = Door::to_accounts(&world).await?;
    let watched = async |fault| {
        door.gate
            .rule(Rule::on("k8s GET serviceaccounts (watch)").watch(1, fault));
        anyhow::Ok(Events::of(door.get().send().await?))
    };
    for name in ["a", "b"] {
        world.service_account(name).await?;
    }

    let mut events = watched(WatchFault::CutInEvent).await?;
    assert_eq!(events.next().await?, Some("ADDED a".to_owned()));
    ensure!(events.next().await.is_err(), "not cut");
    let begun = events.rest.starts_with(br#"{"type":"ADDED""#);
    ensure!(begun, "not cut in the middle of an event");

    let mut events = watched(WatchFault::Close).await?;
    assert_eq!(events.next().await?, Some("ADDED a".to_owned()));
    assert_eq!(events.next().await?, None);

    let mut events = watched(WatchFault::Silence).await?;
    assert_eq!(events.next().await?, Some("ADDED a".to_owned()));
    ensure!(timeout(SILENCE, events.next()).await.is_err(), "not silent");
    Ok(())
}

async fn a_watch_repeats_and_loses_events_and_says_gone(world: World) -> Result<()> {
    let door = Door::to_accounts(&world).await?;
    let rule = || Rule::on("k8s GET serviceaccounts (watch)");
    for name in ["a", "b"] {
        world.service_account(name).await?;
    }

    door.gate.rule(rule().watch(1, WatchFault::Repeat));
    let mut events = Events::of(door.get().send().await?);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(events.next().await?);
    }
    assert_eq!(seen, ["ADDED a", "ADDED b", "ADDED b"]);

    door.gate.rule(rule().watch(1, WatchFault::Gone));
    let mut events = Events::of(door.get().send().await?);
    assert_eq!(events.next().await?, Some("ADDED a".to_owned()));
    assert_eq!(events.next().await?, Some("ERROR 410".to_owned()));
    assert_eq!(events.next().await?, None);

    door.gate
        .rule(rule().only_events(|event| event["object"]["metadata"]["name"] != "a"));
    let mut events = Events::of(door.get().send().await?);
    assert_eq!(events.next().await?, Some("ADDED b".to_owned()));

    door.gate.rule(rule().kubernetes_status(410, "Expired"));
    assert_eq!(door.get().send().await?.status(), 410);
    Ok(())
}

async fn a_frozen_gate_lets_nothing_through_until_it_thaws(world: World) -> Result<()> {
    let door = Door::to_accounts(&world).await?;
    let mut events = Events::of(door.get().send().await?);
    door.gate.freeze();
    world.service_account("a").await?;
    ensure!(
        timeout(SILENCE, events.next()).await.is_err(),
        "an event came through"
    );
    let fresh = tokio::spawn(client(&door.gate)?.get(door.gate.url()).send());
    tokio::time::sleep(SILENCE).await;
    ensure!(!fresh.is_finished(), "a new connection was answered");
    assert_eq!(door.gate.journal().len(), 1);

    door.gate.thaw();
    assert_eq!(events.next().await?, Some("ADDED a".to_owned()));
    ensure!(
        timeout(PATIENCE, fresh).await??.is_ok(),
        "a new connection was not answered"
    );
    Ok(())
}

async fn a_gate_refuses_and_accepts_again(world: World) -> Result<()> {
    let door = Door::to_accounts(&world).await?;
    let mut events = Events::of(door.get().send().await?);
    door.gate.refuse().await;
    let refused = client(&door.gate)?.get(door.gate.url()).send().await;
    ensure!(refused.is_err_and(|error| error.is_connect()), "not refused");
    world.service_account("a").await?;
    assert_eq!(events.next().await?, Some("ADDED a".to_owned()));

    door.gate.cut();
    ensure!(events.next().await.is_err(), "the connection stands");
    ensure!(door.get().send().await.is_err(), "connected");
    door.gate.accept().await?;
    assert_eq!(door.get().send().await?.status(), 200);
    Ok(())
}

async fn a_closed_gate_has_delivered_what_it_had_sent(world: World) -> Result<()> {
    let door = Door::to_azure(&world).await?;
    world
        .azure
        .fault(azure_emulator::Fault::on(Operation::GetIdentity).action(
            azure_emulator::FaultAction::DelayAfterCommit(Duration::from_millis(300)),
        ));
    let waiting = tokio::spawn(door.get().send());
    world
        .until("the call is under way", || {
            world.azure.count(Operation::GetIdentity) == 1
        })
        .await?;
    timeout(PATIENCE, door.gate.close()).await?;
    ensure!(waiting.await?.is_err(), "answered by a closed gate");
    let call = door.gate.journal().pop().context("no call")?;
    assert_eq!((call.status, call.answered), (Some(401), None));
    ensure!(door.get().send().await.is_err(), "a closed gate answers");
    Ok(())
}

/// A gate, and a client in front of it.
struct Door {
    gate: Gate,
    client: Client,
    target: String,
    token: String,
}

impl Door {
    /// Asks for an identity, without a token that Azure would take.
    async fn to_azure(world: &World) -> Result<Self> {
        let gate = Gate::open(Transport::Azure, world.azure.url(), world.azure.ca_pem()).await?;
        let identity = world.identity("web").resource_id;
        let target = format!("{identity}?api-version=2023-01-31");
        Ok(Self {
            client: client(&gate)?,
            gate,
            target,
            token: "none".to_owned(),
        })
    }

    /// Watches the ServiceAccounts of the namespace, from now on.
    async fn to_accounts(world: &World) -> Result<Self> {
        let control_plane = &world.cluster.control_plane;
        let gate = Gate::open(Transport::Kubernetes, control_plane.url(), control_plane.ca_pem()).await?;
        let now = world.service_accounts().list(&ListParams::default()).await?;
        let namespace = &world.namespace;
        let version = now.metadata.resource_version.unwrap_or_default();
        // A controller makes `default` when it comes to it.
        let query = format!("watch=true&fieldSelector=metadata.name!=default&resourceVersion={version}");
        Ok(Self {
            client: client(&gate)?,
            gate,
            target: format!("/api/v1/namespaces/{namespace}/serviceaccounts?{query}"),
            token: std::fs::read_to_string(world.directory().join("api-token"))?,
        })
    }

    fn get(&self) -> RequestBuilder {
        let url = format!("{}{}", self.gate.url(), self.target);
        self.client.get(url).bearer_auth(&self.token)
    }
}

/// A client with connections of its own that trusts the gate.
fn client(gate: &Gate) -> Result<Client> {
    let ca = Certificate::from_pem(gate.ca_pem().as_bytes())?;
    Ok(Client::builder().tls_certs_only([ca]).no_proxy().build()?)
}

/// The events of a watch.
struct Events {
    answer: Response,
    rest: Vec<u8>,
}

impl Events {
    fn of(answer: Response) -> Self {
        let rest = Vec::new();
        Self { answer, rest }
    }

    /// Type and name, or code, of the next one.
    async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line)?;
                let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
                let name = object["metadata"]["name"].as_str();
                let what = name.map_or_else(|| object["code"].to_string(), str::to_owned);
                return Ok(Some(format!("{kind} {what}")));
            }
            match self.answer.chunk().await? {
                Some(part) => self.rest.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}
