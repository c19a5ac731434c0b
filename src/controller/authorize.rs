//! May this ServiceAccount use this identity? Asked of Kubernetes, at cluster scope, every time.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::api::{GRANT_RESOURCE, GRANT_VERB, GROUP};
use crate::core::grant::Request;
use crate::core::reconcile::Review;

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Authorization {
    /// RBAC: a ClusterRole must let the ServiceAccount `use` the identity. Default deny.
    #[default]
    Rbac,
    /// Nobody: whoever may create bindings may use every identity that the operator can write.
    /// For clusters with one tenant.
    None,
}

/// Asks whether a grant stands.
///
/// The review has no namespace: a RoleBinding in the tenant's own namespace must not do, since
/// many clusters let tenants write those.
///
/// # Errors
/// A check that fails is no denial: nothing may be changed on its account.
pub(super) async fn check(
    client: &Client,
    authorization: Authorization,
    request: &Request,
) -> Result<Review, kube::Error> {
    if authorization == Authorization::None {
        return Ok(Review::Disabled);
    }
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(request.user()),
            groups: Some(request.groups().to_vec()),
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some(GRANT_RESOURCE.to_owned()),
                verb: Some(GRANT_VERB.to_owned()),
                name: Some(request.identity.key().to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    let status = answer.status.unwrap_or_default();
    match (status.allowed, status.evaluation_error) {
        (true, _) => Ok(Review::Granted),
        // Half an answer: a role could not be read. It may be the one with the grant.
        (false, Some(error)) if !status.denied.unwrap_or(false) => Err(kube::Error::Service(
            format!("the grant could not be evaluated: {error}").into(),
        )),
        (false, _) => Ok(Review::Denied),
    }
}
