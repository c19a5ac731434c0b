//! The control plane does what the tests that stand on it assume.
//!
//! One test, in steps, because all of them share one control plane and some change it for all.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use wib_harness::control_plane::ControlPlane;

const AUDIENCE: &str = "api://AzureADTokenExchange";

#[tokio::test]
async fn control_plane() -> Result<()> {
    let started = std::time::Instant::now();
    let mut control_plane = ControlPlane::start().await?;
    eprintln!("started in {:?}", started.elapsed());

    version_is_that_of_go_mod(&control_plane).await?;
    if control_plane.has_controllers() {
        controllers_run(control_plane.admin()).await?;
    } else {
        eprintln!(
            "not run, KUBEBUILDER_ASSETS has no controllers: default ServiceAccount, namespace deletion, GC"
        );
    }
    tokens_are_verifiable_by_anybody(&control_plane).await?;
    users_are_who_they_say(&control_plane).await?;
    issuer_changes_with_a_restart(&mut control_plane).await?;
    data_survives_a_crash(&mut control_plane).await?;
    nothing_is_left_behind(control_plane)
}

async fn version_is_that_of_go_mod(control_plane: &ControlPlane) -> Result<()> {
    let version = control_plane.admin().apiserver_version().await?;
    ensure!(version.git_version.starts_with("v1."), "{version:?}");
    ensure!(version.minor.parse::<u32>().is_ok(), "{version:?}");
    Ok(())
}

async fn controllers_run(client: Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace("controlled"))
        .await?;

    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "controlled");
    eventually("the ServiceAccount `default` is there", || async {
        Ok(accounts.get_opt("default").await?.is_some())
    })
    .await?;

    let maps: Api<ConfigMap> = Api::namespaced(client, "controlled");
    let owner = maps
        .create(&PostParams::default(), &config_map("owner", None))
        .await?;
    maps.create(&PostParams::default(), &config_map("owned", Some(&owner)))
        .await?;
    maps.delete("owner", &DeleteParams::default()).await?;
    eventually("what the object owned is gone", || async {
        Ok(maps.get_opt("owned").await?.is_none())
    })
    .await?;

    namespaces.delete("controlled", &DeleteParams::default()).await?;
    eventually("the namespace is gone", || async {
        Ok(namespaces.get_opt("controlled").await?.is_none())
    })
    .await
}

async fn tokens_are_verifiable_by_anybody(control_plane: &ControlPlane) -> Result<()> {
    ensure!(control_plane.issuer() == format!("{}/", control_plane.url()));
    let claims = claims(&token(control_plane, AUDIENCE).await?)?;
    ensure!(claims["iss"] == control_plane.issuer(), "{claims}");
    ensure!(
        claims["sub"] == "system:serviceaccount:kube-system:reader",
        "{claims}"
    );
    ensure!(claims["aud"] == serde_json::json!([AUDIENCE]), "{claims}");
    keys_are_published_under(control_plane, control_plane.issuer()).await
}

async fn users_are_who_they_say(control_plane: &ControlPlane) -> Result<()> {
    let alone = control_plane.client_for_user("ann", &[]).await?;
    let member = control_plane.client_for_user("bob", &["team-a"]).await?;
    let several = control_plane
        .client_for_user("cleo", &["team-a", "team-b"])
        .await?;
    let account = control_plane
        .client_for_token(&token(control_plane, "").await?)
        .await?;
    for (client, user, groups) in [
        (alone, "ann", &[][..]),
        (member, "bob", &["team-a"]),
        (several, "cleo", &["team-a", "team-b"]),
        (
            account,
            "system:serviceaccount:kube-system:reader",
            &["system:serviceaccounts"],
        ),
    ] {
        let review = Api::all(client)
            .create(&PostParams::default(), &SelfSubjectReview::default())
            .await?;
        let info = review
            .status
            .and_then(|status| status.user_info)
            .context("no user")?;
        ensure!(info.username.as_deref() == Some(user), "{info:?}");
        let theirs = info.groups.unwrap_or_default();
        ensure!(
            groups
                .iter()
                .all(|group| theirs.iter().any(|their| their == group)),
            "{user}: {theirs:?}"
        );
        ensure!(
            theirs.iter().any(|group| group == "system:authenticated"),
            "{user}: {theirs:?}"
        );
    }
    Ok(())
}

async fn issuer_changes_with_a_restart(control_plane: &mut ControlPlane) -> Result<()> {
    let (old, new) = (
        control_plane.issuer().to_owned(),
        control_plane.alternative_issuer(),
    );
    let old_token = token(control_plane, "").await?;
    control_plane.restart_with_issuers(&[&new, &old]).await?;

    ensure!(control_plane.issuer() == new);
    ensure!(claims(&token(control_plane, AUDIENCE).await?)?["iss"] == new);
    keys_are_published_under(control_plane, &new).await?;
    control_plane
        .client_for_token(&old_token)
        .await?
        .apiserver_version()
        .await
        .context("the old issuer's token")?;
    Ok(())
}

async fn data_survives_a_crash(control_plane: &mut ControlPlane) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.admin(), "kube-system");
    maps.create(&PostParams::default(), &config_map("kept", None))
        .await?;
    control_plane.kill_api_server().await;
    ensure!(maps.get("kept").await.is_err(), "a dead API server answered");
    control_plane.start_api_server().await?;
    ensure!(maps.get("kept").await?.name_any() == "kept");
    Ok(())
}

fn nothing_is_left_behind(control_plane: ControlPlane) -> Result<()> {
    let processes = control_plane.process_ids();
    ensure!(processes.len() == 2);
    drop(control_plane);
    for id in processes {
        ensure!(
            !Path::new(&format!("/proc/{id}")).exists(),
            "process {id} still runs"
        );
    }
    Ok(())
}

/// As Entra does it: without credentials, and with nothing but the authority's certificate to trust.
async fn keys_are_published_under(control_plane: &ControlPlane, issuer: &str) -> Result<()> {
    let authority = reqwest::Certificate::from_pem(control_plane.ca_pem().as_bytes())?;
    let stranger = reqwest::Client::builder().tls_certs_only([authority]).build()?;
    let get = async |url: &str| -> Result<Value> {
        let answer = stranger.get(url).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    };
    let document = get(&format!("{issuer}.well-known/openid-configuration")).await?;
    ensure!(document["issuer"] == issuer, "{document}");
    ensure!(
        document["jwks_uri"] == format!("{issuer}openid/v1/jwks"),
        "{document}"
    );
    let keys = get(document["jwks_uri"].as_str().unwrap_or_default()).await?;
    ensure!(keys["keys"][0]["alg"] == "RS256", "{keys}");
    Ok(())
}

/// A token of a ServiceAccount of our own: under KUBEBUILDER_ASSETS nobody makes `default`.
async fn token(control_plane: &ControlPlane, audience: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.admin(), "kube-system");
    if accounts.get_opt("reader").await?.is_none() {
        let reader = ServiceAccount {
            metadata: named("reader"),
            ..ServiceAccount::default()
        };
        accounts.create(&PostParams::default(), &reader).await?;
    }
    control_plane.token("kube-system", "reader", audience, 3600).await
}

fn claims(token: &str) -> Result<Value> {
    let payload = token.split('.').nth(1).context("not a JWT")?;
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload)?)?)
}

async fn eventually<F: Future<Output = Result<bool>>>(what: &str, check: impl Fn() -> F) -> Result<()> {
    let started = std::time::Instant::now();
    while !check().await? {
        ensure!(
            started.elapsed() < Duration::from_mins(1),
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("{what} after {:?}", started.elapsed());
    Ok(())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

fn namespace(name: &str) -> Namespace {
    Namespace {
        metadata: named(name),
        ..Namespace::default()
    }
}

fn config_map(name: &str, owner: Option<&ConfigMap>) -> ConfigMap {
    let owner_references = owner.map(|owner| {
        vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: owner.name_any(),
            uid: owner.uid().unwrap_or_default(),
            ..OwnerReference::default()
        }]
    });
    ConfigMap {
        metadata: ObjectMeta {
            owner_references,
            ..named(name)
        },
        data: Some(BTreeMap::new()),
        ..ConfigMap::default()
    }
}
