//! The lives of bindings that are crashed into.

use std::time::Duration;

use anyhow::Result;
use azure_emulator::Credential;
use kube::api::DeleteParams;
use serde_json::json;
use wib_harness::world::bindings::condition;
use wib_harness::{AUDIENCE, World};

use super::explorer::{Scenario, explore};

/// Drift is noticed within a second, and the operator's own writes are seen at once.
const WATCHFUL: &[&str] = &["--drift-interval=1s", "--read-after-write-grace=10ms"];

/// Nothing is tried again by the clock: every step follows from a watch.
const PATIENT: &[&str] = &["--slow-retry-interval=1h"];

pub async fn create(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "create",
        pairs: &[("web", "a", true), ("web", "b", false)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn create_with_service_account(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "create-with-service-account",
        pairs: &[("web", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.start().await?;
        let spec = json!({
            "identity": { "resourceId": stage.identity("a")?.resource_id },
            "serviceAccount": { "name": "web", "create": true },
        });
        stage.world.create("web", spec).await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn delete(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "delete",
        pairs: &[("web", "a", false)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        stage.world.delete("web").await
    })
    .await
}

pub async fn change_identity(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "change-identity",
        pairs: &[("web", "a", false), ("web", "b", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        stage.turn_to("web", "b").await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn change_service_account(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "change-service-account",
        flags: PATIENT,
        pairs: &[("old", "a", false), ("new", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        for name in ["old", "new"] {
            stage.account(name).await?;
        }
        stage.start().await?;
        stage.bind("web", "old", "a").await?;
        stage.ready("web").await?;
        let patch = json!({ "spec": { "serviceAccount": { "name": "new" } } });
        stage.world.change("web", patch).await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn change_twice_in_quick_succession(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "change-twice",
        pairs: &[("web", "a", false), ("web", "b", false), ("web", "c", true)],
        racing: true,
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        stage.turn_to("web", "b").await?;
        // The operator is on its way to b.
        let b = &stage.identity("b")?.resource_id;
        let trusted = || !stage.world.azure.credentials(b).is_empty();
        stage.world.until("b trusts the workload", trusted).await?;
        stage.turn_to("web", "c").await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn revoke_and_grant_again(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "revoke-and-grant-again",
        pairs: &[("web", "private", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        let private = stage.identity("private")?;
        stage.world.grant("web", private).await?;
        stage.start().await?;
        stage.bind("web", "web", "private").await?;
        stage.ready("web").await?;
        stage.world.revoke("web", private).await?;
        stage.world.not_ready("web", "NotAuthorized").await?;
        anyhow::ensure!(
            !stage.is_accepted("web", private).await?,
            "accepted without a grant"
        );
        stage.settled().await?;
        stage.world.grant("web", private).await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn change_that_is_denied(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "change-that-is-denied",
        pairs: &[("web", "a", true), ("web", "private", false)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        stage.turn_to("web", "private").await?;
        stage.world.not_ready("web", "NotAuthorized").await.map(drop)
    })
    .await
}

pub async fn suspend_drift_and_resume(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "suspend-drift-and-resume",
        flags: WATCHFUL,
        pairs: &[("web", "a", true)],
        racing: true,
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        let suspend = |suspend: bool| json!({ "spec": { "suspend": suspend } });
        stage.world.change("web", suspend(true)).await?;
        let suspended =
            |binding: &_| condition(binding, "Ready").is_some_and(|c| (c.0, c.1) == ("True", "Suspended"));
        stage.world.wait("web", "ready and suspended", suspended).await?;
        let a = &stage.identity("a")?.resource_id;
        for credential in stage.world.azure.credentials(a) {
            stage.world.azure.delete_credential(a, &credential.name);
        }
        stage.world.not_ready("web", "Suspended").await?;
        anyhow::ensure!(
            stage.world.azure.credentials(a).is_empty(),
            "written while suspended"
        );
        stage.world.change("web", suspend(false)).await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn adopt(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "adopt",
        pairs: &[("web", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        let foreign = stage.world.foreign_credential("made-by-terraform", "web");
        stage
            .world
            .azure
            .put_credential(&stage.identity("a")?.resource_id, foreign);
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        stage.world.delete("web").await
    })
    .await
}

pub async fn repair_an_edited_credential(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "repair-an-edited-credential",
        flags: WATCHFUL,
        pairs: &[("web", "a", true)],
        racing: true,
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        let a = &stage.identity("a")?.resource_id;
        let made = stage.world.azure.credentials(a);
        for credential in &made {
            let subject = "system:serviceaccount:elsewhere:job".to_owned();
            let edited = Credential {
                subject,
                ..credential.clone()
            };
            stage.world.azure.put_credential(a, edited);
        }
        let repaired = || stage.world.azure.credentials(a) == made;
        stage.world.until("the credential is put right", repaired).await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn one_of_two_of_a_pair_goes(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "one-of-two-of-a-pair-goes",
        flags: PATIENT,
        pairs: &[("web", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        for name in ["one", "two"] {
            stage.bind(name, "web", "a").await?;
            stage.ready(name).await?;
        }
        stage.world.delete("one").await?;
        stage.settled().await?;
        stage.ready("two").await.map(drop)
    })
    .await
}

pub async fn the_older_of_two_goes(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "the-older-of-two-goes",
        flags: PATIENT,
        pairs: &[("web", "a", false), ("web", "b", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("first", "web", "a").await?;
        stage.ready("first").await?;
        // Kubernetes keeps the time of creation in whole seconds.
        tokio::time::sleep(Duration::from_millis(1050)).await;
        stage.bind("second", "web", "b").await?;
        stage.world.stalled("second", "ServiceAccountTaken").await?;
        stage.settled().await?;
        anyhow::ensure!(
            stage.is_accepted("web", stage.identity("a")?).await?,
            "the older lost its access"
        );
        anyhow::ensure!(
            !stage.is_accepted("web", stage.identity("b")?).await?,
            "both have access"
        );
        stage.world.delete("first").await?;
        stage.ready("second").await.map(drop)
    })
    .await
}

pub async fn retain(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "retain",
        pairs: &[("web", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        let spec = json!({
            "identity": { "resourceId": stage.identity("a")?.resource_id },
            "serviceAccount": { "name": "web" },
            "deletionPolicy": "Retain",
        });
        stage.world.create("web", spec).await?;
        stage.ready("web").await?;
        stage.world.delete("web").await
    })
    .await
}

pub async fn release(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "release",
        flags: PATIENT,
        pairs: &[("web", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        let a = &stage.identity("a")?.resource_id;
        stage
            .world
            .azure
            .deny(None, "federatedIdentityCredentials/delete", a);
        stage
            .world
            .bindings()
            .delete("web", &DeleteParams::default())
            .await?;
        stage.world.not_ready("web", "AzureAccessDenied").await?;
        stage.settled().await?;
        let release = json!({ "metadata": { "annotations": { "workload-identity.io/release": "true" } } });
        stage.world.change("web", release).await?;
        stage.world.gone("web").await
    })
    .await
}

pub async fn service_account_made_again(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "service-account-made-again",
        flags: PATIENT,
        pairs: &[("web", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        stage
            .world
            .service_accounts()
            .delete("web", &DeleteParams::default())
            .await?;
        stage.world.not_ready("web", "ServiceAccountNotFound").await?;
        stage.settled().await?;
        let there = stage.world.service_accounts().get_opt("web").await?;
        anyhow::ensure!(there.is_none(), "the operator brought it back");
        stage.world.service_account("web").await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn issuer_change(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "issuer-change",
        flags: &["--issuer-refresh-interval=200ms", "--former-issuer-retention=2s"],
        pairs: &[("web", "a", true)],
        // The clock takes the credential of the former issuer.
        racing: true,
    };
    explore(world, scenario, |stage| async move {
        stage.account("web").await?;
        let issuer = stage.world.cluster.control_plane.issuer();
        stage.tokens_are_of("https://former.test/")?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        // No workload has a token of that issuer: only what Azure holds can be seen.
        stage.world.ready("web").await?;
        stage.settled().await?;
        let a = &stage.identity("a")?.resource_id;
        let issuers = || {
            let held = stage.world.azure.credentials(a).into_iter();
            held.map(|credential| credential.issuer).collect::<Vec<_>>()
        };
        assert_eq!(issuers(), ["https://former.test/"]);
        stage.tokens_are_of(issuer)?;
        let only_new = || issuers() == [issuer];
        stage
            .world
            .until("the former credential is gone", only_new)
            .await?;
        stage.ready("web").await.map(drop)
    })
    .await
}

pub async fn a_slot_is_freed(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "a-slot-is-freed",
        flags: &["--slow-retry-interval=6s"],
        pairs: &[("first", "a", false), ("late", "a", true)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        let a = &stage.identity("a")?.resource_id;
        for n in 1..=19 {
            let subject = format!("system:serviceaccount:tenant:job-{n}");
            let other = Credential::new(
                &format!("tenant-{n}"),
                "https://issuer.tenant.test/",
                &subject,
                AUDIENCE,
            );
            stage.world.azure.put_credential(a, other);
        }
        for name in ["first", "late"] {
            stage.account(name).await?;
        }
        stage.start().await?;
        stage.bind("first", "first", "a").await?;
        stage.ready("first").await?;
        stage.bind("late", "late", "a").await?;
        stage.world.stalled("late", "CredentialLimitReached").await?;
        stage.settled().await?;
        stage.world.delete("first").await?;
        stage.ready("late").await.map(drop)
    })
    .await
}

pub async fn namespace_deletion(world: World) -> Result<()> {
    let scenario = Scenario {
        name: "namespace-deletion",
        // The namespace controller deletes the ServiceAccount before the binding or after it.
        racing: true,
        pairs: &[("web", "a", false)],
        ..Scenario::default()
    };
    explore(world, scenario, |stage| async move {
        anyhow::ensure!(
            stage.world.cluster.control_plane.has_controllers(),
            "this trial needs the namespace controller, which KUBEBUILDER_ASSETS does not bring; unset it"
        );
        stage.account("web").await?;
        stage.start().await?;
        stage.bind("web", "web", "a").await?;
        stage.ready("web").await?;
        stage.world.delete_namespace().await?;
        stage.world.gone("web").await
    })
    .await
}
