//! What helm makes of the chart.

use std::process::Output;

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::Value;
use wib_harness::Tool;
use wib_harness::cluster::{OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT};

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/workload-identity-binding");

/// Values without which the chart makes nothing.
pub const IDS: [&str; 2] = [
    "--set=azure.clientId=11111111-1111-1111-1111-111111111111",
    "--set=azure.tenantId=22222222-2222-2222-2222-222222222222",
];

/// A release of the chart, not installed by helm but rendered.
pub struct Release {
    pub name: String,
    pub namespace: String,
    flags: Vec<String>,
}

impl Release {
    /// A release of this name with these flags of helm.
    pub fn new<S: AsRef<str>>(name: &str, namespace: &str, flags: &[S]) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            flags: flags.iter().map(|f| f.as_ref().to_owned()).collect(),
        }
    }

    /// The release of the documents, under whose names `config/` installs the operator as well.
    pub fn usual<S: AsRef<str>>(flags: &[S]) -> Self {
        Self::new(OPERATOR_SERVICE_ACCOUNT, OPERATOR_NAMESPACE, flags)
    }

    /// How a command of helm ends, on this release.
    pub async fn output(&self, command: &[&str]) -> Result<Output> {
        let mut arguments: Vec<&str> = command.to_vec();
        arguments.extend([self.name.as_str(), CHART, "--namespace", &self.namespace]);
        arguments.extend(self.flags.iter().map(String::as_str));
        Tool::Helm.output(&arguments, "").await
    }

    /// What `helm template` prints.
    pub async fn text(&self) -> Result<String> {
        let output = self.output(&["template"]).await?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{complaint}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The objects in it.
    pub async fn objects(&self) -> Result<Vec<Value>> {
        documents(&self.text().await?)
    }

    /// What `helm template` complains about.
    pub async fn refusal(&self) -> Result<String> {
        let output = self.output(&["template"]).await?;
        anyhow::ensure!(!output.status.success(), "helm takes {:?}", self.flags);
        Ok(String::from_utf8(output.stderr)?)
    }
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let documents: Vec<Value> = documents.collect::<Result<_, _>>()?;
    Ok(documents.into_iter().filter(|d| !d.is_null()).collect())
}

/// The objects of one kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The only object of one kind.
pub fn one<'a>(objects: &'a [Value], kind: &'a str) -> Result<&'a Value> {
    let mut found = of_kind(objects, kind);
    let object = found.next().with_context(|| format!("there is no {kind}"))?;
    anyhow::ensure!(found.next().is_none(), "there are several of kind {kind}");
    Ok(object)
}
