//! Scripted faults.

use std::time::Duration;

use azure_emulator::{External, Fault, FaultAction, Operation};
use reqwest::Client;

use crate::common::{AUDIENCE, Azure, answer, client_builder, credential, eventually, fic, fics, properties};

#[tokio::test]
async fn statuses_before_and_after_the_commit() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.emulator.fault(
        Fault::on(Operation::PutCredential)
            .nth(2)
            .times(2)
            .action(FaultAction::Status {
                status: 503,
                code: "ServerBusy".to_owned(),
                message: "later".to_owned(),
                headers: vec![("Retry-After".to_owned(), "7".to_owned())],
            }),
    );
    assert_eq!(azure.put_fic(&identity, "fic-1", "1").await.status, 201);
    let busy = azure.put_fic(&identity, "fic-2", "2").await;
    busy.is(503, "ServerBusy", true);
    assert_eq!(busy.header("retry-after"), Some("7"));
    assert_eq!(azure.put_fic(&identity, "fic-2", "2").await.status, 503);
    assert_eq!(azure.list(&identity).await, ["fic-1"]);

    let late = FaultAction::StatusAfterCommit {
        status: 500,
        code: "Oops".to_owned(),
        message: String::new(),
    };
    azure
        .emulator
        .fault(Fault::any().method("put").path("/FIC-3").action(late));
    assert_eq!(azure.put_fic(&identity, "fic-3", "3").await.status, 500);
    assert_eq!(azure.list(&identity).await, ["fic-1", "fic-3"]);

    azure
        .emulator
        .fault(Fault::any().always().action(FaultAction::Html502));
    let page = azure.get(&fics(&identity)).await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (502, Some("text/html"))
    );
    azure.emulator.clear_faults();
    azure
        .emulator
        .fault(Fault::on(Operation::ListCredentials).action(FaultAction::Garbage));
    let garbage = azure.get(&fics(&identity)).await;
    assert_eq!((garbage.status, garbage.body.is_null()), (200, true));
}

#[tokio::test]
async fn cut_connections() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let old = client_builder(azure.emulator.ca_pem())
        .http1_only()
        .build()
        .unwrap();
    for (n, http) in [azure.http.clone(), old].into_iter().enumerate() {
        let (before, after) = (format!("before-{n}"), format!("after-{n}"));
        let put = |name: &str| {
            let url = format!(
                "{}{}?api-version=2023-01-31",
                azure.emulator.url(),
                fic(&identity, name)
            );
            let body = properties("https://issuer.test", name, AUDIENCE);
            answer(http.put(url).bearer_auth(&azure.token).json(&body))
        };
        azure.emulator.clear_journal();
        azure
            .emulator
            .fault(Fault::on(Operation::PutCredential).reset_before_commit());
        assert!(put(&before).await.is_err());
        azure
            .emulator
            .fault(Fault::on(Operation::PutCredential).reset_after_commit());
        assert!(put(&after).await.is_err());
        let names: Vec<_> = azure
            .emulator
            .credentials(&identity.resource_id)
            .into_iter()
            .map(|c| c.name)
            .collect();
        assert!(!names.contains(&before) && names.contains(&after), "{names:?}");
        for entry in azure.emulator.journal() {
            assert_eq!((entry.status, entry.ended.is_some()), (None, true));
        }
        azure
            .emulator
            .fault(Fault::on(Operation::PutCredential).action(FaultAction::HalfBody));
        assert!(put(&after).await.is_err());
    }
}

#[tokio::test]
async fn hangs_and_delays() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let short = Duration::from_millis(150);
    let impatient = client_builder(azure.emulator.ca_pem())
        .timeout(short)
        .build()
        .unwrap();
    let put = |http: &Client, name: &str| {
        let url = format!(
            "{}{}?api-version=2023-01-31",
            azure.emulator.url(),
            fic(&identity, name)
        );
        let body = properties("https://issuer.test", name, AUDIENCE);
        answer(http.put(url).bearer_auth(&azure.token).json(&body))
    };
    let patient = azure.http.clone();
    for action in [
        FaultAction::HangForever,
        FaultAction::Delay(Duration::from_mins(10)),
    ] {
        azure
            .emulator
            .fault(Fault::on(Operation::PutCredential).action(action));
        assert!(put(&impatient, "never").await.unwrap_err().is_timeout());
    }
    for (name, action) in [
        ("hung", FaultAction::HangAfterCommit),
        ("late", FaultAction::DelayAfterCommit(Duration::from_mins(10))),
    ] {
        azure
            .emulator
            .fault(Fault::on(Operation::PutCredential).action(action));
        assert!(put(&impatient, name).await.unwrap_err().is_timeout());
        eventually(|| {
            azure
                .emulator
                .credentials(&identity.resource_id)
                .iter()
                .any(|c| c.name == name)
        })
        .await;
    }
    eventually(|| azure.emulator.journal().iter().all(|entry| entry.ended.is_some())).await;
    assert_eq!(azure.list(&identity).await, ["hung", "late"]);
    assert!(
        azure.emulator.overlapping_writes().is_empty(),
        "a write that the client gave up is over"
    );

    azure
        .emulator
        .fault(Fault::on(Operation::PutCredential).action(FaultAction::SlowBody(short)));
    assert_eq!(put(&patient, "slow").await.unwrap().body["name"], "slow");
}

#[tokio::test]
async fn somebody_else_is_at_work() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let id = identity.resource_id.clone();
    let steal = {
        let id = id.clone();
        External::new(move |azure| azure.delete_credential(&id, "fic-a"))
    };
    azure
        .emulator
        .fault(Fault::on(Operation::PutCredential).action(FaultAction::ExternallyAfter(steal)));
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
    assert!(azure.emulator.credentials(&id).is_empty());

    let squat = External::new(move |azure| azure.put_credential(&id, credential("squatter", "a")));
    azure
        .emulator
        .fault(Fault::on(Operation::PutCredential).action(FaultAction::ExternallyBefore(squat)));
    azure
        .put_fic(&identity, "fic-a", "a")
        .await
        .is(400, "BadRequest", false);
    assert_eq!(azure.list(&identity).await, ["squatter"]);
}
