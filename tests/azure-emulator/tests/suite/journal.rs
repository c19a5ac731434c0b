//! The journal, the protocols, and the end of an emulator.

use azure_emulator::{Emulator, Operation, Options};
use reqwest::Version;
use serde_json::json;

use crate::common::{Azure, OPERATOR, client_builder, fic, fics};

#[tokio::test]
async fn every_request_leaves_an_entry() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.put_fic(&identity, "fic-a", "a").await;
    azure.delete(&fic(&identity, "ghost")).await;
    azure.send_as("nobody", "GET", &fics(&identity), None).await;
    azure.login(OPERATOR).await;
    let entries = azure.emulator.journal();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry.operation,
                entry.status,
                entry.caller.as_deref(),
                entry.error_code.as_deref(),
            )
        })
        .collect();
    let operator = Some(OPERATOR);
    assert_eq!(
        seen,
        [
            (Operation::PutCredential, Some(201), operator, None),
            (Operation::DeleteCredential, Some(204), operator, None),
            (
                Operation::ListCredentials,
                Some(401),
                None,
                Some("InvalidAuthenticationToken")
            ),
            (Operation::Token, Some(200), operator, None),
        ]
    );
    let put = &entries[0];
    assert_eq!(
        (put.method.as_str(), put.api_version.as_deref()),
        ("PUT", Some("2023-01-31"))
    );
    assert_eq!(put.path, fic(&identity, "fic-a"));
    assert_eq!(put.identity, Some(identity.resource_id.to_lowercase()));
    assert_eq!(put.body.as_ref().unwrap()["properties"]["subject"], json!("a"));
    assert!(put.started <= put.committed.unwrap() && put.committed <= put.ended);
    assert_eq!(entries[1].committed, None);
    let form = entries[3].body.as_ref().unwrap();
    assert_eq!(
        (&form["proof"], form.get("client_secret")),
        (&json!("client_secret"), None)
    );
    assert_eq!(azure.emulator.count(Operation::PutCredential), 1);
    azure.emulator.clear_journal();
    assert!(azure.emulator.journal().is_empty());
}

#[tokio::test]
async fn people_leave_no_entry() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure
        .emulator
        .put_credential(&identity.resource_id, crate::common::credential("x", "y"));
    assert_eq!(
        azure
            .emulator
            .credentials(&identity.resource_id.to_uppercase())
            .len(),
        1
    );
    azure.emulator.delete_credential(&identity.resource_id, "X");
    assert!(azure.emulator.credentials(&identity.resource_id).is_empty());
    assert_eq!(azure.emulator.identities(), std::slice::from_ref(&identity));
    azure.emulator.delete_identity(&identity.resource_id);
    assert_eq!(azure.emulator.identity(&identity.resource_id), None);
    let again = azure.identity();
    assert_ne!(again.client_id, identity.client_id);
    azure.emulator.delete_resource_group("RG-shop");
    assert_eq!(azure.emulator.identity(&again.resource_id), None);
    assert!(azure.emulator.journal().is_empty());
}

#[tokio::test]
async fn http_1_and_2_by_alpn() {
    let azure = Azure::start().await;
    let url = format!(
        "{}/metadata/endpoints?api-version=2022-09-01",
        azure.emulator.url()
    );
    assert_eq!(
        azure.http.get(&url).send().await.unwrap().version(),
        Version::HTTP_2
    );
    let old = client_builder(azure.emulator.ca_pem())
        .http1_only()
        .build()
        .unwrap();
    assert_eq!(old.get(&url).send().await.unwrap().version(), Version::HTTP_11);
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(
        stranger.get(&url).send().await.is_err(),
        "the CA is not trusted by default"
    );
}

#[tokio::test]
async fn the_last_clone_ends_it() {
    let emulator = Emulator::start(Options::default()).await.unwrap();
    let (clone, url) = (emulator.clone(), emulator.url().to_owned());
    let http = crate::common::http(emulator.ca_pem());
    let ask = || http.get(format!("{url}/metadata/endpoints")).send();
    drop(emulator);
    assert!(ask().await.is_ok());
    drop(clone);
    let dead = async {
        while ask().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), dead)
        .await
        .unwrap();
}
