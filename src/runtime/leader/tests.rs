//! Elections on a paused clock, against an API server that enforces versions.

mod api;

use std::time::Duration;

use http::Method;
use jiff::{Timestamp, ToSpan};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fence::FenceLayer;
use super::*;
use api::{ApiServer, Link, Mode};

struct Replica {
    link: Link,
    leadership: Leadership,
    release: CancellationToken,
    task: JoinHandle<Result<(), Lost>>,
}

impl Replica {
    fn start(server: &ApiServer, who: &'static str) -> Self {
        Self::start_as(server, who, who.to_owned())
    }

    fn start_as(server: &ApiServer, who: &'static str, identity: String) -> Self {
        let link = server.link(who);
        let settings = Settings {
            namespace: "ns".to_owned(),
            name: "lease".to_owned(),
            identity,
            duration: seconds(15),
        };
        let (election, leadership) = Election::new(link.client(), settings);
        let release = CancellationToken::new();
        let task = tokio::spawn(election.run(release.clone(), || {}));
        Self {
            link,
            leadership,
            release,
            task,
        }
    }

    async fn leader(server: &ApiServer, who: &'static str) -> Self {
        let replica = Self::start(server, who);
        replica.leadership.acquired().await;
        replica
    }

    fn leads(&self) -> bool {
        !self.leadership.left().is_zero()
    }

    /// How it was lost, and how long after now.
    async fn lost(self) -> (String, Duration) {
        let started = Instant::now();
        let lost = tokio::time::timeout(seconds(60), self.task).await;
        let lost = lost.expect("it goes on").unwrap().unwrap_err();
        assert!(self.leadership.left().is_zero(), "lost, and still with a claim");
        (lost.to_string(), started.elapsed())
    }

    /// A stop as asked for.
    async fn stop(self) {
        self.release.cancel();
        let ended = tokio::time::timeout(seconds(60), self.task).await;
        assert!(ended.expect("it does not stop").unwrap().is_ok());
        assert!(self.leadership.left().is_zero());
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A lease of somebody else.
fn foreign(holder: &str, renewed: Timestamp) -> Value {
    json!({ "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 4,
            "acquireTime": renewed, "renewTime": renewed })
}

// --- Taking it ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn of_two_candidates_one_wins_and_keeps_it() {
    let server = ApiServer::default();
    let (a, b) = (Replica::start(&server, "a"), Replica::start(&server, "b"));
    sleep(seconds(1)).await;
    assert!(a.leads() != b.leads());
    let holder = server.spec()["holderIdentity"].clone();
    for _ in 0..600 {
        sleep(seconds(1)).await;
        assert!(a.leads() != b.leads());
        assert!(
            a.leadership.left().max(b.leadership.left()) > seconds(8),
            "renewed late"
        );
    }
    assert_eq!(server.spec()["holderIdentity"], holder);
    assert_eq!(server.spec()["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn the_record_is_what_kubernetes_programs_expect() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    let made = server.spec();
    assert_eq!(
        (
            &made["holderIdentity"],
            &made["leaseDurationSeconds"],
            &made["leaseTransitions"]
        ),
        (&json!("a"), &json!(15), &json!(0))
    );
    assert!(made["acquireTime"].is_string() && made["acquireTime"] == made["renewTime"]);
    sleep(seconds(6)).await;
    let renewed = server.spec();
    assert_eq!(renewed["acquireTime"], made["acquireTime"]);
    assert_eq!(renewed["leaseTransitions"], 0);
    assert!(renewed["renewTime"] != made["renewTime"]);
    a.stop().await;
    let vacant = server.spec();
    assert_eq!(
        (&vacant["holderIdentity"], &vacant["acquireTime"]),
        (&Value::Null, &Value::Null)
    );
    let _b = Replica::leader(&server, "b").await;
    assert_eq!(server.spec()["leaseTransitions"], 1);
    assert!(server.spec()["acquireTime"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_stop_hands_over_and_a_standby_takes_it_at_its_next_look() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    let b = Replica::start(&server, "b");
    sleep(seconds(30)).await;
    a.stop().await;
    let stopped = Instant::now();
    b.leadership.acquired().await;
    // Without a watch; with one it is at once.
    assert!(stopped.elapsed() <= seconds(5), "{:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn clocks_of_others_a_day_off_neither_shorten_nor_prolong_their_claim() {
    for days in [-1, 0, 1] {
        let server = ApiServer::default();
        let renew = || {
            let renewed = Timestamp::now() + (24 * days).hours();
            server.edit(|lease| lease["spec"] = foreign("other", renewed));
        };
        renew();
        let a = Replica::start(&server, "a");
        for _ in 0..20 {
            sleep(seconds(10)).await;
            assert!(!a.leads(), "taken from a leader that renews, {days} days off");
            renew();
        }
        let silent = Instant::now();
        a.leadership.acquired().await;
        let took = silent.elapsed();
        // Its whole duration, and what passes until it is seen without a watch.
        assert!(
            took >= seconds(15) && took <= seconds(21),
            "{days} days off: {took:?}"
        );
        assert_eq!(server.spec()["leaseTransitions"], 5);
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_in_the_lease_is_waited_for_or_taken_and_never_for_ever() {
    for (spec, longest) in [
        (Value::Null, 1),
        (json!({}), 1),
        (json!({ "holderIdentity": "" }), 1),
        (json!({ "holderIdentity": "x" }), 16),
        (json!({ "holderIdentity": "x", "leaseDurationSeconds": 0 }), 16),
        (json!({ "holderIdentity": "x", "leaseDurationSeconds": -7 }), 16),
        (
            json!({ "holderIdentity": "x", "leaseDurationSeconds": i32::MAX, "leaseTransitions": i32::MAX }),
            301,
        ),
        (
            json!({ "holderIdentity": "\u{1b}[31m".repeat(5000), "leaseTransitions": -3 }),
            16,
        ),
    ] {
        let server = ApiServer::default();
        server.edit(|lease| lease["spec"] = spec.clone());
        let (started, a) = (Instant::now(), Replica::start(&server, "a"));
        tokio::time::timeout(seconds(longest), a.leadership.acquired())
            .await
            .unwrap_or_else(|_| panic!("not taken: {spec}"));
        if spec["holderIdentity"] == "x" {
            assert!(started.elapsed() >= seconds(15), "taken early: {spec}");
        }
        assert_eq!(server.spec()["leaseDurationSeconds"], 15);
    }
}

#[tokio::test(start_paused = true)]
async fn a_predecessor_of_the_same_name_is_another_holder() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "pod_1").await;
    a.task.abort();
    let killed = Instant::now();
    let b = Replica::start(&server, "pod_2");
    b.leadership.acquired().await;
    assert!(killed.elapsed() >= seconds(14), "{:?}", killed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_may_not_read_the_lease_goes_on_asking() {
    let server = ApiServer::default();
    let a = Replica::start(&server, "a");
    a.link.set(Mode::Refused(403));
    sleep(seconds(300)).await;
    assert!(!a.task.is_finished() && !a.leads());
    a.link.set(Mode::Up);
    tokio::time::timeout(seconds(5), a.leadership.acquired())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_take_over_whose_answer_is_lost_is_recognised() {
    let server = ApiServer::default();
    let a = Replica::start(&server, "a");
    a.link.set(Mode::Deaf);
    // The read hangs; the server knows nothing of a lease yet.
    sleep(seconds(1)).await;
    a.link.set(Mode::Slow(Duration::ZERO, seconds(2)));
    sleep(seconds(5)).await;
    a.link.set(Mode::Deaf);
    sleep(seconds(1)).await;
    a.link.set(Mode::Up);
    tokio::time::timeout(seconds(10), a.leadership.acquired())
        .await
        .unwrap();
    assert_eq!(server.spec()["holderIdentity"], "a");
}

// --- Losing it ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_ends_before_another_begins() {
    for mode in [
        Mode::Cut,
        Mode::Deaf,
        Mode::Refused(403),
        Mode::Refused(500),
        Mode::Refused(429),
    ] {
        let server = ApiServer::default();
        let a = Replica::leader(&server, "a").await;
        let b = Replica::start(&server, "b");
        sleep(seconds(12)).await;
        a.link.set(mode);
        let ended = async {
            let (why, after) = a.lost().await;
            assert!(why.contains("has run out") && why.contains("ns/lease"), "{why}");
            // The last renewal is 2 s old.
            if mode != Mode::Deaf {
                assert!(
                    after <= seconds(12) && after >= seconds(11),
                    "{mode:?}: {after:?}"
                );
            }
            Instant::now()
        };
        let begun = async {
            b.leadership.acquired().await;
            Instant::now()
        };
        let (ended, begun) = tokio::join!(ended, begun);
        // The tenth of the lease that lies between the two.
        assert!(
            begun >= ended + seconds(1),
            "{mode:?}: {:?}",
            begun.checked_duration_since(ended)
        );
        assert!(begun <= ended + seconds(20), "{mode:?}: nobody leads");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_costs_three_seconds_and_not_the_claim() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    for mode in [Mode::Cut, Mode::Deaf, Mode::Refused(503)] {
        sleep(Duration::from_millis(4_900)).await;
        a.link.set(mode);
        sleep(seconds(3)).await;
        a.link.set(Mode::Up);
        sleep(seconds(5)).await;
        assert!(
            a.leadership.left() > seconds(8),
            "{mode:?}: {:?}",
            a.leadership.left()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_counts_from_the_request() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    a.link.set(Mode::Slow(seconds(1), Duration::from_millis(1_500)));
    sleep(Duration::from_millis(7_600)).await;
    // Asked at 5 s, answered at 7.5 s, claimed until 18.5 s.
    let left = a.leadership.left();
    assert!(
        left <= Duration::from_millis(10_950) && left > seconds(10),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_touches_the_lease_but_leaves_the_holder_does_no_harm() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    for at in 0..20 {
        sleep(seconds(3)).await;
        server.edit(|lease| lease["metadata"]["labels"] = json!({ "touched": at.to_string() }));
        assert!(a.leads());
    }
    sleep(seconds(6)).await;
    assert_eq!(
        server.lease().unwrap()["metadata"]["labels"]["touched"],
        "19",
        "the label was lost"
    );
    assert!(a.leads());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_taken_cleared_or_deleted_ends_the_leader_without_a_write() {
    type Deed = fn(&ApiServer);
    let deeds: [(Deed, &str); 4] = [
        (
            |s| s.edit(|l| l["spec"] = foreign("b", Timestamp::now())),
            "is held by \"b\" now",
        ),
        (
            |s| s.edit(|l| l["spec"]["holderIdentity"] = Value::Null),
            "was cleared",
        ),
        (ApiServer::delete, "was deleted"),
        (
            |s| {
                s.delete();
                s.edit(|l| l["spec"] = foreign("b", Timestamp::now()));
            },
            "is held by \"b\" now",
        ),
    ];
    for (deed, told) in deeds {
        let server = ApiServer::default();
        let a = Replica::leader(&server, "a").await;
        sleep(seconds(7)).await;
        let writes = server.writes().len();
        deed(&server);
        let (why, after) = a.lost().await;
        assert!(why.contains(told), "{why}");
        assert!(after <= seconds(5), "{after:?}");
        assert_eq!(server.writes().len(), writes, "{told}: the old leader wrote");
    }
}

// --- Giving it back -----------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn giving_it_back_never_clears_another_holder() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    let before = foreign("b", Timestamp::now());
    server.edit(|lease| lease["spec"] = before.clone());
    a.stop().await;
    assert_eq!(server.spec(), before);

    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    server.delete();
    a.stop().await;
    assert_eq!(server.lease(), None);
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_stops_writes_nothing() {
    let server = ApiServer::default();
    let _a = Replica::leader(&server, "a").await;
    let b = Replica::start(&server, "b");
    sleep(seconds(20)).await;
    b.stop().await;
    assert!(server.writes().iter().all(|(who, _)| *who == "a"));
    assert_eq!(server.spec()["holderIdentity"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_an_api_server_takes_one_deadline() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    a.link.set(Mode::Cut);
    let asked = Instant::now();
    a.stop().await;
    assert!(asked.elapsed() <= seconds(3), "{:?}", asked.elapsed());
    assert_eq!(server.spec()["holderIdentity"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_was_cut_by_the_stop_does_not_keep_the_lease() {
    let server = ApiServer::default();
    let a = Replica::leader(&server, "a").await;
    // The renewal at 5 s is carried out, and its answer is under way when the stop comes.
    a.link.set(Mode::Slow(Duration::ZERO, Duration::from_millis(400)));
    sleep(Duration::from_millis(5_200)).await;
    a.stop().await;
    assert_eq!(server.spec()["holderIdentity"], Value::Null);
}

// --- The fence ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn without_a_claim_only_reads_reach_the_api_server() {
    let server = ApiServer::default();
    let (publish, claim) = tokio::sync::watch::channel(Claim::None);
    let leadership = Leadership::new(claim);
    let (link, inner) = (server.link("a"), server.link("a").client());
    let service = tower::service_fn(move |request| {
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    drop(link);
    let client = ClientBuilder::new(service, "ns")
        .with_layer(&FenceLayer(leadership))
        .build();
    let api: Api<ConfigMap> = Api::namespaced(client, "ns");
    let object: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "lease" } })).unwrap();
    let patch = Patch::Apply(&object);
    let params = PatchParams::apply("test");

    let changes = async || {
        [
            api.create(&PostParams::default(), &object).await.err(),
            api.replace("lease", &PostParams::default(), &object).await.err(),
            api.patch("lease", &params, &patch).await.err(),
            api.patch_status("lease", &params, &patch).await.err(),
            api.delete("lease", &DeleteParams::default()).await.err(),
            api.delete_collection(&DeleteParams::default(), &kube::api::ListParams::default())
                .await
                .err(),
        ]
        .map(|error| error.map(|e| e.to_string()).unwrap_or_default())
    };
    for refusal in changes().await {
        assert!(
            refusal.contains("nothing is changed without a claim"),
            "{refusal}"
        );
    }
    assert_eq!(server.writes(), []);
    assert!(
        api.get("lease")
            .await
            .unwrap_err()
            .to_string()
            .contains("refused"),
        "reads pass"
    );

    publish.send_replace(Claim::Until(Instant::now() + seconds(5)));
    let answers = changes().await;
    assert_eq!(answers[0], "", "a create under a claim");
    assert_eq!(server.writes(), [("a", Method::POST)]);
    sleep(Duration::from_millis(4_600)).await;
    for refusal in changes().await {
        assert!(
            refusal.contains("nothing is changed without a claim"),
            "{refusal}"
        );
    }
}

// --- Anything at once -----------------------------------------------------------------------------

/// Three replicas, links that fail at random: never two claims at a time, and soon one when the faults end.
#[tokio::test(start_paused = true)]
async fn whatever_the_links_do_there_are_never_two_claims() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let (mut faults, mut losses, mut handovers) = (0, 0, 0);
    for seed in 1..=8_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let server = ApiServer::default();
        let mut replicas = NAMES.map(|name| Replica::start(&server, name));
        let mut last = Value::Null;
        for step in 0..2_400 {
            sleep(Duration::from_millis(250)).await;
            let leaders = replicas.iter().filter(|r| r.leads()).count();
            assert!(leaders <= 1, "seed {seed}, step {step}: {leaders} leaders");
            for (replica, name) in replicas.iter_mut().zip(NAMES) {
                if replica.task.is_finished() {
                    // As the kubelet does. The new process is nobody's heir.
                    losses += 1;
                    *replica = Replica::start_as(&server, name, format!("{name}_{losses}"));
                }
                if draw(100) < 3 {
                    faults += 1;
                    replica.link.set(match draw(6) {
                        0 => Mode::Cut,
                        1 => Mode::Deaf,
                        2 => Mode::Refused(503),
                        3 => Mode::Slow(
                            Duration::from_millis(draw(4_000)),
                            Duration::from_millis(draw(4_000)),
                        ),
                        _ => Mode::Up,
                    });
                }
            }
            match draw(1_500) {
                0 => server.edit(|lease| lease["metadata"]["labels"] = json!({ "step": step.to_string() })),
                1 => replicas[usize::try_from(draw(3)).unwrap()].release.cancel(),
                _ => {}
            }
            let holder = server.spec()["holderIdentity"].clone();
            handovers += usize::from(holder != last);
            last = holder;
        }
        for replica in &replicas {
            replica.link.set(Mode::Up);
        }
        sleep(seconds(40)).await;
        for (replica, name) in replicas.iter_mut().zip(NAMES) {
            if replica.task.is_finished() {
                losses += 1;
                *replica = Replica::start_as(&server, name, format!("{name}_{losses}"));
            }
        }
        sleep(seconds(25)).await;
        assert_eq!(
            replicas.iter().filter(|r| r.leads()).count(),
            1,
            "seed {seed}: nobody leads"
        );
        for replica in &replicas {
            replica.task.abort();
        }
    }
    println!("{faults} faults, {losses} ends, {handovers} changes of holder, no overlap");
    assert!(faults > 1_000 && losses > 50 && handovers > 50);
}
