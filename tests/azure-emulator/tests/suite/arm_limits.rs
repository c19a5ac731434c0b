//! Throttling, by the provider and by ARM.

use std::time::Duration;

use azure_emulator::{ArmBuckets, Rate, RpBuckets, ThrottleAnswer};

use crate::common::{Azure, fic, fics};

#[tokio::test]
async fn the_provider_throttles_per_identity() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    let other = azure.emulator.create_identity("rg-shop", "other");
    azure
        .emulator
        .knobs(|knobs| knobs.rp_buckets = Some(RpBuckets::published()));
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
    let refused = azure.put_fic(&identity, "fic-b", "b").await;
    refused.is(429, "TooManyRequests", false);
    assert_eq!(refused.header("retry-after"), Some("4"));
    assert_eq!(
        refused.message(),
        format!(
            "Request is temporarily throttled because resource {} has issued too many requests. Retry after 4 seconds.",
            identity.resource_id
        )
    );
    assert_eq!(azure.put_fic(&other, "fic-a", "a").await.status, 201);
    assert_eq!(
        azure.delete(&fic(&identity, "fic-a")).await.status,
        200,
        "deletes have their own bucket"
    );
    assert_eq!(azure.get(&fics(&identity)).await.status, 200);
    assert_eq!(azure.get(&fics(&identity)).await.status, 429);

    let answer = |header, text, as_date| {
        azure.emulator.knobs(|knobs| {
            knobs.throttle_answer = ThrottleAnswer {
                header,
                text,
                as_date,
            }
        });
        azure.put_fic(&identity, "fic-b", "b")
    };
    let text_only = answer(false, true, false).await;
    assert_eq!(
        (
            text_only.header("retry-after"),
            text_only.message().ends_with("Retry after 4 seconds.")
        ),
        (None, true)
    );
    let header_only = answer(true, false, false).await;
    assert_eq!(
        (
            header_only.header("retry-after"),
            header_only.message().contains("Retry")
        ),
        (Some("4"), false)
    );
    let date = answer(true, true, true).await;
    assert_eq!(date.header("retry-after"), Some("Tue, 01 Jan 2030 00:00:04 GMT"));

    azure.emulator.advance_clock(Duration::from_secs(4));
    assert_eq!(azure.put_fic(&identity, "fic-b", "b").await.status, 201);
}

#[tokio::test]
async fn arm_throttles_per_caller() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    let second = "0fe7a704-0000-4000-8000-00000000000b";
    azure.emulator.add_app(second, Some(crate::common::SECRET), None);
    let other = azure.login(second).await;
    let buckets = ArmBuckets {
        reads: Rate::new(0.5, 2.0),
        ..ArmBuckets::published()
    };
    azure.emulator.knobs(|knobs| knobs.arm_buckets = Some(buckets));
    let path = fics(&identity);
    assert_eq!(azure.get(&path).await.status, 200);
    assert_eq!(azure.get(&path).await.status, 200);
    let refused = azure.get(&path).await;
    refused.is(429, "SubscriptionRequestsThrottled", true);
    assert_eq!(refused.header("retry-after"), Some("2"));
    let subscription = azure.emulator.subscription_id();
    assert!(refused.message().starts_with(&format!(
        "Number of requests for subscription '{subscription}' and operation 'GET/"
    )));
    assert!(
        refused
            .message()
            .ends_with("exceeded the backend storage limit. Please try again after '2' seconds.")
    );
    assert_eq!(azure.send_as(&other, "GET", &path, None).await.status, 200);
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
    azure.emulator.advance_clock(Duration::from_secs(2));
    assert_eq!(azure.get(&path).await.status, 200);
}
