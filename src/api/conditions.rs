//! The closed lists of condition types and reasons. Every reason has an entry in
//! `docs/conditions.md`: what it means and the way out.

use strum::{EnumIter, IntoStaticStr};

/// Condition types, in the order in which they stand in `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, IntoStaticStr)]
pub enum ConditionType {
    /// Azure holds the credential and the ServiceAccount carries the ids.
    Ready,
    /// The ServiceAccount has been granted the identity.
    Authorized,
    /// The identity exists and its client id is known.
    IdentityResolved,
    /// The federated identity credential exists as it should.
    CredentialSynced,
    /// The ServiceAccount carries the ids (or was asked not to).
    ServiceAccountAnnotated,
    /// Abnormal-true, kstatus: work is under way or will be tried again. Absent otherwise.
    Reconciling,
    /// Abnormal-true, kstatus: a person must act. Absent otherwise.
    Stalled,
}

/// Why a condition has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, IntoStaticStr)]
pub enum Reason {
    /// Everything is in place.
    Synced,
    /// A ClusterRole grants the identity to the ServiceAccount.
    Granted,
    /// The operator runs with `--authorization=none`.
    AuthorizationDisabled,
    /// Azure answered for the identity.
    Found,
    /// The operator made the credential and it is as it should be.
    Created,
    /// Somebody else's equal credential is used.
    Adopted,
    /// The ids are on the ServiceAccount.
    Annotated,
    /// `annotate: false`: nothing is to be written on the ServiceAccount.
    NotRequested,
    /// An earlier step has to succeed first.
    Pending,
    /// Work is under way.
    Progressing,
    /// `suspend: true`: nothing is written.
    Suspended,
    /// The binding is being deleted and its trust taken back.
    Deleting,
    /// No grant lets the ServiceAccount use the identity. The credential is withdrawn.
    NotAuthorized,
    /// The authorization check itself failed; nothing is changed until it works.
    AuthorizationCheckFailed,
    /// The spec cannot be understood or lacks a default that the operator does not have.
    InvalidSpec,
    /// The identity, or its resource group, does not exist.
    IdentityNotFound,
    /// The identity was made moments ago and Azure does not accept credentials on it yet.
    IdentityNotReady,
    /// The subscription does not exist or the operator's tenant cannot see it.
    SubscriptionNotFound,
    /// The operator's own identity lacks a right in Azure.
    AzureAccessDenied,
    /// The operator could not log in to Azure.
    AzureLoginFailed,
    /// Waits its turn: the operator asks Azure no more often than Azure allows.
    Queued,
    /// Azure asks to slow down.
    AzureThrottled,
    /// Azure did not answer, or answered with a server error.
    AzureUnavailable,
    /// Azure refused the request and will refuse it again.
    AzureRejected,
    /// Somebody else writes credentials on this identity at this moment.
    WriteContended,
    /// The identity holds the 20 credentials that Azure allows.
    CredentialLimitReached,
    /// A credential under our name holds something else and was not made by us.
    CredentialNameTaken,
    /// A credential for this issuer and subject exists under another name and cannot be used.
    CredentialConflict,
    /// An equal credential exists under another name and `adoption` is `Never`.
    AdoptionRefused,
    /// An Azure Policy denies the credential.
    PolicyDenied,
    /// A resource lock forbids the write.
    ResourceLocked,
    /// The identity's region has no federated identity credentials.
    RegionNotSupported,
    /// The ServiceAccount does not exist yet.
    ServiceAccountNotFound,
    /// An older binding already annotates this ServiceAccount.
    ServiceAccountTaken,
    /// Another field manager holds a different value on the ServiceAccount.
    FieldConflict,
    /// The binding changes faster than the operator can work on it.
    ObjectChanging,
    /// The Kubernetes API refused or failed a call of the operator.
    KubernetesUnavailable,
}

/// What a reason means for the controller and for kstatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// In order: look again at the next drift check.
    Done,
    /// Waits for an earlier step or for the end of this one; never requeues by itself.
    Working,
    /// Try again within seconds, with growing, jittered delays.
    RetrySoon,
    /// Try again within minutes, or when something that is watched changes.
    RetrySlowly,
    /// A person must act. Tried again slowly all the same, since the world may change unseen.
    Stalled,
}

impl Reason {
    /// The name as it stands in conditions, events, metrics and the docs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The one table from reason to behaviour.
    pub fn disposition(self) -> Disposition {
        use Disposition::{Done, RetrySlowly, RetrySoon, Stalled, Working};
        match self {
            Self::Synced
            | Self::Granted
            | Self::AuthorizationDisabled
            | Self::Found
            | Self::Created
            | Self::Adopted
            | Self::Annotated
            | Self::NotRequested
            | Self::Suspended => Done,
            Self::Pending | Self::Progressing | Self::Queued | Self::Deleting => Working,
            Self::AuthorizationCheckFailed
            | Self::IdentityNotReady
            | Self::AzureThrottled
            | Self::AzureUnavailable
            | Self::AzureLoginFailed
            | Self::WriteContended
            | Self::ObjectChanging
            | Self::KubernetesUnavailable => RetrySoon,
            Self::AzureAccessDenied | Self::ServiceAccountNotFound => RetrySlowly,
            Self::NotAuthorized
            | Self::InvalidSpec
            | Self::IdentityNotFound
            | Self::SubscriptionNotFound
            | Self::AzureRejected
            | Self::CredentialLimitReached
            | Self::CredentialNameTaken
            | Self::CredentialConflict
            | Self::AdoptionRefused
            | Self::PolicyDenied
            | Self::ResourceLocked
            | Self::RegionNotSupported
            | Self::ServiceAccountTaken
            | Self::FieldConflict => Stalled,
        }
    }
}

impl ConditionType {
    /// The name as it stands in `status.conditions`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
