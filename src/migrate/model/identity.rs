//! AzureIdentity, AzureIdentityBinding and AzurePodIdentityException, with any casing of their keys.

use super::{Reference, Text};
use crate::core::IdentityId;
use crate::migrate::object::Object;
use crate::migrate::yaml::{Mark, Node, is_placeholder, plain_number};

/// An AzureIdentity.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Which.
    pub at: Reference,
    /// 0 a user-assigned identity, 1 a service principal, 2 one with a certificate; absent means 0.
    pub kind: i64,
    /// ARM id, as written.
    pub resource_id: Option<Text>,
    /// Client id, as written.
    pub client_id: Option<Text>,
    /// Whether it serves pods of its own namespace only.
    pub namespaced: bool,
    /// Where it says something about that which does not count.
    pub misspelt: Option<Mark>,
    /// Further tenants.
    pub auxiliary: Option<Mark>,
    /// Keys that pod identity 1.6 and later does not know.
    pub casing: Casing,
}

/// Keys in another case than the schema's.
#[derive(Clone, Debug, Default)]
pub struct Casing {
    /// Each, with its place.
    pub odd: Vec<Text>,
    /// Where two of them disagree.
    pub conflict: Option<Mark>,
}

/// What the resource id of an identity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArmId {
    /// A good one.
    Known(IdentityId),
    /// Something is filled in later.
    Unresolved(String),
    /// None.
    Missing,
    /// Not one of an identity, and why.
    Invalid(String),
}

/// An AzureIdentityBinding.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Which.
    pub at: Reference,
    /// Name of the identity, in the namespace of the binding.
    pub identity: Option<Text>,
    /// Value of the label of the pods.
    pub selector: Option<Text>,
    /// Keys that pod identity 1.6 and later does not know.
    pub casing: Casing,
}

/// An AzurePodIdentityException.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Which.
    pub at: Reference,
    /// One of them is enough.
    pub labels: Vec<(String, String)>,
}

impl Identity {
    pub(super) fn of(object: &Object, at: Reference) -> Self {
        let behavior = object
            .node
            .entry("metadata")
            .and_then(|(_, metadata)| metadata.get("annotations"));
        let behavior =
            behavior.and_then(|annotations| annotations.any_case("aadpodidentity.k8s.io/Behavior").node);
        let exact = object
            .node
            .text_at(&["metadata", "annotations", "aadpodidentity.k8s.io/Behavior"]);
        let namespaced = exact == Some("namespaced");
        let mut identity = Self {
            misspelt: behavior.filter(|_| !namespaced).map(|node| node.mark),
            namespaced,
            ..Self::empty(at)
        };
        if let Some(spec) = object.node.get("spec") {
            identity.read(spec);
        }
        identity
    }

    /// Of an entry of the chart's `azureIdentities`.
    pub(super) fn of_values(entry: &Node, at: Reference) -> Self {
        let mut identity = Self::empty(at);
        identity.read(entry);
        identity
    }

    fn empty(at: Reference) -> Self {
        Self {
            at,
            kind: 0,
            resource_id: None,
            client_id: None,
            namespaced: false,
            misspelt: None,
            auxiliary: None,
            casing: Casing::default(),
        }
    }

    fn read(&mut self, spec: &Node) {
        let casing = &mut self.casing;
        self.kind = field(spec, "type", casing)
            .and_then(|t| plain_number(&t.text))
            .unwrap_or(0);
        self.resource_id = field(spec, "resourceID", casing);
        self.client_id = field(spec, "clientID", casing);
        let auxiliary = spec.any_case("auxiliaryTenantIDs").node;
        self.auxiliary = auxiliary
            .filter(|list| !list.items().is_empty())
            .map(|list| list.mark);
    }

    /// What its resource id is. MIC took it with anything before the first slash, and without the slash.
    pub fn arm_id(&self) -> ArmId {
        let Some(written) = &self.resource_id else {
            return ArmId::Missing;
        };
        let text = written.text.trim();
        if text.is_empty() {
            return ArmId::Missing;
        }
        match format!("/{}", text.trim_start_matches('/')).parse() {
            Ok(id) => ArmId::Known(id),
            Err(_) if is_placeholder(text) => ArmId::Unresolved(text.to_owned()),
            Err(error) => ArmId::Invalid(error.to_string()),
        }
    }
}

impl Binding {
    pub(super) fn of(object: &Object, at: Reference) -> Self {
        let mut casing = Casing::default();
        let spec = object.node.get("spec");
        let mut read = |key| spec.and_then(|spec| field(spec, key, &mut casing));
        let (identity, selector) = (read("azureIdentity"), read("selector"));
        Self {
            at,
            identity,
            selector,
            casing,
        }
    }

    /// The binding that the chart makes of an entry.
    pub(super) fn of_values(at: Reference, identity: Text, selector: Option<Text>) -> Self {
        Self {
            at,
            identity: Some(identity),
            selector,
            casing: Casing::default(),
        }
    }
}

impl Exception {
    pub(super) fn of(object: &Object, at: Reference) -> Self {
        let labels = object
            .node
            .get("spec")
            .and_then(|spec| spec.any_case("podLabels").node);
        let labels = labels.map_or(&[][..], |labels| labels.entries());
        let pair = |(key, value): &(_, _)| -> Option<(String, String)> {
            let (key, value): (&std::sync::Arc<Node>, &std::sync::Arc<Node>) = (key, value);
            Some((key.as_text()?.to_owned(), value.as_text()?.to_owned()))
        };
        Self {
            at,
            labels: labels.iter().filter_map(pair).collect(),
        }
    }

    /// Whether pods with these labels are excepted: one label is enough, its value in any case.
    pub fn covers(&self, labels: &[(String, String)]) -> bool {
        self.labels.iter().any(|(key, value)| {
            labels
                .iter()
                .any(|(k, v)| k == key && v.eq_ignore_ascii_case(value))
        })
    }
}

fn field(spec: &Node, key: &str, casing: &mut Casing) -> Option<Text> {
    let found = spec.any_case(key);
    casing.odd.extend(found.odd.and_then(Text::of));
    if found.conflict {
        casing.conflict = casing.conflict.or_else(|| found.odd.map(|key| key.mark));
    }
    found.node.and_then(|node| Text::of(node))
}
