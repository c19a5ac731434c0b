//! The objects of every state as test data for Argo CD, in the form in which it takes contributions.
//! `UPDATE=1 cargo test --test suites -- gitops::every_state` writes them anew.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use pretty_assertions::assert_eq;
use serde::Deserialize;
use serde_json::{Value, json};
use wib_harness::World;

use super::health::{ARGO, Health, ask, root};

const TIME: &str = "2026-01-01T00:00:00Z";

/// Compares what the operator has made with what is kept.
pub fn keep(world: &World, names: &[&str], objects: &[&Value], answers: &[Health]) -> Result<()> {
    let mut tests = Vec::new();
    let update = std::env::var_os("UPDATE").is_some_and(|v| v == "1");
    for ((name, object), health) in names.iter().zip(objects).zip(answers) {
        let file = format!("testdata/{}_{name}.yaml", health.argo.status.to_lowercase());
        let path = root().join(ARGO).join(&file);
        let made = serde_yaml::to_string(&anybodys(world, object)?)?;
        if update {
            fs::write(&path, &made)?;
        }
        let kept = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        assert_eq!(
            kept, made,
            "{file}: run UPDATE=1 cargo test --test suites -- gitops::every_state"
        );
        let message = anyones(world, &health.argo.message);
        let mut expected = json!({ "status": health.argo.status, "message": message });
        if object["metadata"]["deletionTimestamp"].is_string() {
            let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            if observed {
                expected["deletionMessage"] = message.into();
            } else {
                expected["message"] = "Waiting for the operator".into();
            }
        }
        tests.push(json!({ "healthStatus": expected, "inputPath": file }));
    }
    let path = root().join(ARGO).join("health_test.yaml");
    let made = serde_yaml::to_string(&json!({ "tests": tests }))?;
    if update {
        fs::write(&path, &made)?;
    }
    assert_eq!(
        fs::read_to_string(path)?,
        made,
        "health_test.yaml: run it with UPDATE=1"
    );
    Ok(())
}

/// The object without what differs from run to run.
fn anybodys(world: &World, object: &Value) -> Result<Value> {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().context("no metadata")?;
    metadata.remove("managedFields");
    for (key, value) in [
        ("resourceVersion", "1000"),
        ("uid", "66666666-6666-6666-6666-666666666666"),
        ("creationTimestamp", TIME),
        ("deletionTimestamp", TIME),
    ] {
        if let Some(kept) = metadata.get_mut(key) {
            *kept = value.into();
        }
    }
    let conditions = object
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        condition["lastTransitionTime"] = TIME.into();
    }
    for (pointer, value) in [
        (
            "/status/identity/clientId",
            "22222222-2222-2222-2222-222222222222",
        ),
        (
            "/status/identity/principalId",
            "44444444-4444-4444-4444-444444444444",
        ),
        ("/status/credential/name", "wib-shop-web-3bf4a0457d0b34c5"),
        (
            "/status/serviceAccount/uid",
            "55555555-5555-5555-5555-555555555555",
        ),
    ] {
        if let Some(kept) = object.pointer_mut(pointer) {
            *kept = value.into();
        }
    }
    Ok(serde_json::from_str(&anyones(world, &object.to_string()))?)
}

/// The text without the names of this run.
fn anyones(world: &World, text: &str) -> String {
    let azure = &world.azure;
    text.replace(&world.namespace, "shop")
        .replace(azure.subscription_id(), "11111111-1111-1111-1111-111111111111")
        .replace(azure.tenant_id(), "33333333-3333-3333-3333-333333333333")
        .replace(
            world.cluster.control_plane.issuer(),
            "https://issuer.example.com/",
        )
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    health_status: Expected,
    input_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    status: String,
    message: String,
    deletion_message: Option<String>,
}

pub async fn argo_cds_own_tests_of_the_script_pass() -> Result<()> {
    let directory = root().join(ARGO);
    let tests: Tests = serde_yaml::from_str(&fs::read_to_string(directory.join("health_test.yaml"))?)?;
    let files = fs::read_dir(directory.join("testdata"))?.count();
    assert_eq!(tests.tests.len(), files, "an object in testdata is in no test");
    for test in tests.tests {
        let text = fs::read_to_string(directory.join(&test.input_path))?;
        let object: Value = serde_yaml::from_str(&text)?;
        let [health] = ask(&[&object]).await?.try_into().ok().context("not one answer")?;
        let expected = test.health_status;
        ensure!(
            health.argo.status == expected.status,
            "{}: {health:?}",
            test.input_path
        );
        // Argo CD shows its own message for what is being deleted, unless the script brings one.
        if object["metadata"]["deletionTimestamp"].is_null() || expected.deletion_message.is_some() {
            let shown = expected.deletion_message.unwrap_or(expected.message);
            assert_eq!(health.argo.message, shown, "{}", test.input_path);
        }
    }
    Ok(())
}
