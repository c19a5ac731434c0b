use rstest::rstest;

use super::*;
use Operation::{DeleteCredential, GetIdentity, ListCredentials, PutCredential};

/// Every row of what Azure is known to answer. A row is a promise: a new answer gets a new row.
#[rstest]
#[case::concurrent_writes(
    PutCredential,
    409,
    "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity",
    "Too many Federated Identity Credentials are written concurrently for the managed identity '/x'.",
    Fault::Contended
)]
#[case::concurrent_delete(
    DeleteCredential,
    409,
    "concurrentfederatedidentitycredentialswritesforsinglemanagedidentity",
    "",
    Fault::Contended
)]
#[case::duplicate_400(
    PutCredential,
    400,
    "BadRequest",
    "Issuer and subject combination already exists for this Managed Identity.",
    Fault::Duplicate
)]
#[case::duplicate_409(
    PutCredential,
    409,
    "Conflict",
    "Issuer and subject combination already exists for this Managed Identity.",
    Fault::Duplicate
)]
#[case::limit(
    PutCredential,
    400,
    "BadRequest",
    "Too many Federated Identity Credentials",
    Fault::LimitReached
)]
#[case::limit_409(
    PutCredential,
    409,
    "Whatever",
    "too many federated identity credentials on this identity",
    Fault::LimitReached
)]
#[case::audience_count(
    PutCredential,
    400,
    "BadRequest",
    "Federated identity credentials must have exactly one audience.",
    Fault::Rejected
)]
#[case::missing_property(
    PutCredential,
    400,
    "BadRequest",
    "The request format was unexpected. Federated Identity Credential must specify 'issuer', 'subject' and 'audience'.",
    Fault::Rejected
)]
#[case::empty_properties(
    PutCredential,
    400,
    "BadRequest",
    "Federated Identity Credential from HTTP body has empty properties",
    Fault::Rejected
)]
#[case::bad_name(
    PutCredential,
    400,
    "BadRequest",
    "Federated Identity Credential name 'F' is invalid.",
    Fault::Rejected
)]
#[case::region(
    PutCredential,
    405,
    "MethodNotAllowed",
    "Support for federated identity credentials not enabled.",
    Fault::RegionNotSupported
)]
#[case::credential_absent(
    DeleteCredential,
    404,
    "NotFound",
    "Resource '/subscriptions/s/…/federatedIdentityCredentials/f' was not found.",
    Fault::CredentialGone
)]
#[case::identity_absent(
    GetIdentity,
    404,
    "ResourceNotFound",
    "The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/i' under resource group 'g' was not found.",
    Fault::IdentityGone
)]
#[case::parent_absent_on_write(
    PutCredential,
    404,
    "ParentResourceNotFound",
    "Failed to perform 'write' on resource(s)",
    Fault::IdentityNotReady
)]
#[case::parent_absent_on_delete(
    DeleteCredential,
    404,
    "ParentResourceNotFound",
    "Failed to perform 'delete' on resource(s)",
    Fault::IdentityGone
)]
#[case::parent_absent_on_list(
    ListCredentials,
    404,
    "ParentResourceNotFound",
    "Failed to perform 'read' on resource(s)",
    Fault::IdentityGone
)]
#[case::group_absent(
    GetIdentity,
    404,
    "ResourceGroupNotFound",
    "Resource group 'g' could not be found.",
    Fault::ResourceGroupGone
)]
#[case::subscription_absent(
    DeleteCredential,
    404,
    "SubscriptionNotFound",
    "The subscription 's' could not be found.",
    Fault::SubscriptionNotFound
)]
#[case::young_identity(
    PutCredential,
    404,
    "NotFound",
    "MS Graph resource not found during Federated Identity Credential creation.",
    Fault::IdentityNotReady
)]
#[case::no_right(
    PutCredential,
    403,
    "AuthorizationFailed",
    "The client 'c' does not have authorization to perform action",
    Fault::AccessDenied
)]
#[case::policy(
    PutCredential,
    403,
    "RequestDisallowedByPolicy",
    "Resource 'F' was disallowed by policy.",
    Fault::PolicyDenied
)]
#[case::lock(
    DeleteCredential,
    409,
    "ScopeLocked",
    "The scope cannot perform delete operation because following scope(s) are locked",
    Fault::Locked
)]
#[case::throttled(
    GetIdentity,
    429,
    "TooManyRequests",
    "Retry after 20 seconds.",
    Fault::Throttled
)]
#[case::throttled_by_arm(
    GetIdentity,
    429,
    "SubscriptionRequestsThrottled",
    "Please try again after '6' seconds.",
    Fault::Throttled
)]
#[case::unauthenticated(GetIdentity, 401, "ExpiredAuthenticationToken", "", Fault::LoginFailed)]
#[case::other_conflict(PutCredential, 409, "AnotherOperationInProgress", "", Fault::Unexpected)]
#[case::other_not_found(DeleteCredential, 404, "NotFound", "", Fault::Unexpected)]
#[case::not_arm_at_all(DeleteCredential, 404, "", "<html>", Fault::Unexpected)]
#[case::request_timeout(PutCredential, 408, "", "", Fault::Unavailable)]
#[case::server_error(PutCredential, 500, "InternalServerError", "", Fault::Unavailable)]
#[case::bad_gateway(PutCredential, 502, "", "<html>", Fault::Unavailable)]
#[case::other_client_error(PutCredential, 422, "Odd", "", Fault::Rejected)]
#[case::a_redirect(GetIdentity, 302, "", "", Fault::Unavailable)]
fn every_known_answer_has_its_meaning(
    #[case] operation: Operation,
    #[case] status: u16,
    #[case] code: &str,
    #[case] message: &str,
    #[case] expected: Fault,
) {
    assert_eq!(
        fault(FailedAnswer {
            operation,
            status,
            code,
            message
        }),
        expected
    );
}

#[test]
fn only_four_answers_mean_gone() {
    use strum::IntoEnumIterator;
    let gone: Vec<Fault> = Fault::iter().filter(|f| f.is_gone()).collect();
    assert_eq!(
        gone,
        [
            Fault::CredentialGone,
            Fault::IdentityGone,
            Fault::ResourceGroupGone
        ]
    );
}

#[rstest]
#[case::header(Some(7), "", 7)]
#[case::text_only(None, "Request is temporarily throttled. Retry after 20 seconds.", 20)]
#[case::quoted(None, "Please try again after '6' seconds.", 6)]
#[case::the_larger_one(Some(3), "Please try again after '6' seconds.", 6)]
#[case::neither(None, "slow down", 20)]
#[case::no_number(None, "try again after a while", 20)]
#[case::absurd(Some(u64::MAX), "", 3600)]
#[case::absurd_text(None, "Retry after 99999999999 seconds.", 3600)]
#[case::other_unit(None, "try again after 5 minutes", 20)]
fn the_wait_is_the_larger_of_header_and_text(
    #[case] header: Option<u64>,
    #[case] text: &str,
    #[case] expected: u64,
) {
    let wait = retry_after(Fault::Throttled, header.map(Duration::from_secs), text);
    assert_eq!(wait, Some(Duration::from_secs(expected)));
}
