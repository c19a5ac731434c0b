//! The plan as a folder, and the command line.

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, DynamicObject, PostParams};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::stage::{BINDING, DEPLOYMENT, Stage};

pub async fn folders_hold_what_kubectl_takes() -> Result<()> {
    let stage = Stage::with_web().await?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out").display().to_string();
    let arguments = ["-n", "shop", "--output-dir", &out];
    let said = stage.writes_nothing(0, &arguments).await?;
    ensure!(said.contains("7 files, 7 of them written"), "{said}");
    let said = stage.writes_nothing(0, &arguments).await?;
    ensure!(said.contains("7 files, 0 of them written"), "{said}");
    let path = folder.path().join("out/1-grant/shop.serviceaccount.web.yaml");
    std::fs::write(&path, "mine\n")?;
    let said = stage.writes_nothing(1, &arguments).await?;
    ensure!(
        said.contains("shop.serviceaccount.web.yaml differs") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&path)?, "mine\n");
    stage.ends(0, &[&arguments[..], &["--force"]].concat()).await?;

    let read = |step: &str| -> Result<Vec<Value>> {
        let mut objects = Vec::new();
        for entry in std::fs::read_dir(folder.path().join("out").join(step))? {
            objects.push(serde_yaml::from_str(&std::fs::read_to_string(entry?.path())?)?);
        }
        Ok(objects)
    };
    stage.world.cluster.apply(&read("1-grant")?).await?;
    stage.world.ready("web").await?;
    for object in read("2-switch")? {
        let object: DynamicObject = serde_json::from_value(object)?;
        stage
            .api(DEPLOYMENT, "shop")
            .replace("web", &PostParams::default(), &object)
            .await?;
    }
    let identity = stage.world.at("web");
    stage.world.assert_accepted("web", &identity.client_id).await?;
    let template = stage.get(DEPLOYMENT, "web").await?["spec"]["template"].clone();
    assert_eq!(template["spec"]["serviceAccountName"], "web");
    assert_eq!(
        template["metadata"]["labels"],
        json!({ "app": "web", "azure.workload.identity/use": "true" })
    );
    let removed: Vec<Value> = read("3-clean")?;
    assert_eq!(removed.len(), 2);
    for object in removed
        .iter()
        .filter(|object| object["kind"] == "AzureIdentityBinding")
    {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        stage
            .api(BINDING, "shop")
            .delete(name, &DeleteParams::default())
            .await?;
    }
    Ok(())
}

pub async fn arguments_that_do_not_go_together_are_refused() -> Result<()> {
    for (arguments, parts) in [
        (
            &["--cluster", "--apply"][..],
            &["--step", "first grant", "switch", "clean"][..],
        ),
        (&["--apply", "--step", "grant"], &["--cluster"]),
        (
            &["--cluster", "--apply", "--step", "grant", "manifests"],
            &["leave out the paths"],
        ),
        (
            &["--cluster", "-A", "-n", "shop"],
            &["--all-namespaces", "--namespace"],
        ),
        (
            &["--cluster", "--apply", "--rollback"],
            &["--apply", "--rollback"],
        ),
        (&["--force"], &["--output-dir"]),
    ] {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_wib"));
        let output = command.arg("migrate").args(arguments).output()?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        for part in parts {
            ensure!(said.contains(part), "{part} is missing in: {said}");
        }
    }
    Ok(())
}
