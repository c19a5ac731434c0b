//! Who and what there is: names, numbers, and the values that states share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use super::pool::{Pool, Shared};
use super::tenant::Kind;
use crate::api::{DeletionPolicy, ManagedIdentityStatus, WorkloadIdentityBindingSpec};
use crate::core::plan::{Plan, Step};
use crate::core::reconcile::{Answer, BindingPass, Effect, ReportedStatus, RevocationPass, Safeguard};
use crate::core::{Credential, Defaults, Desired, Holdings, Identity, IdentityId, Tuple};

pub(super) const NAMESPACE: &str = "shop";
pub(super) const ACCOUNTS: [&str; 2] = ["web", "api"];
const AUDIENCE: &str = "aud";
/// By cluster: the issuer at the start, and the one that it may change to.
const ISSUERS: [[&str; 2]; 2] = [
    ["https://one/", "https://one-new/"],
    ["https://two/", "https://two-new/"],
];

/// By cluster, issuer and account.
static OURS: LazyLock<[[[Credential; 2]; 2]; 2]> = LazyLock::new(|| {
    let ours = |cluster: No, issuer: No, account: No| {
        let tuple =
            Tuple::for_service_account(ISSUERS[cluster][issuer], NAMESPACE, ACCOUNTS[account], AUDIENCE);
        Credential::named_by_us("wib", tuple)
    };
    [0, 1].map(|cluster| [0, 1].map(|issuer| [0, 1].map(|account| ours(cluster, issuer, account))))
});

/// Number of a cluster, an identity, an account.
pub(super) type No = usize;

/// A record as it stands in Kubernetes; an empty one is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenRecord(pub ManagedIdentityStatus);

impl Hash for SeenRecord {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.credentials.hash(state);
        self.0.held.hash(state);
        self.0.former_issuers.len().hash(state);
    }
}

/// Either pass of the product.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PassMachine {
    Binding(BindingPass),
    Revocation(RevocationPass),
}

/// Cluster, issuer, identity, account, and whether it is suspended.
type Spec = (No, No, No, No, bool);

type Transition = (Shared<PassMachine>, Shared<Effect>);

/// The world of one case.
#[derive(Default)]
pub(super) struct Universe {
    pub identities: Vec<IdentityId>,
    /// By slot: the cluster whose binding it is for.
    pub slots: Vec<No>,
    /// What the tenant may do.
    pub tenant: Vec<Kind>,
    /// Credentials that somebody else may make, and credentials that may be edited, in Azure.
    pub people: bool,
    pub holdings: Pool<Holdings>,
    pub records: Pool<SeenRecord>,
    pub statuses: Pool<ReportedStatus>,
    pub machines: Pool<PassMachine>,
    pub effects: Pool<Effect>,
    pub answers: Pool<Answer>,
    pub safeguards: Pool<Safeguard>,
    pub steps: Pool<Vec<Step>>,
    pub plans: Pool<Plan>,
    desired: RefCell<HashMap<Spec, Desired>>,
    /// What the product has answered before: the same to the same.
    transitions: RefCell<HashMap<(u32, u32), Transition>>,
}

impl Universe {
    pub fn new(identities: usize, slots: &[No]) -> Self {
        let id = |n| {
            IdentityId::new(
                "00000000-0000-0000-0000-00000000000a",
                "shop",
                ["web-one", "web-two"][n],
            )
        };
        Self {
            identities: (0..identities).map(|n| id(n).expect("a good id")).collect(),
            slots: slots.to_vec(),
            ..Self::default()
        }
    }

    /// The product's transition function.
    pub fn next(&self, machine: &Shared<PassMachine>, answer: Answer) -> Transition {
        let answer = self.answers.share(answer);
        let key = (machine.number(), answer.number());
        if let Some(known) = self.transitions.borrow().get(&key) {
            return known.clone();
        }
        let mut machine: PassMachine = (**machine).clone();
        let effect = match &mut machine {
            PassMachine::Binding(pass) => pass.next((*answer).clone()),
            PassMachine::Revocation(pass) => pass.next((*answer).clone()),
        };
        let result = (self.machines.share(machine), self.effects.share(effect));
        self.transitions.borrow_mut().insert(key, result.clone());
        result
    }

    pub fn identity(&self, id: &IdentityId) -> No {
        self.identities
            .iter()
            .position(|known| known == id)
            .expect("a known identity")
    }

    pub fn client(identity: No) -> String {
        format!("client-{identity}")
    }

    pub fn described(identity: No) -> Identity {
        Identity {
            client_id: Self::client(identity),
            principal_id: "principal".to_owned(),
            tenant_id: "tenant".to_owned(),
        }
    }

    /// What a spec asks for.
    pub fn desired(&self, cluster: No, issuer: No, identity: No, account: No, suspend: bool) -> Desired {
        let key = (cluster, issuer, identity, account, suspend);
        let mut known = self.desired.borrow_mut();
        let desired = known.entry(key).or_insert_with(|| {
            let spec = serde_json::json!({
                "identity": { "resourceId": self.identities[identity].to_string() },
                "serviceAccount": { "name": ACCOUNTS[account] },
                "suspend": suspend,
            });
            let spec: WorkloadIdentityBindingSpec = serde_json::from_value(spec).expect("a spec");
            let defaults = Defaults {
                subscription_id: None,
                resource_group: None,
                deletion_policy: DeletionPolicy::Delete,
                audience: AUDIENCE.to_owned(),
                prefix: "wib".to_owned(),
            };
            let issuer = Self::issuer(cluster, issuer);
            Desired::new(NAMESPACE, &spec, &defaults, issuer).expect("a good spec")
        });
        desired.clone()
    }

    pub fn issuer(cluster: No, issuer: No) -> &'static str {
        ISSUERS[cluster][issuer]
    }

    /// The credential that a cluster's operator makes for an account.
    pub fn ours(cluster: No, issuer: No, account: No) -> Credential {
        OURS[cluster][issuer][account].clone()
    }

    /// Issuer and account of what a cluster's operator makes under this name.
    pub fn of_name(cluster: No, name: &str) -> Option<(No, No)> {
        let all = (0..2).flat_map(|issuer| (0..2).map(move |account| (issuer, account)));
        all.into_iter()
            .find(|(issuer, account)| OURS[cluster][*issuer][*account].name == name)
    }

    pub fn account(name: &str) -> Option<No> {
        ACCOUNTS.iter().position(|known| *known == name)
    }

    pub fn account_of_subject(subject: &str) -> Option<No> {
        Self::account(subject.strip_prefix("system:serviceaccount:shop:")?)
    }

    /// As Terraform would make the one of the first account.
    pub fn equal() -> Credential {
        Credential {
            name: "terraform".to_owned(),
            ..Self::ours(0, 0, 0)
        }
    }

    /// The same subject with another audience.
    pub fn conflicting() -> Credential {
        let mut credential = Self::ours(0, 0, 0);
        credential.name = "portal".to_owned();
        credential.tuple.audience = "other".to_owned();
        credential
    }

    /// One of somebody who has nothing to do with Kubernetes.
    pub fn filler(n: usize) -> Credential {
        Credential {
            name: format!("filler-{n}"),
            tuple: Tuple::for_service_account("https://filler/", "x", &format!("s{n}"), AUDIENCE),
        }
    }

    /// A list in an order of its own, so that equal ones are one.
    pub fn list(&self, mut holdings: Holdings) -> Shared<Holdings> {
        holdings.credentials.sort_by(|a, b| a.name.cmp(&b.name));
        self.holdings.share(holdings)
    }

    pub fn record(&self, mut status: ManagedIdentityStatus) -> Shared<SeenRecord> {
        status.credentials.sort_by(|a, b| a.name.cmp(&b.name));
        if status.credentials.is_empty() {
            status = ManagedIdentityStatus::default();
        }
        self.records.share(SeenRecord(status))
    }
}
