//! Is what a pass goes by still true? Asked before anything is written in Azure.
//!
//! Watches and access reviews are answered from memory, also by an API server that is cut off from its
//! storage and has missed whatever happened since: a binding deleted, a grant given or taken. A write,
//! and a read without a resourceVersion, are never answered from memory. There they fail, or come once
//! the storage is back, and then what was answered from memory before may be wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, CustomResourceExt, Resource, ResourceExt};
use tokio::time::Instant;

use super::context::Context;
use super::index::Guarded;
use crate::api::WorkloadIdentityBinding;
use crate::core::{IdentityId, Tuple, desired};

/// An answer from storage that takes longer may be one of a storage that has just come back.
const HESITATION: Duration = Duration::from_millis(500);

/// Time for the API server's authorizer to hear then what it has missed.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How long after trouble with any call the same is assumed.
const TROUBLE: Duration = Duration::from_secs(10);

/// Bindings of one page of a list.
const PAGE: u32 = 500;

/// What storage holds, beside what a pass goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// The same.
    Current,
    /// Something else, or nothing.
    Changed,
}

/// Waits for a call that is answered from storage. Says whether what was asked before has to be asked
/// again: then the API server had time to catch up.
pub(super) async fn from_storage<T>(context: &Context, call: impl Future<Output = T>) -> (T, bool) {
    let began = Instant::now();
    let answer = call.await;
    if began.elapsed() > HESITATION {
        context.expectations.trouble();
    }
    let after_trouble = context.expectations.troubled_within(TROUBLE);
    if after_trouble {
        tokio::time::sleep(CATCH_UP).await;
    }
    (answer, after_trouble)
}

/// Whether storage holds the binding that a pass goes by: the same object with the same spec, deleted or
/// not as it was. Labels, annotations and the status may have changed a thousand times since: whoever
/// patches them without end holds nothing up.
pub(super) async fn binding(context: &Context, binding: &WorkloadIdentityBinding) -> kube::Result<Live> {
    let api = context.api(&binding.namespace().unwrap_or_default());
    let live = api.get_metadata_opt(&binding.name_any()).await?;
    if let Some(live) = live
        .as_ref()
        .filter(|live| live.metadata.uid == binding.metadata.uid)
    {
        let (seen, stored) = (
            &binding.metadata.resource_version,
            &live.metadata.resource_version,
        );
        context.revision.is_older(seen.as_deref(), stored.as_deref());
    }
    Ok(live.map_or(Live::Changed, |live| compare(binding, &live)))
}

/// Compares a binding with what storage holds under its name.
pub(super) fn compare<K: Resource>(binding: &WorkloadIdentityBinding, live: &K) -> Live {
    let (seen, live) = (&binding.metadata, live.meta());
    let same = seen.uid == live.uid
        && seen.generation == live.generation
        && seen.deletion_timestamp.is_some() == live.deletion_timestamp.is_some();
    if same { Live::Current } else { Live::Changed }
}

/// Whether the definition of bindings is being deleted, or gone.
pub(super) async fn definition_is_going(context: &Context) -> kube::Result<bool> {
    let definitions: Api<CustomResourceDefinition> = Api::all(context.parts.client.clone());
    let definition = definitions
        .get_metadata_opt(WorkloadIdentityBinding::crd_name())
        .await?;
    Ok(definition.is_none_or(|definition| definition.metadata.deletion_timestamp.is_some()))
}

/// Those of these subjects that, by what storage holds, no binding wants on this identity.
///
/// A binding that cannot be understood may want anything in its namespace. So may, in a cluster whose
/// definition is gone, whoever is not there: then the list fails, and nothing is unwanted.
pub(super) async fn unwanted(
    context: &Context,
    identity: &IdentityId,
    subjects: Vec<String>,
) -> kube::Result<Vec<String>> {
    let namespaces: BTreeSet<String> = subjects.iter().filter_map(|s| namespace_of(s)).collect();
    let mut wanted = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for namespace in namespaces {
        let api: Api<Guarded> = Api::namespaced(context.parts.client.clone(), &namespace);
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&params).await?;
            for object in page.items {
                let Ok(binding) = object.0 else {
                    unknown.insert(namespace.clone());
                    continue;
                };
                match desired::identity(&binding.spec.identity, &context.parts.defaults) {
                    Ok(named) if named == *identity && binding.metadata.deletion_timestamp.is_none() => {
                        let account = &binding.spec.service_account.name;
                        wanted.insert(Tuple::for_service_account("", &namespace, account, "").subject);
                    }
                    Ok(_) => {}
                    Err(_) => {
                        unknown.insert(namespace.clone());
                    }
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = ListParams::default().limit(PAGE).continue_token(&token),
                None => break,
            }
        }
    }
    let is_unwanted = |subject: &String| {
        let namespace = namespace_of(subject);
        !wanted.contains(subject) && namespace.is_some_and(|namespace| !unknown.contains(&namespace))
    };
    Ok(subjects.into_iter().filter(is_unwanted).collect())
}

fn namespace_of(subject: &str) -> Option<String> {
    let (namespace, _) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(namespace.to_owned())
}
