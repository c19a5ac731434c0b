//! Plays a scenario without faults, and then with a crash at each of its calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wib_harness::gate::{Rule, Transport};
use wib_harness::{Cluster, World};

use super::oracles::{Observed, is_write, violations};
use super::snapshot::{Names, Snapshot};
use super::stage::Stage;
use crate::runner;

/// How many runs go on at the same time, of all scenarios together: they wait more than they work.
static SLOTS: Semaphore = Semaphore::const_new(8);

/// Runs of one scenario that ask for a slot.
const AT_ONCE: usize = 8;

/// How long the run without faults has to be quiet: its calls are the points.
const REST: Duration = Duration::from_millis(600);

/// Time until the world is as it should be, after the scenario and its crashes are over.
const CONVERGENCE: Duration = Duration::from_secs(45);

/// Longest run.
const DEADLINE: Duration = Duration::from_mins(4);

/// Of how many points one may not come: fewer show that the calls are what the scenario is taken for.
const ABSENT: usize = 10;

/// How many violations are told in full.
const TOLD: usize = 12;

/// What is played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scenario {
    pub name: &'static str,
    /// Flags of the operator.
    pub flags: &'static [&'static str],
    /// Whose tokens Entra takes for which identity at the end.
    pub pairs: &'static [(&'static str, &'static str, bool)],
    /// People and the clock race with the operator: the calls on the way are not the same every time.
    pub racing: bool,
}

/// Where an operator crashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub transport: Transport,
    pub signature: String,
    /// Counted from 1.
    pub occurrence: u32,
    pub committed: bool,
}

impl Point {
    /// The call is held, and the operator killed, before it is sent or once it has been answered.
    pub fn rule(&self) -> Rule {
        let rule = Rule::on(&self.signature).nth(self.occurrence);
        if self.committed {
            rule.park_after_commit()
        } else {
            rule.park_before_send()
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.committed { "after" } else { "before" };
        write!(formatter, "{when} {} #{}", self.signature, self.occurrence)
    }
}

/// A run that has ended.
struct Run {
    observed: Observed,
    violations: Vec<String>,
    /// Points at which an operator crashed.
    reached: usize,
}

/// Explores every point of a scenario.
pub async fn explore<P, F>(world: World, scenario: Scenario, play: P) -> Result<()>
where
    P: Fn(Arc<Stage>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let explorer = Explorer {
        cluster: world.cluster.clone(),
        scenario,
        play,
    };
    let begun = Instant::now();
    let (reference, calls) = explorer.reference().await?;
    let points = points(&calls);
    let singles = points.iter().cloned().map(|point| vec![point]).collect();
    let (mut failures, absent) = explorer.check_all(&reference, singles).await;
    if absent.len() * ABSENT > points.len() {
        failures.push(format!("these calls did not come, twice: {}", absent.join("; ")));
    }
    let mut figure = format!(
        "crash {}: {} calls, {} points ({} did not come again), {} violations",
        scenario.name,
        calls.values().map(|(_, n)| n).sum::<u32>(),
        points.len(),
        absent.len(),
        failures.len()
    );
    if let Some(asked) = Pairs::asked_for()?
        && PAIRED.contains(&scenario.name)
    {
        let pairs = explorer.pairs(&reference, points, asked).await?;
        let count = pairs.len();
        let (more, absent) = explorer.check_all(&reference, pairs).await;
        figure = format!(
            "{figure}; {count} pairs ({} did not come again), {} violations",
            absent.len(),
            more.len()
        );
        failures.extend(more);
    }
    runner::figure(format!("{figure}, {} s", begun.elapsed().as_secs()));
    let count = failures.len();
    failures.truncate(TOLD);
    ensure!(count == 0, "{figure}\n{}", failures.join("\n"));
    Ok(())
}

/// Scenarios that are played with two crashes when asked for.
const PAIRED: [&str; 3] = ["create", "change-identity", "revoke-and-grant-again"];

/// Which pairs of points are played.
#[derive(Clone, Copy)]
enum Pairs {
    /// Those of two writes. A process that ends takes along what it has read, so a crash at a read leaves the
    /// world as one after the last write leaves it.
    OfWrites,
    /// Every n-th of all.
    EveryNth(usize),
}

impl Pairs {
    /// What `WIB_CRASH_PAIRS` asks for: `writes`, or a number from 1.
    fn asked_for() -> Result<Option<Self>> {
        let Some(text) = std::env::var_os("WIB_CRASH_PAIRS") else {
            return Ok(None);
        };
        let text = text.to_str().unwrap_or_default();
        let every = text.parse().ok().filter(|n| *n > 0).map(Self::EveryNth);
        let pairs = if text == "writes" {
            Some(Self::OfWrites)
        } else {
            every
        };
        let pairs = pairs.context("WIB_CRASH_PAIRS must be \"writes\" or a number from 1")?;
        Ok(Some(pairs))
    }

    fn concern(self, point: &Point) -> bool {
        matches!(self, Self::EveryNth(_)) || is_write(&point.signature)
    }

    fn take(self, pairs: Vec<Vec<Point>>) -> Vec<Vec<Point>> {
        match self {
            Self::OfWrites => pairs,
            Self::EveryNth(n) => pairs.into_iter().step_by(n).collect(),
        }
    }
}

/// How many calls of each signature.
type Calls = BTreeMap<String, (Transport, u32)>;

fn points(calls: &Calls) -> Vec<Point> {
    let mut points = Vec::new();
    for (signature, (transport, count)) in calls {
        for occurrence in 1..=*count {
            for committed in [false, true] {
                points.push(Point {
                    transport: *transport,
                    signature: signature.clone(),
                    occurrence,
                    committed,
                });
            }
        }
    }
    points
}

struct Explorer<P> {
    cluster: Arc<Cluster>,
    scenario: Scenario,
    play: P,
}

impl<P, F> Explorer<P>
where
    P: Fn(Arc<Stage>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send,
{
    /// Two runs without faults, which have to come to the same end.
    async fn reference(&self) -> Result<(Observed, Calls)> {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let _slot = SLOTS.acquire().await?;
            let (run, calls) = self.run(&[], None).await.context("without faults")?;
            ensure!(
                run.violations.is_empty(),
                "without faults: {}",
                run.violations.join("\n")
            );
            runs.push((run.observed, calls));
        }
        let (Some((second, more)), Some((first, calls))) = (runs.pop(), runs.pop()) else {
            anyhow::bail!("no run");
        };
        let differences = second.differences(&first, &self.scenario, 0);
        ensure!(
            differences.is_empty(),
            "no two runs without faults are the same: {}",
            differences.join("\n")
        );
        // What came in one of them only is no point that can be asked for.
        let common = calls.into_iter().filter_map(|(signature, (transport, count))| {
            let (_, other) = more.get(&signature)?;
            Some((signature, (transport, count.min(*other))))
        });
        Ok((first, common.collect()))
    }

    /// Checks every list of points, several at a time. Answers what is wrong, and which points did not come.
    async fn check_all(&self, reference: &Observed, lists: Vec<Vec<Point>>) -> (Vec<String>, Vec<String>) {
        let checks = lists.into_iter().map(|points| async move {
            let label = points
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", then ");
            let (found, came) = match self.check(reference, &points).await {
                Ok(checked) => checked,
                Err(error) => (vec![format!("{error:#}")], true),
            };
            let told = found.into_iter().map(|what| format!("crash {label}: {what}"));
            (told.collect::<Vec<_>>(), (!came).then_some(label))
        });
        let checked: Vec<_> = stream::iter(checks).buffer_unordered(AT_ONCE).collect().await;
        let (found, absent): (Vec<_>, Vec<_>) = checked.into_iter().unzip();
        (found.concat(), absent.into_iter().flatten().collect())
    }

    /// One run with crashes: what is wrong, and whether its points came. One whose point does not come is repeated
    /// once, since what happens at the same time has no order; a run without its crash is one without faults, and
    /// shows that the call is none of those that always come.
    async fn check(&self, reference: &Observed, points: &[Point]) -> Result<(Vec<String>, bool)> {
        for _ in 0..2 {
            let _slot = SLOTS.acquire().await?;
            let (run, _) = self.run(points, Some(&reference.snapshot)).await?;
            let mut found = run.violations;
            found.extend(run.observed.differences(reference, &self.scenario, points.len()));
            if run.reached == points.len() || !found.is_empty() {
                return Ok((found, true));
            }
        }
        Ok((Vec::new(), false))
    }

    /// Points, each followed by those of the operator that comes after it.
    async fn pairs(&self, reference: &Observed, firsts: Vec<Point>, asked: Pairs) -> Result<Vec<Vec<Point>>> {
        let firsts = firsts.into_iter().filter(|point| asked.concern(point));
        let seconds = firsts.map(|first| async move {
            let _slot = SLOTS.acquire().await?;
            let (_, calls) = self
                .run(std::slice::from_ref(&first), Some(&reference.snapshot))
                .await?;
            let seconds = points(&calls).into_iter().filter(|point| asked.concern(point));
            anyhow::Ok(
                seconds
                    .map(|second| vec![first.clone(), second])
                    .collect::<Vec<_>>(),
            )
        });
        let pairs: Vec<_> = stream::iter(seconds).buffered(AT_ONCE).collect().await;
        let pairs: Result<Vec<_>> = pairs.into_iter().collect();
        Ok(asked.take(pairs?.concat()))
    }

    /// Plays the scenario in a new world. Answers the calls of the last operator beside the run.
    async fn run(&self, points: &[Point], wanted: Option<&Snapshot>) -> Result<(Run, Calls)> {
        let (cluster, scenario, play) = (self.cluster.clone(), self.scenario, self.play.clone());
        let (points, wanted) = (points.to_vec(), wanted.cloned());
        // A task of its own: the trial's thread alone would be too slow.
        let run = tokio::spawn(tokio::time::timeout(DEADLINE, async move {
            let stage = Arc::new(Stage::new(cluster, scenario.flags).await?);
            let end = CancellationToken::new();
            let script = async {
                let _end = end.clone().drop_guard();
                play(stage.clone()).await?;
                stage.crashed(points.len()).await;
                stage
                    .quiet(if wanted.is_some() {
                        Duration::from_millis(200)
                    } else {
                        REST
                    })
                    .await?;
                let snapshot = settled(&stage, wanted.as_ref()).await?;
                anyhow::Ok(snapshot)
            };
            let (played, supervised) = tokio::join!(script, stage.supervise(&points, &end));
            let calls = calls(&stage);
            supervised?;
            let snapshot = played?;
            let names = Names::of(&stage).await?;
            let observed = Observed::of(&stage, &names, snapshot);
            let reached = stage.instances().len() - 1;
            let mut found = violations(&stage, &scenario).await?;
            if wanted.is_some_and(|wanted| wanted == observed.snapshot)
                && Snapshot::of(&stage).await? != observed.snapshot
            {
                found.push("the end did not last".to_owned());
            }
            stage.clear_records().await?;
            let run = Run {
                observed,
                violations: found,
                reached,
            };
            anyhow::Ok((run, calls))
        }));
        run.await?.context("the run has no end")?
    }
}

/// The snapshot, once it is the wanted one, or when it does not get so.
async fn settled(stage: &Stage, wanted: Option<&Snapshot>) -> Result<Snapshot> {
    let end = Instant::now() + CONVERGENCE;
    loop {
        let snapshot = Snapshot::of(stage).await?;
        if wanted.is_none_or(|wanted| *wanted == snapshot) || Instant::now() > end {
            return Ok(snapshot);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn calls(stage: &Stage) -> Calls {
    let mut calls = Calls::new();
    for call in stage
        .instances()
        .last()
        .map(|gates| gates.journal())
        .unwrap_or_default()
    {
        calls.entry(call.signature).or_insert((call.transport, 0)).1 += 1;
    }
    calls
}
