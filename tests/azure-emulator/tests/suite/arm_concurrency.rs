//! One credential write at a time per identity.

use std::time::Duration;

use azure_emulator::{Latency, Operation};

use crate::common::{AUDIENCE, Answer, Azure, eventually, fic, properties};

fn is_concurrent(answer: &Answer, id: &str) {
    answer.is(
        409,
        "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
        false,
    );
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(
        answer.message(),
        format!(
            "Too many Federated Identity Credentials are written concurrently for the managed identity '{id}'. \
             Concurrent Federated Identity Credentials writes under the same managed identity are not supported."
        )
    );
}

#[tokio::test]
async fn one_write_at_a_time_per_identity() {
    let azure = Azure::start().await;
    let identity = azure.emulator.create_identity("Rg-Shop", "CheckOut");
    let other = azure.emulator.create_identity("rg-shop", "other");
    let id = format!(
        "/subscriptions/{}/resourcegroups/Rg-Shop/providers/microsoft.managedidentity/userassignedidentities/CheckOut",
        azure.emulator.subscription_id()
    );
    let write = azure.emulator.external_write(&identity.resource_id).unwrap();
    assert!(azure.emulator.external_write(&identity.resource_id).is_none());
    is_concurrent(&azure.put_fic(&identity, "fic-a", "a").await, &id);
    is_concurrent(&azure.delete(&fic(&identity, "fic-a")).await, &id);
    assert_eq!(azure.put_fic(&other, "fic-a", "a").await.status, 201);
    assert!(azure.list(&identity).await.is_empty());
    drop(write);
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
    assert!(azure.emulator.overlapping_writes().is_empty());

    azure
        .emulator
        .knobs(|knobs| knobs.latency = Latency::of([(Operation::PutCredential, Duration::from_secs(1))]));
    let (first, second) = tokio::join!(
        azure.put_fic(&identity, "fic-b", "b"),
        azure.put_fic(&identity, "fic-c", "c")
    );
    let (winner, loser) = if first.status == 201 {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(winner.status, 201);
    is_concurrent(&loser, &id);
    assert_eq!(azure.emulator.overlapping_writes().len(), 1);
    assert_eq!(azure.emulator.credentials(&identity.resource_id).len(), 2);
}

#[tokio::test]
async fn other_clusters_write_too() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.emulator.knobs(|knobs| knobs.conflict_rate = 0.5);
    let mut seen = Vec::new();
    for n in 0..6 {
        seen.push(
            azure
                .put_fic(&identity, &format!("fic-{n}"), &n.to_string())
                .await
                .status,
        );
    }
    assert_eq!(seen, [201, 409, 201, 409, 201, 409]);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_its_write() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure
        .emulator
        .knobs(|knobs| knobs.latency = Latency::of([(Operation::PutCredential, Duration::from_millis(400))]));
    let url = format!(
        "{}{}?api-version=2023-01-31",
        azure.emulator.url(),
        fic(&identity, "fic-a")
    );
    let body = properties("https://issuer.test", "a", AUDIENCE);
    let request = azure
        .http
        .put(url)
        .bearer_auth(&azure.token)
        .json(&body)
        .timeout(Duration::from_millis(100));
    assert!(request.send().await.unwrap_err().is_timeout());
    eventually(|| azure.emulator.journal()[0].committed.is_some()).await;
    let entry = azure.emulator.journal().remove(0);
    assert_eq!(entry.status, None);
    assert!(entry.ended < entry.committed);
    assert_eq!(azure.emulator.credentials(&identity.resource_id).len(), 1);
}

#[tokio::test]
async fn a_write_does_not_end_on_a_new_identity_of_the_same_name() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure
        .emulator
        .knobs(|knobs| knobs.latency = Latency::of([(Operation::PutCredential, Duration::from_millis(500))]));
    let put = azure.put_fic(&identity, "fic-a", "a");
    let replace = async {
        eventually(|| azure.emulator.external_write(&identity.resource_id).is_none()).await;
        azure.identity()
    };
    let (answer, reborn) = tokio::join!(put, replace);
    answer.is(404, "ParentResourceNotFound", true);
    assert!(azure.emulator.credentials(&reborn.resource_id).is_empty());
    assert_eq!(azure.put_fic(&reborn, "fic-a", "a").await.status, 201);
}
