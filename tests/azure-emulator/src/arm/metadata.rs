//! What Azure clients ask first: the cloud's endpoints, and which subscriptions and tenants there are.

use serde_json::{Value, json};

use crate::call::Call;
use crate::reply::Reply;

/// One object from 2022-09-01 on (documented: Azure/azure-cli `cloud register --endpoint-resource-manager`,
/// Azure/azure-sdk-for-go cloud metadata). Login and ARM are both this emulator.
pub(super) fn endpoints(call: &Call) -> Reply {
    let url = &call.shared.url;
    let body = json!({
        "portal": url,
        "authentication": {
            "loginEndpoint": url,
            "audiences": [url, format!("{url}/")],
            "tenant": "common",
            "identityProvider": "AAD"
        },
        "media": url,
        "graphAudience": format!("{url}/"),
        "graph": format!("{url}/"),
        "name": "AzureEmulator",
        "suffixes": {
            "acrLoginServer": "azurecr.invalid",
            "sqlServerHostname": "database.invalid",
            "keyVaultDns": "vault.invalid",
            "storage": "core.invalid",
            "azureFrontDoorEndpointSuffix": "azurefd.invalid",
            "mysqlServerEndpoint": "mysql.database.invalid",
            "postgresqlServerEndpoint": "postgres.database.invalid"
        },
        "batch": url,
        "resourceManager": format!("{url}/"),
        "vmImageAliasDoc": url,
        "activeDirectoryDataLake": url,
        "sqlManagement": url,
        "microsoftGraphResourceId": format!("{url}/"),
        "gallery": format!("{url}/")
    });
    Reply::json(200, &body)
}

pub(super) fn tenants(call: &Call) -> Reply {
    let tenant = &call.shared.tenant_id;
    let entry = json!({
        "id": format!("/tenants/{tenant}"),
        "tenantId": tenant,
        "countryCode": "NL",
        "displayName": "Emulated tenant",
        "domains": ["emulated.invalid"],
        "tenantCategory": "Home",
        "defaultDomain": "emulated.invalid",
        "tenantType": "AAD"
    });
    Reply::json(200, &json!({ "value": [entry] }))
}

pub(super) fn subscriptions(call: &Call) -> Reply {
    let body = json!({ "value": [entry(call)], "count": { "type": "Total", "value": 1 } });
    Reply::json(200, &body)
}

pub(super) fn subscription(call: &Call) -> Reply {
    Reply::json(200, &entry(call))
}

fn entry(call: &Call) -> Value {
    let (subscription, tenant) = (&call.shared.subscription_id, &call.shared.tenant_id);
    json!({
        "id": format!("/subscriptions/{subscription}"),
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription,
        "tenantId": tenant,
        "displayName": "Emulated subscription",
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off"
        }
    })
}
