//! Who may use an identity: the question that is put to Kubernetes, and the answer to a refusal.

use sha2::{Digest, Sha256};

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

/// Name of an object of Kubernetes that stands for an identity: its record, and the role that grants it.
///
/// Identities of one name in two resource groups must not share one: applying the second role would revoke
/// the first.
pub fn object_name(identity: &IdentityId) -> String {
    let hash = format!("{:x}", Sha256::digest(identity.key()));
    let readable = identity.name().to_ascii_lowercase().replace('_', "-");
    format!("{readable}-{}", &hash[..8])
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
        let name = format!("wib-use-{}", object_name(identity));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(group: &str) -> Request {
        Request {
            namespace: "shop".to_owned(),
            service_account: "web".to_owned(),
            identity: IdentityId::new("00000000-0000-0000-0000-00000000000a", group, "web").unwrap(),
        }
    }

    #[test]
    fn identities_of_one_name_get_roles_of_their_own() {
        let name = |group| {
            request(group)
                .how_to_grant()
                .lines()
                .find(|l| l.contains("name: wib-use-"))
                .map(str::to_owned)
        };
        assert_ne!(name("blue"), name("green"));
        assert_eq!(name("Blue"), name("blue"), "letter case makes no other identity");
    }

    #[test]
    fn an_objects_name_is_the_identitys_and_a_hash_that_letter_case_does_not_change() {
        let id = |group, name| IdentityId::new("00000000-0000-0000-0000-00000000000A", group, name).unwrap();
        let name = object_name(&id("shop", "My_Web"));
        assert_eq!(name, object_name(&id("SHOP", "my_web")));
        let (readable, hash) = name.rsplit_once('-').unwrap();
        assert_eq!(readable, "my-web");
        assert_eq!(hash.len(), 8);
        assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
        // The underscore becomes a hyphen in the readable part alone.
        assert_ne!(name, object_name(&id("shop", "my-web")));
    }

    #[test]
    fn the_question_names_the_user_and_no_group_of_everybody() {
        let request = request("shop");
        assert_eq!(request.user(), "system:serviceaccount:shop:web");
        let groups = ["system:serviceaccounts", "system:serviceaccounts:shop"];
        assert_eq!(request.groups(), groups);
    }

    #[test]
    fn the_answer_to_a_refusal_is_the_exact_objects() {
        let request = request("shop");
        let name = format!("wib-use-{}", object_name(&request.identity));
        let expected = format!(
            "ServiceAccount shop/web may not use this identity. To allow it, a cluster administrator applies:\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\nrules:\n\
             - apiGroups: [workload-identity.io]\n  resources: [managedidentities]\n  verbs: [use]\n  resourceNames:\n  - {}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: {name}-shop-web\n\
             roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: {name}\n\
             subjects:\n- kind: ServiceAccount\n  namespace: shop\n  name: web\n",
            request.identity.key()
        );
        assert_eq!(request.how_to_grant(), expected);
    }
}
