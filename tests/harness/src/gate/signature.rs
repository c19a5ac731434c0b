//! What a call asks for, without the names and ids that differ from run to run.

use super::Transport;

/// `k8s PATCH workloadidentitybindings/status`, `k8s GET clusterroles (watch)`, `azure PUT credential`.
pub(super) fn signature(transport: Transport, method: &str, path: &str, query: Option<&str>) -> String {
    match transport {
        Transport::Kubernetes => format!("k8s {method} {}", kubernetes(method, path, query)),
        Transport::Azure => format!("azure {method} {}", azure(path)),
    }
}

/// Whether the answer to this call has no end.
pub(super) fn is_watch(transport: Transport, query: Option<&str>) -> bool {
    let watches = |pair: &str| matches!(pair, "watch=true" | "watch=1");
    transport == Transport::Kubernetes && query.is_some_and(|query| query.split('&').any(watches))
}

fn kubernetes(method: &str, path: &str, query: Option<&str>) -> String {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let (["api", _, in_group @ ..] | ["apis", _, _, in_group @ ..]) = segments.as_slice() else {
        return path.to_owned();
    };
    let in_namespace = match in_group {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        _ => in_group,
    };
    match in_namespace {
        [] => path.to_owned(),
        [resource] if is_watch(Transport::Kubernetes, query) => format!("{resource} (watch)"),
        [resource] if method == "GET" => format!("{resource} (list)"),
        [resource] | [resource, _] => (*resource).to_owned(),
        [resource, _, subresource @ ..] => format!("{resource}/{}", subresource.join("/")),
    }
}

fn azure(path: &str) -> &'static str {
    let path = path.to_ascii_lowercase();
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        [.., "oauth2", "v2.0", "token"] => "token",
        [.., "userassignedidentities", _, "federatedidentitycredentials"] => "credentials",
        [.., "userassignedidentities", _, "federatedidentitycredentials", _] => "credential",
        [.., "userassignedidentities", _] => "identity",
        [.., ".well-known", _] | [.., "discovery", "instance"] => "discovery",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_do_not_show() {
        let wib = "/apis/workload-identity.io/v1alpha1/namespaces/shop-1/workloadidentitybindings";
        let k8s = |method, path: &str, query| signature(Transport::Kubernetes, method, path, query);
        assert_eq!(
            k8s("PATCH", &format!("{wib}/web/status"), None),
            "k8s PATCH workloadidentitybindings/status"
        );
        assert_eq!(
            k8s("PATCH", &format!("{wib}/web"), None),
            "k8s PATCH workloadidentitybindings"
        );
        assert_eq!(
            k8s("GET", wib, Some("limit=500")),
            "k8s GET workloadidentitybindings (list)"
        );
        assert_eq!(
            k8s("GET", wib, Some("&watch=true&timeoutSeconds=290")),
            "k8s GET workloadidentitybindings (watch)"
        );
        let rbac = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        assert_eq!(k8s("GET", rbac, Some("watch=1")), "k8s GET clusterroles (watch)");
        assert_eq!(
            k8s("GET", "/api/v1/namespaces/shop-1", None),
            "k8s GET namespaces"
        );
        assert_eq!(k8s("GET", "/version", None), "k8s GET /version");
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        assert_eq!(k8s("POST", reviews, None), "k8s POST subjectaccessreviews");

        let identity = "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web";
        let azure = |method, path: &str| signature(Transport::Azure, method, path, Some("api-version=x"));
        assert_eq!(azure("GET", identity), "azure GET identity");
        let list = format!("{identity}/federatedIdentityCredentials");
        assert_eq!(azure("GET", &list), "azure GET credentials");
        assert_eq!(azure("PUT", &format!("{list}/wib-1")), "azure PUT credential");
        assert_eq!(azure("POST", "/tenant/oauth2/v2.0/token"), "azure POST token");
    }
}
