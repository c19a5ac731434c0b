//! Shapes: ids, members, headers, the life of identities and credentials.

use azure_emulator::{IdCase, RateHeaders};
use serde_json::json;

use crate::common::{AUDIENCE, Azure, fic, fics, names, properties};

#[tokio::test]
async fn a_credential_lives_and_dies() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let id = fic(&identity, "fic-a");

    let mut body = properties("https://issuer.test/", "system:serviceaccount:shop:web", AUDIENCE);
    body["name"] = json!("ignored");
    body["properties"]["extra"] = json!(true);
    let created = azure
        .send("PUT", &id.replace("resourcegroups", "resourceGroups"), Some(body))
        .await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), Some(id.as_str()));
    let expected = format!(
        r#"{{"id":"{id}","name":"fic-a","type":"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials","properties":{{"issuer":"https://issuer.test/","subject":"system:serviceaccount:shop:web","audiences":["api://AzureADTokenExchange"]}}}}"#
    );
    assert_eq!(created.raw, expected);

    let again = azure
        .send(
            "PUT",
            &id,
            Some(properties(
                "https://issuer.test/",
                "system:serviceaccount:shop:web",
                AUDIENCE,
            )),
        )
        .await;
    assert_eq!(
        (again.status, again.header("location"), again.raw.clone()),
        (200, None, expected.clone())
    );
    assert_eq!(
        azure
            .get(&id.to_uppercase().replace("API-VERSION", "api-version"))
            .await
            .raw,
        expected
    );

    let moved = azure
        .send(
            "PUT",
            &id,
            Some(properties("https://other.test", "anything", "odd audience")),
        )
        .await;
    assert_eq!(
        (moved.status, &moved.body["properties"]["subject"]),
        (200, &json!("anything"))
    );
    assert_eq!(
        azure.emulator.credentials(&identity.resource_id)[0].audiences,
        ["odd audience"]
    );

    let list = azure.get(&fics(&identity)).await;
    assert_eq!(
        (list.status, list.raw),
        (200, format!(r#"{{"value":[{}]}}"#, moved.raw))
    );

    let deleted = azure.delete(&id).await;
    assert_eq!((deleted.status, deleted.raw.as_str()), (200, ""));
    assert_eq!(deleted.header("content-length"), Some("0"));
    assert_eq!(deleted.header("content-type"), None);
    assert_eq!(azure.delete(&id).await.status, 204);
    assert_eq!(azure.get(&fics(&identity)).await.raw, r#"{"value":[]}"#);
    azure.get(&id).await.is(404, "NotFound", false);
}

#[tokio::test]
async fn an_identity_lives_and_dies() {
    let azure = Azure::start().await;
    azure.emulator.create_resource_group("rg-a");
    let path = format!(
        "/subscriptions/{}/resourceGroups/rg-a/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-a",
        azure.emulator.subscription_id()
    );
    azure
        .send("PUT", &path, Some(json!({})))
        .await
        .is(400, "LocationRequired", true);
    let created = azure
        .send("PUT", &path, Some(json!({ "location": "westeurope" })))
        .await;
    let id = path.replace("resourceGroups", "resourcegroups");
    let identity = azure.emulator.identity(&id).unwrap();
    assert_eq!(created.status, 201);
    assert_eq!(created.header("location"), Some(id.as_str()));
    let expected = |tags: &str| {
        format!(
            r#"{{"location":"westeurope","tags":{tags},"id":"{id}","name":"id-a","type":"Microsoft.ManagedIdentity/userAssignedIdentities","properties":{{"tenantId":"{}","principalId":"{}","clientId":"{}"}}}}"#,
            identity.tenant_id, identity.principal_id, identity.client_id
        )
    };
    assert_eq!(created.raw, expected("{}"));
    let patched = azure
        .send("PATCH", &path, Some(json!({ "tags": { "team": "shop" } })))
        .await;
    assert_eq!(
        (patched.status, patched.raw),
        (200, expected(r#"{"team":"shop"}"#))
    );
    let put = azure
        .send("PUT", &path, Some(json!({ "location": "westeurope" })))
        .await;
    assert_eq!(
        (put.status, put.header("location"), put.raw.clone()),
        (200, None, expected("{}"))
    );
    let moved = azure
        .send("PUT", &path, Some(json!({ "location": "northeurope" })))
        .await;
    moved.is(409, "InvalidResourceLocation", true);
    assert_eq!(azure.get(&path).await.raw, expected("{}"));

    for list in [
        path.trim_end_matches("/id-a").to_owned(),
        path.replace("/resourceGroups/rg-a", "").replace("/id-a", ""),
    ] {
        assert_eq!(names(&azure.get(&list).await), ["id-a"], "{list}");
    }
    azure.put_fic(&identity, "fic-a", "a").await;
    assert_eq!(azure.delete(&path).await.status, 200);
    assert_eq!(azure.delete(&path).await.status, 204);
    let reborn = azure
        .send("PUT", &path, Some(json!({ "location": "westeurope" })))
        .await;
    assert_eq!(reborn.status, 201);
    let reborn = azure.emulator.identity(&id).unwrap();
    assert_ne!(
        (reborn.client_id, reborn.principal_id),
        (identity.client_id, identity.principal_id)
    );
    assert!(azure.emulator.credentials(&id).is_empty());
}

#[tokio::test]
async fn every_404_is_its_own() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    let id = &identity.resource_id;
    let body = || Some(properties("https://issuer.test", "a", AUDIENCE));

    let other = id.replace(
        azure.emulator.subscription_id(),
        "5ab5c41b-0000-4000-8000-0000000000ff",
    );
    let answer = azure.get(&other).await;
    answer.is(404, "SubscriptionNotFound", true);
    assert_eq!(
        answer.message(),
        "The subscription '5ab5c41b-0000-4000-8000-0000000000ff' could not be found."
    );

    let no_group = id.replace("rg-shop", "rg-gone");
    let answer = azure.delete(&no_group).await;
    answer.is(404, "ResourceGroupNotFound", true);
    assert_eq!(answer.message(), "Resource group 'rg-gone' could not be found.");
    azure
        .send(
            "PUT",
            &format!("{no_group}/federatedIdentityCredentials/fic-a"),
            body(),
        )
        .await
        .is(404, "ResourceGroupNotFound", true);

    let gone = id
        .replace("/checkout", "/gone")
        .replace("resourcegroups", "resourceGroups");
    let answer = azure.get(&gone).await;
    answer.is(404, "ResourceNotFound", true);
    assert_eq!(
        answer.message(),
        "The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/gone' under resource group 'rg-shop' \
         was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    );
    let child = format!("{gone}/federatedIdentityCredentials/fic-a");
    for (verb, answer) in [
        ("write", azure.send("PUT", &child, body()).await),
        ("delete", azure.delete(&child).await),
        ("read", azure.get(&child).await),
    ] {
        answer.is(404, "ParentResourceNotFound", true);
        let text = format!(
            "Failed to perform '{verb}' on resource(s) of type \
             'userAssignedIdentities/federatedIdentityCredentials', because the parent resource '{gone}' could \
             not be found."
        );
        assert_eq!(answer.message(), text);
    }
    let child = format!("{no_group}/federatedIdentityCredentials/fic-a");
    azure.delete(&child).await.is(404, "ParentResourceNotFound", true);

    let answer = azure.get(&fic(&identity, "fic-a")).await;
    answer.is(404, "NotFound", false);
    assert_eq!(
        answer.message(),
        format!("Resource '{}' was not found.", fic(&identity, "fic-a"))
    );
    azure
        .get("/subscriptions/x/y/z")
        .await
        .is(404, "InvalidResourceType", true);
}

#[tokio::test]
async fn headers_of_every_answer() {
    let azure = Azure::frozen().await;
    let identity = azure.identity();
    let answer = azure.get(&identity.resource_id).await;
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-ms-ratelimit-remaining-subscription-reads", "249"),
        ("x-ms-ratelimit-remaining-subscription-global-reads", "3749"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let id = answer.header("x-ms-request-id").unwrap();
    assert_eq!(answer.header("x-ms-correlation-request-id"), Some(id));
    let routing = format!("EMULATOR:20300101T000000Z:{id}");
    assert_eq!(answer.header("x-ms-routing-request-id"), Some(routing.as_str()));

    let next = azure.get(&identity.resource_id).await;
    assert_ne!(next.header("x-ms-request-id"), Some(id));
    assert_eq!(
        next.header("x-ms-ratelimit-remaining-subscription-reads"),
        Some("248")
    );
    let write = azure.put_fic(&identity, "fic-a", "a").await;
    assert_eq!(
        write.header("x-ms-ratelimit-remaining-subscription-writes"),
        Some("199")
    );
    assert_eq!(
        write.header("x-ms-ratelimit-remaining-subscription-global-writes"),
        Some("2999")
    );
    azure
        .emulator
        .knobs(|knobs| knobs.rate_headers = RateHeaders::Old);
    let delete = azure.delete(&fic(&identity, "fic-a")).await;
    assert_eq!(
        delete.header("x-ms-ratelimit-remaining-subscription-deletes"),
        Some("14999")
    );
    assert_eq!(
        delete.header("x-ms-ratelimit-remaining-subscription-global-deletes"),
        None
    );
}

#[tokio::test]
async fn letter_case_of_ids_is_a_knob() {
    let azure = Azure::start().await;
    let identity = azure.emulator.create_identity("Rg-Shop", "CheckOut");
    assert!(identity.resource_id.contains("/resourcegroups/Rg-Shop/"));
    let path = fic(&identity, "Fic-A");
    azure.put_fic(&identity, "Fic-A", "a").await;
    let asked = path.replace("Rg-Shop", "RG-SHOP").replace("Fic-A", "FIC-A");
    for (case, expected) in [
        (IdCase::AsCreated, path.clone()),
        (IdCase::AsRequested, asked.clone()),
        (
            IdCase::Lower,
            path.replace("Rg-Shop", "rg-shop")
                .replace("CheckOut", "checkout")
                .replace("Fic-A", "fic-a"),
        ),
    ] {
        azure.emulator.knobs(|knobs| knobs.id_case = case);
        assert_eq!(azure.get(&asked).await.body["id"], json!(expected), "{case:?}");
    }
}
