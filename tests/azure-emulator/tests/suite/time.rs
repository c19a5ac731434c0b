//! Reads that lag behind writes.

use std::time::Duration;

use azure_emulator::{Latency, Operation, ReadLag};

use crate::common::{Azure, fic};

#[tokio::test]
async fn reads_lag_by_time() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    azure
        .emulator
        .knobs(|knobs| knobs.read_lag = ReadLag::Time(Duration::from_secs(30)));
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
    assert!(azure.list(&identity).await.is_empty());
    azure
        .get(&fic(&identity, "fic-a"))
        .await
        .is(404, "NotFound", false);
    assert_eq!(
        azure.put_fic(&identity, "fic-a", "a").await.status,
        200,
        "writes see the truth"
    );
    azure.emulator.advance_clock(Duration::from_secs(30));
    assert_eq!(azure.list(&identity).await, ["fic-a"]);
}

#[tokio::test]
async fn reads_lag_by_count_and_flap() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.emulator.knobs(|knobs| knobs.read_lag = ReadLag::Reads(2));
    azure.put_fic(&identity, "fic-a", "a").await;
    assert_eq!(azure.get(&fic(&identity, "fic-a")).await.status, 404);
    assert!(azure.list(&identity).await.is_empty());
    assert_eq!(azure.list(&identity).await, ["fic-a"]);

    azure
        .emulator
        .knobs(|knobs| knobs.read_lag = ReadLag::Flapping(4));
    azure.delete(&fic(&identity, "fic-a")).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(azure.get(&fic(&identity, "fic-a")).await.status);
    }
    assert_eq!(seen, [200, 404, 200, 404, 404]);
}

#[tokio::test]
async fn operations_take_their_time() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let long = Duration::from_millis(60);
    azure.emulator.knobs(|knobs| knobs.latency = Latency::all(long));
    azure.put_fic(&identity, "fic-a", "a").await;
    azure
        .emulator
        .knobs(|knobs| knobs.latency = Latency::of([(Operation::ListCredentials, long)]));
    azure.list(&identity).await;
    for entry in azure.emulator.journal() {
        assert!(entry.ended.unwrap() - entry.started >= long, "{entry:?}");
    }
    assert!(Latency::realistic().by_operation[&Operation::PutCredential] > Duration::from_secs(1));
}
