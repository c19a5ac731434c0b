//! Waits: for bindings to be Ready, and for pods to be replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::DynamicObject;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::client::{Error, Kubernetes, title};
use super::say::Say;
use crate::api::GROUP;

/// First and longest time between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Whether a binding is Ready, or what keeps it from that.
pub fn ready(binding: &DynamicObject) -> Result<(), String> {
    if binding.metadata.deletion_timestamp.is_some() {
        return Err("it is being deleted".to_owned());
    }
    let status = &binding.data["status"];
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(ready) = conditions.iter().find(|c| c["type"] == "Ready") else {
        return Err("the operator has not looked at it yet; see that it runs".to_owned());
    };
    if status["observedGeneration"].as_i64() != binding.metadata.generation {
        return Err("the operator has not looked at its last change yet".to_owned());
    }
    if ready["status"] == "True" {
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Err(format!("{}: {}", text(&ready["reason"]), text(&ready["message"])))
}

/// How far the pods of a workload have been replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All of them, and they are available.
    Done,
    /// Not yet.
    Waiting(String),
    /// Nobody replaces them but a person.
    ByHand(&'static str),
    /// Its controller does not say in a way that is known here.
    Unknown,
}

/// How far the pods of a workload have been replaced, as its controller says.
pub fn rollout(group: &str, kind: &str, object: &DynamicObject) -> Rollout {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let by_hand = || {
        let partition = &spec["updateStrategy"]["rollingUpdate"]["partition"];
        if spec["updateStrategy"]["type"] == "OnDelete" {
            Some("its strategy is OnDelete: delete its pods")
        } else {
            (number(partition) > 0).then_some("its strategy has a partition: lower it, or delete its pods")
        }
    };
    let counts = match (group, kind) {
        ("apps", "Deployment") => {
            let updated = number(&status["updatedReplicas"]);
            let old = number(&status["replicas"]) - updated;
            [
                ("updated", updated, wanted),
                ("available", number(&status["availableReplicas"]), wanted),
                ("old", -old, 0),
            ]
        }
        ("apps", "StatefulSet") => {
            let available = status["availableReplicas"]
                .as_i64()
                .unwrap_or_else(|| number(&status["readyReplicas"]));
            let same = wanted == 0 || status["currentRevision"] == status["updateRevision"];
            let updated = if same {
                wanted.max(number(&status["updatedReplicas"]))
            } else {
                number(&status["updatedReplicas"])
            };
            [
                ("updated", updated, wanted),
                ("available", available, wanted),
                ("old", -i64::from(!same), 0),
            ]
        }
        ("apps", "DaemonSet") => {
            let wanted = number(&status["desiredNumberScheduled"]);
            let updated = number(&status["updatedNumberScheduled"]);
            [
                ("updated", updated, wanted),
                ("available", number(&status["numberAvailable"]), wanted),
                ("old", 0, 0),
            ]
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            return Rollout::ByHand("it does not replace pods: delete them");
        }
        ("batch", "CronJob") | ("", "PodTemplate") | ("keda.sh", "ScaledJob") => return Rollout::Done,
        _ => return Rollout::Unknown,
    };
    if let Some(why) = by_hand() {
        return Rollout::ByHand(why);
    }
    if status["observedGeneration"].as_i64() < object.metadata.generation {
        return Rollout::Waiting("its controller has not seen the change yet".to_owned());
    }
    let missing: Vec<String> = counts
        .iter()
        .filter(|(_, there, wanted)| there < wanted)
        .map(|(what, there, wanted)| match *what {
            "old" => "old pods are there still".to_owned(),
            _ => format!("{there} of {wanted} pods {what}"),
        })
        .collect();
    if missing.is_empty() {
        Rollout::Done
    } else {
        Rollout::Waiting(missing.join(", "))
    }
}

/// A workload whose pods are being replaced: group, kind, namespace and name.
pub type Workload = (String, String, String, String);

/// Waits until bindings, by namespace and name, are Ready. What is not in time has failed.
pub async fn bindings(
    kubernetes: &Kubernetes,
    wanted: impl IntoIterator<Item = (String, String)>,
    patience: Duration,
    say: &mut Say,
) -> Result<(), Error> {
    let kind = "WorkloadIdentityBinding";
    let all: Vec<(String, String)> = wanted.into_iter().collect();
    say.begin("Ready", all.len());
    let mut open: BTreeMap<(String, String), String> =
        all.into_iter().map(|name| (name, String::new())).collect();
    let total = open.len();
    let mut pause = Pause::new(patience);
    loop {
        for (namespace, name) in open.keys().cloned().collect::<Vec<_>>() {
            let found = kubernetes.get(GROUP, kind, Some(&namespace), &name).await?;
            match found.as_ref().map(ready) {
                Some(Ok(())) => drop(open.remove(&(namespace, name))),
                Some(Err(why)) => drop(open.insert((namespace, name), why)),
                None => drop(open.insert((namespace, name), "it is not there".to_owned())),
            }
        }
        say.at(total - open.len());
        if open.is_empty() || !pause.wait().await {
            break;
        }
    }
    for ((namespace, name), why) in open {
        say.failed(title(kind, Some(&namespace), &name), format!("not Ready: {why}"));
    }
    Ok(())
}

/// Waits until the pods of workloads have been replaced. What is not in time has failed.
pub async fn rollouts(
    kubernetes: &Kubernetes,
    wanted: Vec<Workload>,
    patience: Duration,
    say: &mut Say,
) -> Result<(), Error> {
    say.begin("replaced", wanted.len());
    let total = wanted.len();
    let mut open: BTreeMap<Workload, String> = wanted.into_iter().map(|w| (w, String::new())).collect();
    let mut pause = Pause::new(patience);
    loop {
        for workload in open.keys().cloned().collect::<Vec<_>>() {
            let (group, kind, namespace, name) = &workload;
            let title = title(kind, Some(namespace), name);
            let Some(object) = kubernetes.get(group, kind, Some(namespace), name).await? else {
                open.remove(&workload);
                continue;
            };
            match rollout(group, kind, &object) {
                Rollout::Done => drop(open.remove(&workload)),
                Rollout::Waiting(why) => drop(open.insert(workload, why)),
                Rollout::ByHand(why) => {
                    say.left("by-hand", title, why);
                    open.remove(&workload);
                }
                Rollout::Unknown => {
                    say.left("look", title, "see yourself that its pods have been replaced");
                    open.remove(&workload);
                }
            }
        }
        say.at(total - open.len());
        if open.is_empty() || !pause.wait().await {
            break;
        }
    }
    for ((_, kind, namespace, name), why) in open {
        let why = format!(
            "its pods have not been replaced: {why}. Look at its events and pods, and run the step again"
        );
        say.failed(title(&kind, Some(&namespace), &name), why);
    }
    Ok(())
}

/// Pauses between looks, each longer than the one before, until patience is over.
pub struct Pause {
    end: Instant,
    next: Duration,
}

impl Pause {
    pub fn new(patience: Duration) -> Self {
        Self {
            end: Instant::now() + patience,
            next: LOOK.0,
        }
    }

    /// Waits; false if it is time to give up.
    pub async fn wait(&mut self) -> bool {
        if Instant::now() >= self.end {
            return false;
        }
        sleep(self.next.min(self.end - Instant::now())).await;
        self.next = (self.next * 2).min(LOOK.1);
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> DynamicObject {
        let mut value = value.clone();
        value["metadata"] = json!({ "name": "web", "generation": 2 });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_binding_is_ready_for_its_last_change_only() {
        let ready_of = |value: &Value| ready(&object(value));
        let with = |observed: i64, status: &str| {
            let ready = json!({ "type": "Ready", "status": status, "reason": "NotAuthorized", "message": "no grant" });
            ready_of(&json!({ "status": { "observedGeneration": observed, "conditions": [ready] } }))
        };
        assert_eq!(with(2, "True"), Ok(()));
        assert_eq!(with(2, "False"), Err("NotAuthorized: no grant".to_owned()));
        assert!(with(1, "True").is_err());
        assert!(ready_of(&json!({})).is_err());
    }

    #[test]
    fn pods_are_replaced_when_none_of_the_old_is_left() {
        let deployment = |observed: i64, replicas: i64, updated: i64, available: i64| {
            rollout(
                "apps",
                "Deployment",
                &object(&json!({
                    "spec": { "replicas": 2 },
                    "status": {
                        "observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated,
                        "availableReplicas": available,
                    },
                })),
            )
        };
        assert_eq!(deployment(2, 2, 2, 2), Rollout::Done);
        for (observed, replicas, updated, available) in
            [(1, 2, 2, 2), (2, 3, 2, 2), (2, 2, 1, 2), (2, 2, 2, 1)]
        {
            let state = deployment(observed, replicas, updated, available);
            assert!(
                matches!(state, Rollout::Waiting(_)),
                "{observed} {replicas} {updated} {available}: {state:?}"
            );
        }
    }

    #[test]
    fn what_nobody_replaces_is_said() {
        let strategy = json!({ "spec": { "updateStrategy": { "type": "OnDelete" } } });
        for (kind, value) in [
            ("DaemonSet", &strategy),
            ("StatefulSet", &strategy),
            ("ReplicaSet", &json!({})),
        ] {
            assert!(
                matches!(rollout("apps", kind, &object(value)), Rollout::ByHand(_)),
                "{kind}"
            );
        }
        assert_eq!(rollout("batch", "CronJob", &object(&json!({}))), Rollout::Done);
        assert_eq!(
            rollout("argoproj.io", "Rollout", &object(&json!({}))),
            Rollout::Unknown
        );
    }
}
