//! The CustomResourceDefinition, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{ManagedIdentity, WorkloadIdentityBinding};

/// The definition of [`WorkloadIdentityBinding`], as it is checked in under `crds/`.
///
/// `status` has the default `{observedGeneration: -1}`: kstatus then reads an object that no
/// controller has looked at yet as in progress, not as done.
pub fn definition_of_bindings() -> CustomResourceDefinition {
    let mut crd = published(WorkloadIdentityBinding::crd());
    for status in statuses(&mut crd) {
        status.default = Some(JSON(json!({ "observedGeneration": -1 })));
    }
    crd
}

/// The definition of [`ManagedIdentity`], as it is checked in under `crds/`.
pub fn definition_of_identities() -> CustomResourceDefinition {
    published(ManagedIdentity::crd())
}

/// Every definition, in the order in which `wib crd` prints them.
pub fn crds() -> [CustomResourceDefinition; 2] {
    [definition_of_bindings(), definition_of_identities()]
}

/// A derived definition, as users get it.
fn published(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.metadata.labels = Some(
        [(
            "app.kubernetes.io/name".to_owned(),
            "workload-identity-binding".to_owned(),
        )]
        .into(),
    );
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|s| s.open_api_v3_schema.as_mut()) {
            without_null(schema);
        }
    }
    for status in statuses(&mut crd) {
        without_defaults(status);
    }
    crd
}

/// The schemas of `status`, one for each version.
fn statuses(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    crd.spec.versions.iter_mut().filter_map(|version| {
        let schema = version.schema.as_mut()?.open_api_v3_schema.as_mut()?;
        schema.properties.as_mut()?.get_mut("status")
    })
}

/// A null where none is allowed is dropped by the API server, and so is as good as absent: what
/// templates with empty values want.
fn without_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        without_null(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        without_null(items);
    }
}

/// Takes the defaults that serde needs for decoding out of the published schema: the API server
/// would otherwise write them into every status.
fn without_defaults(schema: &mut JSONSchemaProps) {
    schema.default = None;
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        without_defaults(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        without_defaults(items);
    }
}

/// [`crds`] as YAML, byte for byte what `wib crd` prints.
///
/// # Errors
/// Fails only if a definition cannot be written as YAML, which would be a defect.
pub fn crds_yaml() -> Result<String, serde_yaml::Error> {
    let documents: Result<Vec<_>, _> = crds().iter().map(serde_yaml::to_string).collect();
    Ok(documents?.join("---\n"))
}
