use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::Adoption;
use crate::azure::Operation;
use crate::core::plan;
use crate::core::{Credential, Tuple};

/// An identity in memory that can lie, refuse and be slow.
#[derive(Default)]
struct Fake {
    held: Mutex<Holdings>,
    /// Lists answer this instead, when set.
    stale: Mutex<Option<Holdings>>,
    refuse: Mutex<Option<AzureError>>,
    gets: AtomicUsize,
    lists: AtomicUsize,
    writes: AtomicUsize,
    in_flight: AtomicUsize,
    overlaps: AtomicUsize,
    log: Mutex<Vec<Step>>,
}

impl Fake {
    fn refusal(&self) -> Result<(), AzureError> {
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn write(&self, step: Step) -> Result<(), AzureError> {
        self.writes.fetch_add(1, SeqCst);
        self.log.lock().unwrap().push(step.clone());
        if self.in_flight.fetch_add(1, SeqCst) > 0 {
            self.overlaps.fetch_add(1, SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.in_flight.fetch_sub(1, SeqCst);
        self.refusal()?;
        plan::apply(&mut self.held.lock().unwrap(), &step);
        Ok(())
    }
}

#[async_trait]
impl ManagedIdentities for Fake {
    async fn identity(&self, _: &IdentityId) -> Result<Identity, AzureError> {
        self.gets.fetch_add(1, SeqCst);
        self.refusal()?;
        Ok(Identity {
            client_id: "c".into(),
            principal_id: "p".into(),
            tenant_id: "t".into(),
        })
    }

    async fn credentials(&self, _: &IdentityId) -> Result<Holdings, AzureError> {
        self.lists.fetch_add(1, SeqCst);
        self.refusal()?;
        let stale = self.stale.lock().unwrap().clone();
        Ok(stale.unwrap_or_else(|| self.held.lock().unwrap().clone()))
    }

    async fn put(&self, _: &IdentityId, credential: &Credential) -> Result<(), AzureError> {
        self.write(Step::Put(credential.clone())).await
    }

    async fn delete(&self, _: &IdentityId, name: &str) -> Result<(), AzureError> {
        self.write(Step::Delete(name.to_owned())).await
    }
}

struct Half;

impl Jitter for Half {
    fn draw(&self) -> f64 {
        0.5
    }
}

const PARTY: Flow<'_> = Flow {
    namespace: "shop",
    priority: crate::fairness::Priority::Usual,
};

const AGE: Duration = Duration::from_mins(1);

fn credential(n: usize) -> Credential {
    Credential::named_by_us(
        "wib",
        Tuple::for_service_account("https://i/", "shop", &format!("sa{n}"), "aud"),
    )
}

fn put_step(n: usize) -> Step {
    Step::Put(credential(n))
}

fn put(n: usize) -> PlanInput {
    let credential = credential(n);
    PlanInput {
        adoption: Adoption::IfEqual,
        recorded: vec![credential.name.clone()],
        displaceable: Vec::new(),
        credential,
    }
}

async fn delete(lane: &Lane, n: usize) -> Result<(), AzureError> {
    let mut results = lane.delete(AGE, PARTY, &[credential(n).name]).await?;
    results.remove(0).1
}

fn lane(azure: &Arc<Fake>) -> Arc<Lane> {
    let id = IdentityId::new("00000000-0000-0000-0000-00000000000a", "g", "web").unwrap();
    let limiter = Arc::new(RateLimiter::new(
        crate::azure::Pacing::default(),
        CancellationToken::new(),
    ));
    Lanes::new(azure.clone(), limiter, LaneSettings::default(), Arc::new(Half)).lane(&id)
}

fn error(fault: Fault, retry_after: Option<Duration>) -> AzureError {
    AzureError {
        operation: Operation::PutCredential,
        fault,
        status: None,
        code: None,
        message: String::new(),
        request_id: None,
        retry_after,
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_bindings_make_one_read_and_never_write_at_the_same_time() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    let work = (0..20).map(|n| {
        let lane = lane.clone();
        tokio::spawn(async move {
            lane.snapshot(AGE, PARTY).await.unwrap();
            lane.write(AGE, PARTY, &put(n)).await.unwrap();
        })
    });
    for task in work.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!((azure.gets.load(SeqCst), azure.lists.load(SeqCst)), (1, 1));
    assert_eq!((azure.writes.load(SeqCst), azure.overlaps.load(SeqCst)), (20, 0));
    assert_eq!(lane.snapshot(AGE, PARTY).await.unwrap().holdings.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lacks_our_own_write_is_stale_until_the_grace_is_over() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
    *azure.stale.lock().unwrap() = Some(Holdings::default());
    assert_eq!(
        lane.snapshot(Duration::ZERO, PARTY).await.unwrap().holdings,
        vec![credential(1)].into()
    );
    tokio::time::advance(LaneSettings::default().grace).await;
    assert!(
        lane.snapshot(Duration::ZERO, PARTY)
            .await
            .unwrap()
            .holdings
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_shared_for_a_moment() {
    let azure = Arc::new(Fake::default());
    *azure.refuse.lock().unwrap() = Some(error(Fault::IdentityGone, None));
    let lane = lane(&azure);
    for _ in 0..5 {
        assert!(lane.snapshot(AGE, PARTY).await.is_err());
    }
    assert_eq!(azure.gets.load(SeqCst), 1);
    *azure.refuse.lock().unwrap() = None;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(lane.snapshot(AGE, PARTY).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_lane_rests_for_as_long_as_azure_asked() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.snapshot(AGE, PARTY).await.unwrap();
    *azure.refuse.lock().unwrap() = Some(error(Fault::Throttled, Some(Duration::from_secs(45))));
    assert!(lane.write(AGE, PARTY, &put(1)).await.is_err());
    *azure.refuse.lock().unwrap() = None;
    let refused = lane.write(AGE, PARTY, &put(1)).await.unwrap_err();
    assert!(refused.retry_after > Some(Duration::from_secs(44)));
    assert_eq!(azure.writes.load(SeqCst), 1, "no call while the lane rests");
    tokio::time::advance(Duration::from_secs(46)).await;
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_write_without_an_answer_the_lane_reads_first() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.snapshot(AGE, PARTY).await.unwrap();
    *azure.refuse.lock().unwrap() = Some(error(Fault::Unavailable, None));
    assert!(lane.write(AGE, PARTY, &put(1)).await.is_err());
    *azure.refuse.lock().unwrap() = None;
    // The write had been carried out after all.
    azure.held.lock().unwrap().credentials.push(credential(1));
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
    assert_eq!((azure.lists.load(SeqCst), azure.writes.load(SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_cancelled_makes_the_lane_read_again() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    let cancelled = tokio::time::timeout(Duration::from_millis(10), lane.write(AGE, PARTY, &put(1))).await;
    assert!(cancelled.is_err());
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
    assert_eq!(azure.lists.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn removals_go_before_what_waits_and_namespaces_take_turns() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.snapshot(AGE, PARTY).await.unwrap();
    let flow = |namespace, priority| Flow { namespace, priority };
    let usual = crate::fairness::Priority::Usual;
    let queue = [
        ("big", usual, Some(1)),
        ("big", usual, Some(2)),
        ("big", usual, Some(3)),
        ("small", usual, Some(4)),
        ("small", crate::fairness::Priority::First, None),
    ];
    let mut tasks = Vec::new();
    for (namespace, priority, step) in queue {
        let lane = lane.clone();
        tasks.push(tokio::spawn(async move {
            let flow = flow(namespace, priority);
            match step {
                Some(n) => drop(lane.write(AGE, flow, &put(n)).await.unwrap()),
                None => drop(lane.delete(AGE, flow, &["old".to_owned()]).await.unwrap()),
            }
        }));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    let order: Vec<_> = azure.log.lock().unwrap().clone();
    let expected = [
        put_step(1),
        Step::Delete("old".into()),
        put_step(2),
        put_step(4),
        put_step(3),
    ];
    assert_eq!(order, expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_documented_is_kept_to_after_a_refusal() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.snapshot(AGE, PARTY).await.unwrap();
    *azure.refuse.lock().unwrap() = Some(error(Fault::Throttled, Some(Duration::from_secs(4))));
    assert!(lane.write(AGE, PARTY, &put(0)).await.is_err());
    *azure.refuse.lock().unwrap() = None;
    let started = Instant::now();
    for n in 0..5 {
        lane.write(AGE, PARTY, &put(n)).await.unwrap();
    }
    // One after the four seconds that Azure asked for, and then one in four seconds.
    let took = started.elapsed().as_secs_f64();
    assert!((19.0..21.5).contains(&took), "{took} s");
    let waiting = lane.limiter.check(Operation::PutCredential, 9).unwrap_err();
    assert!(waiting.wait > Duration::from_secs(30) && !waiting.asked);
}

#[tokio::test(start_paused = true)]
async fn the_writer_rests_after_it_met_another_client() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.snapshot(AGE, PARTY).await.unwrap();
    *azure.refuse.lock().unwrap() = Some(error(Fault::Contended, None));
    for _ in 0..4 {
        assert!(lane.write(AGE, PARTY, &put(1)).await.is_err());
    }
    *azure.refuse.lock().unwrap() = None;
    let started = Instant::now();
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
    // Half of a bound that has doubled three times: 1, 2, 4, 8 seconds.
    let rested = started.elapsed();
    assert!(rested >= Duration::from_secs(4), "{rested:?}");
    assert_eq!(lane.contended.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shared_failure_says_when_azure_is_asked_again() {
    let azure = Arc::new(Fake::default());
    *azure.refuse.lock().unwrap() = Some(error(Fault::Unavailable, None));
    let lane = lane(&azure);
    let first = lane.snapshot(AGE, PARTY).await.unwrap_err();
    assert_eq!(first.retry_after, Some(LaneSettings::default().share_failure));
    tokio::time::advance(Duration::from_millis(400)).await;
    let second = lane.snapshot(AGE, PARTY).await.unwrap_err();
    assert_eq!(second.retry_after, Some(Duration::from_millis(600)));
    assert_eq!(azure.gets.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_just_deleted_is_not_deleted_again() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.snapshot(AGE, PARTY).await.unwrap();
    // What no list shows may be on its way, so it is sent until it is not refused.
    *azure.refuse.lock().unwrap() = Some(error(Fault::Contended, None));
    assert!(delete(&lane, 1).await.is_err());
    *azure.refuse.lock().unwrap() = None;
    delete(&lane, 1).await.unwrap();
    delete(&lane, 1).await.unwrap();
    assert_eq!(azure.writes.load(SeqCst), 2);
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
    delete(&lane, 1).await.unwrap();
    assert_eq!(azure.writes.load(SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_delete_without_an_answer_is_done_only_if_a_list_had_shown_what_is_gone() {
    for (listed, writes) in [(true, 1), (false, 2)] {
        let azure = Arc::new(Fake::default());
        if listed {
            azure.held.lock().unwrap().credentials.push(credential(1));
        }
        let lane = lane(&azure);
        lane.snapshot(AGE, PARTY).await.unwrap();
        *azure.refuse.lock().unwrap() = Some(error(Fault::Unavailable, None));
        assert!(delete(&lane, 1).await.is_err());
        *azure.refuse.lock().unwrap() = None;
        *azure.held.lock().unwrap() = Holdings::default();
        delete(&lane, 1).await.unwrap();
        assert_eq!(azure.writes.load(SeqCst), writes, "listed: {listed}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_counted_and_told_once() {
    let azure = Arc::new(Fake::default());
    azure.held.lock().unwrap().unreadable = vec!["flexible".to_owned(), String::new()];
    let lane = lane(&azure);
    lane.snapshot(AGE, PARTY).await.unwrap();
    // The lane has told of it already.
    assert_eq!(lane.view().newly_unreadable(), None);
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
    assert_eq!(lane.view().held(), Some(3));
    azure.held.lock().unwrap().unreadable.pop();
    lane.snapshot(Duration::ZERO, PARTY).await.unwrap();
    assert_eq!(lane.view().told_unreadable(), 1);
}

#[tokio::test(start_paused = true)]
async fn ours_that_became_unreadable_right_after_our_write_is_not_taken_for_ours() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    lane.write(AGE, PARTY, &put(1)).await.unwrap();
    let edited = Holdings {
        credentials: Vec::new(),
        unreadable: vec![credential(1).name],
    };
    *azure.held.lock().unwrap() = edited.clone();
    tokio::time::advance(Duration::from_secs(1)).await;
    let seen = lane.snapshot(Duration::ZERO, PARTY).await.unwrap();
    assert_eq!(seen.holdings, edited);
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_an_identity_is_gone_is_asked_about_again() {
    for answers in [Fault::IdentityGone, Fault::ResourceGroupGone] {
        let azure = Arc::new(Fake::default());
        let lane = lane(&azure);
        lane.write(AGE, PARTY, &put(1)).await.unwrap();
        *azure.refuse.lock().unwrap() = Some(error(answers, None));
        let recovers = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            *azure.refuse.lock().unwrap() = None;
        };
        let (deleted, ()) = tokio::join!(delete(&lane, 1), recovers);
        deleted.unwrap();
        assert!(azure.held.lock().unwrap().is_empty(), "{answers:?}: it stands");
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_stays_gone_is_gone() {
    let azure = Arc::new(Fake::default());
    let lane = lane(&azure);
    *azure.refuse.lock().unwrap() = Some(error(Fault::IdentityGone, None));
    let began = Instant::now();
    for _ in 0..3 {
        let gone = delete(&lane, 1).await.unwrap_err();
        assert_eq!(gone.fault, Fault::IdentityGone);
    }
    assert_eq!(began.elapsed(), BELIEVED_AFTER, "once is enough");
    assert_eq!(azure.lists.load(SeqCst), 2);
}
