//! What can go wrong at Azure, in the terms of the domain.

use crate::api::{Disposition, Reason};

/// The meaning of a failed call to Azure. [`crate::azure`] classifies every answer into one of
/// these; everything else in the crate knows only them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// Another client writes a credential on this identity at this moment.
    Contended,
    /// Issuer and subject stand on the identity already, under another name.
    Duplicate,
    /// The identity holds as many credentials as Azure allows.
    LimitReached,
    /// The request is wrong and stays wrong.
    Rejected,
    /// The identity's region has no federated identity credentials.
    RegionNotSupported,
    /// The credential does not exist.
    CredentialGone,
    /// The identity does not exist.
    IdentityGone,
    /// The identity is too young for credentials.
    IdentityNotReady,
    /// The resource group does not exist.
    ResourceGroupGone,
    /// The subscription does not exist, or not for us. Never taken for "gone".
    SubscriptionNotFound,
    /// The operator's identity lacks the right.
    AccessDenied,
    /// The operator could not get a token, or Azure refused it.
    LoginFailed,
    /// An Azure Policy denies the write.
    PolicyDenied,
    /// A resource lock forbids the write.
    Locked,
    /// Too many requests.
    Throttled,
    /// Not asked yet: the operator keeps to Azure's pace, and others come first.
    Queued,
    /// No answer, a broken answer, or a server error. A write may have been carried out.
    Unavailable,
    /// Some other 404 or 409: not understood, so neither success nor "gone".
    Unexpected,
}

impl Fault {
    /// Name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The condition reason that reports it.
    pub fn reason(self) -> Reason {
        match self {
            Self::Contended => Reason::WriteContended,
            Self::Duplicate => Reason::CredentialConflict,
            Self::LimitReached => Reason::CredentialLimitReached,
            Self::Rejected => Reason::AzureRejected,
            Self::RegionNotSupported => Reason::RegionNotSupported,
            Self::IdentityGone | Self::ResourceGroupGone => Reason::IdentityNotFound,
            Self::IdentityNotReady => Reason::IdentityNotReady,
            Self::SubscriptionNotFound => Reason::SubscriptionNotFound,
            Self::AccessDenied => Reason::AzureAccessDenied,
            Self::LoginFailed => Reason::AzureLoginFailed,
            Self::PolicyDenied => Reason::PolicyDenied,
            Self::Locked => Reason::ResourceLocked,
            Self::Throttled => Reason::AzureThrottled,
            Self::Queued => Reason::Queued,
            Self::CredentialGone | Self::Unavailable | Self::Unexpected => Reason::AzureUnavailable,
        }
    }

    /// Whether a delete that ends so has reached its goal. A subscription that we cannot see is
    /// not gone: its credentials may live on.
    pub fn is_gone(self) -> bool {
        matches!(
            self,
            Self::CredentialGone | Self::IdentityGone | Self::ResourceGroupGone
        )
    }

    /// Whether Azure will answer so again until somebody changes something: what it forbids to delete, it has
    /// forbidden to make.
    pub fn is_lasting(self) -> bool {
        matches!(
            self.reason().disposition(),
            Disposition::Stalled | Disposition::RetrySlowly
        )
    }

    /// Whether the answer leaves open if a write was carried out, so that the next step has to
    /// read first.
    pub fn leaves_write_open(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Unexpected | Self::Duplicate | Self::LimitReached
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_name_its_reason_and_what_it_leaves_behind() {
        use Reason as R;
        // (fault, name, reason, the goal of a delete is reached, a write may have been carried out)
        let table = [
            (Fault::Contended, "contended", R::WriteContended, false, false),
            (Fault::Duplicate, "duplicate", R::CredentialConflict, false, true),
            (
                Fault::LimitReached,
                "limit_reached",
                R::CredentialLimitReached,
                false,
                true,
            ),
            (Fault::Rejected, "rejected", R::AzureRejected, false, false),
            (
                Fault::RegionNotSupported,
                "region_not_supported",
                R::RegionNotSupported,
                false,
                false,
            ),
            (
                Fault::CredentialGone,
                "credential_gone",
                R::AzureUnavailable,
                true,
                false,
            ),
            (
                Fault::IdentityGone,
                "identity_gone",
                R::IdentityNotFound,
                true,
                false,
            ),
            (
                Fault::IdentityNotReady,
                "identity_not_ready",
                R::IdentityNotReady,
                false,
                false,
            ),
            (
                Fault::ResourceGroupGone,
                "resource_group_gone",
                R::IdentityNotFound,
                true,
                false,
            ),
            (
                Fault::SubscriptionNotFound,
                "subscription_not_found",
                R::SubscriptionNotFound,
                false,
                false,
            ),
            (
                Fault::AccessDenied,
                "access_denied",
                R::AzureAccessDenied,
                false,
                false,
            ),
            (
                Fault::LoginFailed,
                "login_failed",
                R::AzureLoginFailed,
                false,
                false,
            ),
            (
                Fault::PolicyDenied,
                "policy_denied",
                R::PolicyDenied,
                false,
                false,
            ),
            (Fault::Locked, "locked", R::ResourceLocked, false, false),
            (Fault::Throttled, "throttled", R::AzureThrottled, false, false),
            (Fault::Queued, "queued", R::Queued, false, false),
            (
                Fault::Unavailable,
                "unavailable",
                R::AzureUnavailable,
                false,
                true,
            ),
            (Fault::Unexpected, "unexpected", R::AzureUnavailable, false, true),
        ];
        let all: Vec<Fault> = <Fault as strum::IntoEnumIterator>::iter().collect();
        assert_eq!(all, table.map(|(fault, ..)| fault));
        for (fault, name, reason, is_gone, leaves_open) in table {
            assert_eq!(fault.as_str(), name);
            assert_eq!(fault.reason(), reason, "{name}");
            assert_eq!(fault.is_gone(), is_gone, "{name}");
            assert_eq!(fault.leaves_write_open(), leaves_open, "{name}");
        }
    }

    #[test]
    fn lasting_is_what_only_somebodys_change_ends() {
        use Fault::{
            AccessDenied, Duplicate, IdentityGone, LimitReached, Locked, PolicyDenied, RegionNotSupported,
            Rejected, ResourceGroupGone, SubscriptionNotFound,
        };
        let all = <Fault as strum::IntoEnumIterator>::iter();
        let lasting: Vec<Fault> = all.filter(|fault| fault.is_lasting()).collect();
        let expected = [
            Duplicate,
            LimitReached,
            Rejected,
            RegionNotSupported,
            IdentityGone,
            ResourceGroupGone,
            SubscriptionNotFound,
            AccessDenied,
            PolicyDenied,
            Locked,
        ];
        assert_eq!(lasting, expected);
    }
}
