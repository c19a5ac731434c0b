//! Who may use an identity: the question that is put to Kubernetes, and the answer to a refusal.

use super::IdentityId;
use crate::api::{GRANT_RESOURCE, GRANT_VERB, GROUP};

/// A ServiceAccount and the identity it wants to use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Namespace of the ServiceAccount.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub service_account: String,
    /// The identity.
    pub identity: IdentityId,
}

impl Request {
    /// The user that a SubjectAccessReview is to name.
    pub fn user(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.namespace, self.service_account
        )
    }

    /// The groups of that user. `system:authenticated` is left out: a grant to everybody would
    /// make every tenant a user of the identity.
    pub fn groups(&self) -> [String; 2] {
        [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", self.namespace),
        ]
    }

    /// What a person reads when the grant is missing: the exact objects that make it.
    pub fn how_to_grant(&self) -> String {
        let Self {
            namespace,
            service_account,
            identity,
        } = self;
        let name = format!(
            "wib-use-{}",
            identity.name().to_ascii_lowercase().replace('_', "-")
        );
        let key = identity.key();
        format!(
            "ServiceAccount {namespace}/{service_account} may not use this identity. \
             To allow it, a cluster administrator applies:\n\
             apiVersion: rbac.authorization.k8s.io/v1\n\
             kind: ClusterRole\n\
             metadata:\n  name: {name}\n\
             rules:\n\
             - apiGroups: [{GROUP}]\n  resources: [{GRANT_RESOURCE}]\n  verbs: [{GRANT_VERB}]\n  resourceNames:\n  - {key}\n\
             ---\n\
             apiVersion: rbac.authorization.k8s.io/v1\n\
             kind: ClusterRoleBinding\n\
             metadata:\n  name: {name}-{namespace}-{service_account}\n\
             roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: {name}\n\
             subjects:\n- kind: ServiceAccount\n  namespace: {namespace}\n  name: {service_account}\n"
        )
    }
}
