//! Who may ask ARM, and for what.

use std::time::Duration;

use azure_emulator::{Lock, LockLevel, client};

use crate::common::{Azure, OPERATOR, SECRET, answer, fic, fics};

const WRITE: &str = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write";

#[tokio::test]
async fn a_bearer_token_of_the_emulated_entra_is_required() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    let url = format!(
        "{}{}?api-version=2023-01-31",
        azure.emulator.url(),
        identity.resource_id
    );
    let with = |value: Option<&str>| {
        let request = azure.http.get(&url);
        answer(match value {
            Some(value) => request.header("authorization", value),
            None => request,
        })
    };
    let missing = with(None).await.unwrap();
    missing.is(401, "AuthenticationFailed", true);
    let challenge = missing.header("www-authenticate").unwrap();
    assert!(challenge.starts_with(&format!("Bearer authorization_uri=\"{}/", azure.emulator.url())));
    with(Some("Basic abc"))
        .await
        .unwrap()
        .is(401, "AuthenticationFailedInvalidHeader", true);
    with(Some("Bearer abc"))
        .await
        .unwrap()
        .is(401, "InvalidAuthenticationToken", true);

    let good = with(Some(&format!("bearer {}", azure.token))).await.unwrap();
    assert_eq!(good.status, 200);
    let (signed, _) = azure.token.rsplit_once('.').unwrap();
    with(Some(&format!("Bearer {signed}.AAAA")))
        .await
        .unwrap()
        .is(401, "InvalidAuthenticationToken", true);

    let foreign = Azure::frozen().await;
    with(Some(&format!("Bearer {}", foreign.token)))
        .await
        .unwrap()
        .is(401, "InvalidAuthenticationToken", true);

    azure.emulator.advance_clock(Duration::from_secs(86_399));
    with(Some(&format!("Bearer {}", azure.token)))
        .await
        .unwrap()
        .is(401, "ExpiredAuthenticationToken", true);
}

#[tokio::test]
async fn the_token_must_be_for_arm() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let emulator = &azure.emulator;
    for (resource, status) in [
        (emulator.url().to_owned(), 200),
        (format!("{}/", emulator.url()), 200),
        ("https://management.azure.com".to_owned(), 200),
        ("https://management.azure.com/".to_owned(), 200),
        ("https://management.core.windows.net/".to_owned(), 200),
        ("https://vault.azure.net".to_owned(), 401),
    ] {
        let scope = format!("{resource}/.default");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", OPERATOR),
            ("client_secret", SECRET),
            ("scope", scope.as_str()),
        ];
        let token =
            client::request_token(emulator.url(), emulator.ca_pem(), emulator.tenant_id(), &form).await;
        let seen = azure
            .send_as(&token.unwrap().token, "GET", &identity.resource_id, None)
            .await;
        assert_eq!(seen.status, status, "{resource}");
        if status == 401 {
            seen.is(401, "InvalidAuthenticationTokenAudience", true);
        }
    }
}

#[tokio::test]
async fn denials_say_who_and_what() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    let other = azure.emulator.create_identity("rg-shop", "other");
    azure.emulator.deny(
        None,
        ".../federatedIdentityCredentials/write",
        &identity.resource_id,
    );
    let path = fic(&identity, "fic-a").replace("resourcegroups", "resourceGroups");
    let body = || {
        Some(crate::common::properties(
            "https://issuer.test",
            "a",
            "api://AzureADTokenExchange",
        ))
    };
    let denied = azure.send("PUT", &path, body()).await;
    denied.is(403, "AuthorizationFailed", true);
    let message = denied.message();
    assert!(
        message.starts_with(&format!("The client '{OPERATOR}' with object id '")),
        "{message}"
    );
    assert!(
        message.ends_with(&format!(
            "' does not have authorization to perform action '{WRITE}' over scope '{path}' or the scope is \
             invalid. If access was recently granted, please refresh your credentials."
        )),
        "{message}"
    );
    assert_eq!(azure.get(&fics(&identity)).await.status, 200);
    assert_eq!(azure.put_fic(&other, "fic-a", "a").await.status, 201);

    azure
        .emulator
        .knobs(|knobs| knobs.rbac_lag = Duration::from_mins(5));
    azure.emulator.allow_all();
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 403);
    azure.emulator.advance_clock(Duration::from_mins(5));
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);

    azure
        .emulator
        .deny(Some("00000000-0000-4000-8000-000000000000"), "*", "");
    assert_eq!(azure.put_fic(&identity, "fic-b", "b").await.status, 201);
    azure.emulator.deny(Some(OPERATOR), "*/delete", "");
    assert_eq!(azure.delete(&fic(&identity, "fic-b")).await.status, 403);
}

#[tokio::test]
async fn a_principal_with_grants_has_nothing_else() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    azure
        .emulator
        .knobs(|knobs| knobs.rbac_lag = Duration::from_mins(1));
    azure.emulator.grant(OPERATOR, WRITE, &identity.resource_id);
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 403);
    azure.emulator.advance_clock(Duration::from_mins(1));
    assert_eq!(azure.put_fic(&identity, "fic-a", "a").await.status, 201);
    assert_eq!(azure.get(&fics(&identity)).await.status, 403);
    azure.emulator.allow_all();
    assert_eq!(azure.get(&fics(&identity)).await.status, 200);
}

#[tokio::test]
async fn locks_stop_writes_and_deletes() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.put_fic(&identity, "fic-a", "a").await;
    let scope = identity
        .resource_id
        .split("/providers/")
        .next()
        .unwrap()
        .to_owned();
    let lock = |level| Lock {
        scope: scope.clone(),
        level,
    };
    azure
        .emulator
        .knobs(|knobs| knobs.locks = vec![lock(LockLevel::CanNotDelete)]);
    assert_eq!(azure.put_fic(&identity, "fic-b", "b").await.status, 201);
    azure
        .delete(&fic(&identity, "fic-a"))
        .await
        .is(409, "ScopeLocked", true);
    azure
        .emulator
        .knobs(|knobs| knobs.locks = vec![lock(LockLevel::ReadOnly)]);
    azure
        .put_fic(&identity, "fic-b", "c")
        .await
        .is(409, "ScopeLocked", true);
    assert_eq!(azure.get(&fics(&identity)).await.status, 200);
}
