//! Every credential that can come to stand on the identity, by number, so that states are small.

use super::{Binding, Memory, Write, ownership};
use crate::api::{
    CredentialOrigin, DeletionPolicy, IdentityStatus, Superseded, WorkloadIdentityBindingStatus,
};
use crate::domain::credential::MAX_PER_IDENTITY;
use crate::domain::plan::Step;
use crate::domain::{Credential, Defaults, Desired, Tuple};

/// Number of a credential.
pub(super) type Id = u8;

/// A set of credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Set(u16);

impl Set {
    pub fn with(self, id: Id) -> Self {
        Self(self.0 | 1 << id)
    }

    pub fn without(self, id: Id) -> Self {
        Self(self.0 & !(1 << id))
    }

    pub fn has(self, id: Id) -> bool {
        self.0 & 1 << id != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Id> {
        (0..16).filter(move |id| self.has(*id))
    }
}

const IDENTITY: &str = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web";
const ISSUERS: [&str; 2] = ["https://one/", "https://two/"];
const ACCOUNTS: [&str; 2] = ["web", "api"];
pub(super) const NAMESPACE: &str = "shop";

/// The first of one cluster's account, as Terraform would make it.
pub(super) const EQUAL: Id = 8;
/// The same subject with another audience.
pub(super) const CONFLICT: Id = 9;

pub(super) struct Universe {
    credentials: Vec<Credential>,
    desired: [[Desired; 2]; 2],
    /// Somebody else's, always there.
    fillers: Vec<Credential>,
}

impl Universe {
    /// An identity on which somebody else holds so many credentials already.
    pub fn with_fillers(fillers: usize) -> Self {
        let desired =
            [0, 1].map(|cluster| [0, 1].map(|account| desired(ISSUERS[cluster], ACCOUNTS[account])));
        let ours = |cluster: usize, account: usize| desired[cluster][account].credential.clone();
        let mut credentials = vec![ours(0, 0), ours(0, 1), ours(1, 0), ours(1, 1)];
        // The same, edited in place by a person.
        for n in 0..4 {
            let tuple = Tuple {
                issuer: format!("https://edited-{n}/"),
                ..credentials[n].tuple.clone()
            };
            credentials.push(Credential {
                name: credentials[n].name.clone(),
                tuple,
            });
        }
        let web = credentials[0].tuple.clone();
        credentials.push(Credential {
            name: "terraform".to_owned(),
            tuple: web.clone(),
        });
        credentials.push(Credential {
            name: "portal".to_owned(),
            tuple: Tuple {
                audience: "other".to_owned(),
                ..web
            },
        });
        let filler = |n| Credential {
            name: format!("filler-{n}"),
            tuple: Tuple::for_service_account("https://filler/", "x", &format!("s{n}"), "aud"),
        };
        Self {
            credentials,
            desired,
            fillers: (0..fillers).map(filler).collect(),
        }
    }

    pub fn get(&self, id: Id) -> &Credential {
        &self.credentials[usize::from(id)]
    }

    pub fn ours(&self, cluster: usize, account: usize) -> Id {
        self.id(&self.desired[cluster][account].credential)
    }

    /// The same, edited in place.
    pub fn edited(id: Id) -> Id {
        id + 4
    }

    pub fn desired(&self, cluster: usize, account: usize) -> &Desired {
        &self.desired[cluster][account]
    }

    /// Which account a credential of ours is for.
    pub fn account_of(&self, cluster: usize, id: Id) -> Option<usize> {
        (0..2).find(|account| self.ours(cluster, *account) == id)
    }

    /// Made by an operator, whatever it holds now.
    pub fn is_made_by_us(id: Id) -> bool {
        id < 8
    }

    /// Only what an operator of this cluster has made.
    pub fn may_touch(cluster: usize, id: Id) -> bool {
        Self::is_made_by_us(id) && usize::from(id % 4) / 2 == cluster
    }

    pub fn list(&self, set: Set) -> Vec<Credential> {
        let standing = set.iter().map(|id| self.get(id));
        self.fillers.iter().chain(standing).cloned().collect()
    }

    pub fn named_like(&self, set: Set, id: Id) -> Option<Id> {
        set.iter()
            .find(|other| self.get(*other).name == self.get(id).name)
    }

    pub fn collides(&self, set: Set, id: Id) -> bool {
        set.iter()
            .any(|other| self.get(other).tuple.collides_with(&self.get(id).tuple))
    }

    pub fn is_full(&self, set: Set) -> bool {
        self.fillers.len() + set.iter().count() >= MAX_PER_IDENTITY
    }

    /// Whether a token for this credential would be taken.
    pub fn trusts(&self, set: Set, id: Id) -> bool {
        set.iter()
            .any(|other| self.get(other).tuple == self.get(id).tuple)
    }

    /// Whether something stands in the way of a binding that only a person may remove: somebody else's,
    /// or what a person has made of a credential that this binding does not remember.
    pub fn is_blocked(&self, set: Set, binding: &Binding) -> bool {
        let want = self.ours(binding.cluster, binding.account);
        let theirs =
            |id: Id| !Self::is_made_by_us(id) && self.get(id).tuple.collides_with(&self.get(want).tuple);
        let edited = set.has(Self::edited(want)) && binding.status.credential.is_none();
        self.is_full(set) || edited || set.iter().any(theirs)
    }

    pub fn id(&self, credential: &Credential) -> Id {
        let at = self.credentials.iter().position(|c| c == credential);
        Id::try_from(at.expect("a credential of this universe")).expect("a small number")
    }

    pub fn write(&self, step: &Step) -> Write {
        match step {
            Step::Put(credential) => Write::Put(self.id(credential)),
            Step::Delete(name) => {
                let at = self.credentials.iter().position(|c| c.name == *name);
                Write::Delete(Id::try_from(at.expect("a name of this universe")).expect("a small number"))
            }
        }
    }

    pub fn step(&self, write: Write) -> Step {
        match write {
            Write::Put(id) => Step::Put(self.get(id).clone()),
            Write::Delete(id) => Step::Delete(self.get(id).name.clone()),
        }
    }

    /// What stands once a write is taken, by the product's own reckoning.
    pub fn after(&self, set: Set, write: Write) -> Set {
        let mut held = set.iter().map(|id| self.get(id).clone()).collect();
        super::apply(&mut held, &self.step(write));
        held.iter()
            .fold(Set::default(), |set, credential| set.with(self.id(credential)))
    }

    /// A status as it stands in Kubernetes.
    pub fn status(&self, memory: &Memory) -> WorkloadIdentityBindingStatus {
        let record = |id: Id, origin| ownership::record(self.get(id), origin);
        WorkloadIdentityBindingStatus {
            identity: memory.credential.map(|_| IdentityStatus {
                resource_id: IDENTITY.to_owned(),
                ..IdentityStatus::default()
            }),
            credential: memory.credential.map(|(id, adopted)| {
                let origin = if adopted {
                    CredentialOrigin::Adopted
                } else {
                    CredentialOrigin::Created
                };
                record(id, origin)
            }),
            superseded: memory
                .superseded
                .iter()
                .map(|id| Superseded {
                    resource_id: IDENTITY.to_owned(),
                    credential: record(*id, CredentialOrigin::Created),
                })
                .collect(),
            ..WorkloadIdentityBindingStatus::default()
        }
    }

    pub fn remembered(&self, entry: &Superseded) -> Id {
        self.id(&Credential {
            name: entry.credential.name.clone(),
            tuple: ownership::tuple_of(&entry.credential),
        })
    }
}

fn desired(issuer: &str, account: &str) -> Desired {
    let spec = serde_json::json!({
        "identity": { "resourceId": IDENTITY },
        "serviceAccount": { "name": account },
    });
    let defaults = Defaults {
        subscription_id: None,
        resource_group: None,
        deletion_policy: DeletionPolicy::Delete,
        audience: "aud".to_owned(),
        prefix: "wib".to_owned(),
    };
    let spec = serde_json::from_value(spec).expect("a spec");
    Desired::new(NAMESPACE, &spec, &defaults, issuer).expect("a good spec")
}
