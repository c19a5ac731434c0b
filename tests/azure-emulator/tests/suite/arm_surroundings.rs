//! Around identities: api-versions, pages, metadata, subscriptions, resource groups.

use azure_emulator::Operation;
use serde_json::json;

use crate::common::{Azure, answer, fics, names};

#[tokio::test]
async fn api_versions() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let get = |path: &str, version: &str| {
        let path = format!("{path}?api-version={version}");
        let azure = &azure;
        async move { azure.get(&path).await }
    };
    let with_credentials = [
        "2022-01-31-preview",
        "2023-01-31",
        "2023-07-31-preview",
        "2024-11-30",
        "2025-01-31-preview",
        "2025-05-31-preview",
        "2026-04-30",
        "2026-05-31",
    ];
    for version in with_credentials {
        assert_eq!(get(&fics(&identity), version).await.status, 200, "{version}");
    }
    for version in ["2018-11-30", "2021-09-30-preview"] {
        assert_eq!(get(&identity.resource_id, version).await.status, 200, "{version}");
        get(&fics(&identity), version)
            .await
            .is(400, "NoRegisteredProviderFound", true);
    }
    get(&identity.resource_id, "2019-01-01")
        .await
        .is(400, "NoRegisteredProviderFound", true);
    azure
        .get(&format!("{}?x=y", identity.resource_id))
        .await
        .is(400, "MissingApiVersionParameter", true);
    azure
        .get("/subscriptions?api-version=soon")
        .await
        .is(400, "InvalidApiVersionParameter", true);
    let revoke = format!("{}/revokeTokens?api-version=2023-01-31", identity.resource_id);
    azure
        .send("POST", &revoke, None)
        .await
        .is(400, "NoRegisteredProviderFound", true);
    azure
        .send("POST", &fics(&identity), None)
        .await
        .is(405, "HttpMethodNotAllowed", true);
}

#[tokio::test]
async fn lists_have_pages_when_told() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    for name in ["fic-1", "fic-2", "fic-3"] {
        azure.put_fic(&identity, name, name).await;
    }
    azure.emulator.knobs(|knobs| knobs.page_size = Some(2));
    let first = azure.get(&fics(&identity)).await;
    assert_eq!(names(&first), ["fic-1", "fic-2"]);
    let next = first.body["nextLink"]
        .as_str()
        .unwrap()
        .strip_prefix(azure.emulator.url())
        .unwrap()
        .to_owned();
    let second = azure.get(&next).await;
    assert_eq!(
        (names(&second), second.body.get("nextLink")),
        (vec!["fic-3".to_owned()], None)
    );
    let top = azure
        .get(&format!("{}?api-version=2023-01-31&$top=1", fics(&identity)))
        .await;
    assert_eq!(names(&top), ["fic-1"]);
    for query in ["$top=0", "$skiptoken=%21"] {
        let bad = azure
            .get(&format!("{}?api-version=2023-01-31&{query}", fics(&identity)))
            .await;
        bad.is(400, "BadRequest", false);
    }
}

#[tokio::test]
async fn what_clients_ask_first() {
    let azure = Azure::start().await;
    let url = azure.emulator.url().to_owned();
    let metadata = azure
        .http
        .get(format!("{url}/metadata/endpoints?api-version=2022-09-01"));
    let metadata = answer(metadata).await.unwrap().body;
    assert_eq!(metadata["authentication"]["loginEndpoint"], json!(url));
    assert_eq!(metadata["resourceManager"], json!(format!("{url}/")));
    for member in ["name", "portal", "graphAudience"] {
        assert!(metadata[member].is_string(), "{member}");
    }
    for member in ["storage", "keyVaultDns", "sqlServerHostname", "acrLoginServer"] {
        assert!(metadata["suffixes"][member].is_string(), "{member}");
    }
    let subscriptions = azure.get("/subscriptions?api-version=2022-12-01").await.body;
    assert_eq!(
        subscriptions["value"][0]["subscriptionId"],
        json!(azure.emulator.subscription_id())
    );
    assert_eq!(subscriptions["value"][0]["state"], json!("Enabled"));
    let tenants = azure.get("/tenants?api-version=2022-12-01").await.body;
    assert_eq!(tenants["value"][0]["tenantId"], json!(azure.emulator.tenant_id()));
    let tenant = azure.emulator.tenant_id();
    let discovery = azure
        .get(&format!("/{tenant}/v2.0/.well-known/openid-configuration"))
        .await
        .body;
    assert_eq!(discovery["issuer"], json!(format!("{url}/{tenant}/v2.0")));
    assert_eq!(
        discovery["token_endpoint"],
        json!(format!("{url}/{tenant}/oauth2/v2.0/token"))
    );
    let keys = discovery["jwks_uri"]
        .as_str()
        .unwrap()
        .strip_prefix(&url)
        .unwrap()
        .to_owned();
    assert_eq!(azure.get(&keys).await.body["keys"][0]["kty"], json!("RSA"));
    let unknown = azure
        .get("/7e7a7e7a-0000-4000-8000-0000000000ff/v2.0/.well-known/openid-configuration")
        .await;
    assert_eq!(
        (unknown.status, &unknown.body["error_codes"]),
        (400, &json!([90002]))
    );
    let instance = azure
        .get("/common/discovery/instance?api-version=1.1&authorization_endpoint=x")
        .await;
    assert_eq!(
        instance.body["tenant_discovery_endpoint"],
        json!(format!("{url}/{tenant}/v2.0/.well-known/openid-configuration"))
    );
}

#[tokio::test]
async fn resource_groups_over_http() {
    let azure = Azure::start().await;
    let path = format!(
        "/subscriptions/{}/resourceGroups/rg-new?api-version=2021-04-01",
        azure.emulator.subscription_id()
    );
    azure.get(&path).await.is(404, "ResourceGroupNotFound", true);
    let created = azure
        .send("PUT", &path, Some(json!({ "location": "westeurope" })))
        .await;
    assert_eq!(
        (created.status, &created.body["properties"]["provisioningState"]),
        (201, &json!("Succeeded"))
    );
    assert_eq!(azure.send("HEAD", &path, None).await.status, 204);
    let identity = azure.emulator.create_identity("rg-new", "a-b-c");
    let deleted = azure.delete(&path).await;
    assert_eq!((deleted.status, deleted.header("retry-after")), (202, Some("15")));
    let result = deleted
        .header("location")
        .unwrap()
        .strip_prefix(azure.emulator.url())
        .unwrap()
        .to_owned();
    assert_eq!(azure.get(&result).await.status, 200);
    assert_eq!(azure.emulator.identity(&identity.resource_id), None);
    assert_eq!(azure.emulator.count(Operation::ResourceGroup), 5);
}
