//! Releases of charts whose templates are known: where their values label the pods, and which ServiceAccount these have.
//!
//! What the templates would make of the values is said here by rules, and only where these leave no doubt. Releases of
//! other charts, and values that something else may add to, stay labels elsewhere.

use std::sync::Arc;

use super::{LABEL, Reference, Text, USE_LABEL, Workload};
use crate::migrate::kustomize;
use crate::migrate::object::Object;
use crate::migrate::source::Sources;
use crate::migrate::yaml::{Mark, Node};

/// A chart.
struct Chart {
    name: &'static str,
    /// What its templates call it, where that is not its name.
    base: &'static str,
    /// Where its values have the labels of the pods.
    labels: &'static [&'static str],
    /// Where they have the ServiceAccount.
    account: &'static [&'static str],
    /// What follows the name of the release in the name of that.
    suffix: &'static str,
    /// Whether all its versions make a ServiceAccount unless they are told otherwise.
    creates: bool,
}

const POD_LABELS: &[&str] = &["podLabels"];
const ACCOUNT: &[&str] = &["serviceAccount"];

const CHARTS: [Chart; 6] = [
    Chart {
        name: "cert-manager",
        base: "cert-manager",
        labels: POD_LABELS,
        account: ACCOUNT,
        suffix: "",
        creates: true,
    },
    Chart {
        name: "external-dns",
        base: "external-dns",
        labels: POD_LABELS,
        account: ACCOUNT,
        suffix: "",
        creates: true,
    },
    Chart {
        name: "external-secrets",
        base: "external-secrets",
        labels: POD_LABELS,
        account: ACCOUNT,
        suffix: "",
        creates: true,
    },
    Chart {
        name: "velero",
        base: "velero",
        labels: POD_LABELS,
        account: &["serviceAccount", "server"],
        suffix: "-server",
        creates: true,
    },
    Chart {
        name: "vault",
        base: "vault",
        labels: &["server", "extraLabels"],
        account: &["server", "serviceAccount"],
        suffix: "",
        creates: true,
    },
    // Up to version 4 it made none.
    Chart {
        name: "argo-cd",
        base: "argocd",
        labels: &["repoServer", "podLabels"],
        account: &["repoServer", "serviceAccount"],
        suffix: "-repo-server",
        creates: false,
    },
];

/// Values that put the objects of a chart into another namespace than that of the release.
const NAMESPACES: [&[&str]; 3] = [&["namespaceOverride"], &["namespace"], &["global", "namespace"]];

/// Longest name that a template leaves as it is.
const LONGEST: usize = 63;

/// Longest name of a release that Flux leaves as it is.
const LONGEST_RELEASE: usize = 53;

/// A release of a chart, with its inline values.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    /// Name of the chart.
    pub chart: &'a str,
    /// Name of the release.
    pub name: String,
    /// Where it is installed.
    pub namespace: String,
    /// Its values.
    pub values: Arc<Node>,
    /// What else has a say: why the values here are not all.
    more: Option<&'static str>,
    /// What may change the objects that are made.
    after: Option<&'static str>,
    /// Where the chart is from, as far as it is said.
    origin: &'a str,
}

impl<'a> Release<'a> {
    /// The release that a HelmRelease of Flux or an Application of Argo CD makes.
    pub fn of(sources: &Sources, object: &'a Object, at: &Reference) -> Option<Self> {
        let spec = object.node.get("spec")?;
        let said = |path: &[&str], reason| spec.at(path).map(|_| reason);
        match (object.group(), object.kind.as_str()) {
            ("helm.toolkit.fluxcd.io", "HelmRelease") => {
                let target = spec.text_at(&["targetNamespace"]);
                let made = || match target {
                    Some(target) => format!("{target}-{}", at.name),
                    None => at.name.clone(),
                };
                Some(Self {
                    chart: spec.text_at(&["chart", "spec", "chart"])?,
                    name: spec.text_at(&["releaseName"]).map_or_else(made, str::to_owned),
                    namespace: target.unwrap_or(&at.namespace).to_owned(),
                    values: spec.get("values")?.clone(),
                    more: said(&["valuesFrom"], "valuesFrom"),
                    after: said(&["postRenderers"], "postRenderers"),
                    origin: spec
                        .text_at(&["chart", "spec", "sourceRef", "name"])
                        .unwrap_or_default(),
                })
            }
            ("argoproj.io", "Application") => {
                let source = spec.get("source")?;
                let helm = source.get("helm")?;
                Some(Self {
                    chart: source.text_at(&["chart"])?,
                    name: helm.text_at(&["releaseName"]).unwrap_or(&at.name).to_owned(),
                    namespace: spec.text_at(&["destination", "namespace"])?.to_owned(),
                    values: helm
                        .get("valuesObject")
                        .cloned()
                        .or_else(|| written_values(sources, helm))?,
                    more: helm.get("valueFiles").map(|_| "valueFiles"),
                    after: ["parameters", "fileParameters"]
                        .into_iter()
                        .find(|key| helm.get(key).is_some()),
                    origin: source.text_at(&["repoURL"]).unwrap_or_default(),
                })
            }
            _ => None,
        }
    }

    /// The chart, if its templates are known. Those of Bitnami are others under the same names, but for external-dns.
    fn known(&self) -> Option<&'static Chart> {
        let foreign = self.origin.contains("bitnami") && self.chart != "external-dns";
        CHARTS.iter().find(|chart| chart.name == self.chart && !foreign)
    }

    /// What the values make of the name of the release, as the templates of nearly all charts do.
    fn full_name(&self, base: &str, between: &str) -> String {
        let value = |key| self.values.text_at(&[key]).filter(|text| !text.is_empty());
        if let Some(name) = value("fullnameOverride") {
            return name.to_owned();
        }
        let base = value("nameOverride").unwrap_or(base);
        if self.name.contains(base) {
            self.name.clone()
        } else {
            format!("{}-{between}{base}", self.name)
        }
    }

    /// ServiceAccount of Application Gateway Ingress Controller.
    pub fn gateway_account(&self) -> Option<String> {
        let name = self.full_name("ingress-azure", "sa-");
        (self.chart == "ingress-azure" && name.len() <= LONGEST).then_some(name)
    }

    /// The ServiceAccount of the pods, or why it is not certain.
    fn account(&self, chart: &Chart) -> Result<Text, String> {
        if let Some(what) = self.after {
            return Err(format!("{what} may change it"));
        }
        if NAMESPACES.iter().any(|path| self.values.at(path).is_some()) {
            return Err("the values choose another namespace".to_owned());
        }
        let settings = self.values.at(chart.account);
        let name = settings.and_then(|settings| settings.get("name"));
        if let Some(name) = name
            .and_then(|name| Text::of(name))
            .filter(|name| !name.text.is_empty())
        {
            return Ok(name);
        }
        if let Some(what) = self.more {
            return Err(format!("{what} may name it"));
        }
        let path = chart.account.join(".");
        let create = settings.and_then(|settings| settings.get("create"));
        match create.map(|create| create.is_truthy()) {
            Some(false) => return Err(format!("{path}.create is false, so that it is default")),
            None if !chart.creates => {
                return Err(format!("{path}.create depends on the version of the chart"));
            }
            _ => {}
        }
        let text = format!("{}{}", self.full_name(chart.base, ""), chart.suffix);
        if text.len() > LONGEST || self.name.len() > LONGEST_RELEASE {
            return Err("its name is too long for the templates to leave it as it is".to_owned());
        }
        Ok(Text {
            text,
            mark: self.values.mark,
        })
    }

    /// The workload that the release makes, if its chart is known; or why it is not certain, with where its label is.
    pub fn workload(&self, object: &Object, at: &Reference) -> Option<Result<Workload, (Mark, String)>> {
        let chart = self.known()?;
        let labels = self.values.at(chart.labels);
        let label = labels.and_then(|labels| labels.get(LABEL));
        let service_account = match self.account(chart) {
            Ok(account) if account.text == "default" => {
                let reason = format!("{}.name is default", chart.account.join("."));
                return Some(Err((label?.mark, reason)));
            }
            Ok(account) => account,
            Err(reason) => return Some(Err((label?.mark, reason))),
        };
        let pair = |(key, value): &(Arc<Node>, Arc<Node>)| {
            Some((key.as_text()?.to_owned(), value.as_text()?.to_owned()))
        };
        Some(Ok(Workload {
            at: Reference {
                namespace: self.namespace.clone(),
                ..at.clone()
            },
            api_version: object.api_version.clone(),
            label: label
                .and_then(|label| Text::of(label))
                .filter(|label| !label.text.is_empty()),
            uses_workload_identity: labels.is_some_and(|l| l.text_at(&[USE_LABEL]) == Some("true")),
            service_account: Some(service_account),
            labels: labels
                .map_or(&[][..], |labels| labels.entries())
                .iter()
                .filter_map(pair)
                .collect(),
            in_selector: None,
            on_object: None,
            as_annotation: None,
            is_patch: false,
            pod: Some(self.values.clone()),
            classes: classes(&self.values)
                .into_iter()
                .map(|class| class.text)
                .collect(),
            chart: Some(chart.name),
        }))
    }
}

/// The values of an Application that are written as a text. An object beside it takes its place.
fn written_values(sources: &Sources, helm: &Node) -> Option<Arc<Node>> {
    let text = helm.get("values")?;
    let mut documents = kustomize::inline(sources, text, text.as_text()?).ok()?;
    documents.pop().filter(|_| documents.is_empty())
}

/// SecretProviderClasses that are named anywhere in a tree.
pub fn classes(tree: &Arc<Node>) -> Vec<Text> {
    let mut found = Vec::new();
    tree.walk(&mut Vec::new(), &mut |path, node| {
        if path.last().is_some_and(|key| key.is_text("secretProviderClass")) {
            found.extend(Text::of(node));
        }
    });
    found
}

#[cfg(test)]
mod tests;
