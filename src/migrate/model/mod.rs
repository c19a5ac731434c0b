//! What the objects of an environment mean for pod identity. Pure.

mod charts;
mod elsewhere;
mod identity;
mod other;
mod settings;
mod values;
mod workload;

use charts::Release;
pub use elsewhere::{Elsewhere, Form};
pub use identity::{ArmId, Binding, Casing, Exception, Identity};
pub use other::{Installation, PodIdentityClass};
pub use settings::{Family, Setting};
pub use workload::{Workload, pod_paths};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::{Code, Finding};
use super::kustomize::{Environment, FILE_NAMES};
use super::object::{CLUSTER_SCOPED, Object};
pub use super::object::{LABEL, USE_LABEL};
use super::progress::Progress;
use super::source::Sources;
use super::yaml::{Mark, Node, is_placeholder};
use crate::api::GROUP;
use crate::core::IdentityId;

/// Group of the objects of pod identity.
pub const POD_IDENTITY: &str = "aadpodidentity.k8s.io";

/// What to do about the credentials of Velero.
pub const VELERO: &str = "Velero: leave only AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZURE_CLOUD_NAME in its \
                          credentials, and set useAAD: \"true\" in the config of each BackupStorageLocation. Its plugin \
                          for Azure must be 1.8 or later.";

/// A text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub mark: Mark,
}

impl Text {
    /// The text of a scalar.
    pub fn of(node: &Node) -> Option<Self> {
        let text = node.as_text()?.to_owned();
        Some(Self {
            text,
            mark: node.mark,
        })
    }
}

/// Which object something is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Namespace; that of the command line where the object names none.
    pub namespace: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Where it stands.
    pub mark: Mark,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Reference {
    fn of(object: &Object, default_namespace: &str) -> Self {
        let default = if CLUSTER_SCOPED.contains(&object.kind.as_str()) {
            ""
        } else {
            default_namespace
        };
        Self {
            namespace: object.namespace.clone().unwrap_or_else(|| default.to_owned()),
            kind: object.kind.clone(),
            name: object.name.clone(),
            mark: object.mark(),
        }
    }
}

/// Everything of one environment that has to do with identities.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Folder of the kustomization; none for the files that none uses.
    pub environment: Option<String>,
    /// Why the kustomization could not be built.
    pub unresolved: Option<String>,
    /// Identities.
    pub identities: Vec<Identity>,
    /// Bindings.
    pub bindings: Vec<Binding>,
    /// Exceptions.
    pub exceptions: Vec<Exception>,
    /// Everything that makes pods.
    pub workloads: Vec<Workload>,
    /// ServiceAccounts.
    pub accounts: Vec<Reference>,
    /// SecretProviderClasses that use pod identity.
    pub classes: Vec<PodIdentityClass>,
    /// All SecretProviderClasses.
    pub class_names: BTreeSet<String>,
    /// Where SecretProviderClasses stand that use something else, and have no client id.
    pub other_classes: Vec<Mark>,
    /// SecretProviderClasses that something mounts whose pods are not known, with what it is.
    pub mounted: Vec<(Reference, Text)>,
    /// Settings of components that ask for pod identity.
    pub settings: Vec<Setting>,
    /// Secrets that name a repository to Argo CD and hold nothing to log in with.
    pub repositories: Vec<Reference>,
    /// Labels where pods are not made in a way that is understood.
    pub elsewhere: Vec<Elsewhere>,
    /// Parts of pod identity itself.
    pub installation: Vec<Installation>,
    /// Where objects stand that name no namespace.
    pub without_namespace: Vec<Mark>,
    /// What is there already of what a plan may create: `ServiceAccount shop/web`.
    pub present: BTreeSet<String>,
    /// ARM ids, or what stands for them, that WorkloadIdentityBindings give to a ServiceAccount already, by its namespace and name.
    pub bound: BTreeMap<(String, String), BTreeSet<String>>,
}

/// The key of the ARM id of a WorkloadIdentityBinding, or what stands for it. One that goes by the defaults of the
/// operator has none.
fn bound_id(object: &Object) -> Option<String> {
    let part = |key: &str| object.node.text_at(&["spec", "identity", key]);
    let written = part("resourceId").map(str::to_owned).or_else(|| {
        let (subscription, group, name) = (part("subscriptionId")?, part("resourceGroup")?, part("name")?);
        Some(format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity/\
             userAssignedIdentities/{name}"
        ))
    })?;
    let known = written.parse::<IdentityId>().map(|id| id.key().to_owned());
    known
        .ok()
        .or_else(|| is_placeholder(&written).then(|| written.trim().to_owned()))
}

impl Model {
    /// All identities and bindings of pod identity.
    pub fn pod_identity(&self) -> impl Iterator<Item = &Reference> {
        let identities = self.identities.iter().map(|identity| &identity.at);
        identities.chain(self.bindings.iter().map(|binding| &binding.at))
    }

    fn read(&mut self, object: &Object, sources: &Sources, namespace: &str, notes: &mut Vec<Note>) {
        let reference = Reference::of(object, namespace);
        if object.namespace.is_none() && (object.group() == POD_IDENTITY || workload::is_labelled(object)) {
            self.without_namespace.push(reference.mark);
        }
        if [
            "ServiceAccount",
            "WorkloadIdentityBinding",
            "ClusterRole",
            "ClusterRoleBinding",
        ]
        .contains(&object.kind.as_str())
        {
            self.present.insert(reference.to_string());
        }
        match (object.group(), object.kind.as_str()) {
            (GROUP, "WorkloadIdentityBinding") => {
                let text = |path: &[&str]| object.node.text_at(path);
                let id = bound_id(object);
                if let (Some(id), Some(account)) = (id, text(&["spec", "serviceAccount", "name"])) {
                    let key = (reference.namespace, account.to_owned());
                    self.bound.entry(key).or_default().insert(id);
                }
            }
            (POD_IDENTITY, "AzureIdentity") => self.identities.push(Identity::of(object, reference)),
            (POD_IDENTITY, "AzureIdentityBinding") => self.bindings.push(Binding::of(object, reference)),
            (POD_IDENTITY, "AzurePodIdentityException") => {
                self.exceptions.push(Exception::of(object, reference));
            }
            (POD_IDENTITY, "AzureAssignedIdentity") => notes.push((
                Code::AssignedIdentity,
                reference.mark,
                reference.to_string(),
                "MIC writes this object; it is no source of anything.".to_owned(),
                "Leave it out of the repository. In the cluster it must be gone before MIC is removed."
                    .to_owned(),
            )),
            ("", "ServiceAccount") => self.accounts.push(reference),
            ("secrets-store.csi.x-k8s.io", "SecretProviderClass") => {
                self.class_names.insert(reference.to_string());
                match PodIdentityClass::of(object, reference) {
                    Ok(class) => self.classes.push(class),
                    Err(mark) => self.other_classes.extend(mark),
                }
            }
            _ => {
                self.installation.extend(Installation::of(object, &reference));
                if let Some(workload) = Workload::of(object, reference.clone()) {
                    self.workloads.push(workload);
                    settings::find(&object.node, &reference, None, &mut self.settings, notes);
                } else {
                    self.release(sources, object, &reference, namespace, notes);
                }
                other::notes(object, &reference, notes);
                settings::texts(object, &reference, notes);
                if settings::is_open_repository(object) {
                    self.repositories.push(reference);
                }
            }
        }
    }

    /// What an object holds that makes no pods itself. The label of a release of a chart that is known is that of its
    /// pods.
    fn release(
        &mut self,
        sources: &Sources,
        object: &Object,
        at: &Reference,
        namespace: &str,
        notes: &mut Vec<Note>,
    ) {
        let release = Release::of(sources, object, at);
        let (labels, mounted) = (self.elsewhere.len(), self.mounted.len());
        let namespace = release_namespace(object, namespace);
        self.value_tree(sources, &object.node, at, namespace, release.as_ref(), notes);
        let Some(made) = release.and_then(|release| release.workload(object, at)) else {
            return;
        };
        let mut found = self.elsewhere.split_off(labels);
        let is_at = |found: &Elsewhere, mark| found.value.as_ref().is_some_and(|value| value.mark == mark);
        match made {
            Ok(workload) => {
                found.retain(|found| {
                    workload
                        .label
                        .as_ref()
                        .is_none_or(|label| !is_at(found, label.mark))
                });
                self.mounted.truncate(mounted);
                if workload.label.is_some()
                    && object.namespace.is_none()
                    && workload.at.namespace == at.namespace
                {
                    self.without_namespace.push(at.mark);
                }
                self.workloads.push(workload);
            }
            Err((mark, reason)) => {
                for label in found.iter_mut().filter(|found| is_at(found, mark)) {
                    label.doubt = Some(reason.clone());
                }
            }
        }
        self.elsewhere.extend(found);
    }

    /// What chart values, custom resources and other trees hold.
    fn value_tree(
        &mut self,
        sources: &Sources,
        tree: &Arc<Node>,
        holder: &Reference,
        namespace: &str,
        release: Option<&Release<'_>>,
        notes: &mut Vec<Note>,
    ) {
        values::identities(tree, namespace, self);
        self.elsewhere
            .extend(elsewhere::labels(sources, tree, holder, namespace));
        let holder_there = Reference {
            namespace: namespace.to_owned(),
            ..holder.clone()
        };
        let mounted = charts::classes(tree).into_iter();
        self.mounted
            .extend(mounted.map(|class| (holder_there.clone(), class)));
        let known = self.settings.len();
        settings::find(tree, holder, release, &mut self.settings, notes);
        let new = self.settings.iter().skip(known);
        let labels = new.filter(|setting| setting.family == Family::KedaChart);
        self.elsewhere
            .extend(labels.filter_map(|setting| Elsewhere::of_keda(setting, namespace)));
    }
}

/// A finding without its file names.
pub type Note = (Code, Mark, String, String, String);

/// Namespace in which the pods of a release run.
fn release_namespace<'a>(object: &'a Object, default_namespace: &'a str) -> &'a str {
    let target = object.node.text_at(&["spec", "targetNamespace"]);
    let destination = object.node.text_at(&["spec", "destination", "namespace"]);
    target
        .or(destination)
        .or(object.namespace.as_deref())
        .unwrap_or(default_namespace)
}

/// The models of all environments; the first is that of the files that no kustomization uses.
pub fn models(
    environments: &[Environment],
    sources: &Sources,
    namespace: &str,
    progress: &dyn Progress,
) -> (Vec<Model>, Vec<Finding>) {
    progress.begin("planning", environments.iter().map(|e| e.objects.len()).sum());
    let mut findings = Vec::new();
    let mut models = Vec::new();
    for environment in environments {
        let mut model = Model {
            environment: environment.name.clone(),
            unresolved: environment.unresolved.clone(),
            ..Model::default()
        };
        let mut notes = Vec::new();
        for object in &environment.objects {
            model.read(object, sources, namespace, &mut notes);
            progress.step();
        }
        if environment.name.is_none() {
            value_files(&mut model, sources, namespace, &mut notes);
        }
        findings.extend(notes.into_iter().map(|(code, mark, subject, reason, action)| {
            let finding = Finding::new(code, sources.place(mark), reason, action);
            finding.about(subject).within(environment.name.as_deref())
        }));
        models.push(model);
    }
    let nameless: Vec<Mark> = models
        .iter()
        .flat_map(|model| model.without_namespace.iter().copied())
        .collect();
    if let Some(first) = nameless.iter().min() {
        let reason = format!(
            "{} objects of pod identity or with its label name no namespace: {namespace} is taken for it.",
            nameless.len()
        );
        let action = "Say which one with --namespace, as you do with kubectl apply.";
        findings.push(Finding::new(
            Code::NamespaceMissing,
            sources.place(*first),
            reason,
            action,
        ));
    }
    (models, findings)
}

/// Documents that are no objects: values of charts, and patches that no kustomization carries out.
fn value_files(model: &mut Model, sources: &Sources, namespace: &str, notes: &mut Vec<Note>) {
    for source in sources.files.iter().filter(|source| source.asked) {
        let name = source.path.rsplit('/').next().unwrap_or_default();
        if FILE_NAMES.contains(&name) {
            continue;
        }
        for node in source
            .documents
            .iter()
            .filter_map(|document| document.content.as_ref())
        {
            if Object::of(node).is_none() {
                let holder = Reference {
                    namespace: namespace.to_owned(),
                    kind: "values".to_owned(),
                    name: name.to_owned(),
                    mark: node.mark,
                };
                model.value_tree(sources, node, &holder, namespace, None, notes);
            }
        }
    }
}
