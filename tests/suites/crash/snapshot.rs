//! What is there at the end of a run, without what differs from world to world.

use std::collections::BTreeMap;

use anyhow::Result;
use azure_emulator::Operation;
use kube::api::ListParams;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use workload_identity_binding::core::{IdentityId, grant};

use super::stage::Stage;

/// Bindings, ServiceAccounts, credentials and records, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(pub String);

/// Names and ids of a world, longest first, and what stands for each.
pub struct Names(Vec<(String, String)>);

impl Names {
    pub async fn of(stage: &Stage) -> Result<Self> {
        let mut names = BTreeMap::new();
        names.insert(stage.world.namespace.clone(), "<namespace>".to_owned());
        names.insert(
            stage.world.azure.subscription_id().to_owned(),
            "<subscription>".to_owned(),
        );
        for identity in stage.identities() {
            // The name of its role and of its record holds a hash of its id.
            let id: IdentityId = identity.resource_id.parse()?;
            names.insert(grant::object_name(&id), format!("<objects of {}>", identity.name));
            names.insert(
                identity.client_id.clone(),
                format!("<client of {}>", identity.name),
            );
            names.insert(
                identity.principal_id.clone(),
                format!("<principal of {}>", identity.name),
            );
        }
        // Of credentials that are gone, too.
        for entry in stage.world.azure.journal() {
            let subject = entry
                .body
                .as_ref()
                .and_then(|body| body["properties"]["subject"].as_str());
            if let (Operation::PutCredential, Some(subject)) = (entry.operation, subject) {
                let subject = subject.replace(&stage.world.namespace, "<namespace>");
                let name = entry.path.rsplit('/').next().unwrap_or_default();
                names.insert(name.to_owned(), format!("<credential of {subject}>"));
            }
        }
        for account in stage
            .world
            .service_accounts()
            .list(&ListParams::default())
            .await?
        {
            let name = account.name_any();
            names.insert(
                account.uid().unwrap_or_default(),
                format!("<uid of ServiceAccount {name}>"),
            );
        }
        for binding in stage.world.bindings().list(&ListParams::default()).await? {
            let name = binding.name_any();
            names.insert(
                binding.uid().unwrap_or_default(),
                format!("<uid of binding {name}>"),
            );
        }
        let mut names: Vec<_> = names.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Ok(Self(names))
    }

    pub fn masked(&self, text: &str) -> String {
        let replace = |text: String, (name, mask): &(String, String)| text.replace(name, mask);
        self.0.iter().fold(text.to_owned(), replace)
    }
}

impl Snapshot {
    pub async fn of(stage: &Stage) -> Result<Self> {
        let world = &stage.world;
        let mut bindings = BTreeMap::new();
        for binding in world.bindings().list(&ListParams::default()).await? {
            let mut status = json!(binding.status);
            for condition in status["conditions"].as_array_mut().into_iter().flatten() {
                if let Some(condition) = condition.as_object_mut() {
                    condition.remove("lastTransitionTime");
                }
            }
            let shown = json!({
                "finalizers": binding.metadata.finalizers,
                "generation": binding.metadata.generation,
                "deleting": binding.metadata.deletion_timestamp.is_some(),
                "spec": binding.spec,
                "status": status,
            });
            bindings.insert(binding.name_any(), shown);
        }
        let mut accounts = BTreeMap::new();
        for account in world.service_accounts().list(&ListParams::default()).await? {
            // A controller makes `default` in its own time.
            if account.name_any() != "default" {
                let shown = json!({ "annotations": account.annotations(), "owners": account.meta().owner_references });
                accounts.insert(account.name_any(), shown);
            }
        }
        let mut credentials = BTreeMap::new();
        for identity in stage.identities() {
            let mut found = world.azure.credentials(&identity.resource_id);
            found.sort_by(|one, other| one.name.cmp(&other.name));
            credentials.insert(identity.name.clone(), json!(found));
        }
        let mut records = BTreeMap::new();
        for identity in stage.identities() {
            if let Some(record) = world.record(identity).await? {
                let mut status = record.status.unwrap_or_default();
                status.credentials.sort_by(|one, other| one.name.cmp(&other.name));
                records.insert(identity.name.clone(), json!(status));
            }
        }
        let snapshot: Value = json!({ "bindings": bindings, "accounts": accounts, "credentials": credentials, "records": records });
        let text = serde_json::to_string_pretty(&snapshot)?;
        Ok(Self(Names::of(stage).await?.masked(&text)))
    }
}
