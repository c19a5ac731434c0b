//! `docs/api.md`, from the definition.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use strum::IntoEnumIterator;
use workload_identity_binding::api::{
    self, ConditionType, Disposition, FIELD_MANAGER, FINALIZER, GRANT_RESOURCE, GRANT_VERB, GROUP,
    RELEASE_ANNOTATION, Reason,
};
use workload_identity_binding::core::annotations;

use super::{cell, check};

const PAGE: &str = "docs/api.md";

/// `status.conditions[]` is the type of Kubernetes itself, and described there.
const CONDITIONS: &str = "status.conditions[]";

#[test]
fn the_page_of_the_api_says_what_the_definition_says() -> Result<()> {
    let bindings = api::definition_of_bindings();
    let identities = api::definition_of_identities();
    check(
        PAGE,
        &[
            ("names", names(&bindings)?),
            ("spec", part(&bindings, "spec", "spec")?),
            ("status", part(&bindings, "status", "status")?),
            ("columns", columns(&bindings)?),
            ("conditions", conditions()?),
            ("reasons", reasons()?),
            ("names of records", names(&identities)?),
            (
                "spec of records",
                part(&identities, "spec", "ManagedIdentity spec")?,
            ),
            (
                "status of records",
                part(&identities, "status", "ManagedIdentity status")?,
            ),
            ("columns of records", columns(&identities)?),
            ("marks", marks()?),
        ],
    )
}

/// The fields of `spec` or `status` under this heading, and those of the objects in it.
fn part(crd: &CustomResourceDefinition, field: &str, heading: &str) -> Result<String> {
    let version = crd.spec.versions.first().context("no version")?;
    let schema = version
        .schema
        .as_ref()
        .and_then(|s| s.open_api_v3_schema.as_ref());
    let properties = schema.and_then(|s| s.properties.as_ref()).context("no schema")?;
    let mut text = String::new();
    object(
        &mut text,
        heading,
        properties.get(field).context("no such field")?,
    )?;
    Ok(text)
}

fn names(crd: &CustomResourceDefinition) -> Result<String> {
    let names = &crd.spec.names;
    let version = crd.spec.versions.first().context("no version")?;
    let list = |texts: Option<&Vec<String>>| texts.map(|t| t.join(", ")).unwrap_or_default();
    let rows = [
        ("apiVersion", format!("{}/{}", crd.spec.group, version.name)),
        ("kind", names.kind.clone()),
        ("plural", names.plural.clone()),
        ("short name", list(names.short_names.as_ref())),
        ("category", list(names.categories.as_ref())),
        ("scope", crd.spec.scope.clone()),
    ];
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(text, "| {name} | `{value}` |")?;
    }
    Ok(text)
}

/// A table of the fields of an object and a list of its rules, then the same of the objects in it.
fn object(text: &mut String, path: &str, schema: &JSONSchemaProps) -> Result<()> {
    let properties = schema.properties.as_ref().context("an object without fields")?;
    writeln!(text, "### {path}\n")?;
    writeln!(text, "{}\n", paragraph(schema)?)?;
    writeln!(
        text,
        "| field | type | default | limits | meaning |\n|---|---|---|---|---|"
    )?;
    for (name, field) in properties {
        let required = schema.required.iter().flatten().any(|r| r == name);
        let default = field.default.as_ref().map(|d| format!("`{}`", d.0));
        let default = default.unwrap_or_else(|| if required { "required" } else { "" }.to_owned());
        writeln!(
            text,
            "| `{name}` | {} | {default} | {} | {} |",
            kind(field),
            cell(&limits(field)),
            cell(
                field
                    .description
                    .as_deref()
                    .with_context(|| format!("{path}.{name} has no description"))?
            )
        )?;
    }
    text.push('\n');
    rules(text, "", schema)?;
    for (name, field) in properties {
        if field.properties.is_none() {
            rules(text, &format!("`{name}`: "), field)?;
        }
    }
    for (name, field) in properties {
        let (path, field) = match &field.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => (format!("{path}.{name}[]"), items.as_ref()),
            _ => (format!("{path}.{name}"), field),
        };
        if field.properties.is_some() && path != CONDITIONS {
            object(text, &path, field)?;
        }
    }
    Ok(())
}

/// A description as one paragraph.
fn paragraph(schema: &JSONSchemaProps) -> Result<String> {
    let text = schema
        .description
        .as_deref()
        .context("an object without description")?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn rules(text: &mut String, field: &str, schema: &JSONSchemaProps) -> Result<()> {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let message = rule.message.as_deref().context("a rule without message")?;
        writeln!(
            text,
            "- {field}`{message}`\n\n  ```text\n  {}\n  ```\n",
            rule.rule
        )?;
    }
    Ok(())
}

fn kind(field: &JSONSchemaProps) -> String {
    let kind = field.type_.as_deref().unwrap_or("any");
    match &field.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => {
            format!("list of {}s", items.type_.as_deref().unwrap_or("any"))
        }
        _ => kind.to_owned(),
    }
}

fn limits(field: &JSONSchemaProps) -> String {
    let mut limits = Vec::new();
    if let Some(values) = &field.enum_ {
        let values: Vec<_> = values
            .iter()
            .filter_map(|v| v.0.as_str())
            .map(|v| format!("`{v}`"))
            .collect();
        limits.push(values.join(" or "));
    }
    match (field.min_length, field.max_length) {
        (Some(min), Some(max)) if min == max => limits.push(format!("{min} characters")),
        (Some(min), Some(max)) => limits.push(format!("{min} to {max} characters")),
        _ => {}
    }
    if let (Some(min), Some(max)) = (field.minimum, field.maximum) {
        limits.push(format!("{min} to {max}"));
    }
    if let Some(pattern) = &field.pattern {
        limits.push(format!("`{pattern}`"));
    }
    limits.join("; ")
}

fn columns(crd: &CustomResourceDefinition) -> Result<String> {
    let mut text = "| column | from | |\n|---|---|---|\n".to_owned();
    let versions = crd.spec.versions.iter();
    for column in versions.flat_map(|v| v.additional_printer_columns.iter().flatten()) {
        let wide = if column.priority.unwrap_or_default() > 0 {
            "`-o wide` only"
        } else {
            ""
        };
        writeln!(text, "| {} | `{}` | {wide} |", column.name, column.json_path)?;
    }
    ensure!(text.lines().count() > 2, "no columns");
    Ok(text)
}

fn conditions() -> Result<String> {
    let mut text = "| type | present |\n|---|---|\n".to_owned();
    for kind in ConditionType::iter() {
        let present = match kind {
            ConditionType::Reconciling | ConditionType::Stalled => "only while true",
            _ => "always, from the first look on",
        };
        writeln!(text, "| `{}` | {present} |", kind.as_str())?;
    }
    Ok(text)
}

fn reasons() -> Result<String> {
    let mut text = "| | reasons |\n|---|---|\n".to_owned();
    let groups = [
        (Disposition::Done, "In order"),
        (Disposition::Working, "Under way"),
        (Disposition::RetrySoon, "Retried soon"),
        (Disposition::RetrySlowly, "Retried slowly"),
        (Disposition::Stalled, "Stalled"),
    ];
    for (disposition, name) in groups {
        let links: Vec<String> = Reason::iter()
            .filter(|reason| reason.disposition() == disposition)
            .map(Reason::as_str)
            .map(|name| format!("[`{name}`](conditions.md#{})", name.to_lowercase()))
            .collect();
        writeln!(text, "| {name} | {} |", links.join(", "))?;
    }
    Ok(text)
}

/// Names under which the operator and others find one another.
fn marks() -> Result<String> {
    let on_accounts = [
        (annotations::CLIENT_ID, "client id of the identity"),
        (annotations::TENANT_ID, "tenant of the identity"),
        (
            annotations::TOKEN_EXPIRATION,
            "`tokenExpirationSeconds`, when it is set",
        ),
    ];
    let mut rows = vec![
        (
            FINALIZER.to_owned(),
            "finalizer of a binding",
            "set before the first write in Azure, taken away when the trust is taken back",
        ),
        (
            RELEASE_ANNOTATION.to_owned(),
            "annotation of a binding, yours",
            "`\"true\"` on a binding that is being deleted lets it go without touching Azure",
        ),
    ];
    rows.extend(on_accounts.map(|(name, what)| {
        (
            name.to_owned(),
            "annotation of a ServiceAccount, the operator's",
            what,
        )
    }));
    rows.extend([
        (
            "azure.workload.identity/use".to_owned(),
            "label of a pod, yours",
            "`\"true\"`: the webhook gives the pod its token and its ids; the operator does not read it",
        ),
        (
            FIELD_MANAGER.to_owned(),
            "field manager",
            "of every write of the operator, in `metadata.managedFields`",
        ),
        (
            format!("{GRANT_RESOURCE}.{GROUP}"),
            "resource of a grant",
            "named by the ARM id in lower case, as no object of it is; see [Security](security.md#who-decides)",
        ),
        (GRANT_VERB.to_owned(), "verb of a grant", "on that resource"),
    ]);
    let mut text = "| name | what it is | meaning |\n|---|---|---|\n".to_owned();
    for (name, what, meaning) in rows {
        writeln!(text, "| `{name}` | {what} | {meaning} |")?;
    }
    Ok(text)
}
