//! A real Prometheus that scrapes operators of a trial.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::process::{Child, ChildStdin, Command};
use wib_harness::Tool;

use super::RULES;

/// Longest wait for it to be ready, or to have scraped something.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The program ends with its standard input, which only we hold: so also when we are killed.
const LIFELINE: &str = r#""$0" "$@" </dev/null & program=$!; read -r _; kill -KILL $program; wait"#;

/// A running Prometheus. Dropped, it ends.
pub struct Prometheus {
    address: SocketAddr,
    http: reqwest::Client,
    child: Child,
    lifeline: Option<ChildStdin>,
    directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these operators every second, and has our rules loaded. Job `operators` scrapes as it
    /// likes best, job `older` in the format that every scraper knows.
    pub async fn start(operators: &[SocketAddr]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let targets: Vec<String> = operators.iter().map(ToString::to_string).collect();
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [std::path::absolute(RULES)?],
            "scrape_configs": [
                { "job_name": "operators", "static_configs": [{ "targets": targets }] },
                {
                    "job_name": "older",
                    "scrape_protocols": ["PrometheusText0.0.4"],
                    "static_configs": [{ "targets": targets }],
                },
            ],
        });
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("prometheus.yml"), serde_yaml::to_string(&config)?)?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", LIFELINE])
            .arg(Tool::Prometheus.path().await?)
            .arg(format!("--config.file={}", file("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", file("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(file("log"))?)
            .spawn()
            .context("cannot start Prometheus")?;
        let lifeline = child.stdin.take();
        let mut prometheus = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: reqwest::Client::new(),
            child,
            lifeline,
            directory,
        };
        prometheus.address = prometheus.listening().await?;
        Ok(prometheus)
    }

    /// Where it says that it listens, once it is ready.
    async fn listening(&self) -> Result<SocketAddr> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let log = self.log();
            if log.contains("ready to receive web requests") {
                let address = log.lines().find_map(|line| {
                    let (_, address) = line.split_once("\"Listening on\"")?.1.split_once("address=")?;
                    address.split_whitespace().next()?.parse().ok()
                });
                return address.with_context(|| format!("no address in its log:\n{log}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("Prometheus is not ready after {PATIENCE:?}:\n{}", self.log())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The data that its API answers under `/api/v1`.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let mut url = format!("http://{}/api/v1/{path}?", self.address);
        for (key, value) in query {
            let escaped = value.bytes().fold(String::new(), |mut all, byte| {
                let _ = write!(all, "%{byte:02X}");
                all
            });
            let _ = write!(url, "{key}={escaped}&");
        }
        let answer = self.http.get(url).send().await?.text().await?;
        let mut answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        ensure!(answer["status"] == "success", "{path} {query:?}: {answer}");
        Ok(answer["data"].take())
    }

    /// The series that a query answers now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.get("query", &[("query", expression)]).await?;
        let series = data["result"].as_array();
        Ok(series.with_context(|| format!("{expression}: {data}"))?.clone())
    }

    /// The same, once there is a number among them.
    pub async fn numbers(&self, expression: &str) -> Result<Vec<Value>> {
        let started = Instant::now();
        loop {
            let mut series = self.query(expression).await?;
            series.retain(|one| one["value"][1].as_str().is_some_and(|number| number != "NaN"));
            if !series.is_empty() {
                return Ok(series);
            }
            ensure!(started.elapsed() < PATIENCE, "{expression} has no data");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends it, and waits until it is gone.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.lifeline.take());
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("Prometheus does not end")??;
        Ok(())
    }
}
