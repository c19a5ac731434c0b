//! The CustomResourceDefinition, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::WorkloadIdentityBinding;

/// The CustomResourceDefinition as it is checked in under `crds/`.
///
/// `status` has the default `{observedGeneration: -1}`: kstatus then reads an object that no
/// controller has looked at yet as in progress, not as done.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = WorkloadIdentityBinding::crd();
    crd.metadata.labels = Some(
        [(
            "app.kubernetes.io/name".to_owned(),
            "workload-identity-binding".to_owned(),
        )]
        .into(),
    );
    for version in &mut crd.spec.versions {
        let mut schema = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut());
        if let Some(schema) = schema.as_deref_mut() {
            without_null(schema);
        }
        if let Some(status) = schema
            .and_then(|s| s.properties.as_mut())
            .and_then(|p| p.get_mut("status"))
        {
            without_defaults(status);
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
        }
    }
    crd
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

/// [`crd`] as YAML, byte for byte what `wib crd` prints.
///
/// # Errors
/// Fails only if the definition cannot be written as YAML, which would be a defect.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&crd())
}
