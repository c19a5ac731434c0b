//! One deed after the other, as people do them with kubectl and az.

use anyhow::{Result, bail, ensure};
use azure_emulator::Credential;
use fastrand::Rng;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use workload_identity_binding::api::WorkloadIdentityBinding;

use super::{ACCOUNTS, Asked, BINDINGS, IDENTITIES, Schema, pair};
use crate::World;
use crate::world::RESOURCE_GROUP;

/// Something that a person does.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Creates a binding, or gives it another spec.
    Put(&'static str, Value),
    /// The same with a spec that nobody may have.
    Misput(&'static str, String, Value),
    /// Deletes a binding and waits for its end.
    Delete(&'static str),
    /// Makes a ServiceAccount, or deletes it.
    TurnAccount(&'static str),
    /// Grants, or revokes.
    TurnGrant(&'static str, &'static str),
    /// Deletes an identity, or makes it (anew, with other ids).
    TurnIdentity(&'static str),
    /// Deletes what the operator has made on an identity.
    Strip(&'static str),
    /// Edits it.
    Edit(&'static str),
    /// Makes a credential of one's own, or deletes it.
    TurnForeign(&'static str, &'static str),
    /// Takes the client id off a ServiceAccount.
    Unannotate(&'static str),
    /// The operator's pod is replaced.
    Restart,
    /// Nothing, for a while.
    Rest,
}

impl Operation {
    /// The next one.
    pub fn any(schema: &Schema, rng: &mut Rng) -> Self {
        let binding = rng.choice(BINDINGS).unwrap_or_default();
        let account = rng.choice(ACCOUNTS).unwrap_or_default();
        let identity = rng.choice(IDENTITIES).unwrap_or_default();
        match rng.u8(..26) {
            0..=8 => Self::Put(binding, schema.any(rng)),
            9..=10 => {
                let bad = schema.bad(&schema.any(rng));
                let at = rng.usize(..bad.len());
                bad.into_iter()
                    .nth(at)
                    .map_or(Self::Rest, |(what, spec)| Self::Misput(binding, what, spec))
            }
            11..=12 => Self::Delete(binding),
            13..=14 => Self::TurnAccount(account),
            15..=17 => Self::TurnGrant(account, identity),
            18 => Self::TurnIdentity(identity),
            19 => Self::Strip(identity),
            20 => Self::Edit(identity),
            21 => Self::TurnForeign(account, identity),
            22 => Self::Unannotate(account),
            23 => Self::Restart,
            _ => Self::Rest,
        }
    }

    /// Does it; a restart is the caller's.
    ///
    /// # Errors
    /// What nobody may do was not refused, or the API server failed.
    pub async fn act(&self, world: &World, asked: &mut Asked) -> Result<()> {
        match self {
            Self::Put(name, spec) => {
                put(world, name, spec).await?;
                asked.specs.insert((*name).to_owned(), spec.clone());
            }
            Self::Misput(name, what, spec) => {
                let refused = put(world, name, spec).await;
                ensure!(refused.is_err(), "the API server took {what}: {spec}");
            }
            Self::Delete(name) => {
                if let Some(spec) = asked.specs.remove(*name) {
                    if spec["deletionPolicy"] == "Retain" {
                        remember(world, name, asked, &spec).await?;
                    }
                    world.delete(name).await?;
                }
            }
            Self::TurnAccount(name) => {
                if world.service_accounts().get_opt(name).await?.is_some() {
                    world
                        .service_accounts()
                        .delete(name, &DeleteParams::default())
                        .await?;
                } else {
                    world
                        .service_account(name)
                        .await
                        .map(drop)
                        .or_else(unless_there)?;
                }
            }
            Self::TurnGrant(account, identity) => {
                // A grant is by id, and stays when the identity goes.
                let id = world.at(identity);
                let pair = ((*account).to_owned(), (*identity).to_owned());
                if asked.grants.remove(&pair) {
                    world.revoke(account, &id).await?;
                } else {
                    world.grant(account, &id).await?;
                    asked.grants.insert(pair);
                }
            }
            Self::TurnIdentity(name) => {
                let id = world.at(name).resource_id;
                if world.azure.identity(&id).is_some() {
                    world.azure.delete_identity(&id);
                    asked.foreign.retain(|(_, identity)| identity != name);
                    asked.retained.retain(|(_, identity)| identity != name);
                } else {
                    world.azure.create_identity(RESOURCE_GROUP, name);
                }
            }
            Self::Strip(name) => {
                for ours in ours(world, name) {
                    world
                        .azure
                        .delete_credential(&world.at(name).resource_id, &ours.name);
                }
            }
            Self::Edit(name) => {
                for ours in ours(world, name) {
                    let issuer = "https://edited.example/".to_owned();
                    world
                        .azure
                        .put_credential(&world.at(name).resource_id, Credential { issuer, ..ours });
                }
            }
            Self::TurnForeign(account, name) => turn_foreign(world, asked, account, name),
            Self::Unannotate(name) => {
                let body =
                    json!({ "metadata": { "annotations": { "azure.workload.identity/client-id": null } } });
                let api = world.service_accounts();
                let done = api
                    .patch(name, &PatchParams::default(), &Patch::Merge(body))
                    .await;
                done.map(drop).or_else(|e| unless_gone(e.into()))?;
            }
            Self::Restart => {}
            Self::Rest => tokio::time::sleep(std::time::Duration::from_millis(400)).await,
        }
        Ok(())
    }
}

fn turn_foreign(world: &World, asked: &mut Asked, account: &str, name: &str) {
    let id = world.at(name).resource_id;
    let credential = world.foreign_credential(&format!("by-hand-{account}"), account);
    let pair = (account.to_owned(), name.to_owned());
    if asked.foreign.remove(&pair) {
        world.azure.delete_credential(&id, &credential.name);
        return;
    }
    // Azure takes one of an issuer and subject.
    let taken = |c: &Credential| (&c.issuer, &c.subject) == (&credential.issuer, &credential.subject);
    if world.azure.identity(&id).is_some() && !world.azure.credentials(&id).iter().any(taken) {
        world.azure.put_credential(&id, credential);
        asked.foreign.insert(pair);
    }
}

/// What the operator has made, by its names.
fn ours(world: &World, identity: &str) -> Vec<Credential> {
    let mut found = world.azure.credentials(&world.at(identity).resource_id);
    found.retain(|c| c.name.starts_with("wib-"));
    found
}

/// What a deletion is going to leave behind.
async fn remember(world: &World, name: &str, asked: &mut Asked, spec: &Value) -> Result<()> {
    asked.retained.insert(pair(spec));
    for held in super::view::held(&world.bindings().get(name).await?) {
        asked.retained.insert(held);
    }
    Ok(())
}

/// Creates, or replaces the whole spec, as a person does who saves a file.
async fn put(world: &World, name: &str, spec: &Value) -> Result<()> {
    let resource = ApiResource::erase::<WorkloadIdentityBinding>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(world.admin(), &world.namespace, &resource);
    for _ in 0..50 {
        let done = if let Some(mut live) = api.get_opt(name).await? {
            live.data["spec"] = spec.clone();
            api.replace(name, &PostParams::default(), &live).await
        } else {
            let new = DynamicObject::new(name, &resource).data(json!({ "spec": spec }));
            api.create(&PostParams::default(), &new).await
        };
        match done {
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            done => return Ok(done.map(drop)?),
        }
    }
    bail!("binding {name} changes faster than it can be replaced")
}

fn unless_there(error: anyhow::Error) -> Result<()> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        _ => Err(error),
    }
}

fn unless_gone(error: anyhow::Error) -> Result<()> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        _ => Err(error),
    }
}
