//! The first step: ServiceAccounts, grants and bindings, and waiting until the bindings are Ready.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::client::{Error, Kubernetes};
use super::journal::{self, Account, Created, Entry};
use super::kinds::RBAC;
use super::object::contains;
use super::{FIELD_MANAGER, Run, wait};
use crate::api::{GRANT_RESOURCE, GRANT_VERB, GROUP};
use crate::migrate::plan::Plan;

/// Label of the objects that this command makes, beside its field manager.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// An object of the plan, and what is there of it.
struct Wanted<'a> {
    title: &'a str,
    value: &'a Value,
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
    there: bool,
}

impl Wanted<'_> {
    fn is_grant(&self) -> bool {
        self.group == RBAC
    }
}

/// Carries it out.
pub async fn grant(run: &mut Run<'_>, plan: &Plan, outputs: &[(&str, &Value)]) -> Result<(), Error> {
    for workload in plan.workloads.iter().filter(|w| !w.why.is_empty()) {
        let object = format!("{} {}/{}", workload.kind, workload.namespace, workload.name);
        run.say.left("skipped", object, &workload.why.join("; "));
    }
    let mut all = Vec::new();
    let mut open = Vec::new();
    for (title, value) in outputs {
        let wanted = wanted(title, value);
        if run.args.skip_grants && wanted.is_grant() {
            continue;
        }
        let namespace = wanted.namespace.as_deref();
        let there = run
            .kubernetes
            .get(&wanted.group, &wanted.kind, namespace, &wanted.name)
            .await;
        let there = there.map_err(|error| match error {
            error if wanted.is_grant() && error.is_forbidden() => {
                Error::Other(format!("nothing was changed: {error}. {WAY_OUT}"))
            }
            other => other,
        })?;
        all.push((
            wanted.group.clone(),
            wanted.namespace.clone(),
            wanted.name.clone(),
        ));
        if there
            .as_ref()
            .is_some_and(|there| there.metadata.deletion_timestamp.is_some())
        {
            run.say
                .failed(title, "it is being deleted: run the step again when it is gone");
            continue;
        }
        let same = |there: &DynamicObject| {
            // What somebody has made of a ServiceAccount is theirs.
            wanted.kind == "ServiceAccount" || contains(&json!(there), value)
        };
        if there.as_ref().is_some_and(same) {
            run.say.same(title);
        } else {
            open.push(Wanted {
                there: there.is_some(),
                ..wanted
            });
        }
    }
    allowed(run.kubernetes, &open).await?;
    rehearse(run.kubernetes, &open).await?;
    choose(run.kubernetes, plan).await?;
    let accounts = accounts(outputs);
    run.say.begin("grant", open.len());
    for wanted in &open {
        if !wanted.there {
            note(run.kubernetes, wanted, &accounts).await?;
        }
        match apply(run.kubernetes, wanted, false).await {
            Ok(_) => run
                .say
                .done(if wanted.there { "changed" } else { "created" }, wanted.title),
            Err(error) => run.say.failed(wanted.title, error),
        }
        run.say.step();
    }
    let bindings = all.into_iter().filter(|(group, _, _)| group == GROUP);
    let bindings = bindings.map(|(_, namespace, name)| (namespace.unwrap_or_default(), name));
    if run.args.wait {
        wait::bindings(run.kubernetes, bindings, run.args.timeout, &mut run.say).await?;
    }
    Ok(())
}

/// Notes which ServiceAccount each workload gets, before the first of them changes: see [`Chosen`].
///
/// [`Chosen`]: crate::migrate::plan::Chosen
pub async fn choose(kubernetes: &Kubernetes, plan: &Plan) -> Result<(), Error> {
    for switch in &plan.switches {
        let at = &switch.workload.at;
        let entry = Entry::Account(Account {
            kind: at.kind.clone(),
            name: at.name.clone(),
            account: switch.account.clone(),
            resource_ids: switch.ids.iter().map(ToString::to_string).collect(),
        });
        journal::put(kubernetes, &at.namespace, &entry).await?;
    }
    Ok(())
}

fn wanted<'a>(title: &'a str, value: &'a Value) -> Wanted<'a> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api_version = text(&value["apiVersion"]);
    Wanted {
        title,
        value,
        group: api_version
            .split_once('/')
            .map_or(String::new(), |(group, _)| group.to_owned()),
        kind: text(&value["kind"]),
        namespace: value["metadata"]["namespace"].as_str().map(str::to_owned),
        name: text(&value["metadata"]["name"]),
        there: false,
    }
}

/// The ServiceAccounts that each ClusterRole and ClusterRoleBinding is for, by name.
fn accounts(outputs: &[(&str, &Value)]) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let mut accounts: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (_, value) in outputs
        .iter()
        .filter(|(_, value)| value["kind"] == "ClusterRoleBinding")
    {
        let subject = &value["subjects"][0];
        let account = (text(&subject["namespace"]), text(&subject["name"]));
        for name in [&value["metadata"]["name"], &value["roleRef"]["name"]] {
            accounts.entry(text(name)).or_default().insert(account.clone());
        }
    }
    accounts
}

/// Writes into the journals of all namespaces concerned that an object will be created.
async fn note(
    kubernetes: &Kubernetes,
    wanted: &Wanted<'_>,
    accounts: &BTreeMap<String, BTreeSet<(String, String)>>,
) -> Result<(), Error> {
    let account = match wanted.kind.as_str() {
        "ServiceAccount" => Some(wanted.name.clone()),
        _ => wanted.value["spec"]["serviceAccount"]["name"]
            .as_str()
            .map(str::to_owned),
    };
    let own = wanted.namespace.clone().zip(account);
    let shared = accounts.get(&wanted.name).filter(|_| wanted.namespace.is_none());
    let mut by_namespace: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (namespace, account) in own.into_iter().chain(shared.into_iter().flatten().cloned()) {
        by_namespace.entry(namespace).or_default().push(account);
    }
    for (namespace, accounts) in by_namespace {
        let entry = Entry::Created(Created {
            group: wanted.group.clone(),
            kind: wanted.kind.clone(),
            namespace: wanted.namespace.clone(),
            name: wanted.name.clone(),
            accounts,
        });
        journal::put(kubernetes, &namespace, &entry).await?;
    }
    Ok(())
}

async fn apply(
    kubernetes: &Kubernetes,
    wanted: &Wanted<'_>,
    rehearsal: bool,
) -> Result<DynamicObject, Error> {
    let api = kubernetes.api(&wanted.group, &wanted.kind, wanted.namespace.as_deref())?;
    let parameters = PatchParams {
        dry_run: rehearsal,
        ..PatchParams::apply(FIELD_MANAGER)
    };
    let mut value = wanted.value.clone();
    // Of an object that says nothing else, nobody would know whose it is.
    value["metadata"]["labels"] = json!({ MANAGED_BY: FIELD_MANAGER });
    let answer = api.patch(&wanted.name, &parameters, &Patch::Apply(&value)).await;
    answer.map_err(|e| Error::call(format!("apply {}", wanted.title), e))
}

/// Asks for every right that is needed before anything is done, so that nothing is done by half.
async fn allowed(kubernetes: &Kubernetes, open: &[Wanted<'_>]) -> Result<(), Error> {
    let mut needed: BTreeSet<(&str, String, String, Option<&str>)> = BTreeSet::new();
    for wanted in open {
        let Some(resource) = kubernetes.resource(&wanted.group, &wanted.kind) else {
            kubernetes.api(&wanted.group, &wanted.kind, None)?;
            continue;
        };
        let namespace = wanted.namespace.as_deref();
        for verb in ["create", "patch"] {
            needed.insert((verb, wanted.group.clone(), resource.plural.clone(), namespace));
        }
        if namespace.is_some() {
            needed.insert(("create", String::new(), "configmaps".to_owned(), namespace));
        }
    }
    let reviews: Api<SelfSubjectAccessReview> = Api::all(kubernetes.client.clone());
    let mut missing = Vec::new();
    for (verb, group, resource, namespace) in needed {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.clone()),
            resource: Some(resource.clone()),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|e| Error::call("ask which rights there are", e))?;
        if !answer.status.is_some_and(|status| status.allowed) {
            let group = if group.is_empty() {
                String::new()
            } else {
                format!(".{group}")
            };
            let place = namespace.map_or(String::new(), |n| format!(" in namespace {n}"));
            missing.push(format!("{verb} {resource}{group}{place}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Other(format!(
        "nothing was changed, because rights are missing: {}. {}",
        missing.join(", "),
        WAY_OUT
    )))
}

const WAY_OUT: &str = "Let whoever owns the identities apply what -o yaml prints (with --skip-grants this step leaves out \
                       ClusterRoles and ClusterRoleBindings), or see docs/migrate.md for the rights";

/// Lets the API server try everything without storing it: quotas, policies, and whether one may grant what is granted.
async fn rehearse(kubernetes: &Kubernetes, open: &[Wanted<'_>]) -> Result<(), Error> {
    // A ClusterRoleBinding is refused until its ClusterRole is stored.
    for wanted in open.iter().filter(|wanted| wanted.kind != "ClusterRoleBinding") {
        let Err(error) = apply(kubernetes, wanted, true).await else {
            continue;
        };
        if wanted.is_grant() && error.is_forbidden() {
            return Err(Error::Other(format!(
                "nothing was changed: {error}. Nobody may grant what they do not have: this needs the verb {GRANT_VERB} on \
                 {GRANT_RESOURCE} of {GROUP}. {WAY_OUT}"
            )));
        }
        if error.is_conflict() {
            return Err(Error::Other(format!(
                "nothing was changed: {error}. It is there already and differs: see whose it is, change or rename it"
            )));
        }
        return Err(Error::Other(format!("nothing was changed: {error}")));
    }
    Ok(())
}
